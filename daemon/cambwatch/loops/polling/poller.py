"""Asks Camb for every watched task when it is due, and does what the answer means."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, assert_never

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.accounts import Account
from cambwatch.core.cadence.histogram import Completion
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import StartEntry
from cambwatch.core.camb.evidence import NO_EVIDENCE, shows_status
from cambwatch.core.camb.result_requests import ResultRead
from cambwatch.core.lifecycle import Progress, decide_after_poll, decide_unconfirmed
from cambwatch.core.model import (
    Conclusion,
    Confirm,
    PauseAccount,
    PendingReply,
    PollAgain,
    PollDecision,
    PollReply,
    Status,
    Task,
    TaskKey,
)
from cambwatch.loops.polling.account_log import LONG_PAUSE, AccountLog
from cambwatch.loops.polling.account_queue import AccountQueue, WatchedTask
from cambwatch.loops.polling.conclusion import Concluder
from cambwatch.loops.scheduler import Clock, Wakeup

__all__ = ["LONG_PAUSE", "Poller"]

POSTPONED_S = 300.0  # after a bug in handling one task: it must not become a hot loop
MIN_WAKEUP_S = 0.005  # between two wake-ups: what falls due in between is served together

REQUESTED_POLL_INTERVAL_S = 0.1  # of a poll that somebody waits for: it goes before those that come by themselves

STORE_RETRY_S = (
    3.0  # until an end that could not be written is looked at again: a database that is back is used within 5 s
)

log = structlog.get_logger()


class StatusSource(Protocol):
    """Where the status of a task is asked."""

    async def status(self, key: TaskKey) -> PollReply: ...


class PollCadence(Protocol):
    """Says how a task is asked for, and learns from how it went."""

    def policy(self, task: Task) -> PollPolicy: ...
    def task_watched(self, task: Task, progress: Progress, *, since_s: float) -> StartEntry: ...
    def task_finished(self, task: Task, start_entry: StartEntry, completion: Completion) -> None: ...
    def task_expired(self, task: Task, start_entry: StartEntry) -> None: ...
    def task_dropped(self, task: Task, start_entry: StartEntry) -> None: ...


class PollMeter(Protocol):
    """Who counts polls and ends; called for every poll, so it must be quick."""

    def polled(self, account: str, kind: str, reply: PollReply, lateness_s: float, took_s: float) -> None: ...
    def concluded(self, kind: str, status: Status, detection_s: float | None) -> None: ...


class Poller:
    """
    The tasks that are watched, in memory, and the polls under way.

    A poll that leaves its task pending touches nothing but memory.
    """

    def __init__(
        self,
        source: StatusSource,
        concluder: Concluder,
        *,
        accounts: Mapping[str, Account],
        cadence: PollCadence,
        meter: PollMeter,
        clock: Clock,
        wakeup: Wakeup,
        on_first_status: Callable[[int], None],
    ) -> None:
        """*on_first_status* is called with a task's id when Camb returns its first status."""
        self._source = source
        self._concluder = concluder
        self._poll_cadence = cadence
        self._meter = meter
        self._clock = clock
        self._wakeup_event = wakeup.wakeup_event
        self._wakeup = wakeup
        self._on_first_status = on_first_status
        self._watches: dict[int, WatchedTask] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._store_failing = False  # the store did not take the last end that it was given
        self.queues = {
            name: AccountQueue(
                per_second=account.requests_per_second,
                concurrency=account.concurrency,
                now_s=clock.monotonic(),
            )
            for name, account in accounts.items()
        }
        self._account_logs = {name: AccountLog(name, queue) for name, queue in self.queues.items()}
        self._log = log.bind()  # the one above looks up how to log at every line, which costs more than a poll's own

    def watch(self, tasks: Iterable[Task], *, spread: bool = False) -> None:
        """
        Poll the pending *tasks* at once, or with *spread* over the poll interval of each: a restart is not a burst.

        The age of a task comes from the wall clock here and grows by the monotonic clock from then on.
        A task of an account that the configuration does not have waits until it has.
        """
        now, now_s = self._clock.now(), self._clock.monotonic()
        orphans: dict[str, int] = {}
        due: dict[str, dict[int, tuple[WatchedTask, float, float]]] = {}  # by id, because the last counts
        for task in tasks:
            account = task.key.account
            if account not in self.queues:
                orphans[account] = orphans.get(account, 0) + 1
                continue
            self.stop_watching(task.id)
            age_s = max((now - task.registered_at).total_seconds(), 0.0)
            progress = Progress(
                known_at=max(now, task.registered_at),
                known=task.known,
                polls=task.polls,
                first_polled_at=task.first_polled_at,
            )
            start_entry = self._poll_cadence.task_watched(task, progress, since_s=now_s - age_s)
            watch = self._watches[task.id] = WatchedTask(task, progress, now_s - age_s, start_entry)
            policy, wait_s = self._poll_cadence.policy(task), 0.0
            if spread:
                left_s = max((task.deadline_at - task.registered_at).total_seconds() - age_s, 0.0)
                wait_s = min(policy.pause_s(age_s) * self._clock.chance(), left_s)
            due.setdefault(account, {})[task.id] = (watch, now_s + wait_s, policy.pause_s(age_s + wait_s))
        for account, entries in due.items():
            self.queues[account].evidence.watch(len(entries))
            self.queues[account].put_many(entries.values())
        for account, count in orphans.items():
            log.warning("task.unknown_account", account=account, tasks=count, hint="the configuration lacks it")
        self._wakeup_event.set()

    def stop_watching(self, row_id: int) -> None:
        """Ask no more for the task with the id *row_id*; an answer that is under way changes nothing."""
        watch = self._watches.pop(row_id, None)
        if watch is not None:
            self.queues[watch.task.key.account].drop(watch)
            self._end_watch(watch)

    def poll_now(self, row_id: int) -> bool:
        """Make a task due at once; False if it is not watched."""
        watch = self._watches.get(row_id)
        if watch is None:
            return False
        if watch.due_s is None:
            watch.poll_again = True  # the answer in flight may be older than the request
        else:
            queue = self.queues[watch.task.key.account]
            queue.put(watch, due_s=self._clock.monotonic(), poll_interval_s=REQUESTED_POLL_INTERVAL_S)
        self._wakeup_event.set()
        return True

    def with_next_poll(self, tasks: Iterable[Task]) -> list[tuple[Task, datetime | None]]:
        """Each of *tasks* with what its polls have shown so far, and when it is asked next (None: now, or never)."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        return [self._with_progress(task, now, now_s) for task in tasks]

    def _with_progress(self, task: Task, now: datetime, now_s: float) -> tuple[Task, datetime | None]:
        watch = self._watches.get(task.id)
        if watch is None or watch.task.registrations != task.registrations:
            return task, None
        polls, first_polled_at = watch.progress.polls, watch.progress.first_polled_at
        if (polls, first_polled_at) != (task.polls, task.first_polled_at):
            task = replace(task, polls=polls, first_polled_at=first_polled_at)
        if watch.due_s is None:
            return task, None
        wait_s = max(watch.due_s - now_s, self.queues[task.key.account].paused_s(now_s))
        return task, now + timedelta(seconds=wait_s)

    def polled(self) -> list[tuple[int, int, datetime | None]]:
        """(id, polls, first_polled_at) of the watched tasks whose polls are not written down."""
        return [
            (watch.task.id, watch.progress.polls, watch.progress.first_polled_at)
            for watch in self._watches.values()
            if watch.progress.polls != watch.task.polls
        ]

    def limited(self, account: str) -> bool:
        """Whether the budget of *account* does not suffice to ask for all of its tasks when they are due."""
        queue = self.queues.get(account)
        return queue is not None and queue.limited(self._clock.monotonic())

    @property
    def watching(self) -> int:
        """How many tasks are watched."""
        return len(self._watches)

    def row_ids(self) -> frozenset[int]:
        """The ids of the watched tasks."""
        return frozenset(self._watches)

    async def run(self) -> None:
        """Poll what is due until stop() is called; polls under way then go on, see drain()."""
        while not self._stopping:
            self._wakeup_event.clear()
            now_s = self._clock.monotonic()
            for name, queue in self.queues.items():
                self._start_due(queue, now_s)
                next_check_s = self._account_logs[name].check_budget(now_s)
                if next_check_s is not None:
                    self._wakeup.set(max(next_check_s - now_s, MIN_WAKEUP_S))
            await self._wakeup_event.wait()

    def stop(self) -> None:
        """Start no more polls."""
        self._stopping = True
        self._wakeup_event.set()

    async def drain(self) -> None:
        """Return when no poll is under way; cancelling this cancels them, and their tasks stay pending."""
        while self._workers:
            await asyncio.gather(*self._workers)
            await asyncio.sleep(0)  # from Python 3.12 on gather() may be done at once: let what is done leave

    def _start_due(self, queue: AccountQueue, now_s: float) -> None:
        """Begin all polls that may be begun, and see to it that we are woken for the next."""
        while (watch := queue.take(now_s)) is not None:
            worker = asyncio.create_task(self._poll_while_due(watch, queue), name=f"poll {watch.task.key.account}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        next_wakeup_s = queue.next_wakeup_s(now_s)
        self._wakeup.set(None if next_wakeup_s is None else max(next_wakeup_s - now_s, MIN_WAKEUP_S))

    async def _poll_while_due(self, watch: WatchedTask, queue: AccountQueue) -> None:
        """Poll for *watch*, and then for who is next, as long as somebody is due: for one poll a task is dear."""
        following: WatchedTask | None = watch
        while following is not None:
            await self._poll(following, queue)
            if self._stopping:
                return
            now_s = self._clock.monotonic()
            following = queue.take(now_s)
            self._start_due(queue, now_s)  # a good answer can free all places of the account

    async def _poll(self, watch: WatchedTask, queue: AccountQueue) -> None:
        key = watch.task.key
        pause_s = POSTPONED_S
        try:
            decision = await self._request_status(watch, queue)
            # What nearly all polls come to needs nothing to be awaited.
            if type(decision) is PollAgain:
                pause_s = decision.pause.total_seconds()
            else:
                pause_s = await self._apply(watch, queue, decision)
        except StoreUnavailableError as error:
            # Asked again as if Camb still worked on it: that needs no memory, and Camb answers it soon enough.
            policy = self._poll_cadence.policy(watch.task)
            pause_s = min(policy.pause_s(self._age(watch).total_seconds()), STORE_RETRY_S)
            if not self._store_failing:
                log.warning(
                    "store.unavailable", operation="conclusion", kind=key.kind, task_id=key.task_id, error=str(error)
                )
            self._store_failing = True
        except Exception:  # one task's trouble must not end the others' watch, nor its own
            log.exception("task.postponed", kind=key.kind, task_id=key.task_id, seconds=pause_s)
        self._reschedule(watch, queue, pause_s)

    async def _request_status(self, watch: WatchedTask, queue: AccountQueue) -> PollDecision:
        """What follows from what Camb says now; account and progress have taken it in."""
        key, polled_at, sent_s = watch.task.key, self._clock.now(), self._clock.monotonic()
        try:
            reply = await self._source.status(key)
        except BaseException as error:
            queue.poll_failed(type(error).__name__)  # whatever went wrong, its slot in the queue is free again
            raise
        replied_s = self._clock.monotonic()
        self._meter.polled(key.account, key.kind, reply, sent_s - watch.was_due_s, replied_s - sent_s)
        self._account_logs[key.account].log_reply(reply, queue.record_reply(watch, reply, now_s=replied_s))
        decision = self._decide(watch, queue, reply, polled_at=polled_at, asked_s=sent_s, replied_s=replied_s)
        self._log.debug("task.polled", kind=key.kind, task_id=key.task_id, reply=reply, decision=decision)
        return decision

    def _decide(
        self,
        watch: WatchedTask,
        queue: AccountQueue,
        reply: PollReply,
        *,
        polled_at: datetime,
        asked_s: float,
        replied_s: float,
    ) -> PollDecision:
        task, progress = watch.task, watch.progress
        now = task.registered_at + timedelta(seconds=replied_s - watch.since_s)
        was_known = progress.known
        progress.note(reply, polled_at=polled_at, age_s=asked_s - watch.since_s, now=now)
        if progress.known and not was_known and type(reply) is PendingReply:  # else its conclusion is written down
            self._on_first_status(task.id)
        if isinstance(reply, PendingReply) and reply.unknown_status is not None and progress.unknown_status is None:
            progress.unknown_status = reply.unknown_status
            key, status = task.key, reply.unknown_status
            log.warning("task.unknown_status", kind=key.kind, task_id=key.task_id, status=status)
        policy, chance = self._poll_cadence.policy(task), self._clock.chance()
        evidence = NO_EVIDENCE if shows_status(reply) else queue.evidence.evidence_for(task.id, now_s=replied_s)
        return decide_after_poll(task, progress, reply, policy=policy, now=now, chance=chance, evidence=evidence)

    async def _apply(self, watch: WatchedTask, queue: AccountQueue, decision: PollDecision) -> float:
        """Do *decision*; returns the seconds until the task is to be asked for again, negative: never."""
        match decision:
            case PollAgain(pause):
                return pause.total_seconds()
            case PauseAccount(_, pause):
                return pause.total_seconds()
            case Conclusion():
                self._start_next(queue)
                await self._conclude(watch, queue, decision)
                return -1
            case Confirm(run_id):
                self._start_next(queue)
                return await self._confirm(watch, queue, run_id)
        assert_never(decision)

    async def _conclude(
        self, watch: WatchedTask, queue: AccountQueue, decision: Conclusion, *, result: ResultRead | None = None
    ) -> None:
        age_s = self._age(watch).total_seconds()  # before the result is read, which takes a while
        concluded = await self._concluder.conclude(watch.task, watch.progress, decision, queue, result=result)
        self._store_failing = False
        if concluded:
            self._count_conclusion(watch, decision, age_s)
            self._observe_duration(watch, decision, age_s)

    def _count_conclusion(self, watch: WatchedTask, decision: Conclusion, age_s: float) -> None:
        camb_ended_it = decision.status not in {Status.EXPIRED, Status.NOT_FOUND}
        pending_s = watch.progress.pending_at_s if camb_ended_it else None
        self._meter.concluded(watch.task.key.kind, decision.status, None if pending_s is None else age_s - pending_s)

    def _observe_duration(self, watch: WatchedTask, decision: Conclusion, age_s: float) -> None:
        pending_s, start_entry = watch.progress.pending_at_s, watch.start_entry
        if pending_s is None or start_entry is None:  # it may have ended long before we first looked
            return
        if decision.status is Status.EXPIRED:
            if watch.progress.failures == 0:  # else Camb gave no answer, and it may have ended
                self._poll_cadence.task_expired(watch.task, start_entry)
        elif decision.status is not Status.NOT_FOUND:
            self._poll_cadence.task_finished(watch.task, start_entry, Completion(pending_s, age_s))

    def _end_watch(self, watch: WatchedTask) -> None:
        self.queues[watch.task.key.account].evidence.unwatch(watch.task.id)
        if watch.start_entry is not None:
            self._poll_cadence.task_dropped(watch.task, watch.start_entry)

    async def _confirm(self, watch: WatchedTask, queue: AccountQueue, run_id: int) -> float:
        success = Conclusion(Status.SUCCESS, run_id)
        if not self._concluder.confirmable(watch.task, run_id):
            # Camb's documentation shows a run without a status as the answer of a finished task.
            await self._conclude(watch, queue, success)
            return -1
        result = await self._concluder.confirm(watch.task, run_id, queue)
        if result is None:
            policy = self._poll_cadence.policy(watch.task)
            return await self._apply(watch, queue, decide_unconfirmed(watch.task, policy=policy, now=self._now(watch)))
        await self._conclude(watch, queue, success, result=result)
        return -1

    def _reschedule(self, watch: WatchedTask, queue: AccountQueue, pause_s: float) -> None:
        """Make *watch* due in *pause_s*, as urgent as it is by then; negative: it is over."""
        if self._watches.get(watch.task.id) is watch:  # else it was removed or registered again meanwhile
            if pause_s < 0:
                del self._watches[watch.task.id]
                self._end_watch(watch)
            else:
                due_s = self._clock.monotonic() + (0 if watch.poll_again else pause_s)
                watch.poll_again = False
                policy = self._poll_cadence.policy(watch.task)
                queue.put(watch, due_s=due_s, poll_interval_s=policy.pause_s(due_s - watch.since_s))

    def _age(self, watch: WatchedTask) -> timedelta:
        """How long ago the task was registered; setting the machine's clock changes nothing of that."""
        return timedelta(seconds=self._clock.monotonic() - watch.since_s)

    def _now(self, watch: WatchedTask) -> datetime:
        """The task's own time, by which its deadline comes."""
        return watch.task.registered_at + self._age(watch)

    def _start_next(self, queue: AccountQueue) -> None:
        """A poll has its answer: another may take its place, however long what follows from it takes."""
        if not self._stopping:
            self._start_due(queue, self._clock.monotonic())

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
from cambwatch.core.cadence.start_order import Turn
from cambwatch.core.camb.evidence import NOTHING_PROVEN, is_status
from cambwatch.core.camb.result_replies import ResultRead
from cambwatch.core.lifecycle import Progress, next_step, unconfirmed
from cambwatch.core.model import (
    Conclude,
    Confirm,
    PauseAccount,
    Pending,
    PollAgain,
    Report,
    Status,
    Step,
    Task,
    TaskKey,
)
from cambwatch.loops.clock import Clock
from cambwatch.loops.polling.account_log import LONG_SILENCE, AccountLog
from cambwatch.loops.polling.account_queue import AccountLane, Watch
from cambwatch.loops.polling.conclusion import Concluder
from cambwatch.loops.scheduler import Alarm

__all__ = ["LONG_SILENCE", "Poller"]

POSTPONED_S = 300.0  # after a bug in handling one task: it must not become a hot loop
SHORTEST_WAKE_S = 0.005  # between two wake-ups: what falls due in between is served together

WISHED_PACE_S = 0.1  # of a poll that somebody waits for: it goes before those that come by themselves

STORE_AGAIN_S = (
    3.0  # until an end that could not be written is looked at again: a database that is back is used within 5 s
)

log = structlog.get_logger()


class StatusSource(Protocol):
    """Where the status of a task is asked."""

    async def status(self, key: TaskKey) -> Report: ...


class Cadence(Protocol):
    """Says how a task is asked for, and learns from how it went."""

    def policy(self, task: Task) -> PollPolicy: ...
    def began(self, task: Task, progress: Progress, *, since_s: float) -> Turn: ...
    def ended(self, task: Task, turn: Turn, completion: Completion) -> None: ...
    def expired(self, task: Task, turn: Turn) -> None: ...
    def left(self, task: Task, turn: Turn) -> None: ...


class PollMeter(Protocol):
    """Who counts polls and ends; called for every poll, so it must be quick."""

    def polled(self, account: str, kind: str, report: Report, lateness_s: float, took_s: float) -> None: ...
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
        cadence: Cadence,
        meter: PollMeter,
        clock: Clock,
        alarm: Alarm,
        first_known: Callable[[int], None],
    ) -> None:
        """*first_known* is called with a task's id when Camb returns its first status."""
        self._source = source
        self._concluder = concluder
        self._cadence = cadence
        self._meter = meter
        self._clock = clock
        self._kick = alarm.kick
        self._alarm = alarm
        self._first_known = first_known
        self._watches: dict[int, Watch] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._unrecorded = False  # the store did not take the last end that it was given
        self.lanes = {
            name: AccountLane(
                per_second=account.requests_per_second,
                concurrency=account.concurrency,
                now_s=clock.monotonic(),
            )
            for name, account in accounts.items()
        }
        self._accounts = {name: AccountLog(name, lane) for name, lane in self.lanes.items()}
        self._log = log.bind()  # the one above looks up how to log at every line, which costs more than a poll's own

    def watch(self, tasks: Iterable[Task], *, spread: bool = False) -> None:
        """
        Begin to ask for *tasks*, which are pending.

        At once, or with *spread* over the pause of each, so that a restart is no burst; each
        is as old as it is, by the machine's clock, and ages from here on by one that nobody sets.
        A task of an account that the configuration does not have waits until it has.
        """
        now, now_s = self._clock.now(), self._clock.monotonic()
        orphans: dict[str, int] = {}
        due: dict[str, dict[int, tuple[Watch, float, float]]] = {}  # by id, because the last counts
        for task in tasks:
            account = task.key.account
            if account not in self.lanes:
                orphans[account] = orphans.get(account, 0) + 1
                continue
            self.forget(task.id)
            age_s = max((now - task.registered_at).total_seconds(), 0.0)
            progress = Progress(
                known_at=max(now, task.registered_at),
                known=task.known,
                polls=task.polls,
                first_polled_at=task.first_polled_at,
            )
            turn = self._cadence.began(task, progress, since_s=now_s - age_s)
            watch = self._watches[task.id] = Watch(task, progress, now_s - age_s, turn)
            policy, wait_s = self._cadence.policy(task), 0.0
            if spread:
                left_s = max((task.deadline_at - task.registered_at).total_seconds() - age_s, 0.0)
                wait_s = min(policy.pause_s(age_s) * self._clock.chance(), left_s)
            due.setdefault(account, {})[task.id] = (watch, now_s + wait_s, policy.pause_s(age_s + wait_s))
        for account, entries in due.items():
            self.lanes[account].evidence.watch(len(entries))
            self.lanes[account].put_all(entries.values())
        for account, count in orphans.items():
            log.warning("task.stranded", account=account, tasks=count, hint="no such account in the configuration")
        self._kick.set()

    def forget(self, number: int) -> None:
        """Ask no more for the task with the id *number*; an answer that is under way changes nothing."""
        watch = self._watches.pop(number, None)
        if watch is not None:
            self.lanes[watch.task.key.account].drop(watch)
            self._leave(watch)

    def ask_now(self, number: int) -> bool:
        """Make a task due at once; False if it is not watched."""
        watch = self._watches.get(number)
        if watch is None:
            return False
        if watch.due_s is None:
            watch.asked_again = True  # the answer under way may be older than the wish
        else:
            self.lanes[watch.task.key.account].put(watch, due_s=self._clock.monotonic(), pace_s=WISHED_PACE_S)
        self._kick.set()
        return True

    def seen(self, tasks: Iterable[Task]) -> list[tuple[Task, datetime | None]]:
        """Each of *tasks* with what its polls have shown so far, and when it is asked next (None: now, or never)."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        return [self._seen(task, now, now_s) for task in tasks]

    def _seen(self, task: Task, now: datetime, now_s: float) -> tuple[Task, datetime | None]:
        watch = self._watches.get(task.id)
        if watch is None or watch.task.registrations != task.registrations:
            return task, None
        polls, first_polled_at = watch.progress.polls, watch.progress.first_polled_at
        if (polls, first_polled_at) != (task.polls, task.first_polled_at):
            task = replace(task, polls=polls, first_polled_at=first_polled_at)
        if watch.due_s is None:
            return task, None
        wait_s = max(watch.due_s - now_s, self.lanes[task.key.account].silence_s(now_s))
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
        lane = self.lanes.get(account)
        return lane is not None and lane.limited(self._clock.monotonic())

    @property
    def watching(self) -> int:
        """How many tasks are watched."""
        return len(self._watches)

    def numbers(self) -> frozenset[int]:
        """The ids of the watched tasks."""
        return frozenset(self._watches)

    async def run(self) -> None:
        """Poll what is due until stop() is called; polls under way then go on, see drain()."""
        while not self._stopping:
            self._kick.clear()
            now_s = self._clock.monotonic()
            for name, lane in self.lanes.items():
                self._start_due(lane, now_s)
                look_s = self._accounts[name].look_at_limit(now_s)
                if look_s is not None:
                    self._alarm.set(max(look_s - now_s, SHORTEST_WAKE_S))
            await self._kick.wait()

    def stop(self) -> None:
        """Start no more polls."""
        self._stopping = True
        self._kick.set()

    async def drain(self) -> None:
        """Return when no poll is under way; cancelling this cancels them, and their tasks stay pending."""
        while self._workers:
            await asyncio.gather(*self._workers)
            await asyncio.sleep(0)  # from Python 3.12 on gather() may be done at once: let what is done leave

    def _start_due(self, lane: AccountLane, now_s: float) -> None:
        """Begin all polls that may be begun, and see to it that we are woken for the next."""
        while (watch := lane.take(now_s)) is not None:
            worker = asyncio.create_task(self._work(watch, lane), name=f"poll {watch.task.key.account}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        wake_s = lane.wake_s(now_s)
        self._alarm.set(None if wake_s is None else max(wake_s - now_s, SHORTEST_WAKE_S))

    async def _work(self, watch: Watch, lane: AccountLane) -> None:
        """Poll for *watch*, and then for who is next, as long as somebody is due: for one poll a task is dear."""
        following: Watch | None = watch
        while following is not None:
            await self._poll(following, lane)
            if self._stopping:
                return
            now_s = self._clock.monotonic()
            following = lane.take(now_s)
            self._start_due(lane, now_s)  # a good answer can free all places of the account

    async def _poll(self, watch: Watch, lane: AccountLane) -> None:
        key = watch.task.key
        pause_s = POSTPONED_S
        try:
            step = await self._ask(watch, lane)
            # What nearly all polls come to needs nothing to be awaited.
            pause_s = step.pause.total_seconds() if type(step) is PollAgain else await self._act(watch, lane, step)
        except StoreUnavailableError as error:
            # Asked again as if Camb still worked on it: that needs no memory, and Camb answers it soon enough.
            pause_s = self._cadence.policy(watch.task).pause_s(self._age(watch).total_seconds())
            pause_s = min(pause_s, STORE_AGAIN_S)
            if not self._unrecorded:
                log.warning(
                    "store.unavailable", undone="conclusion", kind=key.kind, task_id=key.task_id, error=str(error)
                )
            self._unrecorded = True
        except Exception:  # one task's trouble must not end the others' watch, nor its own
            log.exception("task.postponed", kind=key.kind, task_id=key.task_id, seconds=pause_s)
        self._put_back(watch, lane, pause_s)

    async def _ask(self, watch: Watch, lane: AccountLane) -> Step:
        """What follows from what Camb says now; account and progress have taken it in."""
        key, asked_at, sent_s = watch.task.key, self._clock.now(), self._clock.monotonic()
        try:
            report = await self._source.status(key)
        except BaseException as error:
            lane.unanswered(type(error).__name__)  # whatever went wrong, its place in the lane is free again
            raise
        heard_s = self._clock.monotonic()
        self._meter.polled(key.account, key.kind, report, sent_s - watch.was_due_s, heard_s - sent_s)
        self._accounts[key.account].answered(report, lane.take_in(watch, report, now_s=heard_s))
        step = self._decide(watch, lane, report, asked_at=asked_at, asked_s=sent_s, heard_s=heard_s)
        self._log.debug("task.polled", kind=key.kind, task_id=key.task_id, report=report, step=step)
        return step

    def _decide(
        self, watch: Watch, lane: AccountLane, report: Report, *, asked_at: datetime, asked_s: float, heard_s: float
    ) -> Step:
        task, progress = watch.task, watch.progress
        now = task.registered_at + timedelta(seconds=heard_s - watch.since_s)
        was_known = progress.known
        progress.note(report, asked_at=asked_at, age_s=asked_s - watch.since_s, now=now)
        if progress.known and not was_known and type(report) is Pending:  # else its conclusion is written down
            self._first_known(task.id)
        if isinstance(report, Pending) and report.word is not None and progress.word is None:
            progress.word = report.word
            log.warning("task.word_unknown", kind=task.key.kind, task_id=task.key.task_id, word=report.word)
        policy, chance = self._cadence.policy(task), self._clock.chance()
        evidence = NOTHING_PROVEN if is_status(report) else lane.evidence.of(task.id, now_s=heard_s)
        return next_step(task, progress, report, policy=policy, now=now, chance=chance, evidence=evidence)

    async def _act(self, watch: Watch, lane: AccountLane, step: Step) -> float:
        """Do *step*; returns the seconds until the task is to be asked for again, negative: never."""
        match step:
            case PollAgain(pause):
                return pause.total_seconds()
            case PauseAccount(_, pause):
                return pause.total_seconds()
            case Conclude():
                self._go_on(lane)
                await self._conclude(watch, lane, step)
                return -1
            case Confirm(run_id):
                self._go_on(lane)
                return await self._confirm(watch, lane, run_id)
        assert_never(step)

    async def _conclude(
        self, watch: Watch, lane: AccountLane, step: Conclude, *, result: ResultRead | None = None
    ) -> None:
        age_s = self._age(watch).total_seconds()  # before the result is read, which takes a while
        concluded = await self._concluder.conclude(watch.task, watch.progress, step, lane, result=result)
        self._unrecorded = False
        if concluded:
            self._count(watch, step, age_s)
            self._learn(watch, step, age_s)

    def _count(self, watch: Watch, step: Conclude, age_s: float) -> None:
        camb_ended_it = step.status not in {Status.EXPIRED, Status.NOT_FOUND}
        pending_s = watch.progress.pending_at_s if camb_ended_it else None
        self._meter.concluded(watch.task.key.kind, step.status, None if pending_s is None else age_s - pending_s)

    def _learn(self, watch: Watch, step: Conclude, age_s: float) -> None:
        pending_s, turn = watch.progress.pending_at_s, watch.turn
        if pending_s is None or turn is None:  # it may have ended long before we first looked
            return
        if step.status is Status.EXPIRED:
            if watch.progress.failures == 0:  # else Camb gave no answer, and it may have ended
                self._cadence.expired(watch.task, turn)
        elif step.status is not Status.NOT_FOUND:
            self._cadence.ended(watch.task, turn, Completion(pending_s, age_s))

    def _leave(self, watch: Watch) -> None:
        self.lanes[watch.task.key.account].evidence.leave(watch.task.id)
        if watch.turn is not None:
            self._cadence.left(watch.task, watch.turn)

    async def _confirm(self, watch: Watch, lane: AccountLane, run_id: int) -> float:
        success = Conclude(Status.SUCCESS, run_id)
        if not self._concluder.confirmable(watch.task, run_id):
            # Camb's documentation shows a run without a status as the answer of a finished task.
            await self._conclude(watch, lane, success)
            return -1
        result = await self._concluder.confirm(watch.task, run_id, lane)
        if result is None:
            policy = self._cadence.policy(watch.task)
            return await self._act(watch, lane, unconfirmed(watch.task, policy=policy, now=self._now(watch)))
        await self._conclude(watch, lane, success, result=result)
        return -1

    def _put_back(self, watch: Watch, lane: AccountLane, pause_s: float) -> None:
        """Make *watch* due in *pause_s*, as urgent as it is by then; negative: it is over."""
        if self._watches.get(watch.task.id) is watch:  # else it was forgotten meanwhile, or is watched anew
            if pause_s < 0:
                del self._watches[watch.task.id]
                self._leave(watch)
            else:
                due_s = self._clock.monotonic() + (0 if watch.asked_again else pause_s)
                watch.asked_again = False
                policy = self._cadence.policy(watch.task)
                lane.put(watch, due_s=due_s, pace_s=policy.pause_s(due_s - watch.since_s))

    def _age(self, watch: Watch) -> timedelta:
        """How long ago the task was registered; setting the machine's clock changes nothing of that."""
        return timedelta(seconds=self._clock.monotonic() - watch.since_s)

    def _now(self, watch: Watch) -> datetime:
        """The task's own time, by which its deadline comes."""
        return watch.task.registered_at + self._age(watch)

    def _go_on(self, lane: AccountLane) -> None:
        """A poll has its answer: another may take its place, however long what follows from it takes."""
        if not self._stopping:
            self._start_due(lane, self._clock.monotonic())

"""What follows when Camb has ended a task: its result, its event, who is owed it, and who waits for it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.result_replies import ResultRead, ResultRefused, ResultReply, merged
from cambwatch.core.camb.result_requests import ResultRequest, result_requests
from cambwatch.core.camb.result_schedule import MOST_POSTS, RESULT_TIME_S, pause_s
from cambwatch.core.events import GroupComplete, Routed, TaskEnded
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Conclude, Fault, Status, Task, Unavailable
from cambwatch.loops.clock import Clock
from cambwatch.loops.polling.account_queue import AccountLane
from cambwatch.loops.polling.result_fetching import ResultSource, ask_once
from cambwatch.loops.polling.task_waiters import Endings

log = structlog.get_logger()

Hear = Callable[[Routed, tuple[str, ...] | None], tuple[str, ...]]
"""Which destinations hear of an event, given what its task says of that."""


HearGroup = Callable[[GroupComplete], Sequence[str]]
"""Which destinations hear that a group is complete."""


class ResultApi(ResultSource, Protocol):
    """Camb's result endpoints."""

    def endpoint(self, account: str, request: ResultRequest) -> str | None: ...


class TaskBook(Protocol):
    """Where ends are written down."""

    async def conclude(
        self, ended: Task, event: TaskEnded, *, notify: Sequence[str], hear_group: HearGroup
    ) -> list[str] | None: ...


class MissedResults(Protocol):
    """Retries missed results in the background."""

    def add(self, ended: Task, *, half: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class _Fetched:
    """
    The outcome of reading a result. *missed* says why a part of it is missing.

    *later*: the missing part may still come, and reading it is free. *cut*: a stop ended the reading.
    """

    result: ResultRead | None = None
    missed: str | None = None
    later: bool = False
    cut: bool = False


@dataclass(slots=True)
class _Part:
    """One of the requests that together read a result, and the last reply to it."""

    request: ResultRequest
    reply: ResultReply | None = None


class Concluder:
    """Turns the end of a task into a committed conclusion and tells whoever has to act on it."""

    def __init__(
        self,
        source: ResultApi,
        book: TaskBook,
        *,
        hear: Hear,
        owed: Callable[[Iterable[str]], None],
        endings: Endings,
        late: MissedResults | None,
        clock: Clock,
        repeat_alt_format: bool,
    ) -> None:
        """With *late* None, no results are read. *repeat_alt_format* allows the POST of dub-alt-format."""
        self._source = source
        self._book = book
        self._hear = hear
        self._owed = owed
        self._endings = endings
        self._clock = clock
        self._late = late
        self._repeat_alt_format = repeat_alt_format
        self._limits: set[asyncio.Timeout] = set()  # of the results that are being read
        self._stopping = False

    def stop(self) -> None:
        """
        Stop reading results at once, except by a POST, which may be billed.

        A task whose result is missing then stays pending. No notification goes out before the
        next start anyway, and the first poll after it finds the same status.
        """
        self._stopping = True
        now_s = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now_s)

    def confirmable(self, task: Task, run_id: int) -> bool:
        """Whether an endpoint gives the result of the run."""
        return bool(self._requests(task, run_id))

    async def confirm(self, task: Task, run_id: int, lane: AccountLane) -> ResultRead | None:
        """
        The result of a run, if it is there: that proves that the task has ended.

        Makes one request, because the next poll makes another. Spends the account's budget.
        """
        return (await self._fetch(task, run_id, lane, once=True)).result

    async def conclude(
        self, task: Task, progress: Progress, step: Conclude, lane: AccountLane, *, result: ResultRead | None = None
    ) -> bool:
        """
        Read the result unless *result* is given, commit the end of *task*, and wake those who wait for it.

        False when another node or a client closed the task meanwhile, or when a stop ended the
        reading of its result; in that case the task stays pending. Raises what the store
        raises; then nothing was written, and the task has to be polled again.
        """
        finished_at = self._clock.now()
        fetched = _Fetched(result)
        if self._late is None:
            fetched = _Fetched()
        elif step.status is Status.SUCCESS and result is None:
            fetched = await self._fetch(task, step.run_id, lane)
        if fetched.cut:
            return False
        event = self._event(task, progress, step, finished_at, fetched)
        ended = replace(
            task,
            status=event.status,
            run_id=event.run_id,
            exception_reason=event.exception_reason,
            message=event.message,
            result=event.result,
            polls=event.polls,
            first_polled_at=progress.first_polled_at,
            finished_at=event.finished_at,
        )
        notify = self._hear(event, task.notify)
        owed = await self._book.conclude(ended, event, notify=notify, hear_group=self.hear_group)
        if owed is None:
            return False
        if fetched.missed is not None:
            self._miss(ended, fetched)
        log.info(
            "task.concluded",
            kind=task.key.kind,
            task_id=task.key.task_id,
            account=task.key.account,
            status=event.status,
            exception_reason=event.exception_reason,
            polls=event.polls,
            seconds=round((event.finished_at - event.registered_at).total_seconds(), 1),
            notify=list(notify),
        )
        self._endings.tell(ended)
        self._owed(owed)
        return True

    def result_endpoint(self, task: Task, status: Status, run_id: int | None) -> str | None:
        """The absolute URL at which the result is read, if *status* says that there is one."""
        requests = self._requests(task, run_id) if status is Status.SUCCESS else ()
        return self._source.endpoint(task.key.account, requests[0]) if requests else None

    def hear_group(self, event: GroupComplete) -> tuple[str, ...]:
        """Who hears that a group is complete."""
        return self._hear(event, None)

    def _requests(self, task: Task, run_id: int | None) -> tuple[ResultRequest, ...]:
        return result_requests(KINDS[task.key.kind], run_id, task.extra, repeat_alt_format=self._repeat_alt_format)

    def _miss(self, ended: Task, fetched: _Fetched) -> None:
        follows = "cambwatch retries for one more hour" if fetched.later else "read it at result_endpoint with your key"
        log.warning(
            "result.missed", kind=ended.key.kind, task_id=ended.key.task_id, reason=fetched.missed, hint=follows
        )
        if fetched.later and self._late is not None:
            self._late.add(ended, half=fetched.result is not None)

    async def _fetch(self, task: Task, run_id: int | None, lane: AccountLane, *, once: bool = False) -> _Fetched:
        """Read the result of a run in at most RESULT_TIME_S; several documents become one."""
        parts = [_Part(request) for request in self._requests(task, run_id)]
        if not parts:
            return _Fetched()
        if self._stopping:
            return _Fetched(missed="cambwatch is stopping", cut=True)
        free = all(part.request.method == "GET" for part in parts)
        account, until_s = task.key.account, self._clock.monotonic() + RESULT_TIME_S
        try:
            async with asyncio.timeout(RESULT_TIME_S) as limit:
                if free:
                    self._limits.add(limit)
                if len(parts) == 1:
                    await self._read(parts[0], account, lane, once=once, until_s=until_s)
                else:
                    # Concurrently, so that one that fails leaves time for the other.
                    async with asyncio.TaskGroup() as group:
                        for part in parts:
                            group.create_task(self._read(part, account, lane, once=once, until_s=until_s))
        except TimeoutError:
            pass
        finally:
            self._limits.discard(limit)
        missing = [part for part in parts if not isinstance(part.reply, ResultRead)]
        result = merged([part.reply for part in parts if isinstance(part.reply, ResultRead)])
        if not missing:
            return _Fetched(result)
        later = any(part.request.method == "GET" and not isinstance(part.reply, ResultRefused) for part in missing)
        return _Fetched(result, _why(missing[0].reply), later=later, cut=self._stopping and free)

    async def _read(self, part: _Part, account: str, lane: AccountLane, *, once: bool, until_s: float) -> None:
        """Request *part* until its reply is final or no time is left for a retry."""
        tries = 0
        while True:
            part.reply = await ask_once(self._source, account, part.request, lane, clock=self._clock, until_s=until_s)
            tries += 1
            if once or not isinstance(part.reply, Unavailable):
                return
            if part.request.method == "POST" and (tries == MOST_POSTS or part.reply.fault is Fault.NOT_READY):
                return
            left_s = until_s - self._clock.monotonic()
            wait_s = pause_s(tries, left_s=left_s, retry_after=part.reply.retry_after)
            if wait_s is None:
                return
            await asyncio.sleep(wait_s)

    def _event(
        self, task: Task, progress: Progress, step: Conclude, finished_at: datetime, fetched: _Fetched
    ) -> TaskEnded:
        return TaskEnded(
            account=task.key.account,
            kind=task.key.kind,
            task_id=task.key.task_id,
            registrations=task.registrations,
            status=step.status,
            registered_at=task.registered_at,
            finished_at=finished_at,
            name=task.name,
            labels=task.labels,
            group=task.group,
            run_id=step.run_id,
            exception_reason=step.exception_reason,
            message=step.message,
            polls=progress.polls,
            result_endpoint=self.result_endpoint(task, step.status, step.run_id),
            result=None if fetched.result is None else fetched.result.document,
            links=() if fetched.result is None else fetched.result.links,
            result_pending=fetched.later,
        )


def _why(reply: ResultReply | None) -> str:
    """Why there is no result, in words for the log."""
    match reply:
        case ResultRefused(detail):
            return detail
        case Unavailable(fault, _, detail):
            return detail or fault
    return "not in time"

"""Concludes a task: fetches its result, writes the conclusion with its deliveries, and wakes who waits for it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.result_requests import (
    MOST_POSTS,
    RESULT_TIME_S,
    ResultRead,
    ResultRefused,
    ResultReply,
    ResultRequest,
    merge_results,
    pause_s,
    result_requests,
)
from cambwatch.core.events import GroupComplete, RoutedEvent, TaskEnded
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Conclusion, Fault, Status, Task, UnavailableReply
from cambwatch.loops.polling.account_queue import AccountQueue
from cambwatch.loops.polling.late_results import ResultSource, request_result
from cambwatch.loops.scheduler import Clock


class TaskWaiters:
    """Wakes the HTTP requests of this process that wait for a task."""

    def __init__(self, *, on_finished: Callable[[int], None] = lambda _: None) -> None:
        """*on_finished* is called with the row id of each task that finished here."""
        self._on_finished = on_finished
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        self._closed = False

    def wait_for(self, row_id: int) -> asyncio.Future[None]:
        """
        A future that is done when the task with the id *row_id* ends, from this call on.

        Cancel it when the request has gone. Ask the store after this call, not
        before: an end between the two would be missed.
        """
        future = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_result(None)
            return future
        waiting = self._waiting.setdefault(row_id, set())
        waiting.add(future)

        def remove(_: asyncio.Future[None]) -> None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[row_id]

        future.add_done_callback(remove)
        return future

    def wake(self, task: Task) -> None:
        """*task* has ended, and that is committed."""
        self.wake_local(task.id)
        self._on_finished(task.id)

    def wake_local(self, row_id: int) -> None:
        """The task with the id *row_id* finished on another node."""
        for future in tuple(self._waiting.get(row_id, ())):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Wake all requests because the generation ends; they read the task once more."""
        self._closed = True
        for waiting in tuple(self._waiting.values()):
            for future in tuple(waiting):
                if not future.done():
                    future.set_result(None)


log = structlog.get_logger()

TaskRouting = Callable[[RoutedEvent, tuple[str, ...] | None], tuple[str, ...]]
"""Which destinations an event is delivered to, given the `notify` of its task."""


GroupRouting = Callable[[GroupComplete], Sequence[str]]
"""Which destinations the completion of a group is delivered to."""


class ResultApi(ResultSource, Protocol):
    """Camb's result endpoints."""

    def endpoint(self, account: str, request: ResultRequest) -> str | None: ...


class ConclusionStore(Protocol):
    """Where ends are written down."""

    async def conclude(
        self, finished: Task, event: TaskEnded, *, notify: Sequence[str], destinations_for_group: GroupRouting
    ) -> list[str] | None: ...


class ResultRetries(Protocol):
    """Retries missed results in the background."""

    def add(self, finished: Task, *, part_stored: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class _FetchedResult:
    """
    The outcome of reading a result. *missing_reason* says why a part of it is missing.

    *later*: the missing part may still come, and reading it is free. *interrupted*: a stop ended the reading.
    """

    result: ResultRead | None = None
    missing_reason: str | None = None
    later: bool = False
    interrupted: bool = False


@dataclass(slots=True)
class _Part:
    """One of the requests that together read a result, and the last reply to it."""

    request: ResultRequest
    reply: ResultReply | None = None


class Concluder:
    """Commits the conclusion of a task, then wakes the deliverer and the requests that wait for it."""

    def __init__(
        self,
        source: ResultApi,
        store: ConclusionStore,
        *,
        destinations_for: TaskRouting,
        queued: Callable[[Iterable[str]], None],
        task_waiters: TaskWaiters,
        result_retries: ResultRetries | None,
        clock: Clock,
        repeat_alt_format: bool,
    ) -> None:
        """With *result_retries* None, no results are read. *repeat_alt_format* allows the POST of dub-alt-format."""
        self._source = source
        self._store = store
        self._destinations_for = destinations_for
        self._queued = queued
        self._task_waiters = task_waiters
        self._clock = clock
        self._result_retries = result_retries
        self._repeat_alt_format = repeat_alt_format
        self._read_timeouts: set[asyncio.Timeout] = set()  # of the results that are being read
        self._stopping = False

    def stop(self) -> None:
        """
        Stop reading results at once, except by a POST, which may be billed.

        A task whose result is missing then stays pending. No notification goes out before the
        next start anyway, and the first poll after it finds the same status.
        """
        self._stopping = True
        now_s = asyncio.get_running_loop().time()
        for limit in self._read_timeouts:
            limit.reschedule(now_s)

    def confirmable(self, task: Task, run_id: int) -> bool:
        """Whether an endpoint gives the result of the run."""
        return bool(self._requests(task, run_id))

    async def confirm(self, task: Task, run_id: int, queue: AccountQueue) -> ResultRead | None:
        """
        The result of a run, if it is there: that proves that the task has ended.

        Makes one request, because the next poll makes another. Spends the account's budget.
        """
        return (await self._fetch(task, run_id, queue, once=True)).result

    async def conclude(
        self,
        task: Task,
        progress: Progress,
        conclusion: Conclusion,
        queue: AccountQueue,
        *,
        result: ResultRead | None = None,
    ) -> bool:
        """
        Read the result unless *result* is given, commit the end of *task*, and wake those who wait for it.

        False when another node or a client closed the task meanwhile, or when a stop ended the
        reading of its result; in that case the task stays pending. Raises what the store
        raises; then nothing was written, and the task has to be polled again.
        """
        finished_at = self._clock.now()
        fetched = _FetchedResult(result)
        if self._result_retries is None:
            fetched = _FetchedResult()
        elif conclusion.status is Status.SUCCESS and result is None:
            fetched = await self._fetch(task, conclusion.run_id, queue)
        if fetched.interrupted:
            return False
        event = self._event(task, progress, conclusion, finished_at, fetched)
        finished = replace(
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
        notify = self._destinations_for(event, task.notify)
        queued = await self._store.conclude(
            finished, event, notify=notify, destinations_for_group=self.destinations_for_group
        )
        if queued is None:
            return False
        if fetched.missing_reason is not None:
            self._report_missing(finished, fetched)
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
        self._task_waiters.wake(finished)
        self._queued(queued)
        return True

    def result_endpoint(self, task: Task, status: Status, run_id: int | None) -> str | None:
        """The absolute URL at which the result is read, if *status* says that there is one."""
        requests = self._requests(task, run_id) if status is Status.SUCCESS else ()
        return self._source.endpoint(task.key.account, requests[0]) if requests else None

    def destinations_for_group(self, event: GroupComplete) -> tuple[str, ...]:
        """The destinations of a group's completion."""
        return self._destinations_for(event, None)

    def _requests(self, task: Task, run_id: int | None) -> tuple[ResultRequest, ...]:
        return result_requests(KINDS[task.key.kind], run_id, task.extra, repeat_alt_format=self._repeat_alt_format)

    def _report_missing(self, finished: Task, fetched: _FetchedResult) -> None:
        follows = "cambwatch retries for one more hour" if fetched.later else "read it at result_endpoint with your key"
        log.warning(
            "result.missing",
            kind=finished.key.kind,
            task_id=finished.key.task_id,
            reason=fetched.missing_reason,
            hint=follows,
        )
        if fetched.later and self._result_retries is not None:
            self._result_retries.add(finished, part_stored=fetched.result is not None)

    async def _fetch(
        self, task: Task, run_id: int | None, queue: AccountQueue, *, once: bool = False
    ) -> _FetchedResult:
        """Read the result of a run in at most RESULT_TIME_S; several documents become one."""
        parts = [_Part(request) for request in self._requests(task, run_id)]
        if not parts:
            return _FetchedResult()
        if self._stopping:
            return _FetchedResult(missing_reason="cambwatch is stopping", interrupted=True)
        free = all(part.request.method == "GET" for part in parts)
        account, until_s = task.key.account, self._clock.monotonic() + RESULT_TIME_S
        try:
            async with asyncio.timeout(RESULT_TIME_S) as limit:
                if free:
                    self._read_timeouts.add(limit)
                if len(parts) == 1:
                    await self._read(parts[0], account, queue, once=once, until_s=until_s)
                else:
                    # Concurrently, so that one that fails leaves time for the other.
                    async with asyncio.TaskGroup() as group:
                        for part in parts:
                            group.create_task(self._read(part, account, queue, once=once, until_s=until_s))
        except TimeoutError:
            pass
        finally:
            self._read_timeouts.discard(limit)
        missing = [part for part in parts if not isinstance(part.reply, ResultRead)]
        result = merge_results([part.reply for part in parts if isinstance(part.reply, ResultRead)])
        if not missing:
            return _FetchedResult(result)
        later = any(part.request.method == "GET" and not isinstance(part.reply, ResultRefused) for part in missing)
        return _FetchedResult(
            result, _missing_reason(missing[0].reply), later=later, interrupted=self._stopping and free
        )

    async def _read(self, part: _Part, account: str, queue: AccountQueue, *, once: bool, until_s: float) -> None:
        """Request *part* until its reply is final or no time is left for a retry."""
        tries = 0
        while True:
            part.reply = await request_result(
                self._source, account, part.request, queue, clock=self._clock, until_s=until_s
            )
            tries += 1
            if once or not isinstance(part.reply, UnavailableReply):
                return
            if part.request.method == "POST" and (tries == MOST_POSTS or part.reply.fault is Fault.NOT_READY):
                return
            left_s = until_s - self._clock.monotonic()
            wait_s = pause_s(tries, left_s=left_s, retry_after=part.reply.retry_after)
            if wait_s is None:
                return
            await asyncio.sleep(wait_s)

    def _event(
        self, task: Task, progress: Progress, conclusion: Conclusion, finished_at: datetime, fetched: _FetchedResult
    ) -> TaskEnded:
        return TaskEnded(
            account=task.key.account,
            kind=task.key.kind,
            task_id=task.key.task_id,
            registrations=task.registrations,
            status=conclusion.status,
            registered_at=task.registered_at,
            finished_at=finished_at,
            name=task.name,
            labels=task.labels,
            group=task.group,
            run_id=conclusion.run_id,
            exception_reason=conclusion.exception_reason,
            message=conclusion.message,
            polls=progress.polls,
            result_endpoint=self.result_endpoint(task, conclusion.status, conclusion.run_id),
            result=None if fetched.result is None else fetched.result.document,
            links=() if fetched.result is None else fetched.result.links,
            result_pending=fetched.later,
        )


def _missing_reason(reply: ResultReply | None) -> str:
    """Why there is no result, in words for the log."""
    match reply:
        case ResultRefused(detail):
            return detail
        case UnavailableReply(fault, _, detail):
            return detail or fault
    return "not in time"

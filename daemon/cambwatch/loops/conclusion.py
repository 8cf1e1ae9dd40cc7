"""What follows when Camb has ended a task: its result, its event, who is owed it, and who waits for it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import structlog

from cambwatch.core.events import GroupComplete, Routed, TaskEnded
from cambwatch.core.kinds import KINDS
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Conclude, Fault, Json, Status, Task, Unavailable
from cambwatch.core.result_requests import ResultRequest, result_requests
from cambwatch.core.results import links, trimmed
from cambwatch.loops.account import AccountLane
from cambwatch.loops.clock import Clock
from cambwatch.loops.endings import Endings

RESULT_TRIES = 3
RESULT_TIME_S = 20.0  # for all tries together: a result may make a notification better, never late
RESULT_PAUSE_S = 0.5

log = structlog.get_logger()

Hear = Callable[[Routed, tuple[str, ...] | None], tuple[str, ...]]
"""Which destinations hear of an event, given what its task says of that."""


HearGroup = Callable[[GroupComplete], Sequence[str]]
"""Which destinations hear that a group is complete."""


class ResultSource(Protocol):
    """Where results are read."""

    async def result(self, account: str, request: ResultRequest) -> tuple[Json] | Unavailable: ...
    def endpoint(self, account: str, request: ResultRequest) -> str | None: ...


class TaskBook(Protocol):
    """Where ends are written down."""

    async def conclude(
        self, ended: Task, event: TaskEnded, *, notify: Sequence[str], hear_group: HearGroup
    ) -> list[str] | None: ...


class Concluder:
    """Turns the end of a task into a committed conclusion and tells whoever has to act on it."""

    def __init__(
        self,
        source: ResultSource,
        book: TaskBook,
        *,
        hear: Hear,
        owed: Callable[[Iterable[str]], None],
        endings: Endings,
        clock: Clock,
        repeat_alt_format: bool | None,
    ) -> None:
        """*repeat_alt_format* None: results are not fetched at all."""
        self._source = source
        self._book = book
        self._hear = hear
        self._owed = owed
        self._endings = endings
        self._clock = clock
        self._repeat_alt_format = repeat_alt_format

    def confirmable(self, task: Task, run_id: int) -> bool:
        """Whether the result of a run can be asked for at all."""
        return bool(self._requests(task, run_id))

    async def confirm(self, task: Task, run_id: int, lane: AccountLane) -> tuple[Json] | None:
        """
        The result of a run, in a tuple of one, if it is there: that is how the task is known to have ended.

        Asks once, because the next poll asks again. Spends the account's budget.
        """
        result, _ = await self._fetch(task, run_id, lane, tries=1)
        return result

    async def conclude(
        self, task: Task, progress: Progress, step: Conclude, lane: AccountLane, *, result: tuple[Json] | None = None
    ) -> bool:
        """
        Fetch the result unless *result* is it, commit the end of *task*, and wake who waits for it.

        False when the task was closed meanwhile by somebody else. Raises what the
        store raises; then nothing was written, and the task is to be asked for again.
        """
        finished_at = self._clock.now()
        if self._repeat_alt_format is None:
            result = None
        elif step.status is Status.SUCCESS and result is None:
            result, missed = await self._fetch(task, step.run_id, lane, tries=RESULT_TRIES)
            if missed is not None:
                log.warning("result.missed", kind=task.key.kind, task_id=task.key.task_id, reason=missed)
        event = self._event(task, progress, step, finished_at, None if result is None else result[0])
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
        return result_requests(
            KINDS[task.key.kind], run_id, task.extra, repeat_alt_format=bool(self._repeat_alt_format)
        )

    async def _fetch(
        self, task: Task, run_id: int | None, lane: AccountLane, *, tries: int
    ) -> tuple[tuple[Json] | None, str | None]:
        """
        The result of a run, in a tuple of one, and why something of it is missing; each None where there is nothing.

        Several documents are merged into one object. What could not be had by the end
        of RESULT_TIME_S is not waited for; nor is what Camb will not give before.
        """
        read: list[Json] = []
        missed: str | None = None
        until_s = self._clock.monotonic() + RESULT_TIME_S
        try:
            async with asyncio.timeout(RESULT_TIME_S):
                for request in self._requests(task, run_id):
                    answer = await self._read(task.key.account, request, lane, tries=tries, until_s=until_s)
                    if isinstance(answer, Unavailable):
                        missed = missed or answer.detail or answer.fault
                    else:
                        read.append(answer[0])
        except TimeoutError:
            missed = "not in time"
        if not read:
            return None, missed
        if len(read) > 1 and all(isinstance(document, dict) for document in read):
            return ({name: value for document in read for name, value in document.items()},), missed
        return (read[0],), missed

    async def _read(
        self, account: str, request: ResultRequest, lane: AccountLane, *, tries: int, until_s: float
    ) -> tuple[Json] | Unavailable:
        async with lane.result_places:
            return await self._read_now(account, request, lane, tries=tries, until_s=until_s)

    async def _read_now(
        self, account: str, request: ResultRequest, lane: AccountLane, *, tries: int, until_s: float
    ) -> tuple[Json] | Unavailable:
        number = 0
        while True:
            number += 1
            wait_s = lane.reserve(self._clock.monotonic())
            while wait_s > 0:
                if self._clock.monotonic() + wait_s > until_s:
                    return Unavailable(Fault.RATE_LIMITED, detail="the account may not ask in time")
                await asyncio.sleep(wait_s)
                wait_s = lane.silence_s(self._clock.monotonic())  # Camb may have asked for it meanwhile
            answer = await self._source.result(account, request)
            if not isinstance(answer, Unavailable):
                return answer
            wish_s = answer.retry_after.total_seconds() if answer.retry_after else 0.0
            if answer.fault is Fault.RATE_LIMITED:
                lane.slow_down(self._clock.monotonic())
                lane.hold(self._clock.monotonic() + wish_s)
            pause_s = max(RESULT_PAUSE_S * number, wish_s)
            if number == tries or self._clock.monotonic() + pause_s > until_s:
                return answer
            await asyncio.sleep(pause_s)

    def _event(self, task: Task, progress: Progress, step: Conclude, finished_at: datetime, result: Json) -> TaskEnded:
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
            result=trimmed(result),
            links=links(result),
        )

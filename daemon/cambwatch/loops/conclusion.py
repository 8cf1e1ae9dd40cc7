"""What follows when Camb has ended a task: its result, its event, who is owed it, and who waits for it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from cambwatch.core.events import Event, GroupComplete, TaskEnded
from cambwatch.core.kinds import KINDS
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Conclude, Json, Status, Task, Unavailable
from cambwatch.core.result_requests import ResultRequest, result_requests
from cambwatch.core.results import links, trimmed
from cambwatch.loops.account import AccountLane
from cambwatch.loops.clock import Clock
from cambwatch.loops.endings import Endings

RESULT_TRIES = 3
RESULT_TIME_S = 20.0  # for all tries together: a result may make a notification better, never late
RESULT_PAUSE_S = 0.5

log = structlog.get_logger()

Hear = Callable[[Event, tuple[str, ...] | None], tuple[str, ...]]
"""Which destinations hear of an event, given what its task says of that."""


HearGroup = Callable[[GroupComplete], Sequence[str]]
"""Which destinations hear that a group is complete."""


class ResultSource(Protocol):
    """Where results are read."""

    async def result(self, account: str, request: ResultRequest) -> tuple[Json] | Unavailable: ...
    def endpoint(self, account: str, request: ResultRequest) -> str: ...


class TaskBook(Protocol):
    """Where ends are written down."""

    async def conclude(
        self, ended: Task, event: TaskEnded, *, notify: Sequence[str], hear_group: HearGroup
    ) -> list[str]: ...


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

    async def fetch(self, task: Task, run_id: int | None, lane: AccountLane) -> tuple[Json] | None:
        """
        The result of a run, in a tuple of one; None where there is none to read or it could not be read in time.

        Several documents are merged into one object. Spends the account's budget.
        """
        requests = self._requests(task, run_id)
        documents: list[tuple[Json] | None] = []
        try:
            async with asyncio.timeout(RESULT_TIME_S):
                for request in requests:
                    document = await self._read(task, request, lane)
                    documents.append(document)  # kept, should the time be up before the next one
        except TimeoutError:
            log.warning("result.missed", kind=task.key.kind, task_id=task.key.task_id, reason="not in time")
        read = [document[0] for document in documents if document is not None]
        if not read:
            return None
        if len(read) > 1 and all(isinstance(document, dict) for document in read):
            return ({name: value for document in read for name, value in document.items()},)
        return (read[0],)

    def confirmable(self, task: Task, run_id: int) -> bool:
        """Whether the result of a run can be asked for at all."""
        return bool(self._requests(task, run_id))

    async def conclude(
        self, task: Task, progress: Progress, step: Conclude, lane: AccountLane, *, result: tuple[Json] | None = None
    ) -> bool:
        """
        Fetch the result unless *result* is it, commit the end of *task*, and wake who waits for it.

        False when the task was closed meanwhile by somebody else. Raises what the
        store raises; then nothing was written, and the task is to be asked for again.
        """
        if step.status is Status.SUCCESS and result is None and self._repeat_alt_format is not None:
            result = await self.fetch(task, step.run_id, lane)
        event = self._event(task, progress, step, None if result is None else result[0])
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
        try:
            owed = await self._book.conclude(ended, event, notify=notify, hear_group=self.hear_group)
        except LookupError:
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

    async def _read(self, task: Task, request: ResultRequest, lane: AccountLane) -> tuple[Json] | None:
        number = 0
        while True:
            number += 1
            await asyncio.sleep(lane.reserve(self._clock.monotonic()))
            answer = await self._source.result(task.key.account, request)
            if not isinstance(answer, Unavailable):
                return answer
            if number == RESULT_TRIES:
                why = answer.detail or answer.fault
                log.warning("result.missed", kind=task.key.kind, task_id=task.key.task_id, reason=why)
                return None
            wish = answer.retry_after
            await asyncio.sleep(max(RESULT_PAUSE_S * number, wish.total_seconds() if wish else 0))

    def _event(self, task: Task, progress: Progress, step: Conclude, result: Json) -> TaskEnded:
        return TaskEnded(
            account=task.key.account,
            kind=task.key.kind,
            task_id=task.key.task_id,
            registrations=task.registrations,
            status=step.status,
            registered_at=task.registered_at,
            finished_at=self._clock.now(),
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

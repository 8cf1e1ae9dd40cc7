"""The endpoints about tasks and groups."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from http import HTTPStatus
from typing import Protocol
from urllib.parse import quote

import structlog
from aiohttp import web
from pydantic import BaseModel
from pydantic_core import to_json

from cambwatch.core.camb import kinds
from cambwatch.core.events import GroupComplete
from cambwatch.core.model import (
    Delivery,
    GroupState,
    Registration,
    RegistrationResult,
    Status,
    Task,
    TaskFilter,
    TaskKey,
)
from cambwatch.core.names import check_known_task_id, explain_bad_task_id
from cambwatch.web.api.registration import RegistrationParser
from cambwatch.web.api.requests import read_cursor, read_limit, read_task_filter, read_wait, write_cursor
from cambwatch.web.api.views import JsonObject, TaskViews, group_view
from cambwatch.web.connections import read_body
from cambwatch.web.problem_details import Mistake, ProblemError, unprocessable

log = structlog.get_logger()

GroupRouting = Callable[[GroupComplete], Sequence[str]]


class ApiTaskStore(Protocol):
    """Where tasks are written down."""

    async def register(self, requested: Sequence[Registration], *, now: datetime) -> list[RegistrationResult]: ...
    async def remove(
        self, key: TaskKey, *, destinations_for_group: GroupRouting, now: datetime
    ) -> tuple[Task, list[str]] | None: ...
    async def task(self, key: TaskKey) -> Task | None: ...
    async def page(self, wanted: TaskFilter, *, limit: int, before: int | None) -> list[Task]: ...
    async def group(self, group: str) -> GroupState | None: ...
    async def deliveries_of(self, row_ids: Sequence[int]) -> Mapping[int, list[Delivery]]: ...


class TaskPoller(Protocol):
    """What asks Camb for the tasks."""

    def watch(self, tasks: Iterable[Task]) -> None: ...
    def stop_watching(self, row_id: int) -> None: ...
    def poll_now(self, row_id: int) -> bool: ...
    def with_next_poll(self, tasks: Iterable[Task]) -> list[tuple[Task, datetime | None]]: ...
    def limited(self, account: str) -> bool: ...


class CompletionWaiters(Protocol):
    """Where the end of a task is heard of."""

    def wait_for(self, row_id: int) -> asyncio.Future[None]: ...
    def wake(self, task: Task) -> None: ...


class ConcluderPort(Protocol):
    """What else an end, or the removal of a task, concerns."""

    def result_endpoint(self, task: Task, status: Status, run_id: int | None) -> str | None: ...
    def destinations_for_group(self, event: GroupComplete) -> tuple[str, ...]: ...


def json_answer(
    view: BaseModel | JsonObject, *, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None
) -> web.Response:
    """*view* as JSON."""
    return web.Response(
        status=status,
        body=to_json(view, inf_nan_mode="null"),
        headers={"content-type": "application/json", **(headers or {})},
    )


class PendingDeliveries(Protocol):
    """The deliverer, which holds some of the pending deliveries in memory."""

    @property
    def workers(self) -> Collection[str]: ...
    def wake(self, destinations: Iterable[str]) -> None: ...
    def discard(self, delivery_ids: Collection[str]) -> None: ...


class TaskEndpoints:
    """Registers, lists, shows, polls and removes tasks."""

    def __init__(
        self,
        task_store: ApiTaskStore,
        task_poller: TaskPoller,
        registration_parser: RegistrationParser,
        *,
        task_waiters: CompletionWaiters,
        concluder: ConcluderPort,
        deliverer: PendingDeliveries,
        now: Callable[[], datetime],
    ) -> None:
        self._task_store = task_store
        self._task_poller = task_poller
        self._registration_parser = registration_parser
        self._task_waiters = task_waiters
        self._concluder = concluder
        self._deliverer = deliverer
        self._now = now

    async def register(self, request: web.Request) -> web.StreamResponse:
        """Watch a task, or an array of at most 1000, all or none. Answers when it is on disk."""
        requested, several = self._registration_parser.read(await read_body(request))
        registered = await self._task_store.register(requested, now=self._now())
        new = [one.task for one in registered if one.new]
        self._task_poller.watch(new)
        tell = log.bind().info  # bound once for all of them
        for task in new:
            tell(
                "task.registered",
                kind=task.key.kind,
                task_id=task.key.task_id,
                account=task.key.account,
                name=task.name,
                source="http",
            )
        views = await self._views([one.task for one in registered])
        if several:
            return json_answer(_page(views, None), status=HTTPStatus.CREATED)
        if not new:
            return json_answer(views[0])
        return json_answer(views[0], status=HTTPStatus.CREATED, headers={"location": _location(new[0].key)})

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Tasks, newest first."""
        wanted = read_task_filter(request)
        limit = read_limit(request.query)
        # One more than asked for tells whether there is a next page.
        tasks = await self._task_store.page(wanted, limit=limit + 1, before=read_cursor(request.query))
        views = await self._views(tasks[:limit])
        next_cursor = write_cursor(tasks[limit - 1].id) if len(tasks) > limit else None
        return json_answer(_page(views, next_cursor))

    async def task(self, request: web.Request) -> web.StreamResponse:
        """A task; with `wait`, as soon as it has ended or the time is up."""
        key = _key(request)
        wait = read_wait(request.query)
        task = await self._find_task(key)
        if wait and task.status is Status.PENDING:
            ended = self._task_waiters.wait_for(task.id)
            task = await self._find_task(key)  # it may have ended before we began to listen
            if task.status is Status.PENDING:
                await asyncio.wait([ended], timeout=wait.total_seconds())
                task = await self._find_task(key)
            ended.cancel()
        return json_answer((await self._views([task]))[0])

    async def remove(self, request: web.Request) -> web.StreamResponse:
        """Watch a task no longer; nobody is told."""
        key = _key(request)
        removed = await self._task_store.remove(
            key, destinations_for_group=self._concluder.destinations_for_group, now=self._now()
        )
        if removed is None:
            raise _not_found(key)
        task, cancelled = removed
        self._task_poller.stop_watching(task.id)
        self._deliverer.discard(cancelled)
        self._task_waiters.wake(task)
        if task.group is not None:
            self._deliverer.wake(self._deliverer.workers)
        log.info("task.removed", kind=key.kind, task_id=key.task_id, account=key.account, cancelled=len(cancelled))
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def poll(self, request: web.Request) -> web.StreamResponse:
        """Ask Camb for a task now."""
        key = _key(request)
        task = await self._find_task(key)
        if not self._task_poller.poll_now(task.id) and task.status is not Status.PENDING:
            raise ProblemError(HTTPStatus.CONFLICT, f"the task has ended: {task.status.value}")
        return json_answer((await self._views([task]))[0], status=HTTPStatus.ACCEPTED)

    async def group(self, request: web.Request) -> web.StreamResponse:
        """Where the tasks of a group stand."""
        group = request.match_info["group"]
        state = await self._task_store.group(group)
        if state is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "no task of this group was registered")
        return json_answer(group_view(state))

    async def _find_task(self, key: TaskKey) -> Task:
        task = await self._task_store.task(key)
        if task is None:
            raise _not_found(key)
        return task

    async def _views(self, tasks: Sequence[Task]) -> list[JsonObject]:
        ended = [task.id for task in tasks if task.status is not Status.PENDING]
        # A pending task has no deliveries, unless it was watched before: most need no second query.
        again = [task.id for task in tasks if task.status is Status.PENDING and task.registrations > 1]
        deliveries = await self._task_store.deliveries_of(ended + again) if ended or again else {}
        shown, limited = TaskViews(), cache(self._task_poller.limited)
        views = []
        for task, next_poll_at in self._task_poller.with_next_poll(tasks):
            views.append(
                shown.view(
                    task,
                    next_poll_at=next_poll_at,
                    limited=limited(task.key.account),
                    result_endpoint=self._concluder.result_endpoint(task, task.status, task.run_id),
                    deliveries=deliveries.get(task.id, []),
                )
            )
        return views


def _page(views: Sequence[JsonObject], next_cursor: str | None) -> JsonObject:
    """The members of a TaskPage."""
    return {"items": views, "next_cursor": next_cursor}


def _key(request: web.Request) -> TaskKey:
    word = request.match_info["kind"]
    kind = kinds.find_kind(word)
    if kind is None:
        close = kinds.suggest_kind(word)
        hint = f" (did you mean {close}?)" if close else ""
        raise unprocessable([Mistake(parameter="kind", detail=f"{word[:40]!r} is no kind of task{hint}")])
    try:
        task_id = check_known_task_id(request.match_info["task_id"])
    except ValueError as error:
        raise unprocessable([Mistake(parameter="task_id", detail=str(error))]) from None
    return TaskKey(request.query.get("account", "default"), kind.name, task_id)


def _not_found(key: TaskKey) -> ProblemError:
    detail = f"nobody registered this task of kind {key.kind} for account {key.account[:64]}"
    if hint := explain_bad_task_id(key.task_id):
        detail += f"; its task_id {hint}"
    return ProblemError(HTTPStatus.NOT_FOUND, detail)


def _location(key: TaskKey) -> str:
    account = "" if key.account == "default" else f"?account={quote(key.account, safe='')}"
    return f"/v1/tasks/{key.kind}/{quote(key.task_id, safe='')}{account}"

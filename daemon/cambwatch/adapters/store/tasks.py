"""Every statement about tasks, one function per intention."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.outbox import QueuedDeliveries, complete_group, enqueue, group_state, lock_groups
from cambwatch.adapters.store.registration import (
    TASK_IDS_PER_STATEMENT,
    RegistrationBatch,
    register_batches,
    tasks_by_key,
)
from cambwatch.adapters.store.row_mapping import has_label, padded, to_micros
from cambwatch.adapters.store.schema import DELIVERY_PENDING, TASK_PENDING, deliveries, events, tasks
from cambwatch.core.events import GroupComplete, TaskEnded
from cambwatch.core.model import (
    RESTARTABLE_STATUSES,
    Delivery,
    DeliveryState,
    GroupState,
    Registration,
    RegistrationResult,
    Status,
    Task,
    TaskFilter,
    TaskKey,
)

GroupRouting = Callable[[GroupComplete], Sequence[str]]
"""Which destinations hear that a group is complete; pure, because it runs inside the transaction."""

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_WATCHED = sa.select(tasks).where(TASK_PENDING).order_by(tasks.c.id)
_PENDING = sa.update(tasks).where(tasks.c.id == sa.bindparam("number"), TASK_PENDING)
_CONCLUDE = _PENDING.where(tasks.c.registrations == sa.bindparam("watch"))
_KNOWN = sa.update(tasks).where(tasks.c.id.in_(sa.bindparam("numbers", expanding=True))).values(known=sa.true())
_OPEN = (
    sa.select(tasks.c.id, tasks.c.registrations, tasks.c.node)
    .where(tasks.c.id.in_(sa.bindparam("numbers", expanding=True)), TASK_PENDING)
    .with_for_update()
)
_CANCEL = (
    sa.update(deliveries)
    .where(
        deliveries.c.event_id.in_(sa.select(events.c.id).where(events.c.task == sa.bindparam("number"))),
        DELIVERY_PENDING,
    )
    .returning(deliveries.c.id)
)


class TaskStore:
    """The watched tasks, and those that were."""

    def __init__(self, database: Database, *, node: str | None = None) -> None:
        """*node* is who asks for what is registered here, and who alone may conclude it; None: there is one process."""
        self._database = database
        self._node = node

    async def register(
        self,
        requested: Sequence[Registration],
        *,
        now: datetime,
        restart_statuses: Collection[Status] = RESTARTABLE_STATUSES,
    ) -> list[RegistrationResult]:
        """
        Watch all of *requested*, or none; the answers are in their order.

        A task that is known is left as it is, unless it ended with one of *restart_statuses*: then
        it is watched anew, as the wish says.
        """
        return await self._database.write_batched(
            register_batches, RegistrationBatch(requested, now, restart_statuses, self._node)
        )

    async def watched(self) -> list[Task]:
        """All pending tasks, oldest first."""

        def work(connection: sa.Connection) -> list[Task]:
            return [row_mapping.task(row) for row in connection.execute(_WATCHED)]

        return await self._database.read(work)

    async def conclude(
        self, finished: Task, event: TaskEnded, *, notify: Sequence[str], destinations_for_group: GroupRouting
    ) -> list[str] | None:
        """
        Close the task as *finished* says and owe *event* to all of *notify*, or do neither.

        The last open task of a group also owes the group's completion to those whom
        *destinations_for_group* names. Returns the destinations with new deliveries; None,
        and nothing was written, when the task was closed or watched anew meanwhile, or
        another node asks for it by now.
        """
        request = _ConcludeRequest(finished, event, notify, destinations_for_group, self._node)
        return await self._database.write_batched(_conclude, request)

    async def remove(
        self, key: TaskKey, *, destinations_for_group: GroupRouting, now: datetime
    ) -> tuple[Task, list[str]] | None:
        """
        Stop watching, and cancel what is still owed of the task's end.

        Returns the task as it was before and the ids of the cancelled deliveries;
        None for a task that nobody registered. A task that Camb has ended keeps its status.
        """

        def work(connection: sa.Connection) -> tuple[Task, list[str]] | None:
            found = tasks_by_key(connection, [key], lock=True).get(key)
            if found is None:
                return None
            lock_groups(connection, [found.group])
            if found.status is Status.PENDING:
                close = {"number": found.id, "status": Status.REMOVED.value, "finished_at": to_micros(now)}
                connection.execute(_PENDING, close)
                if found.group is not None:
                    complete_group(connection, found.group, destinations_for_group, at=now)
            cancel = {
                "number": found.id,
                "state": DeliveryState.CANCELLED.value,
                "next_attempt_at": None,
                "finished_at": to_micros(now),
            }
            return found, list(connection.execute(_CANCEL, cancel).scalars())

        return await self._database.write(work)

    async def record_polls(self, polled: Sequence[tuple[int, int, datetime | None]]) -> None:
        """Write down (id, polls, first_polled_at) of tasks that are still pending, at the end of a process."""

        def work(connection: sa.Connection) -> None:
            connection.execute(
                _PENDING,
                [
                    {"number": row_id, "polls": polls, "first_polled_at": None if first is None else to_micros(first)}
                    for row_id, polls, first in polled
                ],
            )

        if polled:
            await self._database.write(work)

    async def record_known(self, row_ids: Sequence[int]) -> None:
        """Record that Camb has returned a status for the tasks with these ids (at least one)."""

        def work(connection: sa.Connection) -> None:
            for start in range(0, len(row_ids), TASK_IDS_PER_STATEMENT):
                connection.execute(_KNOWN, {"numbers": padded(row_ids[start : start + TASK_IDS_PER_STATEMENT])})

        await self._database.write(work)

    async def task(self, key: TaskKey) -> Task | None:
        """The task that *key* names, if anybody registered it."""
        return (await self._database.read(lambda connection: tasks_by_key(connection, [key]))).get(key)

    async def page(self, wanted: TaskFilter, *, limit: int, before: int | None) -> list[Task]:
        """Up to *limit* tasks, newest first, whose id is lower than *before*."""

        def work(connection: sa.Connection) -> list[Task]:
            query = sa.select(tasks).order_by(tasks.c.id.desc()).limit(limit)
            if wanted.statuses:
                query = query.where(tasks.c.status.in_([status.value for status in wanted.statuses]))
            if wanted.kinds:
                query = query.where(tasks.c.kind.in_(wanted.kinds))
            if wanted.group is not None:
                query = query.where(tasks.c.group == wanted.group)
            if wanted.account is not None:
                query = query.where(tasks.c.account == wanted.account)
            for name, value in wanted.labels.items():
                query = query.where(has_label(name, value))
            if before is not None:
                query = query.where(tasks.c.id < before)
            return [row_mapping.task(row) for row in connection.execute(query)]

        return await self._database.read(work)

    async def group(self, group: str) -> GroupState | None:
        """Where the tasks of *group* stand; None for a group without tasks."""
        return await self._database.read(lambda connection: group_state(connection, group))

    async def deliveries_of(self, row_ids: Sequence[int]) -> Mapping[int, list[Delivery]]:
        """What is or was owed of the ends of the tasks with these ids, oldest first."""

        def work(connection: sa.Connection) -> Mapping[int, list[Delivery]]:
            found: dict[int, list[Delivery]] = {row_id: [] for row_id in row_ids}
            query = (
                sa.select(deliveries, events.c.task)
                .join(events)
                .where(events.c.task.in_(row_ids))
                .order_by(deliveries.c.created_at, deliveries.c.destination)
            )
            for row in connection.execute(query):
                found[row.task].append(row_mapping.delivery(row))
            return found

        return await self._database.read(work)


@dataclass(frozen=True, slots=True)
class _ConcludeRequest:
    finished: Task
    event: TaskEnded
    notify: Sequence[str]
    destinations_for_group: GroupRouting
    node: str | None


def _conclude(connection: sa.Connection, requests: Sequence[_ConcludeRequest]) -> list[list[str] | None]:
    """What conclude() promises, for each of *requests*."""
    row_ids = [request.finished.id for request in requests]
    lock_groups(connection, [request.finished.group for request in requests])
    pending = {row.id: (row.registrations, row.node) for row in connection.execute(_OPEN, {"numbers": padded(row_ids)})}
    # Taken out as it is closed: of two ends of one task the second finds it closed.
    accepted = [
        request
        for request in requests
        if pending.pop(request.finished.id, None) == (request.finished.registrations, request.node)
    ]
    if accepted:
        connection.execute(_CONCLUDE, [_conclusion_values(request) for request in accepted])
        enqueue(
            connection, [QueuedDeliveries(request.event, request.notify, request.finished.id) for request in accepted]
        )
    results: list[list[str] | None] = []
    accepted_ids = {id(request) for request in accepted}
    for request in requests:
        if id(request) not in accepted_ids:
            results.append(None)
            continue
        queued = list(request.notify)
        if request.finished.group is not None:
            queued += complete_group(
                connection, request.finished.group, request.destinations_for_group, at=request.event.finished_at
            )
        results.append(queued)
    return results


def _conclusion_values(request: _ConcludeRequest) -> dict[str, object]:
    finished = request.finished
    return {
        "number": finished.id,
        "watch": finished.registrations,
        "status": finished.status.value,
        "run_id": finished.run_id,
        "exception_reason": finished.exception_reason,
        "message": finished.message,
        "result": finished.result,
        "polls": finished.polls,
        "first_polled_at": None if finished.first_polled_at is None else to_micros(finished.first_polled_at),
        "finished_at": to_micros(request.event.finished_at),
    }

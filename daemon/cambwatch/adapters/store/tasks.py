"""Every statement about tasks, one function per intention."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.labels import has_label
from cambwatch.adapters.store.outbox import Told, complete_group, group_state, hold_groups, owe
from cambwatch.adapters.store.registration import AT_ONCE, Wishes, by_key, register
from cambwatch.adapters.store.rows import padded, us
from cambwatch.adapters.store.schema import WAITING, WATCHED, deliveries, events, tasks
from cambwatch.core.events import GroupComplete, TaskEnded
from cambwatch.core.model import (
    WATCHED_ANEW,
    Delivery,
    DeliveryState,
    GroupState,
    Registered,
    Registration,
    Status,
    Task,
    TaskFilter,
    TaskKey,
)

HearGroup = Callable[[GroupComplete], Sequence[str]]
"""Which destinations hear that a group is complete; pure, because it runs inside the transaction."""

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_WATCHED = sa.select(tasks).where(WATCHED).order_by(tasks.c.id)
_PENDING = sa.update(tasks).where(tasks.c.id == sa.bindparam("number"), WATCHED)
_CLOSE = _PENDING.where(tasks.c.registrations == sa.bindparam("watch"))
_KNOWN = sa.update(tasks).where(tasks.c.id.in_(sa.bindparam("numbers", expanding=True))).values(known=sa.true())
_OPEN = (
    sa.select(tasks.c.id, tasks.c.registrations, tasks.c.node)
    .where(tasks.c.id.in_(sa.bindparam("numbers", expanding=True)), WATCHED)
    .with_for_update()
)
_CANCEL = (
    sa.update(deliveries)
    .where(deliveries.c.event_id.in_(sa.select(events.c.id).where(events.c.task == sa.bindparam("number"))), WAITING)
    .returning(deliveries.c.id)
)


class TaskStore:
    """The watched tasks, and those that were."""

    def __init__(self, database: Database, *, node: str | None = None) -> None:
        """*node* is who asks for what is registered here, and who alone may conclude it; None: there is one process."""
        self._database = database
        self._node = node

    async def register(
        self, wishes: Sequence[Registration], *, now: datetime, anew: Collection[Status] = WATCHED_ANEW
    ) -> list[Registered]:
        """
        Watch all of *wishes*, or none; the answers are in their order.

        A task that is known is left as it is, unless it ended with one of *anew*: then
        it is watched anew, as the wish says.
        """
        return await self._database.write_together(register, Wishes(wishes, now, anew, self._node))

    async def watched(self) -> list[Task]:
        """All pending tasks, oldest first."""

        def work(connection: sa.Connection) -> list[Task]:
            return [rows.task(row) for row in connection.execute(_WATCHED)]

        return await self._database.read(work)

    async def conclude(
        self, ended: Task, event: TaskEnded, *, notify: Sequence[str], hear_group: HearGroup
    ) -> list[str] | None:
        """
        Close the task as *ended* says and owe *event* to all of *notify*, or do neither.

        The last open task of a group also owes the group's completion to those whom
        *hear_group* names. Returns the destinations that are owed something now; None,
        and nothing was written, when the task was closed or watched anew meanwhile, or
        another node asks for it by now.
        """
        end = _End(ended, event, notify, hear_group, self._node)
        return await self._database.write_together(_conclude, end)

    async def remove(self, key: TaskKey, *, hear_group: HearGroup, now: datetime) -> tuple[Task, list[str]] | None:
        """
        Stop watching, and cancel what is still owed of the task's end.

        Returns the task as it was before and the ids of the cancelled deliveries;
        None for a task that nobody registered. A task that Camb has ended keeps its status.
        """

        def work(connection: sa.Connection) -> tuple[Task, list[str]] | None:
            found = by_key(connection, [key], hold=True).get(key)
            if found is None:
                return None
            hold_groups(connection, [found.group])
            if found.status is Status.PENDING:
                close = {"number": found.id, "status": Status.REMOVED.value, "finished_at": us(now)}
                connection.execute(_PENDING, close)
                if found.group is not None:
                    complete_group(connection, found.group, hear_group, at=now)
            cancel = {
                "number": found.id,
                "state": DeliveryState.CANCELLED.value,
                "next_attempt_at": None,
                "finished_at": us(now),
            }
            return found, list(connection.execute(_CANCEL, cancel).scalars())

        return await self._database.write(work)

    async def note_polls(self, polled: Sequence[tuple[int, int, datetime | None]]) -> None:
        """Write down (id, polls, first_polled_at) of tasks that are still pending, at the end of a process."""

        def work(connection: sa.Connection) -> None:
            connection.execute(
                _PENDING,
                [
                    {"number": number, "polls": polls, "first_polled_at": None if first is None else us(first)}
                    for number, polls, first in polled
                ],
            )

        if polled:
            await self._database.write(work)

    async def note_known(self, numbers: Sequence[int]) -> None:
        """Record that Camb has returned a status for the tasks with these ids (at least one)."""

        def work(connection: sa.Connection) -> None:
            for start in range(0, len(numbers), AT_ONCE):
                connection.execute(_KNOWN, {"numbers": padded(numbers[start : start + AT_ONCE])})

        await self._database.write(work)

    async def task(self, key: TaskKey) -> Task | None:
        """The task that *key* names, if anybody registered it."""
        return (await self._database.read(lambda connection: by_key(connection, [key]))).get(key)

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
            return [rows.task(row) for row in connection.execute(query)]

        return await self._database.read(work)

    async def group(self, group: str) -> GroupState | None:
        """Where the tasks of *group* stand; None for a group without tasks."""
        return await self._database.read(lambda connection: group_state(connection, group))

    async def deliveries_of(self, numbers: Sequence[int]) -> Mapping[int, list[Delivery]]:
        """What is or was owed of the ends of the tasks with these ids, oldest first."""

        def work(connection: sa.Connection) -> Mapping[int, list[Delivery]]:
            found: dict[int, list[Delivery]] = {number: [] for number in numbers}
            query = (
                sa.select(deliveries, events.c.task)
                .join(events)
                .where(events.c.task.in_(numbers))
                .order_by(deliveries.c.created_at, deliveries.c.destination)
            )
            for row in connection.execute(query):
                found[row.task].append(rows.delivery(row))
            return found

        return await self._database.read(work)


@dataclass(frozen=True, slots=True)
class _End:
    ended: Task
    event: TaskEnded
    notify: Sequence[str]
    hear_group: HearGroup
    node: str | None


def _conclude(connection: sa.Connection, ends: Sequence[_End]) -> list[list[str] | None]:
    """What conclude() promises, for each of *ends*."""
    numbers = [end.ended.id for end in ends]
    hold_groups(connection, [end.ended.group for end in ends])
    watches = {row.id: (row.registrations, row.node) for row in connection.execute(_OPEN, {"numbers": padded(numbers)})}
    # Taken out as it is closed: of two ends of one task the second finds it closed.
    closed = [end for end in ends if watches.pop(end.ended.id, None) == (end.ended.registrations, end.node)]
    if closed:
        connection.execute(_CLOSE, [_closing(end) for end in closed])
        owe(connection, [Told(end.event, end.notify, end.ended.id) for end in closed])
    owed: list[list[str] | None] = []
    told = {id(end) for end in closed}
    for end in ends:
        if id(end) not in told:
            owed.append(None)
            continue
        heard = list(end.notify)
        if end.ended.group is not None:
            heard += complete_group(connection, end.ended.group, end.hear_group, at=end.event.finished_at)
        owed.append(heard)
    return owed


def _closing(end: _End) -> dict[str, object]:
    ended = end.ended
    return {
        "number": ended.id,
        "watch": ended.registrations,
        "status": ended.status.value,
        "run_id": ended.run_id,
        "exception_reason": ended.exception_reason,
        "message": ended.message,
        "result": ended.result,
        "polls": ended.polls,
        "first_polled_at": None if ended.first_polled_at is None else us(ended.first_polled_at),
        "finished_at": us(end.event.finished_at),
    }

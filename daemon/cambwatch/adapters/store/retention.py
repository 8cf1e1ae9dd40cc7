"""Forgets what ended long ago, a few rows at a time; what is still at work or owed is never touched."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

import sqlalchemy as sa

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import KEPT_ATTEMPTS
from cambwatch.adapters.store.row_mapping import to_micros
from cambwatch.adapters.store.schema import DELIVERY_PENDING, TASK_PENDING, deliveries, events, tasks
from cambwatch.core.model import TaskKey

ROWS_PER_SCAN = 50  # tasks, or events, in one step
# Rows that one step deletes, with all that goes with them; a task that has more is a step of its own. They lie far
# apart in the indexes, and what a step has changed is what everybody's next commit may have to bring into the file.
ROWS_PER_BATCH = 60

_BEFORE_FIRST = -1
# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_MOST = sa.bindparam("most", type_=sa.Integer)
_OLD_TASKS = (
    sa.select(
        tasks.c.id, tasks.c.finished_at.label("at"), tasks.c.account, tasks.c.kind, tasks.c.task_id, tasks.c.group
    )
    .where(
        tasks.c.finished_at < sa.bindparam("before"),
        sa.tuple_(tasks.c.finished_at, tasks.c.id) > sa.tuple_(sa.bindparam("at"), sa.bindparam("number")),
    )
    .order_by(tasks.c.finished_at, tasks.c.id)
    .limit(_MOST)
)
_OLD_EVENTS = (
    sa.select(events.c.id, events.c.created_at.label("at"), events.c.group)
    .where(
        events.c.task.is_(None),
        events.c.created_at < sa.bindparam("before"),
        sa.tuple_(events.c.created_at, events.c.id) > sa.tuple_(sa.bindparam("at"), sa.bindparam("number")),
    )
    .order_by(events.c.created_at, events.c.id)
    .limit(_MOST)
)
_TRY_PRUNING_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(0x6F6C64))  # "old"
_KEPT_ATTEMPTS = sa.case((deliveries.c.attempts > KEPT_ATTEMPTS, KEPT_ATTEMPTS), else_=deliveries.c.attempts)


def _deliveries_summary(whose: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """For each of *whose*: when its last delivery was done, whether one waits, and the rows that there are of them."""
    return (
        sa.select(
            whose.label("whose"),
            sa.func.max(deliveries.c.finished_at).label("last_at"),
            sa.func.max(sa.case((DELIVERY_PENDING, 1), else_=0)).label("waiting"),
            (sa.func.count() + sa.func.sum(_KEPT_ATTEMPTS)).label("rows"),
        )
        .select_from(events.join(deliveries))
        .where(whose.in_(sa.bindparam("numbers", expanding=True)))
        .group_by(whose)
    )


_SUMMARY_BY_TASK = _deliveries_summary(events.c.task)
_SUMMARY_BY_EVENT = _deliveries_summary(events.c.id)
_GROUPS: sa.BindParameter[Any] = sa.bindparam("groups", expanding=True)
_OPEN_GROUPS = sa.select(tasks.c.group).distinct().where(tasks.c.group.in_(_GROUPS), TASK_PENDING)
_KNOWN_GROUPS = sa.select(tasks.c.group).distinct().where(tasks.c.group.in_(_GROUPS))
_ROW_IDS: sa.BindParameter[Any] = sa.bindparam("numbers", expanding=True)
_DELETE_TASKS = sa.delete(tasks).where(tasks.c.id.in_(_ROW_IDS))
_DELETE_EVENTS = sa.delete(events).where(events.c.id.in_(_ROW_IDS))


@dataclass(frozen=True, slots=True)
class PruneCursor:
    """How far one has come, from the oldest on."""

    at: int = _BEFORE_FIRST
    row_id: int = _BEFORE_FIRST


@dataclass(frozen=True, slots=True)
class PruneResult:
    """*count* of them were forgotten; more may be found from *next* on, or, if that is None, nowhere."""

    count: int
    next: PruneCursor | None


class RetentionStore:
    """
    Takes small steps from the oldest on, each one short write.

    Something is as old as what happened to it last: its end, or the end of its last
    delivery. Whatever waits for anything is kept, however old.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune_tasks(self, since: PruneCursor, *, before: datetime, exclude: Collection[TaskKey]) -> PruneResult:
        """
        Forget tasks that ended before *before*, with their events, deliveries and attempts; all but *exclude*.

        Those of a group stay for as long as one of the group is pending, so that its
        completion counts them.
        """

        def work(connection: sa.Connection) -> PruneResult:
            if not _acquire_pruning_lock(connection):
                return PruneResult(0, None)
            wanted = {"before": to_micros(before), "at": since.at, "number": since.row_id, "most": ROWS_PER_SCAN}
            old = connection.execute(_OLD_TASKS, wanted).all()
            open_groups = _groups(connection, _OPEN_GROUPS, old)
            free = {
                row.id
                for row in old
                if row.group not in open_groups and TaskKey(row.account, row.kind, row.task_id) not in exclude
            }
            return _prune_batch(connection, old, free, _SUMMARY_BY_TASK, _DELETE_TASKS, before=before)

        return await self._database.write(work)

    async def prune_events(self, since: PruneCursor, *, before: datetime) -> PruneResult:
        """
        Forget what was told before *before* of groups, of which no task is left, and of destinations.

        From then on a group of that name is a new one.
        """

        def work(connection: sa.Connection) -> PruneResult:
            if not _acquire_pruning_lock(connection):
                return PruneResult(0, None)
            wanted = {"before": to_micros(before), "at": since.at, "number": since.row_id, "most": ROWS_PER_SCAN}
            old = connection.execute(_OLD_EVENTS, wanted).all()
            known_groups = _groups(connection, _KNOWN_GROUPS, old)
            free = {row.id for row in old if row.group not in known_groups}
            return _prune_batch(connection, old, free, _SUMMARY_BY_EVENT, _DELETE_EVENTS, before=before)

        return await self._database.write(work)


def _acquire_pruning_lock(connection: sa.Connection) -> bool:
    """Whether no other node prunes at this moment: one does it for all, where they share a database."""
    return connection.dialect.name != "postgresql" or bool(connection.execute(_TRY_PRUNING_LOCK).scalar())


def _groups(connection: sa.Connection, which: sa.Select[Any], old: Sequence[Any]) -> Collection[str]:
    names = {row.group for row in old if row.group is not None}
    return frozenset(connection.execute(which, {"groups": sorted(names)}).scalars()) if names else frozenset()


def _prune_batch(
    connection: sa.Connection,
    old: Sequence[Any],
    free: Collection[int],
    summary: sa.Select[Any],
    delete: sa.Delete,
    *,
    before: datetime,
) -> PruneResult:
    """Delete, of *old* in its order, those that are *free* and are owed nothing; no more than a step may."""
    if not old:
        return PruneResult(0, None)
    kept, weights = set[int](), dict[int, int]()
    for row in connection.execute(summary, {"numbers": sorted(free)}) if free else ():
        weights[row.whose] = row.rows
        if row.waiting or row.last_at >= to_micros(before):
            kept.add(row.whose)
    prunable = [row_id for row_id in (row.id for row in old) if row_id in free and row_id not in kept]
    sums = accumulate(weights.get(row_id, 0) + 2 for row_id in prunable)  # itself and its event
    pruned = [row_id for row_id, rows in zip(prunable, sums, strict=True) if rows <= ROWS_PER_BATCH] or prunable[:1]
    if pruned:
        connection.execute(delete, {"numbers": pruned})
    if len(pruned) < len(prunable):  # the next step looks again from the last that is gone
        last = next(row for row in old if row.id == pruned[-1])
        return PruneResult(len(pruned), PruneCursor(last.at, last.id))
    last = old[-1]
    return PruneResult(len(pruned), PruneCursor(last.at, last.id) if len(old) == ROWS_PER_SCAN else None)

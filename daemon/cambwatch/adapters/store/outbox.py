"""What an end causes inside its transaction: the event, and one delivery for each who is to hear of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.row_mapping import to_micros
from cambwatch.adapters.store.schema import TASK_PENDING, deliveries, events, tasks
from cambwatch.core.event_json import event_to_json
from cambwatch.core.events import Event, GroupComplete, webhook_id
from cambwatch.core.model import DeliveryState, GroupState, Status

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_INSERT_EVENT = sa.insert(events)
_INSERT_DELIVERY = sa.insert(deliveries).values(
    event_id=sa.select(events.c.id).where(events.c.origin == sa.bindparam("of")).scalar_subquery()
)
_LOCK_GROUP = sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("group"), 0)))
_COMPLETION_EVENT = sa.select(events.c.id).where(events.c.group == sa.bindparam("group"))
_PENDING_TASK = sa.select(tasks.c.id).where(tasks.c.group == sa.bindparam("group"), TASK_PENDING).limit(1)


@dataclass(frozen=True, slots=True)
class QueuedDeliveries:
    """An *event*, who is owed it, and the id of the task whose end it is, if it is one's."""

    event: Event
    destinations: Sequence[str]
    task: int | None = None


def enqueue(connection: sa.Connection, queued: Sequence[QueuedDeliveries]) -> None:
    """Write events down, each with a delivery to each of its destinations, due at once."""
    connection.execute(
        _INSERT_EVENT,
        [
            {
                "task": one.task,
                "origin": one.event.origin,
                "document": event_to_json(one.event),
                "created_at": to_micros(one.event.finished_at),
                "group": one.event.group if isinstance(one.event, GroupComplete) else None,
            }
            for one in queued
        ],
    )
    delivery_rows = [
        {
            "id": webhook_id(one.event, destination),
            "of": one.event.origin,
            "destination": destination,
            "state": DeliveryState.PENDING.value,
            "attempts": 0,
            "created_at": to_micros(one.event.finished_at),
            "next_attempt_at": to_micros(one.event.finished_at),
        }
        for one in queued
        for destination in one.destinations
    ]
    if delivery_rows:
        connection.execute(_INSERT_DELIVERY, delivery_rows)


def lock_groups(connection: sa.Connection, groups: Iterable[str | None]) -> None:
    """
    Let no other transaction end a task of *groups* until this one is over; before the first is ended here.

    Two that end the last two tasks of a group at the same time would each see the
    other's still open, and nobody would complete it. On SQLite there is one writer.
    """
    if connection.dialect.name == "postgresql":
        for group in sorted({group for group in groups if group is not None}):
            connection.execute(_LOCK_GROUP, {"group": group})


def group_state(connection: sa.Connection, group: str) -> GroupState | None:
    """Where the tasks of *group* stand; None for a group without tasks."""
    query = (
        sa.select(
            tasks.c.status,
            sa.func.count(),
            sa.func.max(tasks.c.group_size),
            sa.func.min(tasks.c.registered_at),
        )
        .where(tasks.c.group == group)
        .group_by(tasks.c.status)
    )
    found = connection.execute(query).all()
    if not found:
        return None
    return GroupState(
        group=group,
        counts={Status(status): count for status, count, _, _ in found},
        size=max((size for _, _, size, _ in found if size is not None), default=None),
        registered_at=row_mapping.instant(min(first for _, _, _, first in found)),
    )


def complete_group(
    connection: sa.Connection, group: str, destinations_for: Callable[[GroupComplete], Sequence[str]], *, at: datetime
) -> list[str]:
    """Owe the completion of *group* if this was its last open task, once in its life; returns who is owed it."""
    # Asked first because it is one look into an index, while counting reads the whole group.
    if connection.execute(_PENDING_TASK, {"group": group}).first() is not None:
        return []
    state = group_state(connection, group)
    if state is None or not state.complete:
        return []
    event = GroupComplete(
        group=group,
        counts={status.value: count for status, count in state.counts.items()},
        tasks=state.tasks,
        registered_at=state.registered_at,
        finished_at=at,
    )
    if connection.execute(_COMPLETION_EVENT, {"group": group}).first() is not None:
        return []
    destinations = destinations_for(event)
    enqueue(connection, [QueuedDeliveries(event, destinations)])
    return list(destinations)

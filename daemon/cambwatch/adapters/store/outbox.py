"""What an end causes inside its transaction: the event, and one delivery for each who is to hear of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.rows import us
from cambwatch.adapters.store.schema import WATCHED, deliveries, events, tasks
from cambwatch.core.event_json import to_document
from cambwatch.core.events import Event, GroupComplete, webhook_id
from cambwatch.core.model import DeliveryState, GroupState, Status

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_OWE_EVENT = sa.insert(events)
_OWE_DELIVERY = sa.insert(deliveries).values(
    event_id=sa.select(events.c.id).where(events.c.origin == sa.bindparam("of")).scalar_subquery()
)
_HOLD_GROUP = sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(sa.bindparam("group"), 0)))
_TOLD = sa.select(events.c.id).where(events.c.group == sa.bindparam("group"))
_STILL_OPEN = sa.select(tasks.c.id).where(tasks.c.group == sa.bindparam("group"), WATCHED).limit(1)


@dataclass(frozen=True, slots=True)
class Told:
    """An *event*, who is owed it, and the id of the task whose end it is, if it is one's."""

    event: Event
    destinations: Sequence[str]
    task: int | None = None


def owe(connection: sa.Connection, told: Sequence[Told]) -> None:
    """Write events down, each with a delivery to each of its destinations, due at once."""
    connection.execute(
        _OWE_EVENT,
        [
            {
                "task": one.task,
                "origin": one.event.origin,
                "document": to_document(one.event),
                "created_at": us(one.event.finished_at),
                "group": one.event.group if isinstance(one.event, GroupComplete) else None,
            }
            for one in told
        ],
    )
    owed = [
        {
            "id": webhook_id(one.event, destination),
            "of": one.event.origin,
            "destination": destination,
            "state": DeliveryState.PENDING.value,
            "attempts": 0,
            "created_at": us(one.event.finished_at),
            "next_attempt_at": us(one.event.finished_at),
        }
        for one in told
        for destination in one.destinations
    ]
    if owed:
        connection.execute(_OWE_DELIVERY, owed)


def hold_groups(connection: sa.Connection, groups: Iterable[str | None]) -> None:
    """
    Let no other transaction end a task of *groups* until this one is over; before the first is ended here.

    Two that end the last two tasks of a group at the same time would each see the
    other's still open, and nobody would complete it. On SQLite there is one writer.
    """
    if connection.dialect.name == "postgresql":
        for group in sorted({group for group in groups if group is not None}):
            connection.execute(_HOLD_GROUP, {"group": group})


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
        registered_at=rows.instant(min(first for _, _, _, first in found)),
    )


def complete_group(
    connection: sa.Connection, group: str, hear: Callable[[GroupComplete], Sequence[str]], *, at: datetime
) -> list[str]:
    """Owe the completion of *group* if this was its last open task, once in its life; returns who is owed it."""
    # Asked first because it is one look into an index, while counting reads the whole group.
    if connection.execute(_STILL_OPEN, {"group": group}).first() is not None:
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
    if connection.execute(_TOLD, {"group": group}).first() is not None:
        return []
    heard = hear(event)
    owe(connection, [Told(event, heard)])
    return list(heard)

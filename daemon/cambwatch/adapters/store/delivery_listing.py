"""What people ask of deliveries: listings, what was tried, how destinations stand, and another try."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.row_mapping import to_micros
from cambwatch.adapters.store.schema import DEAD, FRESH, REPEATED, attempts, deliveries, events, tasks
from cambwatch.core.model import (
    Backlog,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    DeliverySubject,
    PastAttempt,
)

RETRY_BATCH_SIZE = 500  # deliveries that one transaction gives another try
UNREADABLE = "unknown"  # the type of an event that this version cannot read

_EVENT = events.c.document
_LISTED = sa.select(
    deliveries,
    *(
        _EVENT[key].as_string().label(f"event_{key}")
        for key in ("event", "account", "kind", "task_id", "name", "group", "status", "destination")
    ),
    _EVENT["recovered"].as_boolean().label("event_recovered"),
).join(events)
_BY_ID = _LISTED.where(deliveries.c.id == sa.bindparam("delivery"))
_ATTEMPTS = sa.select(attempts).where(attempts.c.delivery_id == sa.bindparam("delivery")).order_by(attempts.c.number)
# Two halves, because no index holds both: what is fresh, and what is repeated.
_BACKLOGS = sa.union_all(
    *(
        sa.select(deliveries.c.destination, sa.func.count(), sa.func.min(deliveries.c.created_at))
        .where(which)
        .group_by(deliveries.c.destination)
        for which in (FRESH, REPEATED)
    )
)
# For what waits: the sum keeps planners from the index of all by their age, in which they would pass over whatever
# was delivered since, and lead them to the two that hold little else.
_CREATED_AT_UNINDEXED = deliveries.c.created_at + sa.literal_column("0")
_RETRYABLE_STATES = (DeliveryState.DEAD, DeliveryState.PENDING)


class DeliveryAdmin:
    """Reads deliveries for people, and gives those another try that they name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, wanted: DeliveryFilter, *, limit: int, before: tuple[datetime, str] | None
    ) -> list[tuple[Delivery, DeliverySubject]]:
        """Up to *limit* deliveries, newest first, which come after the one of this created_at and id in that order."""

        def work(connection: sa.Connection) -> list[tuple[Delivery, DeliverySubject]]:
            conditions = [] if wanted.destination is None else [deliveries.c.destination == wanted.destination]
            if wanted.task_id is not None:
                ended = sa.select(events.c.id).join(tasks).where(tasks.c.task_id == wanted.task_id)
                conditions.append(deliveries.c.event_id.in_(ended))
            waiting = wanted.states == {DeliveryState.PENDING}
            if before is not None:
                at, number = before
                age = _CREATED_AT_UNINDEXED if waiting else deliveries.c.created_at
                conditions.append(sa.tuple_(age, deliveries.c.id) < sa.tuple_(to_micros(at), number))
            if waiting:
                conditions = [deliveries.c.id.in_(_first_pending_ids(conditions, limit, newest=True))]
            elif wanted.states:
                conditions.append(_in_states(wanted.states))
            query = (
                _LISTED.where(*conditions).order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit)
            )
            return [(row_mapping.delivery(row), _subject(row)) for row in connection.execute(query)]

        return await self._database.read(work)

    async def delivery(self, delivery_id: str) -> tuple[Delivery, DeliverySubject, list[PastAttempt]] | None:
        """The delivery with this id and the attempts that are kept of it, oldest first; None if there is none."""

        def work(connection: sa.Connection) -> tuple[Delivery, DeliverySubject, list[PastAttempt]] | None:
            row = connection.execute(_BY_ID, {"delivery": delivery_id}).first()
            if row is None:
                return None
            kept = [row_mapping.attempt(one) for one in connection.execute(_ATTEMPTS, {"delivery": delivery_id})]
            return row_mapping.delivery(row), _subject(row), kept

        return await self._database.read(work)

    async def backlogs(self) -> Mapping[str, Backlog]:
        """What waits for each destination for which anything does."""
        return await self._database.read(backlogs)

    async def retry(self, delivery_id: str, *, now: datetime) -> bool:
        """Make the delivery due at *now* with a fresh budget; False where it is neither dead nor pending."""
        again = (
            sa.update(deliveries)
            .where(deliveries.c.id == delivery_id, deliveries.c.state.in_([state.value for state in _RETRYABLE_STATES]))
            .values(_retry_values(now))
        )
        return await self._database.write(lambda connection: connection.execute(again).rowcount == 1)

    async def retry_some(
        self,
        state: DeliveryState,
        *,
        destinations: Collection[str],
        since: datetime | None,
        now: datetime,
        limit: int = RETRY_BATCH_SIZE,
    ) -> int:
        """
        Make up to *limit* deliveries to *destinations* due at *now*, oldest first, each with a fresh budget.

        Those that are in *state*, dead or pending, and whose event is not older than
        *since*. Returns their number; the same call again goes on with the rest, and
        passes over what has failed anew since: it is not due to *now* a second time.
        """
        if state not in _RETRYABLE_STATES:
            raise ValueError(f"what is {state} is not tried again")
        waiting = state is DeliveryState.PENDING
        wanted = [
            deliveries.c.destination.in_(destinations),
            deliveries.c.budget_from.is_distinct_from(to_micros(now)),
        ]
        if since is not None:
            wanted.append((_CREATED_AT_UNINDEXED if waiting else deliveries.c.created_at) >= to_micros(since))
        if waiting:
            chosen = _first_pending_ids([*wanted, deliveries.c.next_attempt_at > to_micros(now)], limit, newest=False)
        else:
            chosen = (
                sa.select(deliveries.c.id)
                .where(DEAD, *wanted)
                .order_by(deliveries.c.created_at, deliveries.c.id)
                .limit(limit)
            )
        again = sa.update(deliveries).where(deliveries.c.id.in_(chosen)).values(_retry_values(now))
        return await self._database.write(lambda connection: connection.execute(again).rowcount)


def backlogs(connection: sa.Connection) -> Mapping[str, Backlog]:
    """The same, as a part of a wider read."""
    found: dict[str, Backlog] = {}
    for name, count, first in connection.execute(_BACKLOGS):
        half = Backlog(count, row_mapping.instant(first))
        other = found.get(name, Backlog(0, half.oldest_pending_at))
        found[name] = Backlog(half.pending + other.pending, min(half.oldest_pending_at, other.oldest_pending_at))
    return found


def _first_pending_ids(conditions: Sequence[sa.ColumnElement[bool]], limit: int, *, newest: bool) -> sa.Select[Any]:
    """
    The ids of the first *limit* of all that waits and for which all holds that is *conditions*, by age.

    Only what they are sorted by is read of the others: what they are about is long.
    """
    way = sa.desc if newest else sa.asc
    halves = [
        sa.select(deliveries.c.id, _CREATED_AT_UNINDEXED.label("at"))
        .where(which, *conditions)
        .order_by(way("at"), way(deliveries.c.id))
        .limit(limit)
        .subquery()
        for which in (FRESH, REPEATED)
    ]
    both = sa.union_all(*(sa.select(half) for half in halves)).subquery()
    return sa.select(both.c.id).order_by(way(both.c.at), way(both.c.id)).limit(limit)


def _in_states(states: Collection[DeliveryState]) -> sa.ColumnElement[bool]:
    """One of *states*, in words that the planner finds the index of the dead by."""
    return DEAD if states == {DeliveryState.DEAD} else deliveries.c.state.in_([state.value for state in states])


def _retry_values(now: datetime) -> dict[str, object]:
    # Without the last outcome: refusals of before its cause was mended would shorten the new budget.
    return {
        "state": DeliveryState.PENDING.value,
        "next_attempt_at": to_micros(now),
        "budget_from": to_micros(now),
        "not_before": None,
        "uncharged": 0,
        "finished_at": None,
        "outcome": None,
        "http_status": None,
        "detail": None,
    }


def _subject(row: Any) -> DeliverySubject:
    if row.event_event == "group":
        return DeliverySubject("camb.group.complete", group=row.event_group)
    if row.event_event == "destination":
        word = "recovered" if row.event_recovered else "down"
        return DeliverySubject(f"cambwatch.destination.{word}", about_destination=row.event_destination)
    if row.event_status is None:  # a version wrote it which this one cannot read
        return DeliverySubject(UNREADABLE)
    return DeliverySubject(
        f"camb.task.{row.event_status.lower()}",
        account=row.event_account,
        kind=row.event_kind,
        task_id=row.event_task_id,
        name=row.event_name,
        group=row.event_group,
    )

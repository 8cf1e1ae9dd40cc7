"""What people ask of deliveries: listings, what was tried, how destinations stand, and another try."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.rows import us
from cambwatch.adapters.store.schema import DEAD, FRESH, REPEATED, attempts, deliveries, events, tasks
from cambwatch.core.model import (
    Backlog,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    PastAttempt,
    Subject,
)

LARGEST_STEP = 500  # deliveries that one transaction gives another try
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
_ONE = _LISTED.where(deliveries.c.id == sa.bindparam("delivery"))
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
_AGE = deliveries.c.created_at + sa.literal_column("0")
_TRIED_AGAIN = (DeliveryState.DEAD, DeliveryState.PENDING)


class DeliveryLedger:
    """Reads deliveries for people, and gives those another try that they name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, wanted: DeliveryFilter, *, limit: int, before: tuple[datetime, str] | None
    ) -> list[tuple[Delivery, Subject]]:
        """Up to *limit* deliveries, newest first, which come after the one of this created_at and id in that order."""

        def work(connection: sa.Connection) -> list[tuple[Delivery, Subject]]:
            asked = [] if wanted.destination is None else [deliveries.c.destination == wanted.destination]
            if wanted.task_id is not None:
                ended = sa.select(events.c.id).join(tasks).where(tasks.c.task_id == wanted.task_id)
                asked.append(deliveries.c.event_id.in_(ended))
            waiting = wanted.states == {DeliveryState.PENDING}
            if before is not None:
                at, number = before
                age = _AGE if waiting else deliveries.c.created_at
                asked.append(sa.tuple_(age, deliveries.c.id) < sa.tuple_(us(at), number))
            if waiting:
                asked = [deliveries.c.id.in_(_first_waiting(asked, limit, newest=True))]
            elif wanted.states:
                asked.append(_in_states(wanted.states))
            query = _LISTED.where(*asked).order_by(deliveries.c.created_at.desc(), deliveries.c.id.desc()).limit(limit)
            return [(rows.delivery(row), _subject(row)) for row in connection.execute(query)]

        return await self._database.read(work)

    async def delivery(self, delivery_id: str) -> tuple[Delivery, Subject, list[PastAttempt]] | None:
        """The delivery with this id and the attempts that are kept of it, oldest first; None if there is none."""

        def work(connection: sa.Connection) -> tuple[Delivery, Subject, list[PastAttempt]] | None:
            row = connection.execute(_ONE, {"delivery": delivery_id}).first()
            if row is None:
                return None
            kept = [rows.attempt(one) for one in connection.execute(_ATTEMPTS, {"delivery": delivery_id})]
            return rows.delivery(row), _subject(row), kept

        return await self._database.read(work)

    async def backlogs(self) -> Mapping[str, Backlog]:
        """What waits for each destination for which anything does."""
        return await self._database.read(backlogs)

    async def retry(self, delivery_id: str, *, now: datetime) -> bool:
        """Make the delivery due at *now* with a fresh budget; False where it is neither dead nor pending."""
        again = (
            sa.update(deliveries)
            .where(deliveries.c.id == delivery_id, deliveries.c.state.in_([state.value for state in _TRIED_AGAIN]))
            .values(_another_try(now))
        )
        return await self._database.write(lambda connection: connection.execute(again).rowcount == 1)

    async def retry_some(
        self,
        state: DeliveryState,
        *,
        destinations: Collection[str],
        since: datetime | None,
        now: datetime,
        limit: int = LARGEST_STEP,
    ) -> int:
        """
        Make up to *limit* deliveries to *destinations* due at *now*, oldest first, each with a fresh budget.

        Those that are in *state*, dead or pending, and whose event is not older than
        *since*. Returns their number; the same call again goes on with the rest, and
        passes over what has failed anew since: it is not due to *now* a second time.
        """
        if state not in _TRIED_AGAIN:
            raise ValueError(f"what is {state} is not tried again")
        waiting = state is DeliveryState.PENDING
        wanted = [
            deliveries.c.destination.in_(destinations),
            deliveries.c.budget_from.is_distinct_from(us(now)),
        ]
        if since is not None:
            wanted.append((_AGE if waiting else deliveries.c.created_at) >= us(since))
        if waiting:
            chosen = _first_waiting([*wanted, deliveries.c.next_attempt_at > us(now)], limit, newest=False)
        else:
            chosen = (
                sa.select(deliveries.c.id)
                .where(DEAD, *wanted)
                .order_by(deliveries.c.created_at, deliveries.c.id)
                .limit(limit)
            )
        again = sa.update(deliveries).where(deliveries.c.id.in_(chosen)).values(_another_try(now))
        return await self._database.write(lambda connection: connection.execute(again).rowcount)


def backlogs(connection: sa.Connection) -> Mapping[str, Backlog]:
    """The same, as a part of a wider read."""
    found: dict[str, Backlog] = {}
    for name, count, first in connection.execute(_BACKLOGS):
        half = Backlog(count, rows.instant(first))
        other = found.get(name, Backlog(0, half.oldest_at))
        found[name] = Backlog(half.waiting + other.waiting, min(half.oldest_at, other.oldest_at))
    return found


def _first_waiting(asked: Sequence[sa.ColumnElement[bool]], limit: int, *, newest: bool) -> sa.Select[Any]:
    """
    The ids of the first *limit* of all that waits and for which all holds that is *asked*, by age.

    Only what they are sorted by is read of the others: what they are about is long.
    """
    way = sa.desc if newest else sa.asc
    halves = [
        sa.select(deliveries.c.id, _AGE.label("at"))
        .where(which, *asked)
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


def _another_try(now: datetime) -> dict[str, object]:
    # Without the last outcome: refusals of before its cause was mended would shorten the new budget.
    return {
        "state": DeliveryState.PENDING.value,
        "next_attempt_at": us(now),
        "budget_from": us(now),
        "not_before": None,
        "spared": 0,
        "finished_at": None,
        "outcome": None,
        "http_status": None,
        "detail": None,
    }


def _subject(row: Any) -> Subject:
    if row.event_event == "group":
        return Subject("camb.group.complete", group=row.event_group)
    if row.event_event == "destination":
        word = "recovered" if row.event_recovered else "down"
        return Subject(f"cambwatch.destination.{word}", about=row.event_destination)
    if row.event_status is None:  # a version wrote it which this one cannot read
        return Subject(UNREADABLE)
    return Subject(
        f"camb.task.{row.event_status.lower()}",
        account=row.event_account,
        kind=row.event_kind,
        task_id=row.event_task_id,
        name=row.event_name,
        group=row.event_group,
    )

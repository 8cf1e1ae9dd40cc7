"""Every statement about deliveries, one function per intention."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import assert_never

import sqlalchemy as sa

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.rows import us
from cambwatch.adapters.store.schema import WAITING, deliveries, events
from cambwatch.core.documents import from_document
from cambwatch.core.events import Event
from cambwatch.core.model import Attempt, Delivered, Delivery, DeliveryState, GiveUp, RetryAt, Verdict

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_OWED = (WAITING, deliveries.c.destination == sa.bindparam("destination"))
_DUE = (
    sa.select(deliveries, events.c.document)
    .join(events)
    .where(*_OWED, deliveries.c.next_attempt_at <= sa.bindparam("now"))
    .order_by(deliveries.c.next_attempt_at)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_NEXT_DUE = sa.select(sa.func.min(deliveries.c.next_attempt_at)).where(
    *_OWED, deliveries.c.next_attempt_at > sa.bindparam("after")
)
_RECORD = sa.update(deliveries).where(deliveries.c.id == sa.bindparam("delivery"), WAITING)
_WAITING = (
    sa.select(deliveries.c.destination, sa.func.count().label("waiting"))
    .where(WAITING)
    .group_by(deliveries.c.destination)
)


class DeliveryStore:
    """What is owed to whom."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def due(
        self, destination: str, *, now: datetime, limit: int, besides: Collection[str]
    ) -> list[tuple[Delivery, Event]]:
        """Up to *limit* deliveries that *destination* is owed by *now*, longest due first, *besides* those ids."""

        def work(connection: sa.Connection) -> list[tuple[Delivery, Event]]:
            wanted = {"destination": destination, "now": us(now), "most": limit + len(besides)}
            found = [row for row in connection.execute(_DUE, wanted) if row.id not in besides]
            return [(rows.delivery(row), from_document(row.document)) for row in found[:limit]]

        return await self._database.read(work)

    async def next_due_at(self, destination: str, *, after: datetime) -> datetime | None:
        """When the next delivery to *destination* is due that is not due at *after*; None if there is none."""

        def work(connection: sa.Connection) -> datetime | None:
            wanted = {"destination": destination, "after": us(after)}
            return rows.instant_or_none(connection.execute(_NEXT_DUE, wanted).scalar())

        return await self._database.read(work)

    async def record(self, delivery: Delivery, attempt: Attempt, verdict: Verdict, *, now: datetime) -> bool:
        """
        Write down what came of *attempt*.

        False, and nothing is written, when the delivery was closed meanwhile. A
        delivery that was cancelled while its POST was under way stays cancelled.
        """
        values: dict[str, object] = {
            "delivery": delivery.id,
            "attempts": attempt.number,
            "outcome": attempt.outcome.value,
            "http_status": attempt.http_status,
            "detail": attempt.detail,
        }
        match verdict:
            case Delivered():
                values |= {"state": DeliveryState.DELIVERED.value, "next_attempt_at": None, "finished_at": us(now)}
            case GiveUp():
                values |= {"state": DeliveryState.DEAD.value, "next_attempt_at": None, "finished_at": us(now)}
            case RetryAt(at):
                values |= {"next_attempt_at": us(at)}
            case _:
                assert_never(verdict)
        return await self._database.write(lambda connection: connection.execute(_RECORD, values).rowcount == 1)

    async def waiting(self) -> Mapping[str, int]:
        """How many pending deliveries each destination has."""

        def work(connection: sa.Connection) -> Mapping[str, int]:
            return {row.destination: row.waiting for row in connection.execute(_WAITING)}

        return await self._database.read(work)

"""Every statement about deliveries, one function per intention."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, assert_never

import sqlalchemy as sa
import structlog

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.rows import us
from cambwatch.adapters.store.schema import WAITING, attempts, deliveries, events
from cambwatch.core.documents import from_document
from cambwatch.core.events import Event
from cambwatch.core.model import Attempt, Delivered, Delivery, DeliveryState, GiveUp, RetryAt, Verdict

KEPT_ATTEMPTS = 50  # of a delivery, the last ones
LONGEST_DETAIL = 1 << 10  # bytes of UTF-8

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_OWED = (WAITING, deliveries.c.destination == sa.bindparam("destination"))
log = structlog.get_logger()

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
_KEEP = sa.insert(attempts)
_FORGET = sa.delete(attempts).where(
    attempts.c.delivery_id == sa.bindparam("delivery"), attempts.c.number <= sa.bindparam("last")
)
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
            return [owed for row in found[:limit] if (owed := _read(row)) is not None]

        return await self._database.read(work)

    async def next_due_at(self, destination: str, *, after: datetime) -> datetime | None:
        """When the next delivery to *destination* is due that is not due at *after*; None if there is none."""

        def work(connection: sa.Connection) -> datetime | None:
            wanted = {"destination": destination, "after": us(after)}
            return rows.instant_or_none(connection.execute(_NEXT_DUE, wanted).scalar())

        return await self._database.read(work)

    async def record(self, delivery: Delivery, attempt: Attempt, verdict: Verdict, *, now: datetime) -> bool:
        """
        Write down what came of *attempt*, and keep it with the KEPT_ATTEMPTS last ones.

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
        kept: dict[str, object] = {
            "delivery_id": delivery.id,
            "number": attempt.number,
            "outcome": attempt.outcome.value,
            "http_status": attempt.http_status,
            "took_ms": attempt.took_ms,
            "detail": _cut(attempt.detail),
            "at": us(now),
        }

        def work(connection: sa.Connection) -> bool:
            if connection.execute(_RECORD, values).rowcount != 1:
                return False
            connection.execute(_KEEP, kept)
            if attempt.number > KEPT_ATTEMPTS:
                connection.execute(_FORGET, {"delivery": delivery.id, "last": attempt.number - KEPT_ATTEMPTS})
            return True

        return await self._database.write(work)

    async def waiting(self) -> Mapping[str, int]:
        """How many pending deliveries each destination has."""

        def work(connection: sa.Connection) -> Mapping[str, int]:
            return {row.destination: row.waiting for row in connection.execute(_WAITING)}

        return await self._database.read(work)


def _read(row: Any) -> tuple[Delivery, Event] | None:
    """What a row owes; None, and a line in the log, for one that a version wrote which this one cannot read."""
    try:
        return rows.delivery(row), from_document(row.document)
    except (KeyError, TypeError, ValueError) as error:  # it stays owed, and must not keep back what lies behind it
        log.error("event.unreadable", delivery_id=row.id, error=f"{type(error).__name__}: {error}")  # noqa: TRY400
        return None


def _cut(detail: str | None) -> str | None:
    """*detail*, at most LONGEST_DETAIL of it; never half a character."""
    return None if detail is None else detail.encode("utf-8", "replace")[:LONGEST_DETAIL].decode("utf-8", "ignore")

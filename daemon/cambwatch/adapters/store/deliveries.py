"""Every statement about deliveries, one function per intention."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never

import sqlalchemy as sa
import structlog

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.destinations import breakers, release, take_turn
from cambwatch.adapters.store.rows import padded, us
from cambwatch.adapters.store.schema import FRESH, REPEATED, WAITING, attempts, deliveries, events, lanes
from cambwatch.core.delivery.attempts import Due, Owed, Tried, Turn
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.event_json import from_document
from cambwatch.core.model import Delivered, DeliveryState, GiveUp, RetryAt
from cambwatch.core.text_cutting import prefix_length

KEPT_ATTEMPTS = 50  # of a delivery, the last ones
LONGEST_DETAIL = 1 << 10  # bytes of UTF-8

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_WHOSE = deliveries.c.destination == sa.bindparam("destination")
log = structlog.get_logger()


def _due(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(deliveries, events.c.document)
        .join(events)
        .where(which, _WHOSE, deliveries.c.next_attempt_at <= sa.bindparam("now"))
        .order_by(deliveries.c.next_attempt_at)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .offset(sa.bindparam("passed", type_=sa.Integer))
    )


def _next_due(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.func.min(deliveries.c.next_attempt_at)).where(
        which, _WHOSE, deliveries.c.next_attempt_at > sa.bindparam("now")
    )


_DUE_FRESH = _due(FRESH)
_DUE_REPEATED = _due(REPEATED)
_NEXT_DUE = (_next_due(FRESH), _next_due(REPEATED))
_RECORD = sa.update(deliveries).where(deliveries.c.id == sa.bindparam("delivery"), WAITING)
_STILL_WAITING = (
    sa.select(deliveries.c.id, deliveries.c.attempts)
    .where(deliveries.c.id.in_(sa.bindparam("numbers", expanding=True)), WAITING)
    .with_for_update()
)
_HELD = (
    sa.select(lanes.c.destination)
    .where(lanes.c.destination.in_(sa.bindparam("names", expanding=True)), lanes.c.node == sa.bindparam("node"))
    .with_for_update(read=True)
)
_KEEP = sa.insert(attempts)
_FORGET = sa.delete(attempts).where(
    attempts.c.delivery_id == sa.bindparam("delivery"), attempts.c.number <= sa.bindparam("last")
)
# Two halves, because no index holds both: what is fresh, and what is repeated.
_WAITING = sa.union_all(
    *(
        sa.select(deliveries.c.destination, sa.func.count().label("waiting"))
        .where(which)
        .group_by(deliveries.c.destination)
        for which in (FRESH, REPEATED)
    )
)


class DeliveryStore:
    """What is owed to whom."""

    def __init__(self, database: Database, *, node: str | None = None) -> None:
        """*node* is who records here: nothing but what came of lanes that it holds; None: there is one process."""
        self._database = database
        self._node = node

    async def due(self, destination: str, *, now: datetime, fresh: int, repeated: int, besides: Collection[str]) -> Due:
        """
        What *destination* is owed by *now*, *besides* those ids: up to so many *fresh* and *repeated* ones.

        Of what none are asked for, nothing is said either. What this version cannot read is passed over.
        """

        def work(connection: sa.Connection) -> Due:
            wanted = {"destination": destination, "now": us(now)}

            def read(statement: sa.Select[Any], limit: int) -> tuple[list[Owed], bool]:
                owed: list[Owed] = []
                passed, most = 0, limit + len(besides) + 1  # one more tells whether there are more
                while limit and len(owed) <= limit:
                    found = connection.execute(statement, wanted | {"most": most, "passed": passed}).all()
                    owed += [one for row in found if row.id not in besides and (one := _read(row)) is not None]
                    if len(found) < most:
                        break
                    passed += most
                return owed[:limit], len(owed) > limit

            later = [connection.execute(statement, wanted).scalar() for statement in _NEXT_DUE]
            first, more_fresh = read(_DUE_FRESH, fresh)
            again, more_repeated = read(_DUE_REPEATED, repeated)
            return Due(
                first,
                again,
                next_at=min((rows.instant(at) for at in later if at is not None), default=None),
                more_fresh=more_fresh,
                more_repeated=more_repeated,
            )

        return await self._database.read(work)

    async def record(self, tried: Sequence[Tried], turn: Turn | None, *, now: datetime) -> int:
        """
        Write down what came of each attempt, and keep it with the KEPT_ATTEMPTS last ones; and *turn*, if any.

        Returns how many were written. One that was closed meanwhile is not: a
        delivery that was cancelled while its POST was under way stays cancelled. Nor
        is one whose attempt of that number is written already, or whose lane another
        node holds by now.
        """
        return await self._database.write_together(_record, _Record(tried, turn, now, self._node))

    async def turn(self, turn: Turn, *, now: datetime) -> None:
        """Write *turn* down by itself."""
        await self.record((), turn, now=now)

    async def breakers(self) -> Mapping[str, Breaker]:
        """The breaker of each destination that does not fare well."""
        return await self._database.read(breakers)

    async def waiting(self) -> Mapping[str, int]:
        """How many pending deliveries each destination has."""

        def work(connection: sa.Connection) -> Mapping[str, int]:
            found: Counter[str] = Counter()
            for row in connection.execute(_WAITING):
                found[row.destination] += row.waiting
            return found

        return await self._database.read(work)


def _read(row: Any) -> Owed | None:
    """What a row owes; None, and a line in the log, for one that a version wrote which this one cannot read."""
    try:
        return rows.delivery(row), from_document(row.document)
    except (KeyError, TypeError, ValueError) as error:  # it stays owed, and must not keep back what lies behind it
        log.error("event.unreadable", delivery_id=row.id, error=f"{type(error).__name__}: {error}")  # noqa: TRY400
        return None


def _cut(detail: str | None) -> str | None:
    """*detail*, truncated to LONGEST_DETAIL bytes of UTF-8, with lone surrogates replaced."""
    if detail is None:
        return None
    words = detail.encode("utf-8", "replace").decode()
    return words[: prefix_length(words, LONGEST_DETAIL, lambda part: len(part.encode()))]


@dataclass(frozen=True, slots=True)
class _Record:
    tried: Sequence[Tried]
    turn: Turn | None
    now: datetime
    node: str | None


def _record(connection: sa.Connection, several: Sequence[_Record]) -> list[int]:
    """What record() promises, for each of *several*."""
    several = _of_held_lanes(connection, several)
    for record in several:
        if record.turn is not None:
            release(connection, record.turn, now=record.now)
    numbers = [one.delivery.id for record in several for one in record.tried]
    found = connection.execute(_STILL_WAITING, {"numbers": padded(numbers)}) if numbers else ()
    waiting = {row.id: row.attempts for row in found}
    written = [[one for one in record.tried if _leaves(waiting, one)] for record in several]
    pairs = [(one, record.now) for record, some in zip(several, written, strict=True) for one in some]
    if pairs:
        connection.execute(_RECORD, [_values(one, now) for one, now in pairs])
        connection.execute(_KEEP, [_kept(one, now) for one, now in pairs])
    beyond = [
        {"delivery": one.delivery.id, "last": one.attempt.number - KEPT_ATTEMPTS}
        for one, _ in pairs
        if one.attempt.number > KEPT_ATTEMPTS
    ]
    if beyond:
        connection.execute(_FORGET, beyond)
    for record in several:
        if record.turn is not None:
            take_turn(connection, record.turn)
    return [len(some) for some in written]


def _of_held_lanes(connection: sa.Connection, several: Sequence[_Record]) -> Sequence[_Record]:
    """*several*, without what is of lanes that their node does not hold; those that it does it keeps for as long."""
    node = several[0].node
    if node is None:
        return several
    names = {one.delivery.destination for record in several for one in record.tried}
    names |= {record.turn.destination for record in several if record.turn is not None}
    held = set(connection.execute(_HELD, {"names": padded(sorted(names)), "node": node}).scalars()) if names else set()
    return [
        replace(
            record,
            tried=[one for one in record.tried if one.delivery.destination in held],
            turn=record.turn if record.turn is not None and record.turn.destination in held else None,
        )
        for record in several
    ]


def _leaves(waiting: dict[str, int], tried: Tried) -> bool:
    """Whether *tried* is a further attempt of one still *waiting*; taken in, so that none counts twice."""
    written = waiting.get(tried.delivery.id)
    if written is None or written >= tried.attempt.number:
        return False
    if isinstance(tried.verdict, RetryAt):
        waiting[tried.delivery.id] = tried.attempt.number
    else:
        del waiting[tried.delivery.id]
    return True


def _values(tried: Tried, now: datetime) -> dict[str, object]:
    """What of the delivery changes."""
    attempt = tried.attempt
    # Every column in every case, so that there is one statement for all of them.
    values: dict[str, object] = {
        "delivery": tried.delivery.id,
        "attempts": attempt.number,
        "outcome": attempt.outcome.value,
        "http_status": attempt.http_status,
        "detail": attempt.detail,
        "next_attempt_at": None,
        "not_before": None,
        "spared": rows.span_us(tried.delivery.spared),
        "finished_at": None,
    }
    match tried.verdict:
        case Delivered():
            values |= {"state": DeliveryState.DELIVERED.value, "finished_at": us(now)}
        case GiveUp():
            values |= {"state": DeliveryState.DEAD.value, "finished_at": us(now)}
        case RetryAt(at, not_before, spared):
            values |= {
                "state": DeliveryState.PENDING.value,
                "next_attempt_at": us(at),
                "not_before": None if not_before is None else us(not_before),
                "spared": rows.span_us(spared),
            }
        case _:
            assert_never(tried.verdict)
    return values


def _kept(tried: Tried, now: datetime) -> dict[str, object]:
    """The attempt as it is kept."""
    attempt = tried.attempt
    return {
        "delivery_id": tried.delivery.id,
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "http_status": attempt.http_status,
        "took_ms": attempt.took_ms,
        "detail": _cut(attempt.detail),
        "at": us(now),
        "together": attempt.together,
    }

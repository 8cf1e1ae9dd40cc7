"""Every statement about deliveries, one function per intention."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never

import sqlalchemy as sa
import structlog

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.breakers import breakers, make_retries_due, write_breaker_change
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.row_mapping import padded, to_micros
from cambwatch.adapters.store.schema import (
    DELIVERY_PENDING,
    FRESH,
    REPEATED,
    attempts,
    deliveries,
    destination_leases,
    events,
)
from cambwatch.core.delivery.attempts import AttemptRecord, BreakerChange, DueDelivery, PendingDelivery
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.event_json import event_from_json
from cambwatch.core.model import Delivered, DeliveryState, GiveUp, RetryAt
from cambwatch.core.text import prefix_length

KEPT_ATTEMPTS = 50  # of a delivery, the last ones
LONGEST_DETAIL = 1 << 10  # bytes of UTF-8

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_OF_DESTINATION = deliveries.c.destination == sa.bindparam("destination")
log = structlog.get_logger()


def _due(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return (
        sa.select(deliveries, events.c.document)
        .join(events)
        .where(which, _OF_DESTINATION, deliveries.c.next_attempt_at <= sa.bindparam("now"))
        .order_by(deliveries.c.next_attempt_at)
        .limit(sa.bindparam("most", type_=sa.Integer))
        .offset(sa.bindparam("passed", type_=sa.Integer))
    )


def _next_due(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.func.min(deliveries.c.next_attempt_at)).where(
        which, _OF_DESTINATION, deliveries.c.next_attempt_at > sa.bindparam("now")
    )


_DUE_FRESH = _due(FRESH)
_DUE_REPEATED = _due(REPEATED)
_NEXT_DUE = (_next_due(FRESH), _next_due(REPEATED))
_UPDATE_DELIVERY = sa.update(deliveries).where(deliveries.c.id == sa.bindparam("delivery"), DELIVERY_PENDING)
_STILL_PENDING = (
    sa.select(deliveries.c.id, deliveries.c.attempts)
    .where(deliveries.c.id.in_(sa.bindparam("numbers", expanding=True)), DELIVERY_PENDING)
    .with_for_update()
)
_LEASED = (
    sa.select(destination_leases.c.destination)
    .where(
        destination_leases.c.destination.in_(sa.bindparam("names", expanding=True)),
        destination_leases.c.node == sa.bindparam("node"),
    )
    .with_for_update(read=True)
)
_INSERT_ATTEMPT = sa.insert(attempts)
_DELETE_OLD_ATTEMPTS = sa.delete(attempts).where(
    attempts.c.delivery_id == sa.bindparam("delivery"), attempts.c.number <= sa.bindparam("last")
)
# Two halves, because no index holds both: what is fresh, and what is repeated.
_PENDING_COUNTS = sa.union_all(
    *(
        sa.select(deliveries.c.destination, sa.func.count().label("pending"))
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

    async def due(
        self, destination: str, *, now: datetime, fresh: int, repeated: int, exclude: Collection[str]
    ) -> DueDelivery:
        """
        Deliveries to *destination* that are due at *now*, without the ids in *exclude*: up to so many
        *fresh* and *repeated* ones.

        Of what none are asked for, nothing is said either. What this version cannot read is passed over.
        """

        def work(connection: sa.Connection) -> DueDelivery:
            parameters = {"destination": destination, "now": to_micros(now)}

            def read(statement: sa.Select[Any], limit: int) -> tuple[list[PendingDelivery], bool]:
                pending_deliveries: list[PendingDelivery] = []
                offset, most = 0, limit + len(exclude) + 1  # one more shows whether there are more
                while limit and len(pending_deliveries) <= limit:
                    found = connection.execute(statement, parameters | {"most": most, "passed": offset}).all()
                    pending_deliveries += [
                        one for row in found if row.id not in exclude and (one := _read(row)) is not None
                    ]
                    if len(found) < most:
                        break
                    offset += most
                return pending_deliveries[:limit], len(pending_deliveries) > limit

            later = [connection.execute(statement, parameters).scalar() for statement in _NEXT_DUE]
            first, more_fresh = read(_DUE_FRESH, fresh)
            again, more_repeated = read(_DUE_REPEATED, repeated)
            return DueDelivery(
                first,
                again,
                next_due_at=min((row_mapping.instant(at) for at in later if at is not None), default=None),
                more_fresh=more_fresh,
                more_repeated=more_repeated,
            )

        return await self._database.read(work)

    async def record(
        self, attempt_records: Sequence[AttemptRecord], breaker_change: BreakerChange | None, *, now: datetime
    ) -> int:
        """
        Write down what came of each attempt, and keep it with the KEPT_ATTEMPTS last ones; and
        *breaker_change*, if any.

        Returns how many were written. One that was closed meanwhile is not: a
        delivery that was cancelled while its POST was under way stays cancelled. Nor
        is one whose attempt of that number is written already, or whose lane another
        node holds by now.
        """
        return await self._database.write_batched(
            _record, _RecordRequest(attempt_records, breaker_change, now, self._node)
        )

    async def record_breaker_change(self, breaker_change: BreakerChange, *, now: datetime) -> None:
        """Write *breaker_change* down by itself."""
        await self.record((), breaker_change, now=now)

    async def breakers(self) -> Mapping[str, Breaker]:
        """The breaker of each destination that does not fare well."""
        return await self._database.read(breakers)

    async def pending_counts(self) -> Mapping[str, int]:
        """How many pending deliveries each destination has."""

        def work(connection: sa.Connection) -> Mapping[str, int]:
            found: Counter[str] = Counter()
            for row in connection.execute(_PENDING_COUNTS):
                found[row.destination] += row.pending
            return found

        return await self._database.read(work)


def _read(row: Any) -> PendingDelivery | None:
    """What a row owes; None, and a line in the log, for one that a version wrote which this one cannot read."""
    try:
        return row_mapping.delivery(row), event_from_json(row.document)
    except (KeyError, TypeError, ValueError) as error:  # it stays owed, and must not keep back what lies behind it
        log.error("event.unreadable", delivery_id=row.id, error=f"{type(error).__name__}: {error}")  # noqa: TRY400
        return None


def _truncate(detail: str | None) -> str | None:
    """*detail*, truncated to LONGEST_DETAIL bytes of UTF-8, with lone surrogates replaced."""
    if detail is None:
        return None
    words = detail.encode("utf-8", "replace").decode()
    return words[: prefix_length(words, LONGEST_DETAIL, lambda part: len(part.encode()))]


@dataclass(frozen=True, slots=True)
class _RecordRequest:
    attempt_records: Sequence[AttemptRecord]
    breaker_change: BreakerChange | None
    now: datetime
    node: str | None


def _record(connection: sa.Connection, requests: Sequence[_RecordRequest]) -> list[int]:
    """What record() promises, for each of *requests*."""
    requests = _with_leased_destinations(connection, requests)
    for request in requests:
        if request.breaker_change is not None:
            make_retries_due(connection, request.breaker_change, now=request.now)
    delivery_ids = [one.delivery.id for request in requests for one in request.attempt_records]
    found = connection.execute(_STILL_PENDING, {"numbers": padded(delivery_ids)}) if delivery_ids else ()
    pending = {row.id: row.attempts for row in found}
    written = [[one for one in request.attempt_records if _accept_once(pending, one)] for request in requests]
    pairs = [(one, request.now) for request, some in zip(requests, written, strict=True) for one in some]
    if pairs:
        connection.execute(_UPDATE_DELIVERY, [_delivery_values(one, now) for one, now in pairs])
        connection.execute(_INSERT_ATTEMPT, [_attempt_values(one, now) for one, now in pairs])
    beyond = [
        {"delivery": one.delivery.id, "last": one.attempt.number - KEPT_ATTEMPTS}
        for one, _ in pairs
        if one.attempt.number > KEPT_ATTEMPTS
    ]
    if beyond:
        connection.execute(_DELETE_OLD_ATTEMPTS, beyond)
    for request in requests:
        if request.breaker_change is not None:
            write_breaker_change(connection, request.breaker_change)
    return [len(some) for some in written]


def _with_leased_destinations(
    connection: sa.Connection, requests: Sequence[_RecordRequest]
) -> Sequence[_RecordRequest]:
    """*requests* for destinations whose lease their node holds; their leases are locked until the commit."""
    node = requests[0].node
    if node is None:
        return requests
    names = {one.delivery.destination for request in requests for one in request.attempt_records}
    names |= {request.breaker_change.destination for request in requests if request.breaker_change is not None}
    leased = (
        set(connection.execute(_LEASED, {"names": padded(sorted(names)), "node": node}).scalars()) if names else set()
    )
    return [
        replace(
            request,
            attempt_records=[one for one in request.attempt_records if one.delivery.destination in leased],
            breaker_change=request.breaker_change
            if request.breaker_change is not None and request.breaker_change.destination in leased
            else None,
        )
        for request in requests
    ]


def _accept_once(pending: dict[str, int], attempt_records: AttemptRecord) -> bool:
    """Whether *attempt_records* is a further attempt of one still *pending*; taken in, so that none counts twice."""
    written = pending.get(attempt_records.delivery.id)
    if written is None or written >= attempt_records.attempt.number:
        return False
    if isinstance(attempt_records.decision, RetryAt):
        pending[attempt_records.delivery.id] = attempt_records.attempt.number
    else:
        del pending[attempt_records.delivery.id]
    return True


def _delivery_values(attempt_records: AttemptRecord, now: datetime) -> dict[str, object]:
    """What of the delivery changes."""
    attempt = attempt_records.attempt
    # Every column in every case, so that there is one statement for all of them.
    values: dict[str, object] = {
        "delivery": attempt_records.delivery.id,
        "attempts": attempt.number,
        "outcome": attempt.outcome.value,
        "http_status": attempt.http_status,
        "detail": attempt.detail,
        "next_attempt_at": None,
        "not_before": None,
        "uncharged": row_mapping.span_to_micros(attempt_records.delivery.uncharged),
        "finished_at": None,
    }
    match attempt_records.decision:
        case Delivered():
            values |= {"state": DeliveryState.DELIVERED.value, "finished_at": to_micros(now)}
        case GiveUp():
            values |= {"state": DeliveryState.DEAD.value, "finished_at": to_micros(now)}
        case RetryAt(at, not_before, uncharged):
            values |= {
                "state": DeliveryState.PENDING.value,
                "next_attempt_at": to_micros(at),
                "not_before": None if not_before is None else to_micros(not_before),
                "uncharged": row_mapping.span_to_micros(uncharged),
            }
        case _:
            assert_never(attempt_records.decision)
    return values


def _attempt_values(attempt_records: AttemptRecord, now: datetime) -> dict[str, object]:
    """The attempt as it is kept."""
    attempt = attempt_records.attempt
    return {
        "delivery_id": attempt_records.delivery.id,
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "http_status": attempt.http_status,
        "took_ms": attempt.took_ms,
        "detail": _truncate(attempt.detail),
        "at": to_micros(now),
        "delivery_count": attempt.delivery_count,
    }

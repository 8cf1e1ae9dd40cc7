"""How destinations fare: every statement about their breakers, each a part of a wider transaction."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.outbox import QueuedDeliveries, enqueue
from cambwatch.adapters.store.row_mapping import to_micros
from cambwatch.adapters.store.schema import FRESH, REPEATED, breakers_table, deliveries, events
from cambwatch.core.delivery.attempts import BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.model import Outcome

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_ALL = sa.select(breakers_table)
_DELETE = sa.delete(breakers_table).where(breakers_table.c.name == sa.bindparam("destination"))
_WRITE = sa.insert(breakers_table)
_ALERT_EVENT = sa.select(events.c.id).where(events.c.origin == sa.bindparam("origin"))
# Two counts, because no index holds both: what is fresh, and what is repeated.
_PENDING_COUNTS = tuple(
    sa.select(sa.func.count())
    .select_from(deliveries)
    .where(which, deliveries.c.destination == sa.bindparam("destination"))
    for which in (FRESH, REPEATED)
)
_MAKE_RETRIES_DUE = (
    sa.update(deliveries)
    .where(
        REPEATED,
        deliveries.c.destination == sa.bindparam("whose"),
        deliveries.c.next_attempt_at > sa.bindparam("now"),
        sa.or_(deliveries.c.not_before.is_(None), deliveries.c.not_before <= sa.bindparam("now")),
    )
    .values(next_attempt_at=sa.bindparam("now"))
)


def breakers(connection: sa.Connection) -> Mapping[str, Breaker]:
    """The breaker of each destination that does not fare well."""
    return {
        row.name: Breaker(
            open=row.open,
            failures=row.failures,
            rate_limits=row.rate_limits,
            probes=row.probes,
            failing_since=row_mapping.instant_or_none(row.failing_since),
            outcome=None if row.outcome is None else Outcome(row.outcome),
            http_status=row.http_status,
            probe_at=row_mapping.instant_or_none(row.probe_at),
            paused_until=row_mapping.instant_or_none(row.paused_until),
            alerted=row.alerted,
        )
        for row in connection.execute(_ALL)
    }


def make_retries_due(connection: sa.Connection, breaker_change: BreakerChange, *, now: datetime) -> None:
    """
    Make due what *breaker_change* releases; before the attempts that led to it are written, whose own
    pauses only begin.
    """
    if breaker_change.retries_due_now:
        connection.execute(_MAKE_RETRIES_DUE, {"whose": breaker_change.destination, "now": to_micros(now)})


def write_breaker_change(connection: sa.Connection, breaker_change: BreakerChange) -> None:
    """Write *breaker_change* down: the breaker, and the delivery of its alert, once."""
    name, breaker = breaker_change.destination, breaker_change.breaker
    connection.execute(_DELETE, {"destination": name})
    if breaker != Breaker():
        connection.execute(
            _WRITE,
            {
                "name": name,
                "open": breaker.open,
                "failures": breaker.failures,
                "rate_limits": breaker.rate_limits,
                "probes": breaker.probes,
                "failing_since": _to_micros_or_none(breaker.failing_since),
                "outcome": None if breaker.outcome is None else breaker.outcome.value,
                "http_status": breaker.http_status,
                "probe_at": _to_micros_or_none(breaker.probe_at),
                "paused_until": _to_micros_or_none(breaker.paused_until),
                "alerted": breaker.alerted,
            },
        )
    if breaker_change.alert is not None and breaker_change.alert_destination is not None:
        # A second alert, as after a commit whose answer was lost, would keep the change from being written for ever.
        if connection.execute(_ALERT_EVENT, {"origin": breaker_change.alert.origin}).first() is not None:
            return
        waiting = sum(connection.execute(count, {"destination": name}).scalar_one() for count in _PENDING_COUNTS)
        enqueue(
            connection,
            [QueuedDeliveries(replace(breaker_change.alert, waiting=waiting), [breaker_change.alert_destination])],
        )


def _to_micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)

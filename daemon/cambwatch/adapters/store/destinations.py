"""How destinations fare: every statement about their breakers, each a part of a wider transaction."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.outbox import Told, owe
from cambwatch.adapters.store.rows import us
from cambwatch.adapters.store.schema import FRESH, REPEATED, deliveries, destinations, events
from cambwatch.core.delivery.attempts import Turn
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.model import Outcome

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_ALL = sa.select(destinations)
_FORGET = sa.delete(destinations).where(destinations.c.name == sa.bindparam("destination"))
_WRITE = sa.insert(destinations)
_TOLD = sa.select(events.c.id).where(events.c.origin == sa.bindparam("origin"))
# Two counts, because no index holds both: what is fresh, and what is repeated.
_WAITING = tuple(
    sa.select(sa.func.count())
    .select_from(deliveries)
    .where(which, deliveries.c.destination == sa.bindparam("destination"))
    for which in (FRESH, REPEATED)
)
_RELEASE = (
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
            limits=row.limits,
            probes=row.probes,
            failing_since=rows.instant_or_none(row.failing_since),
            outcome=None if row.outcome is None else Outcome(row.outcome),
            http_status=row.http_status,
            probe_at=rows.instant_or_none(row.probe_at),
            held_until=rows.instant_or_none(row.held_until),
            told=row.told,
        )
        for row in connection.execute(_ALL)
    }


def release(connection: sa.Connection, turn: Turn, *, now: datetime) -> None:
    """Make due what *turn* releases; before the attempts that led to it are written, whose own pauses only begin."""
    if turn.released:
        connection.execute(_RELEASE, {"whose": turn.destination, "now": us(now)})


def take_turn(connection: sa.Connection, turn: Turn) -> None:
    """Write *turn* down: the breaker, and the alert that is owed for it, once."""
    name, breaker = turn.destination, turn.breaker
    connection.execute(_FORGET, {"destination": name})
    if breaker != Breaker():
        connection.execute(
            _WRITE,
            {
                "name": name,
                "open": breaker.open,
                "failures": breaker.failures,
                "limits": breaker.limits,
                "probes": breaker.probes,
                "failing_since": _us_or_none(breaker.failing_since),
                "outcome": None if breaker.outcome is None else breaker.outcome.value,
                "http_status": breaker.http_status,
                "probe_at": _us_or_none(breaker.probe_at),
                "held_until": _us_or_none(breaker.held_until),
                "told": breaker.told,
            },
        )
    if turn.alert is not None and turn.hears is not None:
        # Said twice, as after a commit of which nobody heard, it would keep the turn from being written for ever.
        if connection.execute(_TOLD, {"origin": turn.alert.origin}).first() is not None:
            return
        waiting = sum(connection.execute(count, {"destination": name}).scalar_one() for count in _WAITING)
        owe(connection, [Told(replace(turn.alert, waiting=waiting), [turn.hears])])


def _us_or_none(at: datetime | None) -> int | None:
    return None if at is None else us(at)

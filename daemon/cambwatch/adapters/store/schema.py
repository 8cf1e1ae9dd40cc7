"""
The tables, with the rules of the core said again as constraints.

Instants are integer microseconds since 1970 UTC, because both databases compare
those alike. The steps in `migrations/` lead to exactly these tables.
"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from cambwatch.core.model import DeliveryState, Outcome, Status

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class NulSafeText(sa.types.TypeDecorator[str]):
    """
    Text of any characters, also NUL, which PostgreSQL has no place for: there a sign for it is written instead.

    Nobody means it; without this it would keep the end of a task from being written for
    ever, or make an error of a question that has no answer.
    """

    impl = sa.Text
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Callable[[Any], Any] | None:
        """Nothing is to be done where the database takes all."""
        if dialect.name != "postgresql":
            return None
        return lambda value: value.replace("\0", "\ufffd") if isinstance(value, str) else value


BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows by itself only in INTEGER columns


def _one_of(column: str, words: type[Status | DeliveryState | Outcome]) -> str:
    return f"{column} IN ({', '.join(repr(word.value) for word in words)})"


tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", BIG, primary_key=True, autoincrement=True),
    sa.Column("account", NulSafeText, nullable=False),
    sa.Column("kind", NulSafeText, nullable=False),
    sa.Column("task_id", NulSafeText, nullable=False),
    sa.Column("registrations", sa.Integer, nullable=False),  # times it was registered to be watched, from 1
    sa.Column("status", NulSafeText, nullable=False),
    sa.Column("name", NulSafeText),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("notify", sa.JSON(none_as_null=True)),  # NULL: the routes decide
    sa.Column("group", NulSafeText),
    sa.Column("group_size", sa.Integer),
    sa.Column("extra", sa.JSON, nullable=False),
    sa.Column("run_id", sa.BigInteger),
    sa.Column("exception_reason", NulSafeText),
    sa.Column("message", NulSafeText),
    sa.Column("result", sa.JSON(none_as_null=True)),
    sa.Column("polls", sa.Integer, nullable=False),
    sa.Column("registered_at", sa.BigInteger, nullable=False),
    sa.Column("first_polled_at", sa.BigInteger),
    sa.Column("deadline_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("node", NulSafeText),  # that asks for it; NULL: any may take it, or there is one process alone
    sa.Column("known", sa.Boolean, nullable=False, server_default=sa.false()),  # Camb has returned a status for it
    # In this order: it finds a task as well, and a listing of one account is not tempted to read and sort all of it.
    sa.UniqueConstraint("task_id", "kind", "account"),
    sa.CheckConstraint(_one_of("status", Status), name="status"),
    sa.CheckConstraint("(status = 'PENDING') = (finished_at IS NULL)", name="finished_iff_terminal"),
    sa.CheckConstraint("length(task_id) BETWEEN 1 AND 200", name="task_id_length"),
    sa.CheckConstraint("registrations >= 1", name="registrations_from_1"),
    sa.CheckConstraint("polls >= 0", name="polls_not_negative"),
    sqlite_autoincrement=True,  # an id is never given twice, so "newest first" holds
)

# Words, not parameters: a planner that does not see the value cannot use a partial index.
TASK_PENDING = tasks.c.status == sa.literal_column(f"'{Status.PENDING}'")
GROUPED = tasks.c.group.is_not(None)
FINISHED = tasks.c.finished_at.is_not(None)

sa.Index("ix_tasks_status", tasks.c.status, tasks.c.id)
sa.Index("ix_tasks_group", tasks.c.group, tasks.c.status, sqlite_where=GROUPED, postgresql_where=GROUPED)
sa.Index("ix_tasks_finished", tasks.c.finished_at, tasks.c.id, sqlite_where=FINISHED, postgresql_where=FINISHED)

# Who holds what; only where several nodes share one database.
sa.Index("ix_tasks_node", tasks.c.node, tasks.c.account, tasks.c.id, postgresql_where=TASK_PENDING).ddl_if(
    dialect="postgresql"
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", BIG, primary_key=True, autoincrement=True),
    sa.Column("task", sa.ForeignKey("tasks.id", ondelete="CASCADE")),  # NULL: it is a group's
    sa.Column("origin", NulSafeText, nullable=False, unique=True),  # deduplicates the event
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("group", NulSafeText),  # whose completion it is; NULL: it is no group's
)

GROUP_COMPLETION = events.c.group.is_not(None)

sa.Index("ix_events_task", events.c.task, events.c.created_at)  # those of a task, and by their age those of none
sa.Index(
    "ix_events_group", events.c.group, unique=True, sqlite_where=GROUP_COMPLETION, postgresql_where=GROUP_COMPLETION
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", NulSafeText, primary_key=True),  # the webhook-id
    sa.Column("event_id", sa.ForeignKey("events.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("destination", NulSafeText, nullable=False),
    sa.Column("state", NulSafeText, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("next_attempt_at", sa.BigInteger),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("outcome", NulSafeText),  # of the last attempt within the budget, as are the next two
    sa.Column("http_status", sa.Integer),
    sa.Column("detail", NulSafeText),
    sa.Column("budget_from", sa.BigInteger),  # NULL: created_at
    sa.Column("not_before", sa.BigInteger),  # the receiver's own wish; NULL: it has none
    sa.Column("uncharged", sa.BigInteger, nullable=False, server_default="0"),  # microseconds
    sa.CheckConstraint(_one_of("state", DeliveryState), name="state"),
    sa.CheckConstraint(_one_of("outcome", Outcome), name="outcome"),
    sa.CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="due_iff_pending"),
    sa.CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished_iff_not_pending"),
    sa.CheckConstraint("attempts >= 0", name="attempts_not_negative"),
    sa.CheckConstraint("uncharged >= 0", name="uncharged_not_negative"),
)

DELIVERY_PENDING = deliveries.c.state == sa.literal_column(f"'{DeliveryState.PENDING}'")
DEAD = deliveries.c.state == sa.literal_column(f"'{DeliveryState.DEAD}'")

FRESH = sa.and_(DELIVERY_PENDING, deliveries.c.attempts == sa.literal_column("0"))
REPEATED = sa.and_(DELIVERY_PENDING, deliveries.c.attempts > sa.literal_column("0"))

# Two, because each is read in the order of what is due, and the fresh go first.
for _name, _which in (("ix_deliveries_fresh", FRESH), ("ix_deliveries_repeated", REPEATED)):
    sa.Index(
        _name,
        deliveries.c.destination,
        deliveries.c.next_attempt_at,
        sqlite_where=_which,
        postgresql_where=_which,
    )
sa.Index("ix_deliveries_newest", deliveries.c.created_at, deliveries.c.id)
sa.Index("ix_deliveries_dead", deliveries.c.created_at, deliveries.c.id, sqlite_where=DEAD, postgresql_where=DEAD)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("delivery_id", sa.ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("outcome", NulSafeText, nullable=False),
    sa.Column("http_status", sa.Integer),
    sa.Column("took_ms", sa.Integer, nullable=False),
    sa.Column("detail", NulSafeText),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("delivery_count", sa.Integer, nullable=False, server_default="1"),  # deliveries in this POST
    sa.CheckConstraint(_one_of("outcome", Outcome), name="outcome"),
    sa.CheckConstraint("number >= 1", name="number_from_1"),
    sqlite_with_rowid=False,  # one tree instead of two: they are only ever found by their delivery
)

# How those fare that do not fare well; a destination without a row does.
breakers_table = sa.Table(
    "destinations",
    metadata,
    sa.Column("name", NulSafeText, primary_key=True),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("rate_limits", sa.Integer, nullable=False),
    sa.Column("probes", sa.Integer, nullable=False),
    sa.Column("failing_since", sa.BigInteger),
    sa.Column("outcome", NulSafeText),
    sa.Column("http_status", sa.Integer),
    sa.Column("probe_at", sa.BigInteger),
    sa.Column("paused_until", sa.BigInteger),
    sa.Column("alerted", sa.Boolean, nullable=False),
    sa.CheckConstraint(_one_of("outcome", Outcome), name="outcome"),
)

# What is remembered of how long tasks took: a few kilobytes for a kind, or a size within one, however many there were.
durations = sa.Table(
    "durations",
    metadata,
    sa.Column("kind", NulSafeText, primary_key=True),
    sa.Column("size", NulSafeText, primary_key=True),  # empty: all tasks of the kind
    sa.Column("histogram", sa.JSON, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

# The processes that share this database. What a node holds it holds by its lease, as a whole.
nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", NulSafeText, primary_key=True),
    sa.Column("accounts", sa.JSON, nullable=False),  # whose tasks it can ask for
    sa.Column("destinations", sa.JSON, nullable=False),  # to which it can post
    sa.Column("joined_at", sa.BigInteger, nullable=False),
    sa.Column("leased_until", sa.BigInteger, nullable=False),  # by the clock of the database
    sa.Column("left", sa.Boolean, nullable=False),  # others may take what it holds; it never comes back by this id
)

# Which node posts to a destination, and no other.
destination_leases = sa.Table(
    "destination_leases",
    metadata,
    sa.Column("destination", NulSafeText, primary_key=True),
    sa.Column("node", NulSafeText),  # NULL: any may take it
)

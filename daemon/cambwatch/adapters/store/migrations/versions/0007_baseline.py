"""The schema before names were unified: all tables, from an empty database."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
STATUSES = "'PENDING', 'SUCCESS', 'ERROR', 'TIMEOUT', 'PAYMENT_REQUIRED', 'EXPIRED', 'NOT_FOUND', 'REMOVED'"
STATES = "'pending', 'delivered', 'dead', 'cancelled'"
OUTCOMES = (
    "'accepted', 'accepted_unverified', 'rate_limited', 'transient', 'payload_rejected', "
    "'destination_gone', 'auth', 'policy', 'ours'"
)


def upgrade() -> None:
    """From an empty database."""
    op.create_table(
        "tasks",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("task_id", sa.Text, nullable=False),
        sa.Column("registrations", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("notify", sa.JSON),
        sa.Column("group", sa.Text),
        sa.Column("group_size", sa.Integer),
        sa.Column("extra", sa.JSON, nullable=False),
        sa.Column("run_id", sa.BigInteger),
        sa.Column("exception_reason", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("result", sa.JSON),
        sa.Column("polls", sa.Integer, nullable=False),
        sa.Column("registered_at", sa.BigInteger, nullable=False),
        sa.Column("first_polled_at", sa.BigInteger),
        sa.Column("deadline_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("node", sa.Text),
        sa.Column("known", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        sa.UniqueConstraint("task_id", "kind", "account", name="uq_tasks_task_id_kind_account"),
        sa.CheckConstraint(f"status IN ({STATUSES})", name="ck_tasks_status"),
        sa.CheckConstraint("(status = 'PENDING') = (finished_at IS NULL)", name="ck_tasks_finished_iff_terminal"),
        sa.CheckConstraint("length(task_id) BETWEEN 1 AND 200", name="ck_tasks_task_id_length"),
        sa.CheckConstraint("registrations >= 1", name="ck_tasks_registrations_from_1"),
        sa.CheckConstraint("polls >= 0", name="ck_tasks_polls_not_negative"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tasks_status", "tasks", ["status", "id"])
    grouped = sa.text('"group" IS NOT NULL')
    op.create_index("ix_tasks_group", "tasks", ["group", "status"], sqlite_where=grouped, postgresql_where=grouped)
    op.create_table(
        "events",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("task", BIG, sa.ForeignKey("tasks.id", name="fk_events_task", ondelete="CASCADE")),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("group", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("origin", name="uq_events_origin"),
    )
    op.create_index("ix_events_task", "events", ["task", "created_at"])
    op.create_index("ix_events_group", "events", ["group"], unique=True, sqlite_where=grouped, postgresql_where=grouped)
    finished = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_tasks_finished", "tasks", ["finished_at", "id"], sqlite_where=finished, postgresql_where=finished
    )
    if op.get_bind().dialect.name == "postgresql":
        pending = sa.text("status = 'PENDING'")
        op.create_index("ix_tasks_node", "tasks", ["node", "account", "id"], postgresql_where=pending)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text),
        sa.Column(
            "event_id",
            BIG,
            sa.ForeignKey("events.id", name="fk_deliveries_event_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("outcome", sa.Text),
        sa.Column("http_status", sa.Integer),
        sa.Column("detail", sa.Text),
        sa.Column("budget_from", sa.BigInteger),
        sa.Column(
            "spared",
            sa.BigInteger,
            sa.CheckConstraint("spared >= 0", name="ck_deliveries_spared_not_negative"),
            nullable=False,
            server_default="0",
        ),
        sa.Column("not_before", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.CheckConstraint(f"state IN ({STATES})", name="ck_deliveries_state"),
        sa.CheckConstraint(f"outcome IN ({OUTCOMES})", name="ck_deliveries_outcome"),
        sa.CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="ck_deliveries_due_iff_pending"),
        sa.CheckConstraint(
            "(state = 'pending') = (finished_at IS NULL)", name="ck_deliveries_finished_iff_not_pending"
        ),
        sa.CheckConstraint("attempts >= 0", name="ck_deliveries_attempts_not_negative"),
    )
    op.create_index("ix_deliveries_event_id", "deliveries", ["event_id"])
    for name, tried in (("ix_deliveries_fresh", "= 0"), ("ix_deliveries_repeated", "> 0")):
        which = sa.text(f"state = 'pending' AND attempts {tried}")
        op.create_index(
            name, "deliveries", ["destination", "next_attempt_at"], sqlite_where=which, postgresql_where=which
        )
    op.create_index("ix_deliveries_newest", "deliveries", ["created_at", "id"])
    dead = sa.text("state = 'dead'")
    op.create_index("ix_deliveries_dead", "deliveries", ["created_at", "id"], sqlite_where=dead, postgresql_where=dead)
    op.create_table(
        "attempts",
        sa.Column(
            "delivery_id",
            sa.Text,
            sa.ForeignKey("deliveries.id", name="fk_attempts_delivery_id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("http_status", sa.Integer),
        sa.Column("took_ms", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("together", sa.Integer, nullable=False, server_default="1"),
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_attempts"),
        sa.CheckConstraint(f"outcome IN ({OUTCOMES})", name="ck_attempts_outcome"),
        sa.CheckConstraint("number >= 1", name="ck_attempts_number_from_1"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "destinations",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("limits", sa.Integer, nullable=False),
        sa.Column("probes", sa.Integer, nullable=False),
        sa.Column("failing_since", sa.BigInteger),
        sa.Column("outcome", sa.Text),
        sa.Column("http_status", sa.Integer),
        sa.Column("probe_at", sa.BigInteger),
        sa.Column("held_until", sa.BigInteger),
        sa.Column("told", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_destinations"),
        sa.CheckConstraint(f"outcome IN ({OUTCOMES})", name="ck_destinations_outcome"),
    )
    op.create_table(
        "durations",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size", sa.Text, nullable=False),
        sa.Column("memory", sa.JSON, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "size", name="pk_durations"),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("accounts", sa.JSON, nullable=False),
        sa.Column("destinations", sa.JSON, nullable=False),
        sa.Column("joined_at", sa.BigInteger, nullable=False),
        sa.Column("leased_until", sa.BigInteger, nullable=False),
        sa.Column("left", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
    )
    op.create_table(
        "lanes",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("node", sa.Text),
        sa.PrimaryKeyConstraint("destination", name="pk_lanes"),
    )

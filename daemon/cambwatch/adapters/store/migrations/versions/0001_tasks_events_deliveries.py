"""Tasks, events and deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
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
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sa.UniqueConstraint("origin", name="uq_events_origin"),
    )
    op.create_index("ix_events_task", "events", ["task"])
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
    waiting = sa.text("state = 'pending'")
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["destination", "next_attempt_at"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )

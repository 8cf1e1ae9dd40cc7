"""Attempts are kept; a delivery can be given a fresh budget; listings of deliveries find theirs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OUTCOMES = (
    "'accepted', 'accepted_unverified', 'rate_limited', 'transient', 'payload_rejected', "
    "'destination_gone', 'auth', 'policy', 'ours'"
)


def upgrade() -> None:
    """What was tried before has left no attempts, but counts as it did."""
    op.add_column("deliveries", sa.Column("budget_from", sa.BigInteger))
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
        sa.PrimaryKeyConstraint("delivery_id", "number", name="pk_attempts"),
        sa.CheckConstraint(f"outcome IN ({OUTCOMES})", name="ck_attempts_outcome"),
        sa.CheckConstraint("number >= 1", name="ck_attempts_number_from_1"),
        sqlite_with_rowid=False,
    )

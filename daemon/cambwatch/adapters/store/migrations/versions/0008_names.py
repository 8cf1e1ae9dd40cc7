"""Renames columns and one table to the names that code, API and docs use."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

RENAMED = (
    ("attempts", "together", "delivery_count"),
    ("destinations", "limits", "rate_limits"),
    ("destinations", "held_until", "paused_until"),
    ("destinations", "told", "alerted"),
    ("durations", "memory", "histogram"),
)


def upgrade() -> None:
    """
    Rename in place where the name of a constraint does not change with it.

    SQLite cannot rename a constraint, so `deliveries.uncharged` and `destination_leases` are copied.
    """
    for table, old, new in RENAMED:
        op.execute(sa.text(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}"))
    op.add_column(
        "deliveries",
        sa.Column(
            "uncharged",
            sa.BigInteger,
            sa.CheckConstraint("uncharged >= 0", name="ck_deliveries_uncharged_not_negative"),
            nullable=False,
            server_default="0",
        ),
    )
    op.execute(sa.text("UPDATE deliveries SET uncharged = spared WHERE spared <> 0"))
    op.drop_column("deliveries", "spared")
    op.create_table(
        "destination_leases",
        sa.Column("destination", sa.Text, nullable=False),
        sa.Column("node", sa.Text),
        sa.PrimaryKeyConstraint("destination", name="pk_destination_leases"),
    )
    op.execute(sa.text("INSERT INTO destination_leases (destination, node) SELECT destination, node FROM lanes"))
    op.drop_table("lanes")

"""Destinations have a breaker; what was never tried is found before what was; what a budget is spared; digests."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OUTCOMES = (
    "'accepted', 'accepted_unverified', 'rate_limited', 'transient', 'payload_rejected', "
    "'destination_gone', 'auth', 'policy', 'ours'"
)


def upgrade() -> None:
    """What waits goes on waiting; every destination begins as one that fares well."""
    op.add_column(
        "deliveries",
        sa.Column(
            "spared",
            sa.BigInteger,
            sa.CheckConstraint("spared >= 0", name="ck_deliveries_spared_not_negative"),
            nullable=False,
            server_default="0",
        ),
    )
    op.add_column("deliveries", sa.Column("not_before", sa.BigInteger))
    op.add_column("attempts", sa.Column("together", sa.Integer, nullable=False, server_default="1"))
    op.drop_index("ix_deliveries_due", "deliveries")
    for name, tried in (("ix_deliveries_fresh", "= 0"), ("ix_deliveries_repeated", "> 0")):
        which = sa.text(f"state = 'pending' AND attempts {tried}")
        op.create_index(
            name, "deliveries", ["destination", "next_attempt_at"], sqlite_where=which, postgresql_where=which
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

"""It is remembered how long tasks took."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing is known yet."""
    op.create_table(
        "durations",
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size", sa.Text, nullable=False),
        sa.Column("memory", sa.JSON, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("kind", "size", name="pk_durations"),
    )

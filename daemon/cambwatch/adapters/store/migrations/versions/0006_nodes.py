"""Several nodes share the work: who they are, which tasks each asks for, and to which destinations each posts."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody holds anything yet. On SQLite, where there is one process, it stays like that."""
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
    op.add_column("tasks", sa.Column("node", sa.Text))
    if op.get_bind().dialect.name == "postgresql":
        pending = sa.text("status = 'PENDING'")
        op.create_index("ix_tasks_node", "tasks", ["node", "account", "id"], postgresql_where=pending)

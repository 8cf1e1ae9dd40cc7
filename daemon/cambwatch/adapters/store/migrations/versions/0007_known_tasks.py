"""Adds tasks.known: Camb has returned a status for the task, so a later 404 needs more proof."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Existing tasks become known with the next status."""
    op.add_column("tasks", sa.Column("known", sa.Boolean, nullable=False, server_default=sa.false()))

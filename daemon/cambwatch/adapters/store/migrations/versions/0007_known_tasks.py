"""A task says whether Camb has ever answered for it: a later 404 then needs more proof."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Tasks from before are not known until the next answer."""
    op.add_column("tasks", sa.Column("known", sa.Boolean, nullable=False, server_default=sa.false()))

"""What is old is found by its age; a group that was told is found by its name."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Everything stays; what is too old is forgotten by the daemon, step by step."""
    op.add_column("events", sa.Column("group", sa.Text))
    events = sa.table("events", sa.column("task"), sa.column("group"), sa.column("document", sa.JSON))
    document = events.c.document
    op.execute(
        sa.update(events)
        .where(events.c.task.is_(None), document["event"].as_string() == sa.literal_column("'group'"))
        .values(group=document["group"].as_string())
    )
    told = sa.text('"group" IS NOT NULL')
    op.create_index("ix_events_group", "events", ["group"], unique=True, sqlite_where=told, postgresql_where=told)
    op.drop_index("ix_events_task", "events")
    op.create_index("ix_events_task", "events", ["task", "created_at"])
    finished = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_tasks_finished", "tasks", ["finished_at", "id"], sqlite_where=finished, postgresql_where=finished
    )

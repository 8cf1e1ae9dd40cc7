"""Every statement about missed results."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.row_mapping import to_micros
from cambwatch.adapters.store.schema import nodes, tasks
from cambwatch.core.model import Json, Status, Task

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_SUCCEEDED = tasks.c.status == sa.literal_column(f"'{Status.SUCCESS}'")
# The empty string keeps SQLite off the index on status, which would read every task that ever succeeded.
_HAD_SUCCEEDED = tasks.c.status.concat(sa.literal_column("''")) == sa.literal_column(f"'{Status.SUCCESS}'")
_MISSED = tasks.c.result.is_(sa.null())
_AFTER_CURSOR = sa.tuple_(tasks.c.finished_at, tasks.c.id) > sa.tuple_(sa.bindparam("at"), sa.bindparam("number"))
_WITHOUT_RESULT = (
    sa.select(tasks)
    .where(
        tasks.c.finished_at >= sa.bindparam("at"),  # without it SQLite does not use the partial index
        _AFTER_CURSOR,
        _HAD_SUCCEEDED,
        tasks.c.run_id.is_not(None),
        _MISSED,
        tasks.c.kind.in_(sa.bindparam("kinds", expanding=True)),
        tasks.c.account.in_(sa.bindparam("accounts", expanding=True)),
    )
    .order_by(tasks.c.finished_at, tasks.c.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_OTHER_NODES = sa.select(nodes.c.id).where(
    nodes.c.left.is_(sa.false()), nodes.c.id != sa.bindparam("me", type_=sa.Text)
)
_OURS = _WITHOUT_RESULT.where(sa.or_(tasks.c.node.is_(None), tasks.c.node.not_in(_OTHER_NODES)))
_SET_RESULT = sa.update(tasks).where(
    tasks.c.id == sa.bindparam("number"), tasks.c.registrations == sa.bindparam("watch"), _SUCCEEDED
)
_SET_MISSING_RESULT = _SET_RESULT.where(_MISSED)


@dataclass(frozen=True, slots=True)
class CompletionCursor:
    """A position in the order of the ends of tasks: after task *row_id*, which ended *at*."""

    at: datetime
    row_id: int = 0


class LateResultStore:
    """Finds tasks without a result, and stores results that come late."""

    def __init__(self, database: Database, *, node: str | None = None) -> None:
        """*node* None: this is the only process."""
        self._database = database
        self._node = node

    async def missing_results(
        self, since: CompletionCursor, *, kinds: Collection[str], accounts: Collection[str], most: int
    ) -> list[Task]:
        """
        Up to *most* tasks that succeeded after *since* and have a run but no result, in the order of their ends.

        Leaves out tasks that another live node concluded: that node retries them.
        """
        wanted = {
            "at": to_micros(since.at),
            "number": since.row_id,
            "kinds": sorted(kinds),
            "accounts": sorted(accounts),
            "most": most,
        }

        def work(connection: sa.Connection) -> list[Task]:
            if self._node is None:
                found = connection.execute(_WITHOUT_RESULT, wanted)
            else:
                found = connection.execute(_OURS, wanted | {"me": self._node})
            return [row_mapping.task(row) for row in found]

        return await self._database.read(work)

    async def write(self, task: Task, result: Json, *, part_stored: bool) -> bool:
        """
        Store *result* (not None) for *task*, which has none yet, or with *part_stored* only a part.

        False, and nothing is written, where the task was deleted, was registered again, or
        has its result already.
        """
        statement = _SET_RESULT if part_stored else _SET_MISSING_RESULT
        values = {"number": task.id, "watch": task.registrations, "result": result}
        return await self._database.write(lambda connection: connection.execute(statement, values).rowcount == 1)

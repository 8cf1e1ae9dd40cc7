"""Every statement about how long tasks took."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.rows import us
from cambwatch.adapters.store.schema import durations
from cambwatch.core.cadence.model import Memory

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_ALL = sa.select(durations).order_by(durations.c.kind, durations.c.size)
_FORGET = sa.delete(durations).where(
    durations.c.kind == sa.bindparam("whose"), durations.c.size == sa.bindparam("which")
)
_WRITE = sa.insert(durations)


class DurationStore:
    """What is remembered of how long tasks took, a row for each kind and each size within one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def memories(self) -> list[Memory]:
        """All of them."""

        def work(connection: sa.Connection) -> list[Memory]:
            return [Memory(row.kind, row.size or None, row.memory) for row in connection.execute(_ALL)]

        return await self._database.read(work)

    async def keep(self, memories: Sequence[Memory], *, now: datetime) -> None:
        """Write down *memories*, of one of each, all or none, in place of what was known."""

        def work(connection: sa.Connection) -> None:
            connection.execute(_FORGET, [{"whose": one.kind, "which": one.size or ""} for one in memories])
            connection.execute(
                _WRITE,
                [
                    {"kind": one.kind, "size": one.size or "", "memory": one.durations, "updated_at": us(now)}
                    for one in memories
                ],
            )

        if memories:
            await self._database.write(work)

"""Every statement about how long tasks took."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.row_mapping import to_micros
from cambwatch.adapters.store.schema import durations
from cambwatch.core.cadence.cadence_model import SavedDurations

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_ALL = sa.select(durations).order_by(durations.c.kind, durations.c.size)
_DELETE = sa.delete(durations).where(
    durations.c.kind == sa.bindparam("whose"), durations.c.size == sa.bindparam("which")
)
_INSERT = sa.insert(durations)


class DurationStore:
    """What is remembered of how long tasks took, a row for each kind and each size within one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def saved_durations(self) -> list[SavedDurations]:
        """All of them."""

        def work(connection: sa.Connection) -> list[SavedDurations]:
            return [SavedDurations(row.kind, row.size or None, row.histogram) for row in connection.execute(_ALL)]

        return await self._database.read(work)

    async def save_durations(self, saved_durations: Sequence[SavedDurations], *, now: datetime) -> None:
        """Write down *saved_durations*, of one of each, all or none, in place of what was known."""

        def work(connection: sa.Connection) -> None:
            connection.execute(_DELETE, [{"whose": one.kind, "which": one.size or ""} for one in saved_durations])
            connection.execute(
                _INSERT,
                [
                    {"kind": one.kind, "size": one.size or "", "histogram": one.durations, "updated_at": to_micros(now)}
                    for one in saved_durations
                ],
            )

        if saved_durations:
            await self._database.write(work)

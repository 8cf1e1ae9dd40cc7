"""How much there is: rows by an index each, and room on the disk."""

import os
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.delivery_listing import backlogs
from cambwatch.adapters.store.schema import tasks
from cambwatch.core.model import Status
from cambwatch.core.store_stats import DiskSpace, StoreStats

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_BY_STATUS = sa.select(tasks.c.status, sa.func.count()).group_by(tasks.c.status)


class StoreStatsReader:
    """Counts what is in *database*."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> StoreStats:
        """All at one moment. Raises StoreUnavailableError."""

        def work(connection: sa.Connection) -> StoreStats:
            by_status = {Status(status): count for status, count in connection.execute(_BY_STATUS)}
            return StoreStats(by_status, backlogs(connection))

        return await self._database.read(work)


def disk_space(path: Path) -> DiskSpace:
    """
    What the SQLite file *path*, with its log, takes, and what is left on its file system for this user.

    Asks the file system, which may take a while: not for the event loop. Raises OSError.
    """
    files = os.statvfs(path.parent)
    used_bytes = 0
    for name in (path.name, f"{path.name}-wal"):
        with suppress(FileNotFoundError):  # there is no log while nobody writes
            used_bytes += path.with_name(name).stat().st_size
    return DiskSpace(used_bytes, size=files.f_blocks * files.f_frsize, free=files.f_bavail * files.f_frsize)

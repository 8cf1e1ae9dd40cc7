"""The database that a configuration names: a SQLite file, or a PostgreSQL server's."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from uuid import uuid4

from cambwatch.adapters.store import sqlite, sqlite_migration
from cambwatch.adapters.store.database import Database, StoreMeter
from cambwatch.adapters.store.stats import disk_space
from cambwatch.core.cluster import ClusterEvent
from cambwatch.core.store_stats import DiskSpace


class OpenDatabase(Database, Protocol):
    """A database at work; an asynchronous context manager, within one running event loop."""

    @property
    def trouble(self) -> str | None: ...
    async def recheck_write(self) -> str | None: ...
    async def check_write(self) -> str | None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class ClusterEvents(Protocol):
    """Other nodes; an asynchronous context manager, within one running event loop."""

    heard: Callable[[ClusterEvent], None]
    """Called with what they tell."""
    disconnected: Callable[[], None]
    """Called when something that they told may have been missed."""

    def publish(self, event: ClusterEvent) -> None: ...
    async def flush(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Store(Protocol):
    """Where tasks and deliveries are kept."""

    @property
    def node(self) -> str | None:
        """By which id this process holds what it does; None where it is the only one."""

    def renew_node_id(self) -> None:
        """Go by another id from now on: the last one has lost everything."""

    def exclusive_lock(self) -> AbstractContextManager[None]:
        """Keep away who must not use it at the same time. Raises StoreBusyError, StoreUnavailableError."""

    async def migrate(self) -> None:
        """Bring it to the schema of this version. Raises StoreTooNewError, StoreUnavailableError."""

    def open(self, meter: StoreMeter) -> OpenDatabase:
        """The database."""

    def cluster_events(self) -> ClusterEvents:
        """Who else uses it."""

    def disk_space(self) -> DiskSpace | None:
        """What it takes of its disk, and what is left; None where that is another machine's. Raises OSError."""


def store_at(url: str) -> Store:
    """The store at *url*, as read_store_url() takes it."""
    path = url.removeprefix("sqlite:///")
    return PostgresStore(url) if path == url else SqliteStore(Path(path))


class SqliteStore:
    """A SQLite file, for one process."""

    node = None

    def __init__(self, path: Path) -> None:
        self._path = path

    def renew_node_id(self) -> None:
        """Nobody can take anything from the only process."""

    def exclusive_lock(self) -> AbstractContextManager[None]:
        """By the lock file beside it."""
        return sqlite.exclusive_process_lock(self._path)

    async def migrate(self) -> None:
        """See Store; nobody is served yet, so nobody is kept waiting."""
        sqlite_migration.migrate(self._path)

    def open(self, meter: StoreMeter) -> OpenDatabase:
        """See Store."""
        return sqlite.SqliteDatabase(self._path, meter=meter)

    def cluster_events(self) -> ClusterEvents:
        """Nobody."""
        return _NoOtherNodes()

    def disk_space(self) -> DiskSpace:
        """See Store."""
        return disk_space(self._path)


class PostgresStore:
    """A database on a PostgreSQL server, for any number of processes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.node = uuid4().hex

    def renew_node_id(self) -> None:
        """See Store."""
        self.node = uuid4().hex

    def exclusive_lock(self) -> AbstractContextManager[None]:
        """Nobody is kept away."""
        return nullcontext()

    async def migrate(self) -> None:
        """See Store."""
        # Imported here, as below: what they need is not installed everywhere.
        from cambwatch.adapters.store.postgres_migration import migrate  # noqa: PLC0415

        await migrate(self._url)

    def open(self, meter: StoreMeter) -> OpenDatabase:
        """See Store."""
        from cambwatch.adapters.store.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(self._url, meter=meter, node=self.node)

    def cluster_events(self) -> ClusterEvents:
        """See Store."""
        from cambwatch.adapters.store.cluster_events import PostgresClusterEvents  # noqa: PLC0415

        return PostgresClusterEvents(self._url, self.node)

    def disk_space(self) -> None:
        """Unknown here."""
        return


class _NoOtherNodes:
    """No other nodes."""

    def __init__(self) -> None:
        self.heard: Callable[[ClusterEvent], None] = lambda _: None
        self.disconnected: Callable[[], None] = lambda: None

    def publish(self, event: ClusterEvent) -> None:
        """Nobody hears it."""

    async def flush(self) -> None:
        """There is nothing to wait for."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

"""The databases that every promise of the store is kept on: a further one is a further word in `database`."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.adapters.store.postgres_migration import migrate as migrate_server
from cambwatch.adapters.store.schema import metadata
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.sqlite_migration import migrate
from cambwatch.adapters.store.tasks import TaskStore
from postgres_server import PostgresServer, drop_database, execute, new_database


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables and no rows, to be copied: a copy is faster than the steps."""
    path = tmp_path_factory.mktemp("migrated") / "cambwatch.db"
    migrate(path)
    return path


@pytest.fixture
def path(_migrated: Path, tmp_path: Path) -> Path:
    """A SQLite file with all tables and no rows."""
    path = tmp_path / "cambwatch.db"
    shutil.copy(_migrated, path)
    path.chmod(0o600)
    return path


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteDatabase]:
    """For the promises that only this database makes."""
    async with SqliteDatabase(path) as database:
        yield database


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server: that of CAMBWATCH_TEST_POSTGRES, else one of our own."""
    if named := os.environ.get("CAMBWATCH_TEST_POSTGRES"):
        yield named
        return
    with PostgresServer() as server:
        yield server.url()


@pytest.fixture(scope="session")
def _migrated_server(postgres_server: str) -> Iterator[str]:
    """A PostgreSQL database with all tables."""
    url = new_database(postgres_server)
    asyncio.run(migrate_server(url))
    yield url
    drop_database(url)


@pytest.fixture
def empty(postgres_server: str) -> Iterator[str]:
    """The URL of a database without tables."""
    url = new_database(postgres_server)
    yield url
    drop_database(url)


@pytest.fixture
async def url(_migrated_server: str) -> str:
    """The URL of a PostgreSQL database with all tables and no rows."""
    tables = ", ".join(f'"{name}"' for name in metadata.tables)
    await execute(_migrated_server, f"TRUNCATE {tables} RESTART IDENTITY CASCADE")  # faster than a new database
    return _migrated_server


@pytest.fixture
async def postgres(url: str) -> AsyncIterator[PostgresDatabase]:
    """For the promises that only this database makes."""
    async with PostgresDatabase(url) as database:
        yield database


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """A database with all tables and no rows."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def tasks(database: Database) -> TaskStore:
    """The tasks in `database`."""
    return TaskStore(database)


@pytest.fixture
def deliveries(database: Database) -> DeliveryStore:
    """The deliveries in `database`."""
    return DeliveryStore(database)


@pytest.fixture
def delivery_admin(database: Database) -> DeliveryAdmin:
    """What people ask of the deliveries in `database`."""
    return DeliveryAdmin(database)

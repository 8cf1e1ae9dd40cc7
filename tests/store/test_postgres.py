"""What PostgreSQL alone can do to us, with a server of our own: it goes, comes back, refuses, and keeps us waiting."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_samples import watch, wish

from cambwatch.adapters.store.database import StoreTooNewError, StoreUnavailableError
from cambwatch.adapters.store.postgres import PostgresDatabase, create_engine
from cambwatch.adapters.store.postgres_connection import PostgresServer as Way
from cambwatch.adapters.store.postgres_migration import migrate
from cambwatch.adapters.store.schema import metadata
from cambwatch.adapters.store.tasks import TaskStore
from postgres_server import PostgresServer, execute, fetch

BACK_S = 5.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that a test may kill."""
    with PostgresServer(settings={"fsync": "off"}) as server:
        asyncio.run(migrate(server.url()))
        yield server


async def until_back(tasks: TaskStore, name: str) -> float:
    """The seconds after which something can be written."""
    begun_s = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            with suppress(StoreUnavailableError):
                await watch(tasks, name)
                return time.monotonic() - begun_s
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_server_that_goes_is_noticed_and_one_that_is_back_is_used(server: PostgresServer, end: str) -> None:
    """Meanwhile everything is refused at once, with the reason; nothing that was committed is gone."""
    async with PostgresDatabase(server.url()) as database:
        tasks = TaskStore(database)
        await watch(tasks, "before")
        await asyncio.to_thread(getattr(server, end))
        with pytest.raises(StoreUnavailableError):
            await watch(tasks, "meanwhile")
        begun_s = time.monotonic()
        for _ in range(20):
            with pytest.raises(StoreUnavailableError, match="PostgreSQL"):
                await watch(tasks, "meanwhile")
            with pytest.raises(StoreUnavailableError):
                await tasks.watched()
        assert time.monotonic() - begun_s < 1
        assert database.trouble is not None
        await asyncio.to_thread(server.start)
        assert await until_back(tasks, "after") < BACK_S
        assert database.trouble is None
        assert [task.key.task_id for task in await tasks.watched()] == ["before", "after"]


async def test_a_server_that_only_reads_is_trouble_until_it_writes(server: PostgresServer) -> None:
    """As one that is about to take over."""
    async with PostgresDatabase(server.url()) as database:
        tasks = TaskStore(database)
        await watch(tasks, "before")
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start, default_transaction_read_only="on")
        async with asyncio.timeout(10):
            while "PostgreSQL is read-only" not in (database.trouble or ""):
                with suppress(StoreUnavailableError):
                    await watch(tasks, "meanwhile")
                await asyncio.sleep(0.02)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert await until_back(tasks, "after") < BACK_S
        assert [task.key.task_id for task in await tasks.watched()] == ["before", "after"]


async def test_a_server_that_is_back_without_its_tables_is_trouble(server: PostgresServer, until) -> None:
    """As one that is being restored: until they are there it is asked on, whatever it says."""
    async with PostgresDatabase(server.url()) as database:
        tasks = TaskStore(database)
        await execute(server.url(), "ALTER TABLE alembic_version RENAME TO away")
        await asyncio.to_thread(server.stop)
        with pytest.raises(StoreUnavailableError):
            await watch(tasks, "meanwhile")
        await asyncio.to_thread(server.start)
        await until(lambda: "alembic_version" in (database.trouble or ""))
        await execute(server.url(), "ALTER TABLE away RENAME TO alembic_version")
        assert await until_back(tasks, "after") < BACK_S


async def test_a_server_without_a_free_connection_is_trouble(server: PostgresServer) -> None:
    """Until there is one."""
    server.kill()
    server.start(max_connections="4", superuser_reserved_connections="0", reserved_connections="0")
    engine = create_engine(Way(server.url()), size=4)
    held = [await engine.connect() for _ in range(4)]
    async with PostgresDatabase(server.url()) as database:
        tasks = TaskStore(database)
        with pytest.raises(StoreUnavailableError, match="max_connections"):
            await watch(tasks, "one")
        for connection in held:
            await connection.close()
        await engine.dispose()
        assert await until_back(tasks, "one") < BACK_S


async def test_a_long_lock_is_waited_for_and_then_given_up(postgres: PostgresDatabase, url: str) -> None:
    """The server is well: others go on, and the same can be done when the lock is gone."""
    tasks = TaskStore(postgres)
    other = await asyncpg.connect(url)
    await other.execute("BEGIN; LOCK TABLE tasks IN EXCLUSIVE MODE")
    with pytest.raises(StoreUnavailableError, match="lock"):
        await watch(tasks, "one")
    assert await tasks.watched() == []
    await other.close()
    await watch(tasks, "one")
    assert postgres.trouble is None


async def test_a_connection_that_drops_everything_is_given_up(server: PostgresServer) -> None:
    """A peer that neither answers nor ends: for no longer than a transaction may take."""
    writers = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass

    hole = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = hole.sockets[0].getsockname()[1]
    async with PostgresDatabase(server.url(port=port), transaction_s=1.0) as database:
        begun_s = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="does not answer"):
            await watch(TaskStore(database), "one")
        assert time.monotonic() - begun_s < 5
    hole.close()
    for writer in writers:
        writer.close()
        await writer.wait_closed()


async def test_a_wrong_password_is_named(postgres_server: str) -> None:
    """And what to look at; the password itself is not."""
    wrong = postgres_server.replace("canary-postgres", "wrong-canary")
    with pytest.raises(StoreUnavailableError, match="pg_hba") as caught:
        await migrate(wrong)
    assert "wrong-canary" not in str(caught.value)


async def test_ten_that_start_at_once_take_the_steps_once(empty: str) -> None:
    """Under a lock; the others find them taken."""
    await asyncio.gather(*(migrate(empty) for _ in range(10)))
    (row,) = await fetch(empty, "SELECT count(*) AS steps FROM alembic_version")
    assert row["steps"] == 1


async def test_the_steps_lead_to_the_schema_here_too(url: str) -> None:
    """As Alembic sees it."""
    engine = create_engine(Way(url), size=1)

    def compare(connection: sa.Connection) -> list[object]:
        options = {"compare_type": True, "compare_server_default": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(compare) == []
    await engine.dispose()


async def test_a_newer_database_is_left_alone(empty: str) -> None:
    """So is one that another program uses."""
    await execute(empty, "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('9999')")
    with pytest.raises(StoreTooNewError, match="9999"):
        await migrate(empty)
    await execute(empty, "DROP TABLE alembic_version; CREATE TABLE tasks (id int)")
    with pytest.raises(StoreUnavailableError, match="another program"):
        await migrate(empty)
    rows = await fetch(empty, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert [row["table_name"] for row in rows] == ["tasks"]


async def test_a_character_that_the_server_has_no_place_for_keeps_nothing_back(postgres: PostgresDatabase) -> None:
    """NUL: a sign for it is kept, and who asks for a name with it finds nothing."""
    tasks = TaskStore(postgres)
    (task,) = await watch(tasks, "one", name="a\0b")
    found = await tasks.task(task.key)
    assert found is not None
    assert found.name == "a\ufffdb"
    assert await tasks.task(wish("one", account="default\0").key) is None

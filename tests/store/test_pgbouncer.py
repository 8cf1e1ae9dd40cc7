"""cambwatch behind a real pgbouncer: it works in session mode, as docs/scaling.md says; other modes are refused."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta

import pytest
from store_samples import conclude, watch

from cambwatch.adapters.store.cluster_events import PostgresClusterEvents
from cambwatch.adapters.store.database import StoreMisconfiguredError, StoreUnavailableError
from cambwatch.adapters.store.leases import RENEWAL_GRACE_S, LeaseStore
from cambwatch.adapters.store.postgres import PostgresDatabase, application_name_of
from cambwatch.adapters.store.postgres_connection import PostgresServer as Way
from cambwatch.adapters.store.postgres_migration import migrate
from cambwatch.adapters.store.schema import metadata
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.cluster import ClusterEvent, ClusterNode
from pgbouncer import Pgbouncer, needs_pgbouncer
from postgres_server import PostgresServer, execute, fetch

pytestmark = needs_pgbouncer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that a test may restart."""
    with PostgresServer(settings={"fsync": "off"}) as server:
        asyncio.run(migrate(server.url()))
        yield server


@pytest.fixture(params=[{}, {"application_name_add_host": "1"}, {"server_reset_query": ""}], ids=str)
def session_mode(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a pgbouncer as docs/scaling.md wants it, and of a database without rows."""
    tables = ", ".join(f'"{name}"' for name in metadata.tables)
    asyncio.run(execute(server.url(), f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    with Pgbouncer(server.port, pool_mode="session", **request.param) as bouncer:
        yield server.url(port=bouncer.port)


async def test_tasks_live_their_lives_in_session_mode(session_mode: str) -> None:
    """Migrated, watched, concluded; and a session that another client leaves behind is as good as a new one."""
    for name in ("one", "two"):
        await migrate(session_mode)
        async with PostgresDatabase(session_mode) as database:
            tasks = TaskStore(database)
            (task,) = await watch(tasks, name)
            assert await conclude(tasks, task) == ["hook"]
            assert await tasks.watched() == []
            assert database.trouble is None


async def test_sessions_have_their_time_limits_in_session_mode(session_mode: str) -> None:
    """Pgbouncer refuses them in the startup packet."""
    connection = await Way(session_mode).connect("cambwatch")
    found = [await connection.fetchval(f"SHOW {name}") for name in ("lock_timeout", "jit", "client_encoding")]
    assert found == ["5s", "off", "UTF8"]
    assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
    assert await connection.fetchval("SHOW application_name") == "cambwatch"
    await connection.close()


async def test_nodes_hear_each_other_in_session_mode(session_mode: str) -> None:
    """LISTEN and NOTIFY."""
    heard: asyncio.Queue[ClusterEvent] = asyncio.Queue()
    listening = asyncio.Event()
    a, b = PostgresClusterEvents(session_mode, "a"), PostgresClusterEvents(session_mode, "b")
    b.heard, b.disconnected = heard.put_nowait, listening.set
    async with a, b, asyncio.timeout(20):
        await listening.wait()
        a.publish(ClusterEvent(queued=frozenset({"hook"})))
        assert await heard.get() == ClusterEvent(queued=frozenset({"hook"}))


async def test_a_frozen_node_is_fenced_in_session_mode(server: PostgresServer, session_mode: str, until) -> None:
    """Its sessions end at the server, whatever pgbouncer adds to their names, and with them its locks."""
    default, hook = frozenset({"default"}), frozenset({"hook"})
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(PostgresDatabase(session_mode, node="a"))
        a = LeaseStore(database, ClusterNode("a", default, hook), lease=timedelta(minutes=1))
        frozen = LeaseStore(database, ClusterNode("frozen", default, hook), lease=-timedelta(seconds=RENEWAL_GRACE_S))
        await a.join()
        await frozen.join()
        session = await Way(session_mode).connect(application_name_of("frozen"))
        stack.callback(session.terminate)
        await session.execute("BEGIN")
        await session.fetch("SELECT 1 FROM nodes WHERE id = 'frozen' FOR UPDATE")
        await session.prepare("SELECT 1")

        async def fenced() -> bool:
            standing = await a.renew()
            assert standing is not None
            names = await fetch(server.url(), "SELECT application_name FROM pg_stat_activity")
            there = any(row["application_name"].startswith(application_name_of("frozen")) for row in names)
            return {one.id for one in standing.nodes} == {"a"} and not there

        await until(fenced)
        await until(session.is_closed)


async def test_a_server_behind_pgbouncer_that_restarts_is_used_again(server: PostgresServer, until) -> None:
    """The node reconnects without a restart, once pgbouncer retries its own connection (every 15 s by default)."""
    with Pgbouncer(server.port, pool_mode="session", server_login_retry="1") as bouncer:
        async with PostgresDatabase(server.url(port=bouncer.port)) as database:
            tasks = TaskStore(database)
            await watch(tasks, "before")
            await asyncio.to_thread(server.stop)
            with pytest.raises(StoreUnavailableError):
                await watch(tasks, "meanwhile")
            await asyncio.to_thread(server.start)

            async def back() -> bool:
                with suppress(StoreUnavailableError):
                    return bool(await watch(tasks, "after"))
                return False

            await until(back)
            assert database.trouble is None


@pytest.mark.parametrize(
    "settings",
    [
        {"pool_mode": "transaction"},
        {"pool_mode": "transaction", "default_pool_size": "1"},
        {"pool_mode": "transaction", "min_pool_size": "4"},
        {"pool_mode": "statement"},
    ],
    ids=str,
)
async def test_a_pooler_that_shares_sessions_is_refused_at_the_start(server: PostgresServer, settings) -> None:
    """LISTEN, prepared statements and leases would fail at some later time, and quietly."""
    with Pgbouncer(server.port, **settings) as bouncer:
        for _ in range(2):  # also with sessions that the first has left behind
            with pytest.raises(StoreMisconfiguredError, match="pool_mode = session"):
                await migrate(server.url(port=bouncer.port))


async def test_a_pool_that_is_too_small_is_named(server: PostgresServer) -> None:
    """The daemon would hang in the middle of its work."""
    with Pgbouncer(server.port, pool_mode="session", default_pool_size="1") as bouncer:
        url = f"{server.url(port=bouncer.port)}?connect_timeout=1"
        with pytest.raises(StoreUnavailableError, match="default_pool_size"):
            await migrate(url)


@pytest.mark.parametrize("option", ["-c%20search_path%3Dpublic", "--work_mem%3D4MB%20-cstatement_timeout%3D30s"])
async def test_options_are_set_behind_pgbouncer(session_mode: str, option: str) -> None:
    """It would refuse them as `options`."""
    connection = await Way(f"{session_mode}?options={option}").connect("cambwatch")
    await connection.close()


async def test_a_setting_that_pgbouncer_refuses_is_a_mistake(session_mode: str) -> None:
    """A mark for another pooler can only be sent as it is."""
    with pytest.raises(StoreMisconfiguredError, match="options"):
        await migrate(f"{session_mode}?options=endpoint%3Dep-one")

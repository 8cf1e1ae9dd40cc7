"""Several hosts in store.url: the one that takes writes is used, whatever happens to the others."""

import asyncio
from collections.abc import Iterator

import pytest
from store_samples import watch

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.adapters.store.postgres_connection import PostgresServer as Way
from cambwatch.adapters.store.postgres_migration import migrate
from cambwatch.adapters.store.tasks import TaskStore
from postgres_server import PASSWORD, USER, PostgresServer, execute, fetch, free_port
from relay import Relay


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """A primary, and a standby that streams from it."""
    with PostgresServer(settings={"fsync": "off"}) as primary, PostgresServer.standby_of(primary) as standby:
        asyncio.run(migrate(primary.url()))
        yield primary, standby


def both(*servers: PostgresServer, query: str = "") -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://{USER}:{PASSWORD}@{hosts}/postgres{query}"


async def test_a_host_that_is_away_or_silent_is_passed_over(pair, postgres_server: str) -> None:
    """As one whose machine has died, which does not even refuse."""
    primary, _ = pair
    async with Relay(primary.port).serve() as hole:
        hole.cut()
        ports = (free_port(), hole.port, primary.port)
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        way = Way(f"postgresql://{USER}:{PASSWORD}@{hosts}/postgres?connect_timeout=1")
        for _ in range(2):
            connection = await way.connect("cambwatch")
            assert connection.get_settings().in_hot_standby == "off"
            await connection.close()
        assert way._hosts[0].port == primary.port  # the next one goes there at once


async def test_when_no_host_can_be_used_each_says_why(pair) -> None:
    """In one sentence."""
    primary, standby = pair
    port = free_port()
    wrong = both(primary, standby).replace(PASSWORD, "wrong-canary").replace(f":{standby.port}", f":{port}")
    with pytest.raises(
        StoreUnavailableError, match=f"127.0.0.1:{primary.port}: password.*127.0.0.1:{port}: "
    ) as caught:
        await migrate(wrong)
    assert "wrong-canary" not in str(caught.value)
    with pytest.raises(StoreUnavailableError, match="read-only"):
        await Way(f"{standby.url()}?target_session_attrs=read-write").connect("cambwatch")


async def test_a_failover_is_followed(pair, until) -> None:
    """Of two hosts the one that takes writes is used, in whatever order they stand; after a failover the other."""
    primary, standby = pair
    async with PostgresDatabase(both(standby, primary)) as database:
        tasks = TaskStore(database)
        await watch(tasks, "before")

        async def streamed() -> bool:
            return bool(await fetch(standby.url(), "SELECT 1 FROM tasks WHERE task_id = 'before'"))

        await until(streamed)
        await asyncio.to_thread(primary.kill)
        with pytest.raises(StoreUnavailableError):
            await watch(tasks, "meanwhile")
        await execute(standby.url(), "SELECT pg_promote()")

        async def back() -> bool:
            try:
                return bool(await watch(tasks, "after"))
            except StoreUnavailableError:
                return False

        await until(back)
        assert [task.key.task_id for task in await tasks.watched()] == ["before", "after"]

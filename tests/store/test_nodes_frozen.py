"""
Nodes that were frozen in the middle of a transaction on PostgreSQL: their locks keep nobody from taking over.

Each is played by a session that has locked something and has prepared a statement that it
does not run, as asyncpg does before it runs one: the server then waits for it without end.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from store_samples import watch

from cambwatch.adapters.store.leases import RENEWAL_GRACE_S, LeaseStore
from cambwatch.adapters.store.postgres import PostgresDatabase, application_name_of
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.cluster import ClusterNode
from postgres_server import fetch

LEASE = timedelta(minutes=1)
LATE = timedelta(microseconds=-1)
FROZEN = -timedelta(seconds=RENEWAL_GRACE_S)
LOCKS = {
    "itself": "SELECT 1 FROM nodes WHERE id = $1 FOR UPDATE",
    "lanes": "SELECT 1 FROM destination_leases WHERE node = $1 FOR UPDATE",
    "tasks": "SELECT 1 FROM tasks WHERE node = $1 FOR UPDATE",
}
SESSIONS = "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"

Freeze = Callable[..., Awaitable[None]]


@pytest.fixture
async def freeze(url: str) -> AsyncIterator[Freeze]:
    """Freezes *node* with all *locked* that is its own."""
    async with AsyncExitStack() as sessions:

        async def freeze(node: str, *locked: str) -> None:
            settings = {"application_name": application_name_of(node), "idle_in_transaction_session_timeout": "100"}
            session: Any = await asyncpg.connect(url, server_settings=settings)
            sessions.callback(session.terminate)
            await session.execute("BEGIN")
            for what in locked:
                await session.fetch(LOCKS[what], node)
            await session.prepare("SELECT 1")

        yield freeze


def node(postgres: PostgresDatabase, name: str, *, lease: timedelta = LEASE) -> LeaseStore:
    return LeaseStore(postgres, ClusterNode(name, frozenset({"default"}), frozenset({"hook"})), lease=lease)


async def there(store: LeaseStore) -> set[str]:
    """Who is there, as a node sees it that renews."""
    standing = await store.renew()
    assert standing is not None
    return {one.id for one in standing.nodes}


async def sessions(url: str, name: str) -> int:
    """How many sessions there are of the node *name*."""
    return sum(row["application_name"] == application_name_of(name) for row in await fetch(url, SESSIONS))


async def test_the_server_alone_does_not_free_what_such_a_session_has_locked(freeze, url, until) -> None:
    """Else these tests would show nothing: the limit of 100 ms ends an idle one, and not this one."""
    await freeze("frozen")
    idle: Any = await asyncpg.connect(url, server_settings={"idle_in_transaction_session_timeout": "100"})
    await idle.execute("BEGIN")
    await until(idle.is_closed)
    idle.terminate()
    assert await sessions(url, "frozen") == 1


@pytest.mark.parametrize("locked", [(), *((what,) for what in LOCKS), tuple(LOCKS)])
async def test_a_frozen_node_is_replaced(locked, postgres: PostgresDatabase, url: str, freeze, until) -> None:
    """By who renews in time, who then takes all that it held, whatever of it is locked."""
    a, frozen = node(postgres, "a"), node(postgres, "frozen", lease=FROZEN)
    await a.join()
    await frozen.join()
    (task,) = await watch(TaskStore(postgres, node="frozen"), "one")
    assert list(await frozen.acquire_destinations(["hook"], gone=())) == ["hook"]
    await freeze("frozen", *locked)

    async def gone() -> bool:
        return await there(a) == {"a"}

    await until(gone)

    async def severed() -> bool:
        return await sessions(url, "frozen") == 0

    await until(severed)
    assert list(await a.acquire_destinations(["hook"], gone={"frozen"})) == ["hook"]
    assert await a.acquire("default", 9, gone={"frozen"}) == [task]
    assert await frozen.renew() is None


async def test_a_node_that_renews_at_this_moment_is_let_be(postgres: PostgresDatabase, url: str, freeze) -> None:
    """It is late, and about to say that it is there."""
    a, late = node(postgres, "a"), node(postgres, "late", lease=LATE)
    await a.join()
    await late.join()
    await freeze("late", "itself")
    assert await there(a) == {"a", "late"}
    assert await sessions(url, "late") == 1


async def test_sessions_of_the_living_are_let_be(postgres: PostgresDatabase, url: str, freeze) -> None:
    """Those of the node that renews, of one whose lease runs, and of one that has left in good order."""
    stores = [node(postgres, name) for name in ("a", "runs", "left")]
    for one in stores:
        await one.join()
    await stores[2].leave()
    for name in ("a", "runs", "left"):
        await freeze(name)
    assert await there(stores[0]) == {"a", "runs"}
    assert [await sessions(url, name) for name in ("a", "runs", "left")] == [1, 1, 1]


async def test_a_node_that_is_late_itself_ends_no_sessions(postgres: PostgresDatabase, url: str, freeze) -> None:
    """The database was away for all of them: each renews as soon as it can."""
    late, other = node(postgres, "late", lease=FROZEN), node(postgres, "other", lease=FROZEN)
    await late.join()
    await other.join()
    await freeze("other")
    await freeze("late")
    assert await there(late) == {"late", "other"}
    assert [await sessions(url, name) for name in ("late", "other")] == [1, 1]


async def test_a_database_goes_by_the_name_of_its_node(url: str, until) -> None:
    """Whatever it does."""

    async def names() -> set[str]:
        found = {row["application_name"] for row in await fetch(url, SESSIONS)}
        return {name for name in found if "cambwatch" in name}

    async def others_are_gone() -> bool:
        return not await names()

    await until(others_are_gone)
    async with PostgresDatabase(url, node="named") as database:
        await node(database, "named").join()
        await watch(TaskStore(database, node="named"), "one")
        assert await names() == {application_name_of("named")}

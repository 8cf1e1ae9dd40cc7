"""Nodes as they are in earnest, each with connections of its own: what two of them do at the very same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from store_samples import NOW, ending, nobody, watch, wish

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.leases import LeaseStore
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.cluster import ClusterNode
from cambwatch.core.model import TaskFilter

LEASE = timedelta(minutes=1)
BACK_S = 5.0


@pytest.fixture
async def databases(url: str) -> AsyncIterator[list[PostgresDatabase]]:
    """Four processes' worth of connections to one database."""
    async with AsyncExitStack() as running:
        yield [await running.enter_async_context(PostgresDatabase(url)) for _ in range(4)]


@pytest.fixture
async def nodes(databases: list[PostgresDatabase]) -> list[LeaseStore]:
    """Four that have joined, a to d; one PostgresDatabase would let only one of them in at a time."""
    made = [
        LeaseStore(database, ClusterNode(name, frozenset({"default"}), frozenset({"hook"})), lease=LEASE)
        for name, database in zip("abcd", databases, strict=True)
    ]
    for one in made:
        await one.join()
    return made


async def test_what_several_take_at_once_each_has_alone(
    databases: list[PostgresDatabase], nodes: list[LeaseStore]
) -> None:
    """Free tasks and those of one who is gone, in portions that cross; nobody waits for a lock."""
    await TaskStore(databases[0]).register([wish(f"free-{number}") for number in range(300)], now=NOW)
    await TaskStore(databases[0], node="gone").register([wish(f"gone-{number}") for number in range(300)], now=NOW)

    async def acquire(one: LeaseStore) -> list[int]:
        found: list[int] = []
        while some := await one.acquire("default", 7, gone=["gone"]):
            found += [task.id for task in some]
        return found

    shares = await asyncio.gather(*(acquire(one) for one in nodes))
    numbers = [number for share in shares for number in share]
    assert len(set(numbers)) == len(numbers)
    left = await nodes[0].acquire("default", 600, gone=["gone"])  # rows that were locked were passed over, not lost
    assert len(numbers) + len(left) == 600
    for one, share in zip(nodes[1:], shares[1:], strict=True):
        assert {task.id for task in await one.held(after=0, most=600)} == set(share)


async def test_a_lane_that_several_want_at_once_goes_to_one(nodes: list[LeaseStore]) -> None:
    """Round after round; also where the row of it is not there yet."""
    for number in range(20):
        name = f"hook-{number}"
        taken = await asyncio.gather(*(one.acquire_destinations([name], gone=()) for one in nodes))
        assert sorted(map(len, taken)) == [0, 0, 0, 1]


async def test_who_has_left_takes_nothing_any_more(databases: list[PostgresDatabase], nodes: list[LeaseStore]) -> None:
    """Its last wish may be under way still when it goes; the others have all at once."""
    a, b, *_ = nodes
    await watch(TaskStore(databases[0], node="a"), "held")
    await watch(TaskStore(databases[0]), "free")
    await a.leave()
    assert await a.acquire("default", 9, gone=()) == []
    assert list(await a.acquire_destinations(["hook"], gone=())) == []
    assert await a.renew() is None
    standing = await b.renew()
    assert standing is not None
    assert standing.gone() == {"a"}
    assert len(await b.acquire("default", 9, gone=standing.gone())) == 2


@pytest.mark.parametrize("field", ["message", "exception_reason", "result"])
async def test_an_end_with_nul_is_kept_and_can_be_listed(databases: list[PostgresDatabase], field: str) -> None:
    """Wherever it stands; every other task can be found as well."""
    tasks = TaskStore(databases[0])
    one, _ = await watch(tasks, "one", "two", labels={"show": "pilot"})
    ended, event = ending(one, **{field: {"a": "x\0y"} if field == "result" else "x\0y"})
    assert await tasks.conclude(ended, event, notify=["hook"], destinations_for_group=nobody) == ["hook"]
    found = await tasks.page(replace(TaskFilter(), labels={"show": "pilot"}), limit=9, before=None)
    assert [task.key.task_id for task in found] == ["two", "one"]


@pytest.mark.parametrize("labels", [{"show": "a\0b"}, {"a\0b": "pilot"}], ids=["value", "name"])
async def test_a_label_with_nul_that_is_asked_for_finds_nothing(
    databases: list[PostgresDatabase], labels: dict[str, str]
) -> None:
    """As on SQLite; it is no error."""
    tasks = TaskStore(databases[0])
    await watch(tasks, "plain", labels={"show": "pilot"})
    assert await tasks.page(TaskFilter(labels=labels), limit=9, before=None) == []


async def test_a_way_that_falls_silent_is_noticed_and_used_again_when_it_speaks(url: str) -> None:
    """Connections that were well: nothing comes back from them, and nothing ends them."""
    open_, writers = asyncio.Event(), []
    open_.set()
    host, _, name = url.rpartition("@")[2].partition("/")
    server_port = int(host.rpartition(":")[2])

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while some := await reader.read(65536):
                await open_.wait()
                writer.write(some)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host.rpartition(":")[0], server_port)
        writers.extend((writer, up_writer))
        await asyncio.gather(carry(reader, up_writer), carry(up_reader, writer))

    proxy = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    through = f"{url.rpartition('@')[0]}@127.0.0.1:{port}/{name}"
    async with PostgresDatabase(through, transaction_s=1.0) as database:
        tasks = TaskStore(database)
        await watch(tasks, "before")
        open_.clear()
        with pytest.raises(StoreUnavailableError):
            await watch(tasks, "meanwhile")
        assert database.trouble is not None
        with pytest.raises(StoreUnavailableError):
            async with asyncio.timeout(0.5):  # at once, with a probe under way
                await watch(tasks, "meanwhile")
        open_.set()
        async with asyncio.timeout(BACK_S):
            while database.trouble is not None:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.02)
        await watch(tasks, "after")
        assert {"before", "after"} <= {task.key.task_id for task in await tasks.watched()}
    proxy.close()
    for writer in writers:
        writer.close()

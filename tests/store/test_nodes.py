"""Nodes that share a PostgreSQL database: what each holds, how it changes hands, and the fence around it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from store_samples import NOW, all_due, conclude, count, record, watch, wish

from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.leases import LeaseStore
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.cluster import ClusterNode
from cambwatch.core.events import GroupComplete
from cambwatch.core.model import Attempt, Delivered, Outcome, Status

LEASE = timedelta(minutes=1)
NO_LEASE = timedelta(microseconds=-1)
ACCEPTED = Attempt(1, Outcome.ACCEPTED, 3, http_status=204)


@pytest.fixture
def tasks(postgres: PostgresDatabase) -> TaskStore:
    """As a process that shares with nobody."""
    return TaskStore(postgres)


def node(postgres: PostgresDatabase, name: str, *, lease: timedelta = LEASE) -> LeaseStore:
    return LeaseStore(postgres, ClusterNode(name, frozenset({"default"}), frozenset({"hook"})), lease=lease)


async def test_who_has_joined_is_there_until_it_leaves(postgres: PostgresDatabase) -> None:
    """By its accounts and destinations; a second join changes those."""
    a, b = node(postgres, "a"), node(postgres, "b")
    await a.join()
    await b.join()
    await LeaseStore(postgres, ClusterNode("b", frozenset({"x"}), frozenset()), lease=LEASE).join()
    standing = await a.renew()
    assert standing is not None
    assert {one.id: (one.accounts, one.destinations) for one in standing.nodes} == {
        "a": (frozenset({"default"}), frozenset({"hook"})),
        "b": (frozenset({"x"}), frozenset()),
    }
    assert standing.next_lease_end_s == pytest.approx(60, abs=5)
    await b.leave()
    standing = await a.renew()
    assert standing is not None
    assert ([one.id for one in standing.nodes], standing.next_lease_end_s) == (["a"], None)


async def test_a_node_that_does_not_renew_is_gone_for_ever(postgres: PostgresDatabase, tasks: TaskStore) -> None:
    """As soon as another renews, which then may take what it held; it cannot take anything any more itself."""
    a, b = node(postgres, "a"), node(postgres, "b", lease=NO_LEASE)
    await a.join()
    await b.join()
    (task,) = await watch(tasks, "one")
    assert await b.acquire("default", 9, gone=()) == [task]
    assert list(await b.acquire_destinations(["hook"], gone=())) == ["hook"]
    standing = await a.renew()
    assert standing is not None
    assert standing.gone() == {"b"}
    assert (standing.tasks, standing.destination_leases) == ({("default", "b"): 1}, {"hook": "b"})
    assert await b.renew() is None
    await watch(tasks, "two")
    assert await b.acquire("default", 9, gone=()) == []
    assert list(await b.acquire_destinations(["slack"], gone=())) == []
    assert {one.key.task_id for one in await a.acquire("default", 9, gone=standing.gone())} == {"one", "two"}
    assert list(await a.acquire_destinations(["hook"], gone=standing.gone())) == ["hook"]
    assert await b.renew() is None
    await a.renew()
    assert await count(postgres, "nodes") == 1


async def test_a_node_that_is_late_itself_takes_nobody_for_gone(postgres: PostgresDatabase) -> None:
    """The database was away for all of them: each renews as soon as it can."""
    a, b = node(postgres, "a", lease=NO_LEASE), node(postgres, "b", lease=NO_LEASE)
    await a.join()
    await b.join()
    for one in (a, b, a):
        standing = await one.renew()
        assert standing is not None
        assert {other.id for other in standing.nodes} == {"a", "b"}


async def test_a_task_is_taken_by_one(postgres: PostgresDatabase, tasks: TaskStore) -> None:
    """However many nodes take at the same time; together they have all."""
    stores = [node(postgres, name) for name in "abcd"]
    for one in stores:
        await one.join()
    await tasks.register([wish(f"t{number}") for number in range(400)], now=NOW)

    async def acquire(store: LeaseStore) -> list[str]:
        found: list[str] = []
        while some := await store.acquire("default", 17, gone=()):
            found += [task.key.task_id for task in some]
        return found

    found = await asyncio.gather(*(acquire(one) for one in stores))
    assert sorted(name for some in found for name in some) == sorted(f"t{number}" for number in range(400))


async def test_what_is_given_back_can_be_taken(postgres: PostgresDatabase, tasks: TaskStore) -> None:
    """The newest first; what is left is still held, and is found again by its holder."""
    a, b = node(postgres, "a"), node(postgres, "b")
    await a.join()
    await b.join()
    made = await TaskStore(postgres, node="a").register([wish(f"t{number}") for number in range(5)], now=NOW)
    ids = [one.task.id for one in made]
    assert sorted(await a.release("default", 2)) == ids[3:]
    assert [task.id for task in await a.held(after=0, most=2)] == ids[:2]
    assert [task.id for task in await a.held(after=ids[1], most=2)] == [ids[2]]
    assert sorted(task.id for task in await b.acquire("default", 9, gone=())) == ids[3:]
    await a.acquire_destinations(["hook"], gone=())
    assert list(await b.acquire_destinations(["hook"], gone=())) == []
    await a.release_destinations(["hook"])
    assert list(await b.acquire_destinations(["hook"], gone=())) == ["hook"]


async def test_only_the_holder_concludes(postgres: PostgresDatabase) -> None:
    """A node that was frozen, and whose task another has by now, changes nothing."""
    mine, other = TaskStore(postgres, node="a"), TaskStore(postgres, node="b")
    b = node(postgres, "b")
    await b.join()
    (task,) = await watch(mine, "one")
    assert await b.acquire("default", 1, gone=["a"]) == [task]
    assert await conclude(mine, task, notify=["hook"]) is None
    stored = await mine.task(task.key)
    assert stored is not None
    assert stored.status is Status.PENDING
    assert await conclude(other, task, notify=["hook"]) == ["hook"]
    assert await conclude(other, task, notify=["hook"]) is None


async def test_only_the_holder_of_a_lane_records(postgres: PostgresDatabase, tasks: TaskStore) -> None:
    """And an attempt of a number that is written is not written over."""
    a, b = node(postgres, "a"), node(postgres, "b")
    await a.join()
    await b.join()
    mine, other = DeliveryStore(postgres, node="a"), DeliveryStore(postgres, node="b")
    (task,) = await watch(tasks, "one")
    await conclude(tasks, task, notify=["hook"])
    ((delivery, _),) = await all_due(mine, "hook", now=NOW + LEASE)
    await a.acquire_destinations(["hook"], gone=())
    assert not await record(other, delivery, ACCEPTED, Delivered(), now=NOW)
    assert await count(postgres, "attempts") == 0
    assert await record(mine, delivery, ACCEPTED, Delivered(), now=NOW)
    await b.acquire_destinations(["hook"], gone=["a"])
    assert not await record(mine, delivery, ACCEPTED, Delivered(), now=NOW)
    assert not await record(other, delivery, ACCEPTED, Delivered(), now=NOW)
    assert await count(postgres, "attempts") == 1


async def test_a_group_whose_last_tasks_two_nodes_end_is_complete_once(postgres: PostgresDatabase, url: str) -> None:
    """Each in a transaction of its own, at the same time."""
    heard: list[str] = []

    def hear(event: GroupComplete) -> Sequence[str]:
        heard.append(event.group)
        return ["hook"]

    async with PostgresDatabase(url) as another:
        stores = (TaskStore(postgres), TaskStore(another))
        for number in range(25):
            both = await watch(stores[0], f"a{number}", f"b{number}", group=f"g{number}")
            await asyncio.gather(
                *(
                    conclude(store, task, notify=(), destinations_for_group=hear)
                    for store, task in zip(stores, both, strict=True)
                )
            )
    assert sorted(set(heard)) == sorted(f"g{number}" for number in range(25))
    assert await count(postgres, "deliveries") == 25


async def test_a_task_that_two_nodes_register_is_new_to_one(postgres: PostgresDatabase, url: str) -> None:
    """Also where both insert it at the same moment: the other then finds it."""
    async with PostgresDatabase(url) as another:
        stores = (TaskStore(postgres, node="a"), TaskStore(another, node="b"))
        for number in range(25):
            wishes = [wish(f"t{number}-{one}") for one in range(3)]
            told = await asyncio.gather(*(store.register(wishes, now=NOW) for store in stores))
            assert [sum(answer[one].new for answer in told) for one in range(3)] == [1, 1, 1]
            assert [one.task.id for one in told[0]] == [one.task.id for one in told[1]]

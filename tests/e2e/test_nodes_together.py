"""Several real processes on one PostgreSQL server share the work, hear of each other, and stand in for each other."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from ends import ended_once
from events import hear, hook, ids_of, settings, shown, watch

from postgres_server import PostgresServer, drop_database, execute, fetch, new_database

LEASE_S = 2


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    url = new_database(server.url())
    yield url
    drop_database(url)


@pytest.fixture
def node(process, receivers, url):
    """Starts a further node."""

    async def start(**more):
        store = more.pop("store", {"url": url, "lease": f"{LEASE_S}s"})
        destinations = {"hook": hook(receivers), "other": hook(receivers, "/other")}
        return await process(settings(store=store, destinations=destinations, **more))

    return start


async def alive(url):
    """How many nodes there are."""
    (row,) = await fetch(url, 'SELECT count(*) AS nodes FROM nodes WHERE NOT "left"')
    return row["nodes"]


async def holders(url):
    """How many pending tasks each node holds; None: nobody does."""
    rows = await fetch(url, "SELECT node, count(*) AS tasks FROM tasks WHERE status = 'PENDING' GROUP BY node")
    return {row["node"]: row["tasks"] for row in rows}


async def test_what_one_knows_all_know(node, camb, receivers, until) -> None:
    """Registered at one, shown and waited for at the other, asked for at once, and told of once."""
    a, b = await node(polling={"interval": "1h", "min_interval": "1h", "max_interval": "2h"}), await node()
    task = camb.add("dub", status="PENDING")
    await watch(a.api, "dub", task, name="Pilot")
    assert (await shown(b.api, "dub", task))["name"] == "Pilot"
    await until(lambda: camb.polls(task) == 1)
    waiting = asyncio.ensure_future(b.api.get(f"/v1/tasks/dub/{task}?wait=15s"))
    camb.add("dub", task, status="ERROR")
    begun_s = time.monotonic()
    answer = await b.api.ask("POST", f"/v1/tasks/dub/{task}/poll", headers={"content-type": "application/json"})
    assert answer.status == 202
    assert (await waiting).document["status"] == "ERROR"
    assert time.monotonic() - begun_s < 10
    await hear(receivers, task)
    await hear(receivers, task, path="/other")
    assert len(receivers.requests) == 2


async def test_a_task_that_is_removed_at_one_is_asked_for_by_none(node, camb, receivers, until) -> None:
    """The one that asks hears of it."""
    a, b = await node(), await node()
    task = camb.add("dub", status="PENDING")
    await watch(a.api, "dub", task)
    await until(lambda: camb.polls(task) > 2)
    assert (await b.api.ask("DELETE", f"/v1/tasks/dub/{task}")).status == 204
    other = camb.add("dub", status="PENDING")
    await watch(a.api, "dub", other)
    await until(lambda: camb.polls(other) > 3)
    seen = camb.polls(task)
    await until(lambda: camb.polls(other) > 20)
    assert camb.polls(task) <= seen + 1
    assert receivers.requests == []


async def test_a_node_that_joins_gets_its_share(node, camb, until, url) -> None:
    """Of a hundred tasks, about half."""
    a = await node()
    tasks = [camb.add("dub", status="PENDING") for _ in range(100)]
    await watch(a.api, "dub", *tasks)
    await node()

    async def shared() -> bool:
        return sorted((await holders(url)).values()) == [50, 50]

    await until(shared)


async def test_what_a_node_holds_that_stops_is_taken_at_once(node, camb, receivers, until, url) -> None:
    """Its tasks, and the destinations that it posts to."""
    a = await node()
    tasks = [camb.add("dub", status="PENDING") for _ in range(30)]
    await watch(a.api, "dub", *tasks)
    await node()
    await until(lambda: alive(url))
    begun_s = time.monotonic()
    assert await a.stop() == 0
    for task in tasks:
        camb.add("dub", task, status="ERROR")
    await hear(receivers, *tasks)
    await hear(receivers, *tasks, path="/other")
    assert time.monotonic() - begun_s < 10
    assert set(Counter(ids_of(receivers.requests)).values()) == {1}


async def test_what_a_node_holds_that_is_killed_is_taken_after_its_lease(node, camb, receivers, until, url) -> None:
    """Everything is told once: nothing was under way."""
    a, b = await node(), await node()
    tasks = [camb.add("dub", status="PENDING") for _ in range(60)]
    await watch(a.api, "dub", *tasks)
    await watch(b.api, "dub", *(camb.add("dub", status="PENDING") for _ in range(3)))

    async def shared() -> bool:
        return len(await holders(url)) == 2

    await until(shared)
    await a.kill()
    killed_s = time.monotonic()

    async def taken() -> bool:
        return len(await holders(url)) == 1

    await until(taken)
    assert time.monotonic() - killed_s < LEASE_S + 2
    for task in tasks:
        camb.add("dub", task, status="ERROR")
    await hear(receivers, *tasks)
    await hear(receivers, *tasks, path="/other")
    assert set(Counter(ids_of(receivers.requests)).values()) == {1}


async def test_a_frozen_node_changes_nothing_when_it_wakes_up(node, camb, receivers, until, url) -> None:
    """The other has taken over and concluded; what the frozen one was about to conclude and record does not count."""
    a = await node()
    tasks = [camb.add("dub", status="PENDING") for _ in range(20)]
    await watch(a.api, "dub", *tasks)
    await until(lambda: all(camb.polls(task) for task in tasks))
    await node()
    a.signal(signal.SIGSTOP)  # wherever it is, also in the middle of a transaction
    try:
        for task in tasks:
            camb.add("dub", task, status="ERROR")
        await hear(receivers, *tasks)
        await hear(receivers, *tasks, path="/other")
    finally:
        a.signal(signal.SIGCONT)
    await until(lambda: "lease.lost" in a.log.read_text())

    async def both() -> bool:
        return await alive(url) == 2

    await until(both)
    await ended_once(a, url, camb, receivers, tasks)


async def test_a_budget_is_shared(node, camb, until, url) -> None:
    """Two nodes ask together as often as one may; within a tenth."""
    account = {"requests_per_second": 40}
    a = await node(camb=account)
    await node(camb=account)
    tasks = [camb.add("dub", status="PENDING") for _ in range(100)]
    await watch(a.api, "dub", *tasks)

    async def shared() -> bool:
        return sorted((await holders(url)).values()) == [50, 50]

    await until(shared)

    def asked() -> int:
        return sum(camb.polls(task) for task in tasks)

    first, begun_s = asked(), time.monotonic()
    await until(lambda: asked() >= first + 200)
    assert (asked() - first) / (time.monotonic() - begun_s) == pytest.approx(40, rel=0.1)


async def test_while_the_server_is_away_nothing_is_promised_and_then_all_goes_on(node, camb, receivers, until) -> None:
    """Registrations are refused with the reason; what is pending is told of within seconds of the server's return."""
    with PostgresServer(settings={"fsync": "off"}) as own:  # but what was committed is handed to the system
        url = own.url()
        made = await node(store={"url": url, "lease": f"{LEASE_S}s"})
        task = camb.add("dub", status="PENDING")
        await watch(made.api, "dub", task)
        await until(lambda: camb.polls(task))
        own.kill()

        async def refused() -> bool:
            another = [{"kind": "dub", "task_id": camb.add("dub", status="ERROR")}]
            answer = await made.api.post(another)
            assert answer.status in {201, 503}
            return answer.status == 503 and "retry-after" in answer.headers

        camb.add("dub", task, status="ERROR")
        await until(refused)
        ready = await made.api.get("/readyz")
        assert ready.status == 503
        assert "database" in str(ready.document)
        own.start()
        begun_s = time.monotonic()
        await hear(receivers, task)
        assert time.monotonic() - begun_s < 6
        late = camb.add("dub", status="ERROR")
        await watch(made.api, "dub", late)
        await hear(receivers, late)
        assert await made.stop() == 0


async def test_several_start_at_once_on_an_empty_database(node, url) -> None:
    """One takes the steps, the others wait for it, and all get ready."""
    made = await asyncio.gather(node(), node(), node())
    assert await alive(url) == 3
    assert await asyncio.gather(*(one.stop() for one in made)) == [0, 0, 0]
    assert await alive(url) == 0
    await execute(url, "SELECT 1 FROM alembic_version")


async def hearing(url):
    """The server's processes for those who hear the others' news by now: that is what a session asks for first."""
    rows = await fetch(
        url,
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'cambwatch peers' AND state = 'idle' AND query <> ''",
    )
    return {row["pid"] for row in rows}


async def test_who_reloads_one_reloads_all(node, camb, receivers, until, url) -> None:
    """Each reads its own file; where that is as before nothing changes, and where it is wrong it stays as it was."""
    a, b, same, wrong = [await node() for _ in range(4)]
    for made in (a, b, wrong):
        made.change(destinations={"new": hook(receivers, "/new")})
    wrong.config.write_text(wrong.config.read_text() + "\nrouts: []\n")

    async def all_hear() -> bool:
        return len(await hearing(url)) == 4

    await until(all_hear)
    before = await hearing(url)
    a.signal(signal.SIGHUP)
    await until(lambda: a.said("config.reloaded") and b.said("config.reloaded"))
    await until(lambda: same.said("config.unchanged") and wrong.said("config.refused"))
    task = camb.add("dub", status="ERROR")
    await watch(b.api, "dub", task)
    await hear(receivers, task, path="/new")
    assert receivers.at("/hook") == []

    async def all_hear_again() -> bool:
        now = await hearing(url)
        return len(now) == 4 and len(now - before) == 2

    await until(all_hear_again)
    # Who was told does not tell in turn: each reads its file once.
    a.change(destinations={"newer": hook(receivers, "/newer")})
    a.signal(signal.SIGHUP)
    await until(lambda: len(same.said("config.unchanged")) == 2 and len(b.said("config.unchanged")) == 1)
    assert len(a.said("config.reloaded")) == 2
    assert len(b.said("config.reloaded")) == 1
    assert same.said("config.reloaded") == a.said("config.unchanged") == []

"""A node whose network to the database is cut without a word is stood in for, and comes back by itself."""

import pytest
from ends import ended_once
from events import hear, hook, settings, watch

from postgres_server import PostgresServer, drop_database, new_database
from relay import Relay

LEASE_S = 2


@pytest.fixture
def url():
    with PostgresServer() as server:
        url = new_database(server.url())
        yield url
        drop_database(url)


@pytest.fixture
async def relay(url):
    async with Relay(int(url.rpartition("/")[0].rpartition(":")[2])).serve() as relay:
        yield relay


async def test_who_is_cut_off_is_replaced_and_begins_anew(process, camb, receivers, until, url, relay) -> None:
    """
    What it was about to write when the network went arrives when that is mended, and counts no more.

    Meanwhile it promises nothing, and says why.
    """

    async def node(url):
        destinations = {"hook": hook(receivers), "other": hook(receivers, "/other")}
        return await process(settings(store={"url": url, "lease": f"{LEASE_S}s"}, destinations=destinations))

    head, _, name = url.rpartition("/")
    a = await node(f"{head.rpartition(':')[0]}:{relay.port}/{name}")
    tasks = [camb.add("dub", status="PENDING") for _ in range(20)]
    await watch(a.api, "dub", *tasks)
    await until(lambda: all(camb.polls(task) for task in tasks))
    await node(url)
    for task in tasks:
        camb.add("dub", task, status="ERROR")
    relay.cut()
    await hear(receivers, *tasks)
    await hear(receivers, *tasks, path="/other")

    async def refused() -> bool:
        answer = await a.api.post([{"kind": "dub", "task_id": "no-promise-to-anybody-1"}])
        return answer.status == 503 and "retry-after" in answer.headers

    await until(refused)
    ready = await a.api.get("/readyz")
    assert (ready.status, "database" in str(ready.document)) == (503, True)
    relay.mend()
    await until(lambda: "lease.lost" in a.log.read_text())
    await a.until_ready()
    await ended_once(a, url, camb, receivers, tasks)

"""What still holds where a node did not hear what another told, or was told what the server has no place for."""

from collections.abc import Iterator

import pytest
from events import hear, hook, settings, watch

from postgres_server import PostgresServer, drop_database, execute, fetch, new_database

LEASE = "3s"
LISTENING = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'cambwatch peers' AND datname = current_database()"
)


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
        return await process(
            settings(store={"url": url, "lease": LEASE}, destinations={"hook": hook(receivers)}, **more)
        )

    return start


async def test_a_removal_that_its_node_did_not_hear_of_is_found_out(node, camb, until, url) -> None:
    """By the look at a renewal: nobody asks for the task for long."""
    a = await node()
    (listening,) = await fetch(url, LISTENING)
    b = await node()
    task, other = camb.add("dub", status="PENDING"), camb.add("dub", status="PENDING")
    await watch(a.api, "dub", task, other)
    await until(lambda: camb.polls(task) > 2)
    await execute(url, f"SELECT pg_terminate_backend({listening['pid']})")  # it is back half a second later
    assert (await b.api.ask("DELETE", f"/v1/tasks/dub/{task}")).status == 204
    renewed = camb.polls(other) + 60  # more than a lease of polls of the other one, every 50 ms
    await until(lambda: camb.polls(other) >= renewed, 20)
    seen = camb.polls(task)
    await until(lambda: camb.polls(other) >= renewed + 20, 20)
    assert camb.polls(task) == seen


async def test_an_end_that_who_waits_did_not_hear_of_is_found_out(node, camb, receivers, until, url) -> None:
    """The one that waits at another node answers with the end, in the end."""
    a = await node()
    (listening,) = await fetch(url, LISTENING)
    b = await node()
    task = camb.add("dub", status="PENDING")
    await watch(b.api, "dub", task)
    await until(lambda: camb.polls(task) > 0)
    await execute(url, f"SELECT pg_terminate_backend({listening['pid']})")
    camb.add("dub", task, status="ERROR")
    await hear(receivers, task)
    assert (await a.api.get(f"/v1/tasks/dub/{task}?wait=5s")).document["status"] == "ERROR"


async def test_nul_in_a_label_is_no_fault_of_the_daemon(node, camb) -> None:
    """Neither in one that is asked for nor in one that is registered, and listings work as before."""
    a = await node()
    await watch(a.api, "dub", camb.add("dub", status="PENDING"), labels={"show": "pilot"})
    assert (await a.api.get("/v1/tasks?label=show:a%00b")).status in {200, 400, 422}
    answer = await a.api.post(
        [{"kind": "dub", "task_id": camb.add("dub", status="PENDING"), "labels": {"show": "a\0b"}}]
    )
    assert answer.status in {201, 400, 422}
    listed = await a.api.get("/v1/tasks?label=show:pilot")
    assert listed.status == 200
    assert len(listed.document["items"]) == 1

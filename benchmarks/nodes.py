"""
Several nodes on one PostgreSQL: what they lose, what a death costs the others, what sharing costs.

    make bench

Real daemons, each a process of its own, on a real PostgreSQL server that writes to disk
(fsync on); Camb and the receiver here; loopback only. Prints what it measured and writes
it, raw, to benchmarks/results/nodes.json.
"""

import asyncio
import contextlib
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from cambwatch.adapters.store.leases import LeaseStore
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.core.cluster import ClusterNode
from harness import Camb, Daemon, Receiver, hook, late_at_most, lateness, listening, machine, register
from postgres_server import PostgresServer, execute, fetch

RESULTS = Path(__file__).parent / "results" / "nodes.json"
LEASE_S = 5
COUNTED_S = 12  # until the server has counted what a session did: when that was idle for ten seconds, if not before
NO_SETTINGS: dict[str, str] = {}


@contextlib.asynccontextmanager
async def running(
    client: aiohttp.ClientSession, server: PostgresServer, count: int, *, interval: str, per_second: int
) -> AsyncIterator[tuple[list[Daemon], Camb, Receiver, str]]:
    """*count* nodes on an empty database, with their Camb and receiver, and its URL."""
    camb, receiver = Camb(), Receiver()
    name = f"bench_{time.monotonic_ns()}"
    await execute(server.url(), f"CREATE DATABASE {name}")
    url = server.url(name)
    nodes: list[Daemon] = []
    with tempfile.TemporaryDirectory(prefix="cambwatch-bench-") as folder:
        async with (
            listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
            listening("/hook", receiver.post, "POST") as hook_url,
        ):
            for number in range(count):
                place = Path(folder) / str(number)
                place.mkdir()
                to = {"hook": hook(f"{hook_url}/hook")}
                store = f'{{url: "{url}", lease: {LEASE_S}s}}'
                nodes.append(Daemon(place, camb_url, to, interval=interval, per_second=per_second, store=store))
            await asyncio.gather(*(node.start(client) for node in nodes))
            try:
                yield nodes, camb, receiver, url
            finally:
                for node in nodes:
                    if node.process is not None and node.process.returncode is None:
                        await node.stop()
    await execute(server.url(), f"DROP DATABASE {name} WITH (FORCE)")


async def shared_out(url: str, count: int) -> float:
    """Seconds until *count* nodes hold tasks, none more than a tenth beyond its share."""
    begun_s = time.perf_counter()
    while True:
        rows = await fetch(url, "SELECT count(*) AS tasks FROM tasks WHERE status = 'PENDING' GROUP BY node")
        held = [row["tasks"] for row in rows]
        if len(held) == count and max(held) <= 1.1 * sum(held) / count + 10:
            return time.perf_counter() - begun_s
        await asyncio.sleep(0.05)


async def ends(client: aiohttp.ClientSession, server: PostgresServer, nodes: int, tasks: int) -> dict[str, Any]:
    """*tasks* that end at once, one signed webhook each."""
    async with running(client, server, nodes, interval="2s", per_second=10_000) as (daemons, camb, receiver, url):
        registered = await register(client, daemons[0].url, "end", tasks)
        evened_s = await shared_out(url, nodes)
        receiver.expected = tasks
        begun_s, camb.all_ended = time.perf_counter(), True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(120):
                await receiver.complete.wait()
        came = sorted(receiver.came_at.values())
        return {
            "nodes": nodes,
            "tasks": tasks,
            "registered_per_second_in_arrays": round(registered),
            "seconds_until_evened_out": round(evened_s, 2),
            "ends_per_second": round(len(came) / (came[-1] - begun_s)),
            "lost": tasks - len(came),
            "double": sum(count - 1 for count in receiver.ids.values()),
        }


async def death(
    client: aiohttp.ClientSession, server: PostgresServer, tasks: int, *, by: signal.Signals
) -> dict[str, Any]:
    """
    One of three nodes is killed, or frozen, *by* a signal, and thawed at the end.

    Until when its tasks are asked for again, and what the others' polls notice.
    """
    async with running(client, server, 3, interval="2s", per_second=2_000) as (daemons, camb, receiver, url):
        await register(client, daemons[0].url, "live", tasks)
        await shared_out(url, 3)
        await asyncio.sleep(4)
        dying = daemons[2]
        (row,) = await fetch(url, "SELECT count(*) AS tasks FROM tasks WHERE node = (SELECT min(node) FROM lanes)")
        before = [await lateness(client, node.url) for node in daemons[:2]]
        assert dying.process is not None
        dying.process.send_signal(by)
        killed_s = time.perf_counter()
        await shared_out(url, 2)
        recovered_s = time.perf_counter() - killed_s
        await asyncio.sleep(2)
        after = [await lateness(client, node.url) for node in daemons[:2]]
        receiver.expected = tasks
        camb.all_ended = True
        async with asyncio.timeout(60):
            await receiver.complete.wait()
        if by is signal.SIGSTOP:
            dying.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(2)  # what it was at counts no more
        return {
            "tasks": tasks,
            "lease_s": LEASE_S,
            "held_by_the_one_with_the_lane": row["tasks"],
            "seconds_until_the_others_have_all": round(recovered_s, 2),
            "others_lateness_p99_at_most_s": [late_at_most(*both, 0.99) for both in zip(before, after, strict=True)],
            "lost": tasks - len(receiver.came_at),
            "double": sum(count - 1 for count in receiver.ids.values()),
        }


async def polls(client: aiohttp.ClientSession, server: PostgresServer, nodes: int, seconds: float) -> dict[str, Any]:
    """All PENDING, the same load for each node: polls per second, CPU per poll, and what is written meanwhile."""
    async with running(client, server, nodes, interval="500ms", per_second=10_000) as (daemons, camb, _, url):
        await register(client, daemons[0].url, "busy", 1_000 * nodes)
        await shared_out(url, nodes)
        await asyncio.sleep(COUNTED_S)
        written = "SELECT n_tup_ins + n_tup_upd + n_tup_del AS rows FROM pg_stat_user_tables WHERE relname = 'tasks'"
        (first,) = await fetch(url, written)
        begun_s, begun, cpu_s = time.perf_counter(), camb.polls, sum(node.cpu_s() for node in daemons)
        await asyncio.sleep(seconds)
        took_s, count = time.perf_counter() - begun_s, camb.polls - begun
        cpu_s = sum(node.cpu_s() for node in daemons) - cpu_s
        await asyncio.sleep(COUNTED_S)
        (last,) = await fetch(url, written)
        return {
            "nodes": nodes,
            "polls_per_second": round(count / took_s),
            "cpu_us_per_poll": round(cpu_s / count * 1e6, 1),
            "rows_of_tasks_written_meanwhile": last["rows"] - first["rows"],
        }


async def budget(client: aiohttp.ClientSession, server: PostgresServer) -> dict[str, Any]:
    """What three nodes ask together, with requests_per_second: 60 and far more to ask for."""
    async with running(client, server, 3, interval="1s", per_second=60) as (daemons, camb, _, url):
        await register(client, daemons[0].url, "many", 600)
        await shared_out(url, 3)
        await asyncio.sleep(3)
        begun_s, begun = time.perf_counter(), camb.polls
        await asyncio.sleep(20)
        return {"allowed": 60, "per_second": round((camb.polls - begun) / (time.perf_counter() - begun_s), 2)}


async def renewal(client: aiohttp.ClientSession, server: PostgresServer, tasks: int) -> dict[str, Any]:
    """What it takes to hold *tasks* for another lease, counting included."""
    async with running(client, server, 1, interval="1h", per_second=100) as (daemons, _, _, url):
        await register(client, daemons[0].url, "held", tasks)
        await daemons[0].stop()
        me = ClusterNode("renewing", frozenset({"default"}), frozenset({"hook"}))
        async with PostgresDatabase(url) as database:
            store = LeaseStore(database, me, lease=timedelta(seconds=60))
            await store.join()
            begun_s = time.perf_counter()
            standing = await store.renew()
            assert standing is not None
            while await store.acquire("default", 5000, gone=standing.gone()):
                pass
            took_s = time.perf_counter() - begun_s
            renewals = []
            for _ in range(20):
                begun_s = time.perf_counter()
                assert await store.renew() is not None
                renewals.append(time.perf_counter() - begun_s)
        return {
            "tasks": tasks,
            "seconds_to_take_all": round(took_s, 2),
            "renewal_ms_p50": round(statistics.median(renewals) * 1e3, 1),
            "renewal_ms_max": round(max(renewals) * 1e3, 1),
        }


async def main() -> None:
    """Measure, print, write down."""
    measured: dict[str, Any] = {"machine": machine()}

    def note(name: str, found: Any) -> None:
        measured[name] = found
        print(name, json.dumps(found))

    with PostgresServer(settings=NO_SETTINGS) as server:
        measured["postgresql"] = (await fetch(server.url(), "SHOW server_version"))[0][0]
        async with aiohttp.ClientSession() as client:
            note("one_node_10000_ends", await ends(client, server, 1, 10_000))
            note("three_nodes_10000_ends", await ends(client, server, 3, 10_000))
            note("death_of_one_of_three", await death(client, server, 3_000, by=signal.SIGKILL))
            note("freeze_of_one_of_three", await death(client, server, 3_000, by=signal.SIGSTOP))
            turns: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
            for _ in range(2):
                for nodes, found in turns.items():
                    found.append(await polls(client, server, nodes, 8))
            note("polls_all_pending", turns)
            cpu = {nodes: statistics.median(one["cpu_us_per_poll"] for one in found) for nodes, found in turns.items()}
            rate = {
                nodes: statistics.median(one["polls_per_second"] for one in found) for nodes, found in turns.items()
            }
            note("two_nodes_to_one", {"polls": round(rate[2] / rate[1], 2), "cpu_per_poll": round(cpu[2] / cpu[1], 2)})
            note("shared_budget", await budget(client, server))
            note("renewal", await renewal(client, server, 100_000))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    uvloop.run(main())

"""
What a daemon costs that has nothing to do: a thousand tasks, each an hour or more from due, nothing to deliver.

    make bench

Over 30 s: database queries by the daemon's own /metrics (read at the ends only), wake-ups
as voluntary context switches of all its threads, and CPU time. Nothing else talks to the
daemon meanwhile. Once an hour it looks for what is old enough to be forgotten, which is
not measured here. Raw numbers in benchmarks/results/idle.json.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from harness import Camb, Daemon, Receiver, hook, listening, machine, register

RESULTS = Path(__file__).parent / "results" / "idle.json"
TASKS = 1000
SECONDS = 30
SETTLED_S = 70  # until the first of the hourly looks for what is old enough to be forgotten, a minute after the start
OF_A_LOOK = 1  # query that a look at /metrics costs, and counts


async def queries(client: aiohttp.ClientSession, url: str) -> int:
    """Transactions so far, of either kind."""
    async with client.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    names = ("cambwatch_database_read_duration_seconds_count ", "cambwatch_database_write_duration_seconds_count ")
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(names))


async def measured(client: aiohttp.ClientSession, daemon: Daemon) -> dict[str, Any]:
    """What *daemon* does in SECONDS without anything to do."""
    before = await queries(client, daemon.url)
    await asyncio.sleep(2)
    wakes, cpu_s, begun_s = daemon.wakes(), daemon.cpu_s(), time.perf_counter()
    await asyncio.sleep(SECONDS)
    took_s = time.perf_counter() - begun_s
    wakes = {name: count - wakes.get(name, 0) for name, count in daemon.wakes().items()}
    cpu_s = daemon.cpu_s() - cpu_s
    return {
        "queries": await queries(client, daemon.url) - before - OF_A_LOOK,
        "wake_ups_per_second": round(sum(wakes.values()) / took_s, 2),
        "wake_ups_by_thread": {name: count for name, count in wakes.items() if count},
        "cpu_share_of_a_core": round(cpu_s / took_s, 5),
        "rss_mb": round(daemon.rss_mb(), 1),
    }


async def main(tasks: int) -> None:
    """Measure, print, write down."""
    camb, receiver = Camb(), Receiver()
    with tempfile.TemporaryDirectory(prefix="cambwatch-bench-") as folder:
        async with (
            listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
            listening("/", receiver.post, "POST") as receiver_url,
        ):
            # A first pause is half the interval to one and a half.
            daemon = Daemon(Path(folder), camb_url, {"hook": hook(receiver_url)}, interval="2h", per_second=1000)
            async with aiohttp.ClientSession() as client:
                await daemon.start(client)
                await register(client, daemon.url, "idle", tasks)
                async with asyncio.timeout(60):
                    while camb.polls < tasks:
                        await asyncio.sleep(0.1)
                await asyncio.sleep(SETTLED_S)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as client:
                found = {"machine": machine(), "tasks": tasks, "seconds": SECONDS, **await measured(client, daemon)}
            found["polls_meanwhile"] = camb.polls - tasks
            await daemon.stop()
    print(json.dumps(found, indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    uvloop.run(main(parser.parse_args().tasks))

"""
The main job, timed: the real daemon as a process of its own, Camb and the receiver here.

    make bench

Prints what it measured and writes it, raw, to benchmarks/results/main_job.json with
the number of cores. Camb and the receiver share the machine with the daemon, so each
figure is what daemon and load together can do on it. Loopback only.
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from harness import Camb, Daemon, Receiver, hook, listening, machine, percentile, register

RESULTS = Path(__file__).parent / "results" / "main_job.json"


async def ends_at_once(client: aiohttp.ClientSession, folder: Path, count: int) -> dict[str, Any]:
    """*count* tasks that all end between two polls, one signed webhook each."""
    camb, receiver = Camb(), Receiver()
    async with (
        listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
        listening("/hook", receiver.post, "POST") as hook_url,
    ):
        daemon = Daemon(folder, camb_url, {"hook": hook(f"{hook_url}/hook")}, interval="1h", per_second=10_000)
        await daemon.start(client)
        await register(client, daemon.url, "burst", count)
        while camb.polls < count:
            await asyncio.sleep(0.05)
        receiver.expected = count
        camb.all_ended = True
        # A restart makes every task due again within its interval: shorten that, so that all end together.
        await daemon.stop()
        daemon.config.write_text(daemon.config.read_text().replace("interval: 1h", "interval: 100ms"))
        await daemon.start(client)
        cpu_s = daemon.cpu_s()
        async with asyncio.timeout(120):
            await receiver.complete.wait()
        cpu_s = daemon.cpu_s() - cpu_s
        first, last = min(camb.told_at.values()), max(receiver.came_at.values())
        rss = daemon.rss_mb()
        await daemon.stop()
    return {
        "tasks": count,
        "ends_and_deliveries_per_second": round(count / (last - first)),
        "daemon_cpu_ms_each": round(1000 * cpu_s / count, 3),
        "lost": count - len(receiver.came_at),
        "ids": len(receiver.ids),
        "double": sum(times - 1 for times in receiver.ids.values()),
        "rss_mb": round(rss, 1),
    }


async def latency(client: aiohttp.ClientSession, folder: Path, count: int, per_second: int) -> dict[str, Any]:
    """
    Camb's terminal answer -> webhook request received, at *per_second* ends a second.

    At the fixed interval: tasks that begin together and end one after the other are a
    queue, of which nothing can be learned, and every try to would be more polls here.
    """
    camb, receiver = Camb(), Receiver()
    async with (
        listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
        listening("/hook", receiver.post, "POST") as hook_url,
    ):
        daemon = Daemon(folder, camb_url, {"hook": hook(f"{hook_url}/hook")}, interval="2s", per_second=10_000)
        daemon.config.write_text(daemon.config.read_text().replace("polling: {", "polling: {strategy: fixed, "))
        await daemon.start(client)
        await register(client, daemon.url, "steady", count)
        receiver.expected = count
        for number in range(count):
            camb.ended.add(f"steady-{number}")
            await asyncio.sleep(1 / per_second)
        async with asyncio.timeout(60):
            await receiver.complete.wait()
        await daemon.stop()
    delays = [1000 * (receiver.came_at[task_id] - camb.told_at[task_id]) for task_id in receiver.came_at]
    return {
        "ends": count,
        "ends_per_second": per_second,
        "p50_ms": round(statistics.median(delays), 2),
        "p99_ms": round(percentile(delays, 0.99), 2),
        "max_ms": round(max(delays), 2),
    }


async def intake(client: aiohttp.ClientSession, folder: Path) -> dict[str, Any]:
    """POST /v1/tasks, committed to disk: alone, by 32 clients, in arrays; then a start with all of it."""
    camb, receiver = Camb(), Receiver()
    async with (
        listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
        listening("/hook", receiver.post, "POST") as hook_url,
    ):
        daemon = Daemon(folder, camb_url, {"hook": hook(f"{hook_url}/hook")}, interval="1h", per_second=20)
        empty_start = await daemon.start(client)

        async def one(name: str) -> float:
            started = time.perf_counter()
            async with client.post(f"{daemon.url}/v1/tasks", json={"kind": "tts", "task_id": name}) as response:
                assert response.status == 201
                await response.read()
            return 1000 * (time.perf_counter() - started)

        alone = [await one(f"alone-{number}") for number in range(500)]

        async def several(client_number: int) -> None:
            for number in range(200):
                await one(f"client-{client_number}-{number}")

        started = time.perf_counter()
        await asyncio.gather(*(several(number) for number in range(32)))
        by_32 = 32 * 200 / (time.perf_counter() - started)
        in_arrays = await register(client, daemon.url, "array", 93_100)
        await daemon.stop()
        loaded_start = await daemon.start(client)
        rss = daemon.rss_mb()
        stopped = await daemon.stop()
    return {
        "ready_with_empty_database_s": round(empty_start, 2),
        "alone_p50_ms": round(statistics.median(alone), 2),
        "alone_p95_ms": round(percentile(alone, 0.95), 2),
        "by_32_clients_per_second": round(by_32),
        "in_arrays_per_second": round(in_arrays),
        "ready_with_100000_tasks_s": round(loaded_start, 2),
        "rss_with_100000_tasks_mb": round(rss, 1),
        "stop_with_100000_tasks_s": round(stopped, 2),
    }


async def main(count: int) -> None:
    """Measure, print, write down."""
    measured: dict[str, Any] = {"machine": machine()}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as client:
        for name, work in (
            ("intake", lambda folder: intake(client, folder)),
            ("latency", lambda folder: latency(client, folder, 2000, 100)),
            ("ends_at_once", lambda folder: ends_at_once(client, folder, count)),
        ):
            with tempfile.TemporaryDirectory(prefix="cambwatch-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
                measured[name] = await work(Path(folder))
            print(name, json.dumps(measured[name], indent=2))
    measured["load_generator_cpu_s"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"written to {RESULTS.relative_to(Path.cwd())}" if RESULTS.is_relative_to(Path.cwd()) else RESULTS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000, help="how many end at once")
    uvloop.run(main(parser.parse_args().tasks))

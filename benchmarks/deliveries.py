"""
Deliveries, timed: how fast a backlog leaves, what neighbours cost a healthy receiver, what waiting costs in memory.

    make bench

The real daemon as a process of its own, Camb and the receivers here; loopback only.
Prints what it measured and writes it, raw, to benchmarks/results/deliveries.json.
"""

import argparse
import asyncio
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

from harness import Camb, Daemon, Receiver, hook, listening, machine, percentile, register

RESULTS = Path(__file__).parent / "results" / "deliveries.json"
ROUNDS = 4  # of each kind, in turns, so that what else the machine does falls on both
QUIET_S = 8


class Limited(Receiver):
    """Wants nothing for the first QUIET_S, then takes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.open_at: float | None = None

    async def post(self, request: web.Request) -> web.Response:
        now = time.perf_counter()
        self.open_at = self.open_at or now + QUIET_S
        if now < self.open_at:  # several may be on their way before the first answer has come
            return web.Response(status=429, headers={"retry-after": f"{self.open_at - now:.3f}"})
        return await super().post(request)


async def backlog(client: aiohttp.ClientSession, folder: Path, count: int) -> dict[str, Any]:
    """*count* signed webhooks that wait for one destination, from the first that arrives to the last."""
    camb, receiver = Camb(), Limited()
    camb.all_ended = True
    receiver.expected = count
    async with (
        listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
        listening("/hook", receiver.post, "POST") as hook_url,
    ):
        daemon = Daemon(folder, camb_url, {"hook": hook(f"{hook_url}/hook")}, interval="100ms", per_second=10_000)
        await daemon.start(client)
        await register(client, daemon.url, "backlog", count)
        async with asyncio.timeout(QUIET_S - 1):
            while len(camb.told_at) < count:
                await asyncio.sleep(0.05)
        cpu_s = daemon.cpu_s()
        async with asyncio.timeout(120):
            await receiver.complete.wait()
        cpu_s = daemon.cpu_s() - cpu_s
        await daemon.stop()
    took_s = max(receiver.came_at.values()) - min(receiver.came_at.values())
    return {
        "deliveries": count,
        "per_second": round(count / took_s),
        "daemon_cpu_ms_each": round(1000 * cpu_s / count, 3),
        "lost": count - len(receiver.came_at),
        "double": sum(times - 1 for times in receiver.ids.values()),
    }


async def isolation(client: aiohttp.ClientSession, folder: Path, count: int, per_second: int) -> dict[str, Any]:
    """Terminal answer -> healthy receiver, alone and beside one that refuses connections and one that takes 30 s."""
    held = asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(30):
                await held.wait()
        except TimeoutError:
            pass
        return web.Response(status=204)

    async def one_round(name: str, neighbours: dict[str, Any]) -> list[float]:
        camb, receiver = Camb(), Receiver()
        receiver.expected = count
        async with (
            listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
            listening("/hook", receiver.post, "POST") as hook_url,
        ):
            destinations = {"healthy": hook(f"{hook_url}/hook"), **neighbours}
            place = folder / name
            place.mkdir()
            daemon = Daemon(place, camb_url, destinations, interval="2s", per_second=10_000)
            await daemon.start(client)
            await register(client, daemon.url, name, count)
            for number in range(count):
                camb.ended.add(f"{name}-{number}")
                await asyncio.sleep(1 / per_second)
            async with asyncio.timeout(60):
                await receiver.complete.wait()
            await daemon.stop()
        return [1000 * (receiver.came_at[task_id] - camb.told_at[task_id]) for task_id in receiver.came_at]

    async with listening("/slow", slow, "POST") as slow_url:
        neighbours = {
            "dead": hook("http://127.0.0.1:9/", concurrency=4),
            "slow": hook(f"{slow_url}/slow", concurrency=4, timeout="60s"),
        }
        delays: dict[str, list[float]] = {"alone": [], "beside": []}
        p99s: dict[str, list[float]] = {"alone": [], "beside": []}
        for number in range(ROUNDS):
            for kind, others in (("alone", {}), ("beside", neighbours)):
                measured = await one_round(f"{kind}-{number}", others)
                delays[kind] += measured
                p99s[kind].append(round(percentile(measured, 0.99), 2))
        held.set()
    p99 = {kind: percentile(values, 0.99) for kind, values in delays.items()}
    return {
        "ends_per_round": count,
        "ends_per_second": per_second,
        "rounds_of_each": ROUNDS,
        "alone_p50_ms": round(statistics.median(delays["alone"]), 2),
        "beside_p50_ms": round(statistics.median(delays["beside"]), 2),
        "alone_p99_ms": round(p99["alone"], 2),
        "beside_p99_ms": round(p99["beside"], 2),
        "p99_of_each_round_ms": p99s,
        "p99_ratio": round(p99["beside"] / p99["alone"], 3),
        "median_p99_ratio": round(statistics.median(p99s["beside"]) / statistics.median(p99s["alone"]), 3),
    }


async def waiting(client: aiohttp.ClientSession, folder: Path, tasks: int, destinations: int) -> dict[str, Any]:
    """Memory while tasks x destinations deliveries wait for receivers that are down; then what a restart needs."""
    camb = Camb()
    camb.all_ended = True
    async with listening("/{kind}/{task_id}", camb.status, "GET") as camb_url:
        down = {f"down-{number}": hook("http://127.0.0.1:9/") for number in range(destinations)}
        daemon = Daemon(folder, camb_url, down, interval="100ms", per_second=10_000)
        await daemon.start(client)
        before_mb = daemon.rss_mb()
        await register(client, daemon.url, "waiting", tasks)
        async with asyncio.timeout(240):
            while (count := await _count(client, daemon)) < tasks * destinations:
                await asyncio.sleep(0.5)
        rss_mb = daemon.rss_mb()
        stop_s = await daemon.stop()
        start_s = await daemon.start(client)
        again_mb = daemon.rss_mb()
        await daemon.stop()
    return {
        "waiting": count,
        "rss_before_mb": round(before_mb, 1),
        "rss_mb": round(rss_mb, 1),
        "stop_s": round(stop_s, 2),
        "ready_again_s": round(start_s, 2),
        "rss_after_restart_mb": round(again_mb, 1),
    }


async def _count(client: aiohttp.ClientSession, daemon: Daemon) -> int:
    async with client.get(f"{daemon.url}/v1/destinations") as response:
        return sum(one["pending"] for one in (await response.json())["items"])


async def main(count: int) -> None:
    """Measure, print, write down."""
    measured: dict[str, Any] = {"machine": machine()}
    started = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64)) as client:
        for name, work in (
            ("backlog", lambda folder: backlog(client, folder, count)),
            ("isolation", lambda folder: isolation(client, folder, 1000, 100)),
            ("waiting", lambda folder: waiting(client, folder, 20_000, 5)),
        ):
            with tempfile.TemporaryDirectory(prefix="cambwatch-bench-") as folder:
                measured[name] = await work(Path(folder))
            print(name, json.dumps(measured[name], indent=2))
    measured["load_generator_cpu_s"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_utime, 1)
    measured["took_s"] = round(time.perf_counter() - started, 1)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"written to {RESULTS.relative_to(Path.cwd())}" if RESULTS.is_relative_to(Path.cwd()) else RESULTS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=10_000, help="how many wait in the backlog")
    uvloop.run(main(parser.parse_args().deliveries))

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
import platform
import resource
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from aiohttp import web

RESULTS = Path(__file__).parent / "results" / "main_job.json"


class Camb:
    """Answers PENDING until a task is ended, then ERROR: an end without a result to fetch, so only ours is timed."""

    def __init__(self) -> None:
        self.ended: set[str] = set()
        self.all_ended = False
        self.told_at: dict[str, float] = {}
        self.polls = 0

    async def status(self, request: web.Request) -> web.Response:
        self.polls += 1
        task_id = request.match_info["task_id"]
        if self.all_ended or task_id in self.ended:
            self.told_at.setdefault(task_id, time.perf_counter())
            return web.Response(body=b'{"status":"ERROR","run_id":null}', content_type="application/json")
        return web.Response(body=b'{"status":"PENDING","run_id":null}', content_type="application/json")


class Receiver:
    """Counts every notification by its webhook-id and notes when it came."""

    def __init__(self) -> None:
        self.came_at: dict[str, float] = {}
        self.ids: dict[str, int] = {}
        self.expected = 0
        self.complete = asyncio.Event()

    async def post(self, request: web.Request) -> web.Response:
        now = time.perf_counter()
        data = json.loads(await request.read())["data"]
        self.came_at.setdefault(data["task_id"], now)
        webhook_id = request.headers["webhook-id"]
        self.ids[webhook_id] = self.ids.get(webhook_id, 0) + 1
        if len(self.came_at) >= self.expected:
            self.complete.set()
        return web.Response(status=204)


@asynccontextmanager
async def listening(path: str, handler: Any, method: str) -> AsyncIterator[str]:
    """Serve *handler* on a free port of the loopback interface; yields the address."""
    app = web.Application()
    app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Daemon:
    """`cambwatch run` as a process."""

    def __init__(self, folder: Path, camb: str, receiver: str, *, interval: str, per_second: int) -> None:
        self.config = folder / "config.yaml"
        self.url = "http://127.0.0.1:18787"
        self.config.write_text(
            f"""
camb: {{base_url: "{camb}", api_key: bench-key, requests_per_second: {per_second}, concurrency: 64}}
polling: {{interval: {interval}, min_interval: 100ms, max_interval: 1h, deadline: 7d}}
store: {{url: "sqlite:///{folder}/bench.db"}}
http: {{listen: "127.0.0.1:18787"}}
destinations:
  hook: {{type: webhook, url: "{receiver}/hook", concurrency: 64, allow_private: true,
          secret: whsec_YmVuY2htYXJrLXNlY3JldC1vZi0zMi1ieXRlcy0wMDA=}}
log: {{level: warning, format: json}}
"""
        )
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, client: aiohttp.ClientSession) -> float:
        """Seconds until it is ready."""
        started = time.perf_counter()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cambwatch", "run", "--config", str(self.config)
        )
        while time.perf_counter() - started < 60:
            try:
                async with client.get(f"{self.url}/readyz") as response:
                    if response.status == 200:
                        return time.perf_counter() - started
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
        raise TimeoutError("the daemon does not get ready")

    def rss_mb(self) -> float:
        """Resident memory of the daemon now."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    async def stop(self) -> float:
        """Seconds until it has stopped in good order."""
        assert self.process is not None
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        if await self.process.wait() != 0:
            raise RuntimeError("the daemon did not stop in good order")
        return time.perf_counter() - started


def percentile(values: list[float], share: float) -> float:
    """The value below which *share* of *values* lie."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def register(client: aiohttp.ClientSession, url: str, prefix: str, count: int) -> float:
    """Tasks registered per second, in arrays of 1000."""
    started = time.perf_counter()
    for start in range(0, count, 1000):
        body = [{"kind": "tts", "task_id": f"{prefix}-{number}"} for number in range(start, min(start + 1000, count))]
        async with client.post(f"{url}/v1/tasks", json=body) as response:
            assert response.status == 201, await response.text()
    return count / (time.perf_counter() - started)


async def ends_at_once(client: aiohttp.ClientSession, folder: Path, count: int) -> dict[str, Any]:
    """*count* tasks that all end between two polls, one signed webhook each."""
    camb, receiver = Camb(), Receiver()
    async with (
        listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
        listening("/hook", receiver.post, "POST") as hook_url,
    ):
        daemon = Daemon(folder, camb_url, hook_url, interval="1h", per_second=10_000)
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
        async with asyncio.timeout(120):
            await receiver.complete.wait()
        first, last = min(camb.told_at.values()), max(receiver.came_at.values())
        rss = daemon.rss_mb()
        await daemon.stop()
    return {
        "tasks": count,
        "ends_and_deliveries_per_second": round(count / (last - first)),
        "lost": count - len(receiver.came_at),
        "ids": len(receiver.ids),
        "double": sum(times - 1 for times in receiver.ids.values()),
        "rss_mb": round(rss, 1),
    }


async def latency(client: aiohttp.ClientSession, folder: Path, count: int, per_second: int) -> dict[str, Any]:
    """Camb's terminal answer -> webhook request received, at *per_second* ends a second."""
    camb, receiver = Camb(), Receiver()
    async with (
        listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
        listening("/hook", receiver.post, "POST") as hook_url,
    ):
        daemon = Daemon(folder, camb_url, hook_url, interval="2s", per_second=10_000)
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
        daemon = Daemon(folder, camb_url, hook_url, interval="1h", per_second=20)
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
    measured: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.release()}",
        }
    }
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

"""What the benchmarks share: a Camb that ends tasks on demand, a receiver that counts, the daemon as a process."""

import asyncio
import json
import os
import platform
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

SECRET = "whsec_YmVuY2htYXJrLXNlY3JldC1vZi0zMi1ieXRlcy0wMDA="  # noqa: S105 - of nobody


def machine() -> dict[str, Any]:
    """What was measured on."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


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

    def __init__(
        self,
        folder: Path,
        camb: str,
        destinations: Mapping[str, Mapping[str, Any]],
        *,
        interval: str,
        per_second: int,
        store: str | None = None,
    ) -> None:
        """*store* is the section of that name; None: a SQLite file in *folder*."""
        self.config = folder / "config.yaml"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.config.write_text(
            f"""
camb: {{base_url: "{camb}", api_key: bench-key, requests_per_second: {per_second}, concurrency: 64}}
polling: {{interval: {interval}, min_interval: 100ms, max_interval: 3h, deadline: 7d}}
store: {store or f'{{url: "sqlite:///{folder}/bench.db"}}'}
http: {{listen: "{self.url.removeprefix("http://")}"}}
destinations: {json.dumps(destinations)}
log: {{level: warning, format: json}}
"""
        )
        self.config.chmod(0o600)
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

    @property
    def pid(self) -> int:
        """Of the daemon."""
        assert self.process is not None
        return self.process.pid

    def cpu_s(self) -> float:
        """Seconds that the daemon has had of any core."""
        return cpu_s(self.pid)

    def wakes(self) -> dict[str, int]:
        """How often each of its threads has slept and was woken, by its number and name."""
        assert self.process is not None
        found = {}
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            status = (thread / "status").read_text()
            name = status.partition("\n")[0].removeprefix("Name:").strip()
            found[f"{thread.name} {name}"] = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
        return found

    async def stop(self) -> float:
        """Seconds until it has stopped in good order."""
        assert self.process is not None
        started = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        if await self.process.wait() != 0:
            raise RuntimeError("the daemon did not stop in good order")
        return time.perf_counter() - started


def cpu_s(pid: int) -> float:
    """Seconds that the process *pid* has had of any core."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def hook(url: str, **more: Any) -> dict[str, Any]:
    """A destination that signs, at *url*."""
    return {"type": "webhook", "url": url, "concurrency": 64, "allow_private": True, "secret": SECRET, **more}


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


async def lateness(client: aiohttp.ClientSession, url: str) -> dict[float, float]:
    """How many polls so far were at most so many seconds late, by the daemon's own histogram."""
    found: dict[float, float] = {}
    async with client.get(f"{url}/metrics") as response:
        for line in (await response.text()).splitlines():
            if line.startswith("cambwatch_poll_lateness_seconds_bucket{"):
                le = float(line.partition('le="')[2].partition('"')[0].replace("+Inf", "inf"))
                found[le] = found.get(le, 0) + float(line.rpartition(" ")[2])
    return found


def late_at_most(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float:
    """The bound, in seconds, under which *share* of the polls between the two looks were late."""
    found = {le: after[le] - before.get(le, 0) for le in after}
    return min(le for le, count in found.items() if count >= share * found[float("inf")])

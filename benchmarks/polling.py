"""
Polls per second, all PENDING: the daemon beside what a user would run instead, in turns, in one run.

    make bench

A bare aiohttp and uvloop loop, the official SDK's async client, and twenty threads with
requests, each as a process of its own like the daemon, against one pretend Camb that does
nothing but count. What that can serve at most is measured as well, by raw sockets: where a
client comes near it, the client is not the limit. What a request costs the client in
CPU is measured beside its rate, because that is what others on the machine disturb least.
Loopback only; raw numbers in benchmarks/results/polling.json.
"""

import argparse
import asyncio
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from harness import Daemon, cpu_s, hook, late_at_most, lateness, machine, register

RESULTS = Path(__file__).parent / "results" / "polling.json"
CONCURRENCY = 64
THREADS = 20
TASKS = 20_000
ROUNDS = 5
SECONDS = 6
WARM_S = 2
BODY = b'{"status":"PENDING","run_id":null}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Counting(asyncio.Protocol):
    """Answers each request with PENDING, and /count with how many there were."""

    count = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.head = b""

    def data_received(self, data: bytes) -> None:
        self.head += data
        while (end := self.head.find(b"\r\n\r\n")) >= 0:
            asked, self.head = self.head[:end], self.head[end + 4 :]
            if b" /count " in asked.partition(b"\r\n")[0]:
                body = str(Counting.count).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            else:
                Counting.count += 1
                self.transport.write(ANSWER)


async def serve(port: int) -> None:
    """The pretend Camb, for ever."""
    server = await asyncio.get_running_loop().create_server(Counting, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


async def bare(url: str) -> None:
    """What anybody can write in ten lines."""
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector, headers={"x-api-key": "k"}) as session:

        async def ask(number: int) -> None:
            while True:
                async with session.get(f"{url}/tts/task-{number}", timeout=aiohttp.ClientTimeout(30)) as response:
                    assert json.loads(await response.read())["status"] == "PENDING"

        await asyncio.gather(*(ask(number) for number in range(CONCURRENCY)))


async def sdk(url: str) -> None:
    """The official client, as its examples use it."""
    from camb.client import AsyncCambAI  # noqa: PLC0415

    client = AsyncCambAI(api_key="k", base_url=url)

    async def ask(number: int) -> None:
        while True:
            await client.dub.get_dubbing_status(f"task-{number}")

    await asyncio.gather(*(ask(number) for number in range(CONCURRENCY)))


def threads(url: str) -> None:
    """One requests session a thread."""
    import requests  # noqa: PLC0415

    def ask(number: int) -> None:
        with requests.Session() as session:
            while True:
                answer = session.get(f"{url}/tts/task-{number}", headers={"x-api-key": "k"}, timeout=30)
                assert answer.json()["status"] == "PENDING"

    for number in range(THREADS):
        threading.Thread(target=ask, args=(number,), daemon=True).start()
    time.sleep(3600)


async def raw(port: int) -> None:
    """What the pretend Camb can do: sockets that send and read, and do nothing else."""

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            writer.write(b"GET /tts/task HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readexactly(len(ANSWER))

    await asyncio.gather(*(ask() for _ in range(CONCURRENCY)))


@contextlib.contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    """This script as another process."""
    child = subprocess.Popen([sys.executable, __file__, *words])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


async def rate(client: aiohttp.ClientSession, url: str, pid: int) -> tuple[int, float]:
    """
    Requests per second at the pretend Camb, behind a while to warm up.

    And the microseconds of any core that each cost the process *pid*, which asked.
    """

    async def count() -> tuple[float, int, float]:
        async with client.get(f"{url}/count") as response:
            return time.perf_counter(), int(await response.read()), cpu_s(pid)

    await asyncio.sleep(WARM_S)
    begun_s, before, cpu_before_s = await count()
    await asyncio.sleep(SECONDS)
    ended_s, after, cpu_after_s = await count()
    asked = after - before
    return round(asked / (ended_s - begun_s)), round((cpu_after_s - cpu_before_s) / asked * 1e6, 1)


async def steady(client: aiohttp.ClientSession, folder: Path, url: str, tasks: int, interval_s: int) -> dict[str, Any]:
    """*tasks* every *interval_s*: what /metrics says of lateness, and what the process costs."""
    daemon = Daemon(folder, url, {"hook": hook("http://127.0.0.1:9/")}, interval=f"{interval_s}s", per_second=10_000)
    await daemon.start(client)
    await register(client, daemon.url, "steady", tasks)
    await asyncio.sleep(2 * interval_s)  # until all have been spread over the interval
    before, cpu_s = await lateness(client, daemon.url), daemon.cpu_s()
    begun_s = time.perf_counter()
    await asyncio.sleep(60)
    after, cpu_s = await lateness(client, daemon.url), daemon.cpu_s() - cpu_s
    took_s = time.perf_counter() - begun_s
    polls = after[float("inf")] - before.get(float("inf"), 0)
    measured = {
        "tasks": tasks,
        "interval_s": interval_s,
        "polls_per_second": round(polls / took_s),
        "lateness_p50_at_most_s": late_at_most(before, after, 0.5),
        "lateness_p99_at_most_s": late_at_most(before, after, 0.99),
        "rss_mb": round(daemon.rss_mb(), 1),
        "cpu_share_of_a_core": round(cpu_s / took_s, 3),
    }
    await daemon.stop()
    return measured


async def _there(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with client.get(f"{url}/count"):
                    return
            await asyncio.sleep(0.05)


async def main() -> None:
    """Measure in turns, print, write down."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    names = ("raw", "bare", "daemon", "sdk", "threads")
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in names}
    measured: dict[str, Any] = {"machine": machine(), "concurrency": CONCURRENCY, "threads": THREADS}
    with running("--serve", str(port)), tempfile.TemporaryDirectory(prefix="cambwatch-bench-") as folder:
        async with aiohttp.ClientSession() as client:
            await _there(client, url)
            for number in range(ROUNDS):
                for name in names:
                    if name == "daemon":
                        place = Path(folder) / str(number)
                        place.mkdir()
                        nobody = {"hook": hook("http://127.0.0.1:9/")}
                        daemon = Daemon(place, url, nobody, interval="100ms", per_second=10_000)
                        await daemon.start(client)
                        await register(client, daemon.url, "busy", TASKS)
                        found[name].append(await rate(client, url, daemon.pid))
                        await daemon.stop()
                    else:
                        with running(f"--{name}", str(port)) as child:
                            found[name].append(await rate(client, url, child.pid))
            measured["polls_per_second"] = {name: [per_s for per_s, _ in values] for name, values in found.items()}
            measured["cpu_us_per_poll"] = {name: [cpu for _, cpu in values] for name, values in found.items()}
            middle = {name: [statistics.median(column) for column in zip(*found[name], strict=True)] for name in names}
            measured["daemon_to"] = {name: round(middle["daemon"][0] / middle[name][0], 2) for name in names}
            measured["cpu_of_bare_to_daemon"] = round(middle["bare"][1] / middle["daemon"][1], 2)
            print(json.dumps(measured, indent=2))
            for tasks, interval_s in ((10_000, 5), (50_000, 30)):
                place = Path(folder) / f"{tasks}"
                place.mkdir()
                measured[f"{tasks}_tasks"] = await steady(client, place, url, tasks, interval_s)
                print(json.dumps(measured[f"{tasks}_tasks"], indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for word in ("serve", "raw", "bare", "sdk", "threads"):
        parser.add_argument(f"--{word}", type=int, metavar="PORT", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        uvloop.run(serve(wanted.serve))
    elif wanted.raw:
        uvloop.run(raw(wanted.raw))
    elif wanted.bare:
        uvloop.run(bare(f"http://127.0.0.1:{wanted.bare}"))
    elif wanted.sdk:
        asyncio.run(sdk(f"http://127.0.0.1:{wanted.sdk}"))
    elif wanted.threads:
        threads(f"http://127.0.0.1:{wanted.threads}")
    else:
        uvloop.run(main())

"""
A real client among a thousand that dawdle: POST /v1/tasks, committed, one after another.

    .venv/bin/python benchmarks/slow_clients.py

Once alone, once beside a crowd of each kind: connections that say nothing, heads that
come a byte at a time, bodies that do; who is cut off connects again. Prints what it
measured and writes it, raw, to benchmarks/results/slow_clients.json. The crowd shares
the machine with the daemon, so each figure is what both together can do. Loopback only.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import uvloop

from harness import Camb, Daemon, listening, machine, percentile

RESULTS = Path(__file__).parent / "results" / "slow_clients.json"
HEAD = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PAUSE_S = 1.0  # between two bytes
CROWDS = {
    "silent": (b"", b""),
    "slow_heads": (HEAD, b"X"),
    "slow_bodies": (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
}


class Crowd:
    """*size* connections that dawdle, each made again when the daemon has ended it."""

    def __init__(self, url: str, first: bytes, again: bytes) -> None:
        self._address = urlsplit(url)
        self._first = first
        self._again = again
        self.connected = 0
        self.counts: Counter[str] = Counter()

    async def dawdle(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port, limit=1024)
            except OSError:
                self.counts["refused"] += 1
                await asyncio.sleep(PAUSE_S)
                continue
            self.counts["connected"] += 1
            self.connected += 1
            with contextlib.suppress(OSError, RuntimeError):  # uvloop's word for a transport that is closed
                writer.write(self._first)
                while not reader.at_eof() and not writer.is_closing():
                    await asyncio.sleep(PAUSE_S)
                    if not reader.at_eof():
                        writer.write(self._again)
            self.connected -= 1
            self.counts["ended"] += 1
            writer.close()

    @contextlib.asynccontextmanager
    async def around(self, size: int) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.dawdle()) for _ in range(size)]
            while self.connected < size:
                await asyncio.sleep(0.01)
            yield
            for task in tasks:
                task.cancel()


async def register(client: aiohttp.ClientSession, url: str, prefix: str, seconds: float) -> dict[str, Any]:
    """Single registrations for so long, one after another, on the connections of a usual client."""
    took_ms = []
    until_s = time.perf_counter() + seconds
    while (started := time.perf_counter()) < until_s:
        body = {"kind": "tts", "task_id": f"{prefix}-{len(took_ms)}"}
        async with client.post(f"{url}/v1/tasks", json=body) as response:
            assert response.status == 201
            await response.read()
        took_ms.append(1000 * (time.perf_counter() - started))
        await asyncio.sleep(0.005)
    return {
        "requests": len(took_ms),
        "p50_ms": round(statistics.median(took_ms), 2),
        "p99_ms": round(percentile(took_ms, 0.99), 2),
        "max_ms": round(max(took_ms), 2),
    }


async def main(size: int, seconds: float) -> None:
    """Measure, print, write down."""
    measured: dict[str, Any] = {"machine": machine(), "crowd": size, "seconds": seconds}
    camb = Camb()
    with tempfile.TemporaryDirectory(prefix="cambwatch-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
        async with (
            aiohttp.ClientSession() as client,
            listening("/{kind}/{task_id}", camb.status, "GET") as camb_url,
        ):
            daemon = Daemon(Path(folder), camb_url, {}, interval="1h", per_second=20)
            await daemon.start(client)
            measured["alone"] = await register(client, daemon.url, "alone", seconds)
            print("alone", measured["alone"])
            for name, (first, again) in CROWDS.items():
                crowd = Crowd(daemon.url, first, again)
                async with crowd.around(size):
                    measured[name] = await register(client, daemon.url, name, seconds)
                    measured[name] |= crowd.counts | {"rss_mb": round(daemon.rss_mb(), 1)}
                print(name, measured[name])
            await daemon.stop()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crowd", type=int, default=1000, help="how many dawdle at once")
    parser.add_argument("--seconds", type=float, default=25, help="for each crowd; they are cut off after 10")
    options = parser.parse_args()
    uvloop.run(main(options.crowd, options.seconds))

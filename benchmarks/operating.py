"""
What operating costs those who wait: old tasks forgotten, metrics scraped, long listings read, in a full database.

    .venv/bin/python benchmarks/operating.py

Pruning is done in this process, as the daemon does it, beside somebody who registers;
measured are each step, the event loop's lag, and how long the other writer waits,
without and with it. The rest is asked of the real daemon as a process of its own; its lag is
what /healthz takes meanwhile. Prints what it measured and writes it, raw, to
benchmarks/results/operating.json. Loopback only.
"""

import argparse
import asyncio
import itertools
import json
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from cambwatch.adapters.store.retention import PruneCursor, RetentionStore
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.sqlite_migration import migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.event_json import event_to_json
from cambwatch.core.events import Link, TaskEnded
from cambwatch.core.model import Registration, Status, TaskKey
from cambwatch.loops.retention import STEP_PAUSE_S
from cambwatch.web.api.metrics import CACHE_TTL_S
from harness import Camb, Daemon, listening, machine, percentile

RESULTS = Path(__file__).parent / "results" / "operating.json"
LAG_S = 0.002  # between two looks at the event loop
OTHERS_S = 0.01  # between two registrations of somebody else
AGE = timedelta(days=60)

_TASKS = """WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
  INSERT INTO tasks (account, kind, task_id, registrations, status, labels, extra, polls,
    registered_at, deadline_at, finished_at)
  SELECT 'default', 'tts', lower(hex(randomblob(16))), 1, :status, '{"season":"1"}', '{}', 4,
    :at + i, :at + i + 86400000000, CASE WHEN :status != 'PENDING' THEN :at + i + 40000000 END FROM n"""
_EVENTS = """INSERT INTO events (task, origin, document, created_at)
  SELECT id, 'bench-' || id, json_set(:document, '$.task_id', task_id), finished_at FROM tasks
  WHERE finished_at IS NOT NULL"""
_DELIVERIES = """INSERT INTO deliveries (id, event_id, destination, state, attempts,
    created_at, next_attempt_at, finished_at, outcome, http_status)
  SELECT 'msg_' || lower(hex(randomblob(16))), id, 'absent', :state, :attempts,
    created_at, CASE WHEN :state = 'pending' THEN created_at END, CASE WHEN :state != 'pending' THEN created_at END,
    CASE WHEN :attempts > 0 THEN 'accepted' END, CASE WHEN :attempts > 0 THEN 200 END FROM events"""
_ATTEMPTS = """INSERT INTO attempts (delivery_id, number, outcome, http_status, took_ms, at)
  SELECT id, 1, 'accepted', 200, 12, created_at FROM deliveries WHERE attempts > 0"""


def fill(path: Path, *, pending: int, finished: int, state: str) -> None:
    """So many tasks; what of the *finished* ones is told to a destination that is gone has that *state*."""
    migrate(path)
    at = datetime.now(UTC) - AGE
    ended = TaskEnded(
        account="default",
        kind="tts",
        task_id="",
        registrations=1,
        status=Status.SUCCESS,
        registered_at=at,
        finished_at=at + timedelta(seconds=40),
        run_id=12345,
        polls=4,
        result={"output_url": "https://cdn.example/" + "a" * 200},
        links=(Link("Audio", "https://cdn.example/" + "a" * 200),),
    )
    values = {
        "document": json.dumps(event_to_json(ended)),
        "state": state,
        "attempts": int(state != "pending"),
        "at": int(at.timestamp() * 1_000_000),
    }
    with closing(sqlite3.connect(path)) as database, database:
        if finished:
            database.execute(_TASKS, values | {"count": finished, "status": "SUCCESS"})
            database.execute(_EVENTS, values)
            database.execute(_DELIVERIES, values)
            database.execute(_ATTEMPTS)
        if pending:
            values["at"] = int(time.time() * 1_000_000)
            database.execute(_TASKS, values | {"count": pending, "status": "PENDING"})


class Spans:
    """How long things took."""

    def __init__(self) -> None:
        self.took_ms: list[float] = []

    async def of(self, work: Awaitable[Any]) -> Any:
        started = time.perf_counter()
        try:
            return await work
        finally:
            self.took_ms.append(1000 * (time.perf_counter() - started))

    def summary(self) -> dict[str, Any]:
        return {
            "count": len(self.took_ms),
            "p50_ms": round(statistics.median(self.took_ms), 2),
            "p99_ms": round(percentile(self.took_ms, 0.99), 2),
            "max_ms": round(max(self.took_ms), 2),
        }


@asynccontextmanager
async def beside(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """*work* over and over, for the length of the block."""

    async def again() -> None:
        while True:
            await work()

    task = asyncio.create_task(again())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def pruning(folder: Path, count: int, seconds: float) -> dict[str, Any]:
    """Steps and pauses as the daemon has them, for so long at most, in a database of *count* old tasks."""
    path = folder / "bench.db"
    fill(path, pending=0, finished=count, state="delivered")
    numbers = itertools.count()
    measured: dict[str, Any] = {"of": count}
    async with SqliteDatabase(path) as database:
        tasks, retention = TaskStore(database), RetentionStore(database)
        for name in ("without", "with"):
            lag, others, steps = Spans(), Spans(), Spans()

            async def look(lag: Spans = lag) -> None:
                started = time.perf_counter()
                await asyncio.sleep(LAG_S)
                lag.took_ms.append(max(1000 * (time.perf_counter() - started - LAG_S), 0.0))

            async def register(others: Spans = others) -> None:
                wish = Registration(TaskKey("default", "tts", f"other-{next(numbers)}"))
                await others.of(tasks.register([wish], now=datetime.now(UTC)))
                await asyncio.sleep(OTHERS_S)

            forgotten, since = 0, PruneCursor()
            until_s = time.perf_counter() + seconds
            async with beside(look), beside(register):
                while since is not None and time.perf_counter() < until_s:
                    if name == "with":
                        pruned = await steps.of(
                            retention.prune_tasks(since, before=datetime.now(UTC) - AGE / 2, exclude=())
                        )
                        forgotten, since = forgotten + pruned.count, pruned.next
                    await asyncio.sleep(STEP_PAUSE_S)
            took_s = seconds - max(until_s - time.perf_counter(), 0.0)
            measured[name] = {"loop_lag": lag.summary(), "other_writer": others.summary()}
            if name == "with":
                measured[name] |= {"step": steps.summary(), "tasks_per_second": round(forgotten / took_s)}
    return measured


async def asked(client: aiohttp.ClientSession, folder: Path, count: int, scrapes: int) -> dict[str, Any]:
    """/metrics with *count* pending tasks, each time read anew; listings of as many that wait."""
    camb = Camb()
    measured: dict[str, Any] = {"of": count}
    async with listening("/{kind}/{task_id}", camb.status, "GET") as camb_url:
        daemon = Daemon(folder, camb_url, {}, interval="1h", per_second=20)
        fill(folder / "bench.db", pending=count, finished=count, state="pending")
        await daemon.start(client)

        async def get(path: str) -> bytes:
            async with client.get(daemon.url + path) as response:
                assert response.status == 200, await response.text()
                return await response.read()

        quiet, busy = Spans(), Spans()

        async def ping(spans: Spans) -> None:
            await spans.of(get("/healthz"))
            await asyncio.sleep(0.005)

        async with beside(lambda: ping(quiet)):
            await asyncio.sleep(5)
        measured["healthz_alone"] = quiet.summary()
        scraped, cpu_s = Spans(), 0.0
        for _ in range(scrapes):
            await asyncio.sleep(CACHE_TTL_S + 0.1)  # what was read before is shown for so long
            before_s = daemon.cpu_s()
            async with beside(lambda: ping(busy)):
                await scraped.of(get("/metrics"))
            cpu_s += daemon.cpu_s() - before_s
        measured["metrics"] = scraped.summary() | {"healthz_meanwhile": busy.summary()}
        for name, path in {
            "tasks": "/v1/tasks?limit=1000",
            "tasks_pending": "/v1/tasks?limit=1000&status=PENDING",
            "deliveries": "/v1/deliveries?limit=1000",
            "deliveries_pending": "/v1/deliveries?state=pending",
            "deliveries_pending_1000": "/v1/deliveries?state=pending&limit=1000",
            "deliveries_pending_of_one": "/v1/deliveries?state=pending&destination=absent",
            "destinations": "/v1/destinations",
        }.items():
            listed, busy = Spans(), Spans()
            async with beside(lambda busy=busy: ping(busy)):
                for _ in range(10):
                    await listed.of(get(path))
            measured[name] = listed.summary() | {"healthz_meanwhile": busy.summary()}
        await daemon.stop()
    return measured


async def main(options: argparse.Namespace) -> None:
    """Measure, print, write down."""
    measured: dict[str, Any] = {"machine": machine()}
    async with aiohttp.ClientSession() as client:
        for name, work in (
            ("pruning", lambda folder: pruning(folder, options.old, options.seconds)),
            ("asked", lambda folder: asked(client, folder, options.tasks, options.scrapes)),
        ):
            with tempfile.TemporaryDirectory(prefix="cambwatch-bench-", dir=os.environ.get("BENCH_DIR")) as folder:
                measured[name] = await work(Path(folder))
            print(name, json.dumps(measured[name], indent=2))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=int, default=200_000, help="finished tasks of which some are forgotten")
    parser.add_argument("--seconds", type=float, default=30, help="without, and with, pruning")
    parser.add_argument("--tasks", type=int, default=100_000, help="that are pending, and deliveries that wait")
    parser.add_argument("--scrapes", type=int, default=20)
    uvloop.run(main(parser.parse_args()))

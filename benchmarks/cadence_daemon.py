"""
The learned cadence through the real daemon: fewer polls than the fixed interval, for the same delay?

    python benchmarks/cadence_daemon.py

`cambwatch run` as a process, the simulator on a socket, nothing in between. Tasks of two
kinds with the same durations (lognormal, sigma 0.25; time runs ten times as fast as in
polling.md, so a median of 18 s and an interval of 500 ms): one kind is learned, the other
has `strategy: fixed`. The first tasks are learned from, then fresh ones of both kinds run
side by side. A delay is from the simulator's end of a task to the daemon's `finished_at`.
"""

import asyncio
import json
import math
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from cambwatch.simulator import Settings, Simulator, serve
from harness import Daemon, machine, percentile

RESULTS = Path(__file__).parent / "results" / "cadence_daemon.json"
LEARNED, FIXED = "dub", "tts"
MEDIAN_S, SIGMA = 18.0, 0.25
INTERVAL_MS = 500
PAST, FRESH = 200, 200  # tasks of each kind
STAGGER_S = 2.0  # in which all of a round are registered


async def round_of(
    client: aiohttp.ClientSession, url: str, simulator: Simulator, name: str, durations_s: list[float]
) -> dict[str, dict[str, Any]]:
    """Run tasks of both kinds that take so long; what they cost, by kind."""
    ends: dict[str, float] = {}
    for index, duration_s in enumerate(durations_s):
        wishes = []
        for kind in (LEARNED, FIXED):
            task_id = f"{name}-{kind}-{index}"
            ends[task_id] = time.time() + duration_s
            simulator.add_task(kind, task_id, after_seconds=duration_s, status="ERROR")
            wishes.append({"kind": kind, "task_id": task_id, "group": f"{name}-{kind}"})
        async with client.post(f"{url}/v1/tasks", json=wishes) as answer:
            assert answer.status == 201, await answer.text()
        await asyncio.sleep(STAGGER_S / len(durations_s))
    found = {}
    for kind in (LEARNED, FIXED):
        tasks = await ended(client, url, f"{name}-{kind}", len(durations_s))
        delays = [datetime.fromisoformat(task["finished_at"]).timestamp() - ends[task["task_id"]] for task in tasks]
        found[kind] = {
            "polls_per_task": round(statistics.fmean(task["polls"] for task in tasks), 2),
            "mean_delay_ms": round(statistics.fmean(delays) * 1000, 1),
            "p95_delay_ms": round(percentile(delays, 0.95) * 1000, 1),
        }
    return found


async def ended(client: aiohttp.ClientSession, url: str, group: str, count: int) -> list[dict[str, Any]]:
    """All tasks of *group*, as soon as none is pending."""
    until_s = time.perf_counter() + 40 * MEDIAN_S
    while time.perf_counter() < until_s:
        async with client.get(f"{url}/v1/tasks", params={"group": group, "limit": "1000"}) as answer:
            tasks = (await answer.json())["items"]
        if len(tasks) == count and all(task["status"] != "PENDING" for task in tasks):
            return tasks  # type: ignore[no-any-return]
        await asyncio.sleep(0.5)
    raise TimeoutError(f"{group} does not end")


async def main() -> None:
    """Measure, print, write down."""
    dice = Random("cadence through the daemon")
    past, fresh = ([dice.lognormvariate(math.log(MEDIAN_S), SIGMA) for _ in range(count)] for count in (PAST, FRESH))
    simulator = Simulator(Settings(keys=frozenset({"bench-key"})), clock=time.monotonic)
    with tempfile.TemporaryDirectory() as folder:
        async with serve(simulator) as base_url, aiohttp.ClientSession() as client:
            daemon = Daemon(Path(folder), base_url, {}, interval=f"{INTERVAL_MS}ms", per_second=5000)
            text = daemon.config.read_text()
            written = text.replace("max_interval: 3h,", f"max_interval: 12s, kinds: {{{FIXED}: {{strategy: fixed}}}},")
            assert written != text
            daemon.config.write_text(written)
            await daemon.start(client)
            measured: dict[str, Any] = {"machine": machine(), "interval_ms": INTERVAL_MS, "learned_from": PAST}
            measured["while_learning"] = await round_of(client, daemon.url, simulator, "past", past)
            async with client.get(f"{daemon.url}/v1/kinds") as answer:
                known = {kind["kind"]: kind for kind in (await answer.json())["items"]}[LEARNED]
            shown = ("strategy", "completions", "median_seconds", "expected_polls", "fixed_polls", "estimated_gain")
            measured["known_then"] = {name: known[name] for name in shown}
            measured["fresh"] = await round_of(client, daemon.url, simulator, "fresh", fresh)
            await daemon.stop()
    learned, fixed = measured["fresh"][LEARNED], measured["fresh"][FIXED]
    # Polls and delay of a fixed interval trade against each other, all but the two that every task costs.
    same = (fixed["polls_per_task"] - 1.5) * fixed["mean_delay_ms"] / learned["mean_delay_ms"] + 1.5
    measured["fixed_polls_at_that_mean_delay"] = round(same, 2)
    measured["saving_at_equal_mean_delay"] = round(1 - learned["polls_per_task"] / same, 4)
    print(json.dumps(measured, indent=2))
    RESULTS.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())

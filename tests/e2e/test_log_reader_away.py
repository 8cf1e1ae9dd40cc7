"""The real process with a log that nobody reads, nobody can read any more, or that is on a full disk."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from events import hear, hook, settings, watch
from scraped import scrape

NAME = "映" * 200
MANY = 500


def quiet(receivers):
    """With an account `idle` that is hardly ever polled, so that its lines are those of registrations."""
    return settings(
        camb={"accounts": {"idle": {"api_key": "another-key", "requests_per_second": 0.1}}},
        destinations={"hook": hook(receivers)},
        log={"level": "info"},
    )


async def fill(made, *task_ids):
    """Have about a kilobyte logged for each of *task_ids*."""
    await watch(made.api, "dub", *task_ids, name=NAME, account="idle", notify=[])


async def test_a_reader_that_stops_reading_stops_neither_polls_nor_posts_nor_the_intake(process, camb, receivers):
    """It misses what is too much to keep, hears how much that was, and everything else in order."""
    made = await process(quiet(receivers), ready=None)
    reading, writing = os.pipe()
    await made.start(stderr=writing)
    os.close(writing)
    for number in range(14):  # more than the 4 MiB that are kept
        await fill(made, *(f"{number}-{task}" for task in range(MANY)))
    camb.add("dub", "a", after_seconds=0)
    await watch(made.api, "dub", "a")
    await hear(receivers, "a")
    dropped = (await scrape(made.api)).value("log_lines_dropped_total")
    assert dropped > 0

    with os.fdopen(reading) as log:
        lines = asyncio.create_task(asyncio.to_thread(lambda: [json.loads(line) for line in log]))
        assert await made.stop() == 0
        came = await lines
    names = [line["event"] for line in came]
    assert "service.started" in names
    assert names[-1] == "service.stopped"
    registered = [line["task_id"] for line in came if line["event"] == "task.registered"]
    kept = [f"{number}-{task}" for number in range(14) for task in range(MANY)][: len(registered)]
    assert registered == kept
    (gap,) = [line for line in came if line["event"] == "log.dropped"]
    assert gap["lines"] >= dropped


async def test_a_reader_that_never_reads_again_does_not_keep_the_process_from_stopping(process, camb, receivers):
    made = await process(quiet(receivers), ready=None)
    reading, writing = os.pipe()
    await made.start(stderr=writing)
    os.close(writing)
    await fill(made, *(f"t{task}" for task in range(MANY)))
    assert await made.stop() == 0
    os.close(reading)


async def test_a_reader_that_has_gone_stops_nothing(process, camb, receivers):
    made = await process(quiet(receivers), ready=None)
    reading, writing = os.pipe()
    await made.start(stderr=writing)
    os.close(reading)
    os.close(writing)
    camb.add("dub", "a", after_seconds=0)
    await watch(made.api, "dub", "a")
    await hear(receivers, "a")
    assert (await scrape(made.api)).value("log_lines_dropped_total") > 0
    assert await made.stop() == 0


async def test_a_log_on_a_full_disk_stops_nothing(process, camb, receivers):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    made = await process(quiet(receivers), ready=None)
    await made.start(script="exec {run} 2>/dev/full")
    camb.add("dub", "a", after_seconds=0)
    await watch(made.api, "dub", "a")
    await hear(receivers, "a")
    assert (await scrape(made.api)).value("log_lines_dropped_total") > 0
    assert await made.stop() == 0


async def test_the_log_is_utf_8_in_every_locale(process, camb):
    made = await process(ready=None)
    locale = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    await made.start(environ=locale)
    await watch(made.api, "dub", "a", name="Überfall 映画 🎬")
    assert await made.stop() == 0
    (line,) = made.said("task.registered")
    assert line["name"] == "Überfall 映画 🎬"

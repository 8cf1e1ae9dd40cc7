"""The learned cadence, end to end: learned from real polls, shown, exported and kept; and the limit of the budget."""

import asyncio
import json
import sqlite3
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from processes import command, environment

from cadence_evaluation.comparison import FEWEST_OBSERVED

LEARNED, FIXED = "dub", "tts"
# All take two or three seconds, which is twenty intervals at least: nothing to ask for before. So far apart that a busy
# machine does not make them look like others.
BOTH = {"polling": {"interval": "100ms", "kinds": {FIXED: {"strategy": "fixed"}}}}
ENOUGH = 40
EVALUATION = str(Path(__file__).parents[2] / "benchmarks" / "evaluate_cadence.py")


async def _let_end(made, camb, until, name, *, labels=None, after_s=2.0, count=ENOUGH):
    """Watch so many tasks of both kinds until all have ended; returns their ids by kind."""
    ids = {kind: [f"{name}-{kind}-{number}" for number in range(count)] for kind in (LEARNED, FIXED)}
    before = {kind: (await _kind(made, kind))["completions"] for kind in ids}
    wishes = []
    for kind, tasks in ids.items():
        for number, task_id in enumerate(tasks):
            camb.add(
                kind,
                task_id,
                after_seconds=after_s + number * 17 % count / count,  # in no order
                status="ERROR",
            )
            wishes.append({"kind": kind, "task_id": task_id, "group": name, "labels": labels or {}})
    assert (await made.api.post(wishes)).status == 201

    async def learned():  # a little after all have ended
        return all([(await _kind(made, kind))["completions"] == before[kind] + count for kind in ids])

    await until(learned)
    assert (await made.api.get(f"/v1/groups/{name}")).document["counts"] == {"ERROR": 2 * count}
    return ids


async def _kind(made, kind):
    return {one["kind"]: one for one in (await made.api.get("/v1/kinds")).document["items"]}[kind]


@pytest.fixture
def learning(daemon):
    """Starts a daemon that learns one of two kinds."""
    return lambda: daemon(json.dumps(BOTH))


async def test_a_kind_is_asked_for_less_once_it_is_learned(learning, camb, until):
    """The same tasks, the same interval: with what was learned most polls fall away, and every end is found."""
    made = await learning()
    past = await _let_end(made, camb, until, "past")
    assert sum(map(camb.polls, past[LEARNED])) > 0.6 * sum(map(camb.polls, past[FIXED]))
    known = await _kind(made, LEARNED)
    assert (known["strategy"], known["completions"]) == ("learned", ENOUGH)
    assert 2.0 <= known["median_seconds"] <= known["p95_seconds"]  # a busy machine sees the ends late
    assert known["expected_polls"] < known["fixed_polls"] / 1.1
    assert known["estimated_gain"] > 1.1
    fresh = await _let_end(made, camb, until, "fresh")
    assert sum(map(camb.polls, fresh[LEARNED])) < 0.85 * sum(map(camb.polls, fresh[FIXED]))


async def test_a_kind_that_is_to_be_asked_for_at_its_interval_is(learning, camb, until):
    """What is known of it is shown all the same."""
    made = await learning()
    await _let_end(made, camb, until, "past")
    known = await _kind(made, FIXED)
    assert (known["strategy"], known["completions"], known["sizes"]) == ("fixed", ENOUGH, [])
    assert known["expected_polls"] == known["fixed_polls"]
    assert known["estimated_gain"] > 1.1


async def test_nothing_is_known_at_first(learning):
    made = await learning()
    known = await _kind(made, LEARNED)
    shown = (
        "strategy",
        "completions",
        "median_seconds",
        "p95_seconds",
        "expected_polls",
        "fixed_polls",
        "estimated_gain",
    )
    assert [known[name] for name in shown] == ["fixed", 0, None, None, None, None, None]
    assert (await made.api.get("/v1/durations")).document == {"items": []}


async def test_what_was_learned_survives_a_restart(learning, camb, until):
    """It is written down at the end, if not before."""
    made = await learning()
    await _let_end(made, camb, until, "past", labels={"size": "short"})
    exported = (await made.api.get("/v1/durations")).document
    await made.stop()
    again = await learning()
    assert (await again.api.get("/v1/durations")).document == exported
    known = await _kind(again, LEARNED)
    assert [(one["strategy"], one["completions"]) for one in (known, *known["sizes"])] == [("learned", ENOUGH)] * 2
    assert [(one["kind"], one["size"], one["completions"]) for one in exported["items"]] == [
        (LEARNED, None, ENOUGH),
        (LEARNED, "short", ENOUGH),
        (FIXED, None, ENOUGH),
        (FIXED, "short", ENOUGH),
    ]


async def test_a_memory_that_cannot_be_read_is_no_reason_not_to_start(learning, camb, until, tmp_path):
    """It is learned anew."""
    made = await learning()
    await _let_end(made, camb, until, "past")
    await made.stop()
    connection = sqlite3.connect(tmp_path / "cambwatch.db")
    with connection:
        connection.execute("UPDATE durations SET histogram = '{\"form\": 1}' WHERE kind = ?", [LEARNED])
    connection.close()
    again = await learning()
    assert (await _kind(again, LEARNED))["completions"] == 0
    assert (await _kind(again, FIXED))["completions"] == ENOUGH


async def test_the_evaluation_of_the_benchmarks_reads_the_export(learning, camb, until, tmp_path):
    """A table and a plot, or JSON, for each kind and size with enough observed tasks."""
    made = await learning()
    await _let_end(made, camb, until, "past", labels={"size": "short"}, count=FEWEST_OBSERVED)
    file, plot = tmp_path / "durations.json", tmp_path / "plot.svg"
    file.write_text(json.dumps((await made.api.get("/v1/durations")).document))
    words = ("--interval", "100ms", "--min-interval", "10ms", "--kind", LEARNED)
    shown, as_json = await asyncio.gather(
        _evaluate(str(file), *words, "--plot", str(plot)), _evaluate(str(file), *words, "--json")
    )
    assert [line.split(":")[0] for line in shown.splitlines() if "observed" in line] == ["dub", "dub short"]
    assert plot.read_text().startswith("<svg")
    policies = json.loads(as_json)["dub"]["policies"]
    assert policies["learned"]["requests"] < policies["fixed 0.1 s"]["requests"] / 1.5
    assert policies["learned"]["saving"] > 0.3
    assert policies["optimum"]["saving"] > policies["learned"]["saving"]


async def _evaluate(*words):
    """What benchmarks/evaluate_cadence.py prints."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, EVALUATION, *words), env=environment(), stdout=PIPE, stderr=PIPE
    )
    out, err = await child.communicate()
    assert (child.returncode, err) == (0, b"")
    return out.decode()


async def test_kinds_are_listed_with_what_is_known(learning, camb, until, tmp_path):
    """Sizes below their kind."""
    made = await learning()
    await _let_end(made, camb, until, "past", labels={"size": "short"})
    host = made.url.removeprefix("http://")
    (tmp_path / "config.yaml").write_text(f"http: {{listen: '{host}'}}")
    shown = await command("kinds", cwd=tmp_path)
    lines = shown.out.splitlines()
    place = next(index for index, line in enumerate(lines) if line.startswith("dub "))
    assert lines[place].split()[:6] == ["dub", "0.1", "s", "1", "h", str(ENOUGH)]
    assert "learned" in lines[place]
    assert lines[place + 1].split()[:2] == ["short", str(ENOUGH)]


async def test_the_task_list_says_when_the_budget_is_the_limit(daemon, camb, until, tmp_path):
    """And no more when there is nothing left to ask for; on the command line, too."""
    made = await daemon("camb: {requests_per_second: 2}")
    wishes = [{"kind": "dub", "task_id": camb.add("dub", after_seconds=3600)} for _ in range(50)]
    assert (await made.api.post(wishes)).status == 201

    async def limits():
        return {task["limited_by"] for task in (await made.api.get("/v1/tasks")).document["items"]}

    assert await limits() == {None}

    async def limited():
        return await limits() == {"budget"}

    await until(limited)
    host = made.url.removeprefix("http://")
    (tmp_path / "config.yaml").write_text(f"http: {{listen: '{host}'}}")
    shown = await command("tasks", cwd=tmp_path)
    assert "account default: requests_per_second is the limit" in shown.err
    for wish in wishes:
        await made.api.ask("DELETE", f"/v1/tasks/dub/{wish['task_id']}")
    assert await limits() == {None}

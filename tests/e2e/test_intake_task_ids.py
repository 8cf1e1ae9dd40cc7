"""A task_id is opaque: whatever it holds, it stays one step of one path, towards Camb and in our own addresses."""

import random
import sqlite3
from contextlib import closing
from urllib.parse import quote, unquote

import pytest
from receivers import Reply

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.names import find_value_mistake

PENDING = Reply(body=b'{"status": "PENDING"}')
ODD = [
    "../x",
    "../../v1/other",
    "..%2f..%2fx",
    "%2e%2e",
    "%2E%2E/",
    "%00",
    "%",
    "%zz",
    "a?b=c",
    "a#b",
    "a/b",
    "//evil.example/",
    "a/http:/evil.example/",
    "a%20b+c",
    "\\..\\",
    ";x=1",
    "a&b",
    "..a",
    "-",
    "a'\">`}|^]<{[b",
    "é",
    "e\u0301",  # the same letter, written otherwise: another task
    "任务",
    "👩‍👩‍👧",
    "\u0645\u06cc\u200c\u0631\u0648\u0645",  # a joiner inside a word spells it
    "x1" * 100,
    "🎬" * 200,
]

NOT_IDS = [
    *("null", "undefined", "None", "[object Object]", "string", "task_id", "...", "xxxxxxxx", "\ufeff", " ", "a b"),
    *(
        '"a1"',
        "\u201ca1\u201d",
        "a1 ",
        "\u200ba1",
        "{{task_id}}",
        "<a1>",
        "$TASK_ID",
        "Bearer a1",
        "http://a/",
        '{"a": 1}',
    ),
]


@pytest.fixture
async def made(daemon, receivers):
    receivers.otherwise = PENDING
    return await daemon(f'camb: {{base_url: "{receivers.url}/apis"}}')


def asked(receivers):
    """The targets of the polls, word for word."""
    return {request.path for request in receivers.requests}


async def test_an_odd_task_id_is_asked_for_encoded_and_found_again(made, receivers):
    for task_id in ODD:
        answer = await made.api.post({"kind": "dub", "task_id": task_id})
        assert (answer.status, answer.document["task_id"]) == (201, task_id)
        where = answer.headers["location"]
        assert (await made.api.get(where)).document["task_id"] == task_id
        assert (await made.api.ask("POST", f"{where}/poll", {})).status == 202
        await receivers.until(lambda: f"/apis/dub/{quote(task_id, safe='')}" in asked(receivers))  # noqa: B023
        assert (await made.api.ask("DELETE", where)).status == 204
        assert (await made.api.get(where)).document["status"] == "REMOVED"
    assert asked(receivers) == {f"/apis/dub/{quote(task_id, safe='')}" for task_id in ODD}


async def test_no_task_id_ever_names_another_path(made, receivers):
    """Five hundred made of the characters that mean something in a URL."""
    dice = random.Random(1)
    alphabet = "./%?#\\;:@&=+2eEfF\u00e9\U0001f3ac"
    ids = {"".join(dice.choices(alphabet, k=dice.randint(1, 12))) for _ in range(500)} - {".", ".."}
    ids = {task_id for task_id in ids if find_value_mistake(task_id) is None}
    assert len(ids) > 400
    answer = await made.api.post([{"kind": "tts", "task_id": task_id} for task_id in ids])
    assert answer.status == 201, answer.body[:500]
    await receivers.until(lambda: len(asked(receivers)) >= len(ids))
    for path in asked(receivers):
        head, _, last = path.rpartition("/")
        assert head == "/apis/tts"
        assert not set(last) & set("?#/\\")
        assert last not in {".", ".."}
        ids.remove(unquote(last, errors="strict"))
    assert not ids


async def test_the_id_is_a_step_below_the_path_of_its_kind(made, receivers):
    await made.api.post([{"kind": kind, "task_id": "a/../b"} for kind in KINDS])
    paths = {f"/apis{kind.status_path.format(task_id='a%2F..%2Fb')}" for kind in KINDS.values()}
    await receivers.until(lambda: asked(receivers) >= paths)
    assert asked(receivers) == paths


async def test_what_is_clearly_not_an_id_is_refused_and_never_asked_for(made, receivers):
    """Of an array each is named, and nothing of it is stored."""
    answer = await made.api.post({"kind": "dub", "task_id": "${TASK_ID}"})
    assert (answer.status, answer.pointers) == (422, ["#/task_id"])
    wishes = [{"kind": "dub", "task_id": task_id} for task_id in ("a1", *NOT_IDS)]
    answer = await made.api.post(wishes)
    assert answer.status == 422
    assert answer.pointers == [f"#/{number}/task_id" for number in range(1, len(wishes))]
    for mistake in answer.document["errors"]:
        assert "give the task_id that Camb returned" in mistake["detail"] or "remove it" in mistake["detail"]
    assert (await made.api.get("/v1/tasks")).document["items"] == []
    assert asked(receivers) == set()


async def test_a_lookup_by_what_is_clearly_not_an_id_says_so(made):
    answer = await made.api.get("/v1/tasks/dub/%22a1%22")
    assert answer.status == 404
    assert answer.document["detail"].endswith("; its task_id starts or ends with a quote: remove it")


async def test_a_task_that_an_older_version_registered_is_polled_shown_and_removed(made, receivers, daemon, tmp_path):
    """An upgrade takes no task away, whatever its id is."""
    stand_ins = [f"stand-in-{number}" for number in range(len(NOT_IDS))]
    assert (await made.api.post([{"kind": "dub", "task_id": one} for one in stand_ins])).status == 201
    await made.stop()
    with closing(sqlite3.connect(tmp_path / "cambwatch.db")) as database, database:
        changed = database.executemany(
            "UPDATE tasks SET task_id = ? WHERE task_id = ?", zip(NOT_IDS, stand_ins, strict=True)
        )
        assert changed.rowcount == len(NOT_IDS)
    newer = await daemon(f'camb: {{base_url: "{receivers.url}/apis"}}')
    paths = {f"/apis/dub/{quote(task_id, safe='')}" for task_id in NOT_IDS}
    await receivers.until(lambda: asked(receivers) >= paths)
    assert {task["task_id"] for task in (await newer.api.get("/v1/tasks")).document["items"]} == set(NOT_IDS)
    for task_id in NOT_IDS:
        where = f"/v1/tasks/dub/{quote(task_id, safe='')}"
        assert (await newer.api.get(where)).document["task_id"] == task_id
        assert (await newer.api.ask("POST", f"{where}/poll", {})).status == 202
        assert (await newer.api.ask("DELETE", where)).status == 204

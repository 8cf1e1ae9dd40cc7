"""A task_id is opaque: whatever it holds, it stays one step of one path, towards Camb and in our own addresses."""

import random
from urllib.parse import quote, unquote

import pytest
from receivers import Reply

from cambwatch.core.kinds import KINDS

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
    "http://evil.example/",
    "a b+c",
    "\\..\\",
    ";x=1",
    "a&b",
    "...",
    "-",
    "'\"<>`{}|^[]",
    "é",
    "e\u0301",  # the same letter, written otherwise: another task
    "任务",
    "👩‍👩‍👧",
    "\ufeff",
    "\u202eabc",
    "x" * 200,
    "🎬" * 200,
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
    alphabet = "./%?#\\;:@&=+ 2eEfF\u00e9\U0001f3ac"
    ids = {"".join(dice.choices(alphabet, k=dice.randint(1, 12))) for _ in range(500)} - {".", ".."}
    ids = {task_id for task_id in ids if task_id.strip()}
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

"""What the pretend Camb takes and what it refuses: keys, ids, bodies and paths."""

import io

import aiohttp
import pytest
from simulated import bench, served_bench  # noqa: F401

from cambwatch.simulator import Settings, UnknownTask


@pytest.mark.parametrize(
    ("keys", "headers", "expected"),
    [
        (frozenset(), {}, 401),
        (frozenset(), {"x-api-key": ""}, 401),
        (frozenset(), {"x-api-key": "anything"}, 200),
        (frozenset({"a", "b"}), {"x-api-key": "b"}, 200),
        (frozenset({"a", "b"}), {"x-api-key": "c"}, 401),
    ],
)
async def test_only_valid_keys_are_served(keys, headers, expected):
    """Without a set of keys any key will do, but one there must be; refused polls are polls, and use no reply up."""
    async with bench(Settings(keys=keys)) as camb, aiohttp.ClientSession(headers=headers) as http:
        camb.simulator.add_task("tts", "t", replies=[{"status": 200, "json": "first"}])
        async with http.get(camb.base_url + "/tts/t") as answer:
            assert answer.status == expected
            if expected == 401:
                assert await answer.json() == {"error": "Invalid API key", "status": 401}
        assert camb.simulator.polls["t"] == 1
        _, listed = await camb.control("GET", "/tasks")
        assert listed["tasks"][0]["replies_left"] == (1 if expected == 401 else 0)


@pytest.mark.parametrize(
    ("unknown_task", "expected"), [(UnknownTask.NOT_FOUND, 404), (UnknownTask.INVALID, 422), (UnknownTask.PENDING, 200)]
)
async def test_unknown_tasks_answer_as_set(unknown_task, expected):
    """Also a task of another kind is unknown."""
    async with bench(Settings(unknown_task=unknown_task)) as camb:
        camb.simulator.add_task("dub", "t")
        for path in ("/tts/nobody", "/tts/t"):
            http_status, document = await camb.get(path)
            assert http_status == expected
            assert document.get("status") == ("PENDING" if expected == 200 else None)
            assert ("detail" in document) == (expected != 200)


async def test_results_refuse_what_is_no_run_of_theirs(camb):
    """A task_id is 422, an unknown run 404, a run of another kind 400."""
    camb.simulator.add_task("dub", run_id=7)
    http_status, document = await camb.get("/tts-result/3b54f84a-0000-4000-8000-000000000000")
    assert http_status == 422
    assert document["detail"][0]["loc"] == ["path", "run_id"]
    assert (await camb.get("/tts-result/8"))[0] == 404
    assert (await camb.get("/tts-result/7"))[0] == 400
    assert (await camb.get("/dub-result/7", params={"format_type": "x"}))[0] == 422


@pytest.mark.parametrize(
    ("body", "location"), [("{", ["body"]), ("[1]", ["body"]), ("{}", ["body", "text"]), ("\xff", ["body"])]
)
async def test_broken_bodies_are_refused_with_their_place(camb, body, location):
    """422 with a list of details, as FastAPI does it."""
    data = body.encode("latin-1")
    async with camb.http.post(
        camb.base_url + "/tts", data=data, headers={"content-type": "application/json"}
    ) as answer:
        assert answer.status == 422
        assert (await answer.json())["detail"][0]["loc"] == location


async def test_multipart_with_a_large_file_is_taken(camb):
    """Uploads are read and dropped; a field that is missing is named."""
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(bytes(3 << 20)), filename="tale.txt")
    form.add_field("source_language", "1")
    async with camb.http.post(camb.base_url + "/story", data=form) as answer:
        assert answer.status == 200
        assert (await answer.json()).keys() == {"task_id"}
    form = aiohttp.FormData({"source_language": "1"}, default_to_multipart=True)
    async with camb.http.post(camb.base_url + "/story", data=form) as answer:
        assert (answer.status, (await answer.json())["detail"][0]["loc"]) == (422, ["body", "file"])


async def test_other_paths_and_methods_are_not_found(camb):
    """There is no list of tasks, and no task is deleted."""
    assert (await camb.get("/tasks"))[0] == 404
    async with camb.http.delete(camb.base_url + "/tts/t") as answer:
        assert answer.status == 404

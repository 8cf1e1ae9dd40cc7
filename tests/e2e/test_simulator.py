"""The pretend Camb does what it is told, on real sockets."""

import asyncio
import io
import json
import re
import socket
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.kinds import KINDS
from cambwatch.simulator import Faults, Mishap, Settings, Simulator, StorySetup, UnknownTask, serve
from cambwatch.simulator.creation import REQUIRED
from cambwatch.simulator.durations import MEDIANS_S
from cambwatch.simulator.faults import draw

NOON = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)
KEY = {"x-api-key": "k"}
LONG_S = 100_000.0  # by then every task has ended
BODIES = {kind: dict.fromkeys(names, "1") for kind, names in REQUIRED.items()}


class HandClock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Bench:
    """A served simulator, its clock, and a client with a key."""

    simulator: Simulator
    clock: HandClock
    base_url: str
    http: aiohttp.ClientSession

    @property
    def origin(self) -> str:
        """Where the control API is."""
        return self.base_url.removesuffix("/apis")

    async def get(self, path: str, **options):
        """HTTP status and JSON document of a GET under /apis."""
        async with self.http.get(self.base_url + path, **options) as answer:
            return answer.status, await answer.json()

    async def post(self, path: str, document, **options):
        """HTTP status and JSON document of a POST under /apis."""
        async with self.http.post(self.base_url + path, json=document, **options) as answer:
            return answer.status, await answer.json()

    async def control(self, method: str, path: str, document=None):
        """HTTP status and JSON document of a request to the control API, without a key."""
        async with (
            aiohttp.ClientSession() as anybody,
            anybody.request(method, f"{self.origin}/simulator{path}", json=document) as answer,
        ):
            return answer.status, await answer.json()


@asynccontextmanager
async def bench(settings: Settings = Settings()) -> AsyncIterator[Bench]:  # noqa: B008
    clock = HandClock()
    simulator = Simulator(settings, clock=clock, wall=lambda: NOON)
    async with serve(simulator) as base_url, aiohttp.ClientSession(headers=KEY) as http:
        yield Bench(simulator, clock, base_url, http)


@pytest.fixture
async def camb() -> AsyncIterator[Bench]:
    async with bench() as made:
        yield made


def status_path(kind: str, task_id: str) -> str:
    return KINDS[kind].status_path.format(task_id=task_id)


# --- tasks from creation to result ---------------------------------------------------------------------------------


def test_every_kind_has_a_duration_and_its_required_fields():
    """The tables of the simulator leave no kind out."""
    assert MEDIANS_S.keys() == KINDS.keys()
    assert REQUIRED.keys() == {name for name, kind in KINDS.items() if kind.create_path is not None}


@pytest.mark.parametrize("kind", [name for name in REQUIRED if name not in {"dub-alt-format", "translated-story"}])
async def test_a_created_task_is_pending_then_succeeds_then_has_a_result(camb, kind):
    """The generic life cycle, for every kind that is created by itself."""
    http_status, created = await camb.post(KINDS[kind].create_path, BODIES[kind])
    assert http_status == 200
    assert created.keys() == {"task_id"}
    assert UUID(created["task_id"]).version == 4
    path = status_path(kind, created["task_id"])
    _, pending = await camb.get(path)
    expected = {"status": "PENDING", "run_id": None, "exception_reason": None, "message": None}
    assert pending == ([] if kind == "project-setup" else expected)

    camb.clock.now_s += LONG_S
    _, ended = await camb.get(path)
    run_id = ended[0]["run_id"] if kind == "project-setup" else ended["run_id"]
    assert isinstance(run_id, int)
    assert kind == "project-setup" or ended["status"] == "SUCCESS"
    for call in KINDS[kind].results:
        http_status, document = await camb.get(call.path.format(run_id=run_id), params=dict(call.query))
        assert http_status == 200
        assert document


@pytest.mark.parametrize("kind", list(KINDS))
async def test_a_scripted_task_of_every_kind_can_be_polled_and_read(camb, kind):
    """Kinds that nobody can create are there for those who register them."""
    request = {"run_id": 7, "language": "1", "output_format": "mp3"} if kind == "dub-alt-format" else {}
    task_id = camb.simulator.add_task(kind, "a/b c", run_id=7, shape="object", request=request)
    _, document = await camb.get(status_path(kind, "a%2Fb%20c"))
    assert (task_id, document["status"], document["run_id"]) == ("a/b c", "SUCCESS", 7)
    for call in KINDS[kind].results:
        path = call.path.format(run_id=7, language=1, target_language=1)
        async with camb.http.request(
            call.method, camb.base_url + path, params=dict(call.query), json=request
        ) as answer:
            assert answer.status == 200
            assert await answer.json()


async def test_the_run_is_there_long_before_the_end(camb):
    """run_id appears half-way, while the status stays PENDING and the result is not there."""
    camb.simulator.add_task("dub", "t", run_id=7, after_seconds=10)
    seen = []
    for _ in range(3):
        _, document = await camb.get("/dub/t")
        http_status, _ = await camb.get("/dub-result/7")
        seen.append((document["status"], document["run_id"], http_status))
        camb.clock.now_s += 5
    assert seen == [("PENDING", None, 404), ("PENDING", 7, 404), ("SUCCESS", 7, 200)]


async def test_a_task_scripted_as_pending_never_ends(camb):
    """For those who need something to poll for ever."""
    camb.simulator.add_task("tts", "t", status="PENDING")
    camb.clock.now_s += 1e9
    assert (await camb.get("/tts/t"))[1]["status"] == "PENDING"


async def test_a_failure_carries_reason_and_message_only_when_it_has_happened(camb):
    """Before the end nobody knows why."""
    camb.simulator.add_task(
        "dub", "t", status="ERROR", after_seconds=5, exception_reason="SOURCE_TOO_LONG", message={"message": "too long"}
    )
    _, before = await camb.get("/dub/t")
    camb.clock.now_s += 5
    _, after = await camb.get("/dub/t")
    assert before == {"status": "PENDING", "run_id": None, "exception_reason": None, "message": None}
    assert after == {
        "status": "ERROR",
        "run_id": None,
        "exception_reason": "SOURCE_TOO_LONG",
        "message": {"message": "too long"},
    }


@pytest.mark.parametrize(
    ("shape", "status", "before", "after"),
    [
        ("string", "SUCCESS", "pending", "success"),
        ("string", "TIMEOUT", "pending", "timeout"),
        ("statusless", "SUCCESS", {"run_id": None}, {"run_id": 7}),
        ("list", "SUCCESS", [], [7]),
        ("object", "SUCCESS", ("pending", None), ("success", 7)),
        ("list", "ERROR", [], ("error", 7)),
        ("statusless", "ERROR", {"run_id": None}, ("error", 7)),
    ],
)
async def test_shapes_of_a_status(camb, shape, status, before, after):
    """Each shape before and after the end, in lower case; failures without a shape of their own are objects."""
    camb.simulator.add_task("tts", "t", status=status, shape=shape, case="lower", run_id=7, after_seconds=9)

    def brief(document):
        match document:
            case {"status": word, "run_id": run_id}:
                return word, run_id
            case [*runs]:
                return [run["run_id"] for run in runs]
        return document

    assert brief((await camb.get("/tts/t"))[1]) == before
    camb.clock.now_s += 9
    assert brief((await camb.get("/tts/t"))[1]) == after


async def test_another_format_of_a_dub_is_made_once_and_then_cached(camb):
    """The first POST begins, repetitions name the same task, after its SUCCESS they name the file."""
    camb.simulator.add_task("dub", "d", run_id=7)
    path, body = "/dub-alt-format/7/en-us", {"output_format": "mp3"}
    _, first = await camb.post(path, body)
    _, again = await camb.post(path, body)
    _, other = await camb.post(path, {"output_format": "wav"})
    assert first == again
    assert first["task_id"] != other["task_id"]
    camb.clock.now_s += LONG_S
    assert (await camb.get(f"/dub-alt-format/{first['task_id']}"))[1]["status"] == "SUCCESS"
    _, done = await camb.post(path, body)
    assert done.keys() == {"output_url"}
    assert (await camb.post("/dub-alt-format/8/en-us", body))[0] == 404


async def test_a_failed_conversion_is_begun_anew():
    """A conversion that ended badly is not repeated for ever."""
    async with bench(Settings(mix={"ERROR": 1})) as camb:
        camb.simulator.add_task("dub", "d", run_id=7)
        _, first = await camb.post("/dub-alt-format/7/1", {"output_format": "mp3"})
        camb.clock.now_s += LONG_S
        _, second = await camb.post("/dub-alt-format/7/1", {"output_format": "mp3"})
        assert first["task_id"] != second["task_id"]


async def test_a_story_has_one_run_and_a_result_per_language(camb):
    """Translations of a story keep its run, and do not stand in for each other."""
    camb.simulator.add_task("story", "s", run_id=7)
    for language in (2, 3):
        _, created = await camb.post("/translated-story/7", {"target_language": language})
        camb.clock.now_s += LONG_S
        assert (await camb.get(f"/translated-story/{created['task_id']}"))[1]["run_id"] == 7
    assert [(await camb.get(f"/translated-story-result/7/{n}"))[0] for n in (2, 3, 4)] == [200, 200, 400]
    assert (await camb.post("/translated-story/8", {"target_language": 2}))[0] == 404


async def test_a_story_setup_can_answer_at_once():
    """The synchronous form of story-setup has the project and no task."""
    async with bench(Settings(story_setup=StorySetup.PROJECT)) as camb:
        _, made = await camb.post("/story-setup", {"file": "a.txt", "source_language": 1, "title": "Tale"})
        assert made.keys() == {"run_id", "story_details"}
        assert made["story_details"]["story_title"] == "Tale"


async def test_several_languages_make_a_result_by_language(camb):
    """A dub of one language is the dub, one of several is a map."""
    camb.simulator.add_task("dub", run_id=7, request={"target_languages": [1]})
    camb.simulator.add_task("dub", run_id=8, request={"target_languages": [1, "de-de"]})
    assert (await camb.get("/dub-result/7"))[1].keys() == {"audio_url", "video_url", "transcript"}
    assert (await camb.get("/dub-result/8"))[1].keys() == {"1", "de-de"}


async def test_audio_comes_as_bytes_unless_a_link_is_asked_for(camb):
    """The default of tts and text-to-sound is the audio itself."""
    camb.simulator.add_task("tts", run_id=7)
    camb.simulator.add_task("text-to-sound", run_id=8)
    async with camb.http.get(camb.base_url + "/tts-result/7") as answer:
        assert answer.content_type == "audio/flac"
        assert (await answer.read()).startswith(b"fLaC")
    async with camb.http.get(camb.base_url + "/text-to-sound-result/8") as answer:
        assert answer.content_type == "audio/wav"
        with wave.open(io.BytesIO(await answer.read())) as sound:
            assert (sound.getframerate(), sound.getnframes()) == (8000, 800)


def links_in(document) -> list[str]:
    return re.findall(r'https?://[^"]+', json.dumps(document))


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.results and name != "dub-alt-format"])
async def test_every_link_of_a_result_can_be_followed_only_with_its_signature(camb, kind):
    """Links look presigned, lead to the simulator, work without a key, and not without their query."""
    camb.simulator.add_task(kind, run_id=7)
    for call in KINDS[kind].results:
        _, document = await camb.get(call.path.format(run_id=7, target_language=1), params=dict(call.query))
        if call.path == "/sub-result/{run_id}":
            _, document = await camb.get("/sub-result/7", params={"data_type": "file", "format_type": "srt"})
        if call.path == "/transcription-result/{run_id}":
            _, document = await camb.get("/transcription-result/7", params={"data_type": "file"})
        links = links_in(document)
        assert links or kind in {"translation", "translated-tts"}
        async with aiohttp.ClientSession() as anybody:
            for link in links:
                assert link.startswith(f"{camb.origin}/files/7/")
                assert "X-Amz-Signature=" in link
                async with anybody.get(link) as answer:
                    assert answer.status == 200
                    assert await answer.read()
                async with anybody.get(link.split("?")[0]) as answer:
                    assert answer.status == 403


# --- refusals ------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/tts-results", {"run_ids": [7, 8]}, 200),
        ("/tts-results", {"run_ids": [7, 9]}, 404),
        ("/tts-results", {"run_ids": []}, 422),
        ("/tts-results", {"run_ids": ["7"]}, 422),
        ("/tts-results", {}, 422),
        ("/dubbing-results", {"run_ids": [7]}, 400),
        ("/sub-results", {"run_ids": [7]}, 422),
    ],
)
async def test_bulk_results(camb, path, body, expected):
    """All or nothing, by the run_id as a text."""
    for run_id in (7, 8):
        camb.simulator.add_task("tts", run_id=run_id)
    http_status, document = await camb.post(path, body)
    assert http_status == expected
    if expected == 200:
        assert document.keys() == {"7", "8"}
        assert document["7"].keys() == {"output_url"}


async def test_other_paths_and_methods_are_not_found(camb):
    """There is no list of tasks, and no task is deleted."""
    assert (await camb.get("/tasks"))[0] == 404
    async with camb.http.delete(camb.base_url + "/tts/t") as answer:
        assert answer.status == 404


# --- the control API -----------------------------------------------------------------------------------------------


async def test_a_task_is_scripted_over_http_and_listed(camb):
    """Registered, polled, listed, counted."""
    script = {
        "kind": "text_to_voice",
        "task_id": "t",
        "status": "ERROR",
        "after_seconds": 5,
        "run_id": 7,
        "exception_reason": "NONE",
        "message": "sorry",
        "case": "lower",
        "replies": [{"status": 503, "body": "<html>", "headers": {"Retry-After": "3"}}, {"fault": "unknown_word"}],
    }
    assert await camb.control("POST", "/tasks", script) == (201, {"task_id": "t"})
    async with camb.http.get(camb.base_url + "/text-to-voice/t") as answer:
        assert (answer.status, answer.headers["Retry-After"], await answer.text()) == (503, "3", "<html>")
        assert answer.content_type == "text/html"
    assert (await camb.get("/text-to-voice/t"))[1]["status"] == "REFRACTING"
    assert (await camb.get("/text-to-voice/t"))[1]["status"] == "pending"
    camb.clock.now_s += 5
    _, ended = await camb.get("/text-to-voice/t")
    assert ended == {"status": "error", "run_id": 7, "exception_reason": "NONE", "message": "sorry"}

    assert (await camb.control("GET", "/tasks"))[1]["tasks"] == [
        {"task_id": "t", "kind": "text-to-voice", "status": "ERROR", "run_id": 7, "polls": 4, "replies_left": 0}
    ]
    await camb.get("/text-to-voice/other")
    _, counted = await camb.control("GET", "/requests")
    assert counted == {"requests": {"GET /apis/text-to-voice/{task_id}": 5}}
    assert camb.simulator.polls == {"t": 4, "other": 1}


@pytest.mark.parametrize("document", [None, "SUCCESS", [], {"status": "SUCCESS", "run_id": "7"}, 5])
async def test_a_scripted_document_comes_word_for_word(camb, document):
    """Also null, also what Camb would never say."""
    camb.simulator.add_task("tts", "t", replies=[{"status": 202, "json": document}])
    assert await camb.get("/tts/t") == (202, document)
    assert (await camb.get("/tts/t"))[1]["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("script", "location", "words"),
    [
        ({}, ["body", "kind"], "required"),
        ({"kind": "dubb"}, ["body", "kind"], "did you mean dub?"),
        ({"kind": "dub", "stauts": "ERROR"}, ["body", "stauts"], "not permitted"),
        ({"kind": "dub", "after_seconds": -1}, ["body", "after_seconds"], "greater"),
        ({"kind": "dub", "run_id": 0}, ["body", "run_id"], "greater"),
        ({"kind": "dub", "task_id": ""}, ["body", "task_id"], "at least 1"),
        ({"kind": "dub", "shape": "round"}, ["body", "shape"], "'object'"),
        ({"kind": "dub", "replies": [{"fault": "x"}]}, ["body", "replies", 0, "mishap", "fault"], "'reset'"),
        ({"kind": "dub", "replies": [{"status": 99}]}, ["body", "replies", 0, "answer", "status"], "200"),
        ({"kind": "dub", "replies": [{"json": 1, "body": ""}]}, ["body", "replies", 0, "answer"], "either"),
        (
            {"kind": "dub", "replies": [{"headers": {"a": "b\r\nc: d"}}]},
            ["body", "replies", 0, "answer", "headers"],
            "control",
        ),
    ],
)
async def test_mistakes_in_a_script_are_named(camb, script, location, words):
    """422 with the place and what would be right; nothing is registered."""
    http_status, document = await camb.control("POST", "/tasks", script)
    assert http_status == 422
    assert document["detail"][0]["loc"] == location
    assert words in document["detail"][0]["msg"]
    assert (await camb.control("GET", "/tasks"))[1] == {"tasks": []}


def test_mistakes_in_python_are_named_too():
    """add_task checks what it is given."""
    simulator = Simulator(clock=HandClock())
    with pytest.raises(ValueError, match="did you mean tts"):
        simulator.add_task("ttts")
    with pytest.raises(ValueError, match="not permitted"):
        simulator.add_task("tts", colour="red")


@pytest.mark.parametrize(
    "mistake", [{"slow": 2}, {"slow": 0.6, "reset": 0.6}, {"sluw": 0.1}, {"retry_after_form": "words"}, {"slow": "no"}]
)
async def test_mistakes_in_faults_are_refused_and_change_nothing(camb, mistake):
    """422, and the shares stay as they were."""
    before = camb.simulator.faults
    http_status, document = await camb.control("POST", "/faults", mistake)
    assert (http_status, type(document["detail"])) == (422, list)
    assert camb.simulator.faults is before


@pytest.mark.parametrize(
    "make",
    [
        lambda: Settings(speed=0),
        lambda: Settings(mix={}),
        lambda: Settings(mix={"SUCCESS": -1, "ERROR": 2}),
        lambda: Faults(reset=1.1),
        lambda: Faults(reset=float("nan")),
        lambda: Faults(slow_seconds=-1),
    ],
)
def test_settings_out_of_range_are_refused(make):
    """A number that makes no sense is an error, not a surprise."""
    with pytest.raises(ValueError, match=r"must|needs"):
        make()


# --- faults on the wire --------------------------------------------------------------------------------------------


async def raw_poll(camb: Bench, task_id: str) -> bytes:
    """Everything that comes back on a connection of its own until its end."""
    at = urlsplit(camb.base_url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        writer.write(f"GET /apis/tts/{task_id} HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()


async def arrival(camb: Bench, task_id: str, *, polls: int) -> None:
    """Wait until the simulator has seen that many polls of the task."""
    async with asyncio.timeout(10):
        while camb.simulator.polls[task_id] < polls:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.001)


async def test_a_reset_is_a_reset(camb):
    """RST, not FIN: the client's read fails instead of ending."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "reset"}])
    with pytest.raises(ConnectionResetError):
        await raw_poll(camb, "t")
    assert (await camb.get("/tts/t"))[1]["status"] == "SUCCESS"


async def test_a_truncated_answer_ends_before_its_length(camb):
    """The body is shorter than Content-Length says, and then the connection ends in order."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "truncated"}] * 2)
    head, body = (await raw_poll(camb, "t")).split(b"\r\n\r\n")
    assert len(body) < int(re.search(rb"Content-Length: (\d+)", head)[1])
    with pytest.raises(aiohttp.ClientPayloadError):
        await camb.get("/tts/t")


async def test_a_page_and_an_oversized_answer_are_200(camb):
    """Success by their status, useless by their content."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "html"}, {"fault": "oversized"}])
    async with camb.http.get(camb.base_url + "/tts/t") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
    async with camb.http.get(camb.base_url + "/tts/t") as answer:
        body = await answer.read()
        assert len(body) > 1 << 20
        assert json.loads(body) == {"status": "PENDING"}


async def test_a_slow_answer_is_right_but_late(camb):
    """The delay is at least what was asked for."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "slow", "seconds": 0.05}])
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await camb.get("/tts/t"))[1]["status"] == "SUCCESS"
    assert loop.time() - began >= 0.049


async def test_a_hanging_answer_comes_never_and_does_not_hinder_the_stop():
    """The client gives up, others are served meanwhile, and the server stops with an answer hanging."""
    async with asyncio.timeout(20):
        async with bench() as camb:
            replies = [{"fault": "hang", "seconds": 0.01}, {"fault": "hang"}, {"fault": "hang"}]
            camb.simulator.add_task("tts", "t", replies=replies)
            assert await raw_poll(camb, "t") == b""
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await raw_poll(camb, "t")
            hanging = asyncio.create_task(raw_poll(camb, "t"))
            await arrival(camb, "t", polls=3)
            assert (await camb.get("/tts/t"))[1]["status"] == "SUCCESS"
            assert not hanging.done()
        assert await hanging == b""


async def test_a_hanging_answer_ends_with_its_client(camb):
    """Nothing is left of it in the server."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "hang"}])
    before = len(asyncio.all_tasks())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await raw_poll(camb, "t")
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.001)


async def test_any_server_of_the_application_stops_at_once():
    """The default patience of aiohttp with answers under way, a minute, is not used up by one that hangs."""
    simulator = Simulator(clock=HandClock())
    simulator.add_task("tts", "t", replies=[{"fault": "hang"}])
    runner = web.AppRunner(simulator.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(headers=KEY) as http:
        camb = Bench(simulator, HandClock(), f"http://127.0.0.1:{runner.addresses[0][1]}/apis", http)
        hanging = asyncio.create_task(raw_poll(camb, "t"))
        await arrival(camb, "t", polls=1)
        async with asyncio.timeout(20):
            await runner.cleanup()
        assert await hanging == b""


@pytest.mark.parametrize(
    ("form", "seconds", "expected"),
    [
        ("seconds", 3, "3"),
        ("seconds", 0.5, "0.5"),
        ("date", 3, "Sun, 22 Nov 2026 12:00:04 GMT"),
        ("seconds", None, None),
    ],
)
async def test_retry_after_in_both_forms(camb, form, seconds, expected):
    """A date is never earlier than the seconds, and at most one second later."""
    shares = {"rate_limited": 1, "retry_after_seconds": seconds, "retry_after_form": form}
    http_status, echoed = await camb.control("POST", "/faults", shares)
    assert (http_status, echoed["rate_limited"], echoed["retry_after_form"]) == (200, 1, form)
    camb.simulator.add_task("tts", "t")
    async with camb.http.get(camb.base_url + "/tts/t") as answer:
        assert answer.status == 429
        assert answer.headers.get("Retry-After") == expected
    if form == "date":
        wait = parsedate_to_datetime(expected) - NOON
        assert timedelta(seconds=3) <= wait < timedelta(seconds=4)
    camb.simulator.faults = Faults(server_error=1)
    assert (await camb.get("/tts/t"))[0] == 503


async def test_shares_are_kept_and_spare_everything_but_polls(camb):
    """About as many polls fail as were asked for; results never do."""
    camb.simulator.faults = Faults(rate_limited=0.3, unknown_word=0.2)
    camb.simulator.add_task("dub", "t", run_id=7)
    answers = [await camb.get("/dub/t") for _ in range(400)]
    limited = sum(http_status == 429 for http_status, _ in answers)
    strange = sum(document.get("status") == "REFRACTING" for _, document in answers)
    assert 90 <= limited <= 150  # five standard deviations of 400 draws would be 46
    assert 40 <= strange <= 120
    assert {(await camb.get("/dub-result/7"))[0] for _ in range(20)} == {200}


@given(st.lists(st.floats(0, 0.1), min_size=9, max_size=9), st.floats(0, 1, exclude_max=True))
def test_a_mishap_is_drawn_by_its_share(shares, chance):
    """The n-th share of [0, 1) belongs to the n-th mishap, what is left to none."""
    faults = Faults(**dict(zip(Mishap, shares, strict=True)))
    drawn = draw(faults.shares(), chance=chance)
    if drawn is None:
        assert chance >= sum(shares) - 1e-9
    else:
        below = sum(shares[: list(Mishap).index(drawn)])
        assert below - 1e-9 <= chance < below + getattr(faults, drawn) + 1e-9


# --- determinism ---------------------------------------------------------------------------------------------------


async def story_of(seed: int, *, order: str = "ab") -> list:
    """Ids, outcomes and faulty polls of one run; *order* is in which order two tasks are polled."""
    faults = Faults(rate_limited=0.5, retry_after_seconds=None)
    async with bench(Settings(seed=seed, mix={"SUCCESS": 1, "ERROR": 1, "TIMEOUT": 1}, faults=faults)) as camb:
        ids = [(await camb.post("/tts", BODIES["tts"]))[1]["task_id"] for _ in range(8)]
        told = {}
        for name in order:
            task_id = ids["ab".index(name)]
            told[name] = [(await camb.get(f"/tts/{task_id}"))[0] for _ in range(20)]
        camb.simulator.faults = Faults()
        ends = []
        for seconds in (5, 8, 13, LONG_S):
            camb.clock.now_s = 50 + seconds
            ends.append([(await camb.get(f"/tts/{task_id}"))[1] for task_id in ids])
        return [ids, sorted(told.items()), ends]


async def test_one_seed_tells_one_story():
    """The same seed gives the same ids, durations, ends and faults, whatever the order of polls; another does not."""
    first = await story_of(1)
    assert await story_of(1) == first
    assert await story_of(1, order="ba") == first
    other = await story_of(2)
    assert all(ours != theirs for ours, theirs in zip(first, other, strict=True))


async def test_added_tasks_do_not_change_the_fate_of_others():
    """The end and the duration of the n-th created task do not depend on what was registered besides."""
    fates = []
    for extra in (0, 3):
        async with bench(Settings(mix={"SUCCESS": 1, "ERROR": 1})) as camb:
            for _ in range(extra):
                camb.simulator.add_task("dub")
            ids = [(await camb.post("/tts", BODIES["tts"]))[1]["task_id"] for _ in range(12)]
            camb.clock.now_s += 8
            halfway = [(await camb.get(f"/tts/{each}"))[1]["status"] for each in ids]
            camb.clock.now_s += LONG_S
            fates.append((halfway, [(await camb.get(f"/tts/{each}"))[1]["status"] for each in ids]))
    assert fates[0] == fates[1]
    assert len(set(fates[0][1])) == 2


async def test_speed_divides_durations():
    """A hundred times the speed, a hundredth of the time."""
    for speed in (1, 100):
        async with bench(Settings(speed=speed)) as camb:
            _, created = await camb.post("/dub", BODIES["dub"])
            seen = []
            for seconds in (180 / 8 / speed, 180 * 8 / speed):  # the median over and times eight: four sigmas
                camb.clock.now_s = 50 + seconds
                seen.append((await camb.get(f"/dub/{created['task_id']}"))[1]["status"])
            assert seen == ["PENDING", "SUCCESS"]


async def test_one_state_outlives_its_server():
    """A simulator can be stopped and served again, elsewhere, with all its tasks."""
    simulator = Simulator(clock=HandClock())
    simulator.add_task("tts", "t")
    for _ in range(2):
        async with (
            serve(simulator) as base_url,
            aiohttp.ClientSession(headers=KEY) as http,
            http.get(base_url + "/tts/t") as answer,
        ):
            assert answer.status == 200
    assert simulator.polls["t"] == 2


async def test_a_taken_port_is_an_error():
    """OSError, before anything is served."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="address already in use"):
        async with serve(Simulator(clock=HandClock()), port=taken.getsockname()[1]):
            pass

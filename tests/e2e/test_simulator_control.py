"""The pretend Camb is told what to do, over HTTP and in Python, and names the mistakes in it."""

import pytest
from simulated import HandClock, served_bench  # noqa: F401

from cambwatch.simulator import Faults, Settings, Simulator


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

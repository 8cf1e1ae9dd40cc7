"""The pretend Camb takes tasks of every kind from their creation to their end, in every shape of a status."""

from uuid import UUID

import pytest
from simulated import BODIES, LONG_S, served_bench  # noqa: F401

from cambwatch.core.camb.kinds import KINDS
from cambwatch.simulator.creation import REQUIRED
from cambwatch.simulator.state import MEDIANS_S


def status_path(kind: str, task_id: str) -> str:
    return KINDS[kind].status_path.format(task_id=task_id)


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

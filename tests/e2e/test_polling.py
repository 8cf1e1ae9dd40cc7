"""A watched task ends as Camb says it did: every kind, every shape, at the deadline, after a restart."""

import asyncio
import sqlite3

import pytest
from events import HOOK, PENDING, ended, hear, hook, says, settings, shown, told, watch
from receivers import Receivers
from structlog.testing import capture_logs

from cambwatch.core.camb.kinds import KINDS

FAILURES = ("ERROR", "TIMEOUT", "PAYMENT_REQUIRED")
EXTRA = {"translated-story": {"target_language": 54}}


@pytest.fixture
async def raw():
    """A Camb of the test's own words: what is asked of it is written down, and answered by its scripts."""
    async with Receivers().serve() as made:
        yield made


def begin(camb, kind, **script):
    """A task of *kind* at *camb* and the wish to watch it."""
    if kind in EXTRA:
        script["request"] = EXTRA[kind]
    return {"kind": kind, "task_id": camb.add(kind, **script), "extra": EXTRA.get(kind, {})}


async def test_every_kind_comes_to_each_of_cambs_ends(daemon, camb, receivers):
    """All seventeen kinds, each ending in each of Camb's four ways; and every end is told once."""
    made = await daemon(settings(destinations={"hook": hook(receivers)}))
    wishes = {
        (kind, status): begin(camb, kind, status=status, after_seconds=0.1)
        for kind in KINDS
        for status in ("SUCCESS", *FAILURES)
    }
    assert (await made.api.post(list(wishes.values()))).status == 201
    await hear(receivers, *(wish["task_id"] for wish in wishes.values()))
    heard = sorted(
        (request.document["data"]["kind"], request.document["data"]["status"]) for request in receivers.at(HOOK)
    )
    assert heard == sorted(wishes)


@pytest.mark.parametrize("case", ["upper", "lower"])
@pytest.mark.parametrize(
    ("shape", "kinds"), [("object", list(KINDS)), ("string", list(KINDS)), ("list", ["project-setup"])]
)
async def test_every_kind_may_answer_in_any_shape(daemon, camb, receivers, shape, kinds, case):
    """Which shape belongs to which kind has changed with Camb's versions; a list of runs is project-setup's only."""
    made = await daemon(settings(destinations={"hook": hook(receivers)}, results={"fetch": False}))
    wishes = [begin(camb, kind, shape=shape, case=case, after_seconds=0.1) for kind in kinds]
    assert (await made.api.post(wishes)).status == 201
    heard = await hear(receivers, *(wish["task_id"] for wish in wishes))
    assert {data["status"] for data in heard} == {"SUCCESS"}


@pytest.mark.parametrize(
    ("replies", "wanted"),
    [
        ([{"status": "PENDING", "run_id": 7}, {"status": "SUCCESS", "run_id": 8}], {"status": "SUCCESS", "run_id": 8}),
        ([{"run_id": 7}, {"status": "SUCCESS", "run_id": "8"}], {"status": "SUCCESS", "run_id": 8}),
        ([None, [], "pending", {"status": "SUCCESS"}], {"status": "SUCCESS", "run_id": None, "result": None}),
        (
            [{"status": "ERROR", "exception_reason": "NONE", "message": {"message": "Too loud"}}],
            {"status": "ERROR", "exception_reason": None, "message": "Too loud"},
        ),
        (
            [{"status": "error", "exception_reason": "PAYMENT_REQUIRED"}] * 2,
            {"status": "ERROR", "exception_reason": "PAYMENT_REQUIRED", "action": "add_credits", "icon": "💳"},
        ),
        (
            [{"status": "PAYMENT_REQUIRED", "message": "x" * 5000}],
            {"status": "PAYMENT_REQUIRED", "message": "x" * 1999 + "…"},
        ),
    ],
    ids=["run-before-success", "run-as-digits", "null-and-empty", "no-reason", "no-credits", "long-message"],
)
async def test_what_camb_says_is_what_is_told(daemon, receivers, raw, replies, wanted):
    """Answers word for word, and the fields of the notification that they lead to."""
    raw.script("/apis/text-to-voice/t", *map(says, replies))
    made = await daemon(
        settings(camb={"base_url": raw.url + "/apis"}, destinations={"hook": hook(receivers)}, results={"fetch": False})
    )
    await watch(made.api, "text-to-voice", "t")
    (data,) = await hear(receivers, "t")
    assert {name: data[name] for name in wanted} == wanted
    assert data["polls"] == len(raw.requests) == len(replies)


@pytest.mark.parametrize(
    ("status", "refusals", "grace", "wanted"),
    [
        (404, 3, "1h", "SUCCESS"),
        (404, 1000, "150ms", "NOT_FOUND"),
        (410, 1000, "150ms", "NOT_FOUND"),
        (422, 2, "0s", "SUCCESS"),
        (422, 3, "1h", "NOT_FOUND"),
    ],
)
async def test_a_task_that_camb_does_not_know_gets_its_time(daemon, receivers, raw, status, refusals, grace, wanted):
    """A 404 counts only after the grace, a 422 only when it was said three times in a row."""
    raw.script("/apis/dub/t", *[says({"detail": "Who?"}, status=status)] * refusals, ended("SUCCESS"))
    made = await daemon(
        settings(
            camb={"base_url": raw.url + "/apis"},
            polling={"not_found_grace": grace},
            destinations={"hook": hook(receivers)},
        )
    )
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert (data["status"], data["message"]) == (wanted, "Who?" if wanted == "NOT_FOUND" else None)


async def test_at_the_deadline_camb_is_asked_once_more(daemon, camb, receivers):
    """Long before the next poll would be due: what has ended meanwhile is told as its end, the rest as EXPIRED."""
    made = await daemon(
        settings(
            polling={"interval": "1h", "max_interval": "2h", "deadline": "600ms"},
            destinations={"hook": hook(receivers)},
        )
    )
    pending, late = camb.add("dub", status="PENDING"), camb.add("dub", status="ERROR", after_seconds=0.5)
    await watch(made.api, "dub", pending, late)
    expired, failed = await hear(receivers, pending, late)
    assert (expired["status"], expired["action"], expired["polls"]) == ("EXPIRED", "check_studio", 2)
    assert (failed["status"], failed["polls"]) == ("ERROR", 2)
    assert expired["duration_seconds"] >= 0.6


async def test_an_unknown_word_is_polled_on_and_logged_once(daemon, receivers, raw):
    """However often it comes, and whatever other words come with it."""
    words = [says({"status": word}) for word in ("REFRACTING", "COOKING", "REFRACTING", "COOKING", "cooking")]
    raw.script("/apis/dub/t", *words, ended())
    made = await daemon(settings(camb={"base_url": raw.url + "/apis"}, destinations={"hook": hook(receivers)}))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        await hear(receivers, "t")
    said = [line for line in logs if line["event"] == "task.unknown_status"]
    assert [(line["task_id"], line["status"], line["log_level"]) for line in said] == [("t", "REFRACTING", "warning")]


async def test_a_wish_asks_camb_now(daemon, camb, until):
    """Whoever cannot wait for the next poll."""
    made = await daemon(settings(polling={"interval": "1h", "max_interval": "2h"}))
    task_id = camb.add("dub", status="PENDING")
    await watch(made.api, "dub", task_id)
    await until(lambda: camb.polls(task_id) == 1)
    for polls in (2, 3):
        assert (await made.api.ask("POST", f"/v1/tasks/dub/{task_id}/poll")).status == 202
        await until(lambda polls=polls: camb.polls(task_id) == polls)


async def test_a_wish_during_a_poll_asks_again_after_it(daemon, raw, until):
    """The answer under way may be older than the wish."""
    held = asyncio.Event()
    raw.script("/apis/dub/t", says({"status": "PENDING"}, held=held), PENDING)
    made = await daemon(
        settings(camb={"base_url": raw.url + "/apis"}, polling={"interval": "1h", "max_interval": "2h"})
    )
    await watch(made.api, "dub", "t")
    await raw.until(lambda: raw.requests)
    assert (await made.api.ask("POST", "/v1/tasks/dub/t/poll")).status == 202
    held.set()
    await raw.until(lambda: len(raw.requests) == 2)


async def test_one_request_at_a_time_still_reaches_every_task(daemon, receivers, raw):
    """The end of a task makes room for the next poll, as any other answer does."""
    raw.otherwise = ended()
    made = await daemon(
        settings(
            camb={"base_url": raw.url + "/apis", "concurrency": 1},
            polling={"interval": "1h", "max_interval": "2h"},
            destinations={"hook": hook(receivers)},
        )
    )
    await watch(made.api, "dub", *"abcdefgh")
    await hear(receivers, *"abcdefgh")


async def test_a_result_that_takes_its_time_delays_no_poll(daemon, receivers, raw):
    """The pauses between the tries of a result do not hold the only place for a poll."""
    raw.script("/apis/dub/slow", ended("SUCCESS", 5))
    raw.script("/apis/dub-result/5", says({}, status=500), says({}, status=500), says({}))
    raw.otherwise = ended()
    made = await daemon(
        settings(
            camb={"base_url": raw.url + "/apis", "concurrency": 1},
            polling={"interval": "1h", "max_interval": "2h"},
            destinations={"hook": hook(receivers)},
        )
    )
    await watch(made.api, "dub", "slow", *"abcdef")
    await hear(receivers, *"abcdef")
    assert "slow" not in told(receivers)
    await hear(receivers, "slow")


async def test_a_restart_takes_everything_up_again(daemon, camb, receivers, until):
    """Also what was registered as the last thing before the stop; polls are counted on."""
    text = settings(destinations={"hook": hook(receivers)})
    first = await daemon(text)
    tasks = [camb.add("dub", status="PENDING") for _ in range(20)]
    await watch(first.api, "dub", *tasks)
    await until(lambda: all(camb.polls(task) >= 2 for task in tasks))
    tasks.append(camb.add("dub", status="PENDING"))
    await watch(first.api, "dub", tasks[-1])
    await first.stop()
    asked = {task: camb.polls(task) for task in tasks}

    for task in tasks:
        camb.add("dub", task, status="ERROR")
    second = await daemon(text)
    await hear(receivers, *tasks)
    assert len(receivers.at(HOOK)) == len(tasks)
    assert {task: (await shown(second.api, "dub", task))["polls"] for task in tasks} == {
        task: polls + 1 for task, polls in asked.items()
    }


async def test_a_pending_poll_writes_nothing(daemon, camb, until, tmp_path):
    """Hundreds of polls leave database and log file as they were, byte for byte and in time."""
    made = await daemon()
    tasks = [camb.add("dub", status="PENDING") for _ in range(20)]
    await watch(made.api, "dub", *tasks)
    await until(lambda: all(camb.polls(task) >= 2 for task in tasks))

    files = [tmp_path / "cambwatch.db", tmp_path / "cambwatch.db-wal"]
    with sqlite3.connect(files[0]) as connection:
        known = "SELECT count(*) FROM tasks WHERE known"  # the one write that a first answer causes, for all together
        await until(lambda: connection.execute(known).fetchone() == (len(tasks),))

        def state():
            version = connection.execute("PRAGMA data_version").fetchone()
            stats = [file.stat() for file in files]
            return version, [(stat.st_size, stat.st_mtime_ns) for stat in stats]

        before, polls = state(), sum(camb.polls(task) for task in tasks)
        await until(lambda: sum(camb.polls(task) for task in tasks) >= polls + 300)
        assert state() == before
    connection.close()

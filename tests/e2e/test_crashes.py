"""
Life and death of the real process: killed at any point, it tells every end, and none under two ids.

Everything is counted where it counts, at the receivers: a webhook, which shows the id of
each event, and a Slack channel, which shows the task.
"""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
from collections import Counter, defaultdict

import pytest
from events import ended, hear, hook, ids_of, settings, shown, watch
from receivers import Receivers, Reply

SLACK = "/slack"
HOOK = "/hook"
TASKS = 30


def both(receivers, **more):
    """A configuration with both receivers; Slack takes more than a message a second here."""
    team = hook(receivers, SLACK, rate="1000/s") | {"type": "slack"}
    return settings(destinations={"hook": hook(receivers, HOOK), "team": team}, **more)


def messages(receivers):
    """How often Slack heard of each task."""
    heard = Counter()
    for request in receivers.at(SLACK):
        (context,) = [block for block in request.document["blocks"] if block["type"] == "context"]
        heard[context["elements"][0]["text"].removeprefix("Task ")] += 1
    return heard


def events(receivers):
    """The ids under which the webhook heard of each task."""
    heard = defaultdict(set)
    for request in receivers.at(HOOK):
        heard[request.document["data"]["task_id"]].add(request.headers["webhook-id"])
    return heard


async def everything_is_told(receivers, tasks):
    """Wait until both receivers have heard of all *tasks*; no event has two ids, and no id two events."""
    for heard in (messages, events):
        await receivers.until(lambda heard=heard: heard(receivers).keys() >= set(tasks))
    assert {task: len(ids) for task, ids in events(receivers).items()} == dict.fromkeys(tasks, 1)
    assert len({each for ids in events(receivers).values() for each in ids}) == len(tasks)


@pytest.fixture
def slack_says_ok(receivers):
    """Slack accepts with `ok`, and the webhook does not mind."""
    receivers.otherwise = Reply(200, b"ok")


@pytest.mark.usefixtures("slack_says_ok")
async def test_killed_while_tasks_are_pending(process, camb, receivers, until):
    """Those of the file and those of the intake, up to the last one that was answered with 201."""
    named = [camb.add("dub", status="PENDING") for _ in range(3)]
    made = await process(both(receivers, tasks=[{"kind": "dub", "task_id": task} for task in named]))
    tasks = [*named, *(camb.add("dub", status="PENDING") for _ in range(TASKS))]
    await watch(made.api, "dub", *tasks[3:])
    await until(lambda: all(camb.polls(task) for task in tasks))
    tasks.append(camb.add("dub", status="PENDING"))
    await watch(made.api, "dub", tasks[-1])  # returns with the 201
    await made.kill()
    for task in tasks:
        camb.add("dub", task, status="ERROR")
    await made.start()
    await everything_is_told(receivers, tasks)
    assert set(messages(receivers).values()) == {1}


@pytest.mark.usefixtures("slack_says_ok")
async def test_killed_while_deliveries_are_in_flight(process, camb, receivers):
    """The receivers have them, but we never heard so: they come again, the webhook's under the same id."""
    never = asyncio.Event()
    receivers.script(HOOK, Reply(held=never))
    receivers.script(SLACK, Reply(held=never))
    made = await process(both(receivers))
    tasks = [camb.add("dub", status="ERROR") for _ in range(TASKS)]
    await watch(made.api, "dub", *tasks)
    await receivers.until(lambda: len(receivers.requests) == 8)
    await made.kill()
    receivers.script(HOOK, Reply())
    receivers.script(SLACK, Reply())
    await made.start()
    await everything_is_told(receivers, tasks)
    twice = [each for each, times in Counter(ids_of(receivers.at(HOOK))).items() if times == 2]
    assert sorted(twice) == sorted(ids_of(receivers.at(HOOK)[:4]))
    assert sorted(messages(receivers).values()) == [1] * (TASKS - 4) + [2] * 4


@pytest.mark.usefixtures("slack_says_ok")
async def test_killed_right_after_a_conclusion(process, camb, receivers, until, tmp_path):
    """As soon as the first delivery is on disk: some ends are committed, some are not, some posts are on their way."""
    made = await process(both(receivers))
    tasks = [camb.add("dub", status="PENDING") for _ in range(TASKS)]
    await watch(made.api, "dub", *tasks)
    await until(lambda: all(camb.polls(task) for task in tasks))
    with sqlite3.connect(tmp_path / "cambwatch.db") as database:
        for task in tasks:
            camb.add("dub", task, status="ERROR")
        await until(lambda: database.execute("SELECT count(*) FROM deliveries").fetchone()[0])
        await made.kill()
    database.close()
    await made.start()
    await everything_is_told(receivers, tasks)


@pytest.mark.usefixtures("slack_says_ok")
async def test_killed_again_and_again(process, camb, receivers, until):
    """At the n-th request that anybody hears, whatever it is; and what was registered meanwhile is not lost."""
    made = await process(both(receivers), ready=None)
    tasks = []
    for number in (3, 12, 40):
        await made.start()
        new = [camb.add("dub", status="ERROR") for _ in range(10)]
        before = len(receivers.requests) + sum(camb.simulator.polls.values())
        registering = asyncio.create_task(made.api.post([{"kind": "dub", "task_id": task} for task in new]))
        most = before + number
        await until(lambda most=most: len(receivers.requests) + sum(camb.simulator.polls.values()) >= most)
        await made.kill()
        (answer,) = await asyncio.gather(registering, return_exceptions=True)
        if not isinstance(answer, Exception):
            assert answer.status == 201
            tasks += new
        else:  # no answer, so no promise; it may be registered all the same
            tasks += [task for task in new if camb.polls(task)]
    await made.start()
    late = camb.add("dub", status="ERROR")
    await watch(made.api, "dub", late)
    for heard in (messages, events):
        await receivers.until(lambda heard=heard: heard(receivers).keys() >= {*tasks, late})
    assert {len(ids) for ids in events(receivers).values()} == {1}


async def test_sigterm_finishes_what_is_in_flight(process, camb, receivers):
    """A delivery is finished and written down; whoever waits for an end is answered; exit status 0."""
    held = asyncio.Event()
    receivers.script(HOOK, Reply(held=held))
    made = await process(settings(destinations={"hook": hook(receivers, HOOK)}))
    done, pending = camb.add("dub", status="ERROR"), camb.add("dub", status="PENDING")
    await watch(made.api, "dub", done, pending)
    waiting = asyncio.create_task(made.api.get(f"/v1/tasks/dub/{pending}?wait=60s"))
    await receivers.until(lambda: receivers.requests)
    made.signal(signal.SIGTERM)
    assert (await waiting).document["status"] == "PENDING"
    held.set()
    assert await made.ended() == 0
    await made.start()
    owed = (await shown(made.api, "dub", done))["deliveries"]
    assert [(one["state"], one["attempts"]) for one in owed] == [("delivered", 1)]
    assert len(receivers.requests) == 1
    assert await made.stop() == 0
    assert [line["event"] for line in made.logged() if line["event"].startswith("service.")] == [
        *("service.started", "service.stopping", "service.stopped") * 2
    ]


async def test_a_second_signal_ends_at_once(process, camb, receivers, until):
    """For whoever does not want to wait; nothing is lost by it."""
    held = asyncio.Event()
    receivers.script(HOOK, Reply(held=held), Reply())
    made = await process(settings(destinations={"hook": hook(receivers, HOOK)}))
    task_id = camb.add("dub", status="ERROR")
    await watch(made.api, "dub", task_id)
    await receivers.until(lambda: receivers.requests)
    made.signal(signal.SIGINT)
    await until(lambda: "service.stopping" in made.log.read_text())
    made.signal(signal.SIGTERM)
    assert await made.ended() == -signal.SIGTERM
    await made.start()
    await receivers.until(lambda: len(receivers.requests) == 2)
    assert len(set(ids_of(receivers.requests))) == 1


async def test_what_takes_longer_than_the_grace_is_cut_and_told_after_the_next_start(
    daemon, receivers, monkeypatch, until
):
    """Under the same id, at once, and as its first attempt: a stop of ours is no failure of the receiver's."""
    monkeypatch.setattr("cambwatch.app.generation.GRACE_S", 0.3)  # ten seconds would be no other promise
    receivers.script(HOOK, Reply(held=asyncio.Event()), Reply())
    async with Receivers().serve() as raw:
        raw.script("/dub/told", ended())
        raw.script("/dub/asked", Reply(held=asyncio.Event()), ended())
        text = settings(
            camb={"base_url": raw.url}, destinations={"hook": hook(receivers, HOOK, retry={"first": "1h", "max": "1h"})}
        )
        first = await daemon(text)
        await watch(first.api, "dub", "told", "asked")
        await receivers.until(lambda: receivers.requests)
        await raw.until(lambda: raw.at("/dub/asked"))
        await first.stop()
        second = await daemon(text)
        await hear(receivers, "told", "asked")

        async def owed():
            (delivery,) = (await shown(second.api, "dub", "told"))["deliveries"]
            return delivery

        async def written_down():
            return (await owed())["state"] == "delivered"

        await until(written_down)
        delivery = await owed()
        assert [each == delivery["id"] for each in ids_of(receivers.requests)].count(True) == 2
        assert receivers.requests[0].headers["webhook-id"] == delivery["id"]
        assert (delivery["attempts"], len(receivers.requests)) == (1, 3)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


async def test_a_full_disk_loses_nothing_and_spams_nobody(process, camb, receivers, until, small_disk):
    """What was posted but could not be written down waits in memory, and what has ended is asked for again."""
    held = asyncio.Event()
    receivers.script(HOOK, Reply(held=held), Reply(held=held), Reply())
    store = {"url": f"sqlite:///{small_disk}/cambwatch.db"}
    destinations = {"hook": hook(receivers, HOOK, concurrency=2)}
    made = await process(settings(destinations=destinations, store=store, polling={"interval": "200ms"}))
    posted = [camb.add("dub", status="ERROR") for _ in range(2)]
    pending = [camb.add("dub", status="PENDING") for _ in range(TASKS)]
    await watch(made.api, "dub", *posted, *pending)
    await receivers.until(lambda: len(receivers.requests) == 2)
    await until(lambda: all(camb.polls(task) for task in pending))

    with (small_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))
    refused = 0
    while refused < 3:  # what room there is in SQLite's own files is filled by tasks of which Camb knows nothing
        wish = {"kind": "dub", "task_id": camb.add("dub", status="PENDING"), "name": "x" * 200}
        answer = await made.api.post(wish)
        assert answer.status in {201, 503}
        assert ("retry-after" in answer.headers) == (answer.status == 503)
        if answer.status == 201:
            pending.append(wish["task_id"])
        refused += answer.status == 503
    answer = await made.api.get("/readyz")
    assert answer.status == 503
    assert "full" in answer.document["reasons"][0]
    assert (await made.api.get("/healthz")).status == 200

    held.set()
    for task in pending:
        camb.add("dub", task, status="ERROR", message="m" * 1500)

    def said(operation):
        return f'"operation": "{operation}"' in made.log.read_text()

    await until(lambda: said("conclusion") and said("attempt"))
    (small_disk / "filler").unlink()
    await hear(receivers, *posted, *pending, path=HOOK)
    await made.until_ready()
    assert set(Counter(ids_of(receivers.requests)).values()) == {1}
    assert {len(ids) for ids in events(receivers).values()} == {1}
    assert await made.stop() == 0

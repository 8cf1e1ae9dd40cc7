"""Chats get one message of many events where they want it so, or where the news is old; programs get every event."""

import json
import sqlite3
from contextlib import closing

import pytest
from events import HOOK, ended, hook, settings, shown, watch
from receivers import Receivers, Reply

NAMES = [f"task-{number}" for number in range(5)]
FAST = {"rate": "100/s", "retry": {"first": "50ms", "max": "50ms"}}


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


@pytest.fixture
def grow_old(tmp_path):
    """Make everything that is owed a quarter of an hour older, and due: as after an outage, in no time."""

    def grow() -> None:
        with closing(sqlite3.connect(tmp_path / "cambwatch.db")) as database, database:
            age_us = 15 * 60 * 1_000_000
            database.execute("UPDATE deliveries SET created_at = created_at - ?", [age_us])
            database.execute("UPDATE deliveries SET next_attempt_at = created_at WHERE state = 'pending'")
            database.execute("DELETE FROM destinations")

    return grow


def slack(receivers, path="/team", **more):
    """A Slack look-alike."""
    receivers.script(path, Reply(200, b"ok"))
    return hook(receivers, path) | {"type": "slack"} | FAST | more


def laid(raw, **destinations):
    """A configuration in which *raw* is Camb."""
    return settings(camb={"base_url": raw.url}, destinations=destinations)


def told(request):
    """Which of the tasks a message names."""
    return {name for name in NAMES if name in json.dumps(request.document)}


async def all_delivered(made, until, destination, names=NAMES):
    """Wait until *destination* has taken all; returns the deliveries with their attempts."""

    async def is_so():
        path = f"/v1/deliveries?state=delivered&destination={destination}"
        return len((await made.api.get(path)).document["items"]) == len(names)

    await until(is_so)
    items = (await made.api.get(f"/v1/deliveries?destination={destination}")).document["items"]
    return [(await made.api.get(f"/v1/deliveries/{one['id']}")).document for one in items]


async def outage(daemon, receivers, document, grow_old, until):
    """A daemon whose receivers were down for a quarter of an hour while NAMES ended; they are back now."""
    receivers.otherwise = Reply(500)
    scripts, receivers._scripts = receivers._scripts, {}
    made = await daemon(document)
    await watch(made.api, "dub", *NAMES)

    async def all_owed():
        return all([(await shown(made.api, "dub", name))["deliveries"] for name in NAMES])

    await until(all_owed)
    await made.stop()
    grow_old()
    receivers.requests.clear()
    receivers._scripts = scripts
    receivers.otherwise = Reply()
    return await daemon(document)


async def test_after_an_outage_a_channel_gets_a_digest_and_a_program_every_event(
    daemon, receivers, raw, until, grow_old
):
    """One message that tells of all, and says that it is late."""
    document = laid(raw, team=slack(receivers), hook=hook(receivers))
    made = await outage(daemon, receivers, document, grow_old, until)
    owed = await all_delivered(made, until, "team")
    (message,) = receivers.at("/team")
    assert told(message) == set(NAMES)
    assert {one["history"][-1]["delivery_count"] for one in owed} == {len(NAMES)}
    await all_delivered(made, until, "hook")
    assert len(receivers.at(HOOK)) == len(NAMES)


async def test_a_late_message_alone_is_an_ordinary_one(daemon, receivers, raw, until, grow_old):
    """There is nothing to gather."""
    document = laid(raw, team=slack(receivers))
    receivers.otherwise = Reply(500)
    scripts, receivers._scripts = receivers._scripts, {}
    made = await daemon(document)
    await watch(made.api, "dub", "task-0")
    await receivers.until(lambda: receivers.at("/team"))
    ordinary = receivers.at("/team")[0].document
    await made.stop()
    grow_old()
    receivers._scripts = scripts
    made = await daemon(document)
    await all_delivered(made, until, "team", ["task-0"])
    assert receivers.at("/team")[-1].document == ordinary


async def test_a_digest_that_is_refused_is_said_one_by_one(daemon, receivers, raw, until, grow_old):
    """In plain words; nothing is lost with it."""
    team = slack(receivers)
    receivers.script("/team", Reply(400, b"invalid_blocks"), Reply(200, b"ok"))
    made = await outage(daemon, receivers, laid(raw, team=team), grow_old, until)
    await all_delivered(made, until, "team")
    digest, *plain = receivers.at("/team")
    assert told(digest) == set(NAMES)
    assert sorted(told(request).pop() for request in plain) == NAMES
    assert all("blocks" not in request.document for request in plain)


async def test_a_digest_that_fails_is_tried_again_as_one(daemon, receivers, raw, until, grow_old):
    """An answer that is lost costs one message more, not five."""
    team = slack(receivers)
    receivers.script("/team", Reply(503), Reply(200, b"ok"))
    made = await outage(daemon, receivers, laid(raw, team=team), grow_old, until)
    await all_delivered(made, until, "team")
    first, second = receivers.at("/team")
    assert told(first) == told(second) == set(NAMES)


async def test_what_ends_within_the_time_of_a_digest_goes_in_one_message(daemon, receivers, raw, until):
    """Counted from the first; what ends later goes into the next."""
    made = await daemon(laid(raw, team=slack(receivers, digest="1s"), hook=hook(receivers)))
    await watch(made.api, "dub", *NAMES[:4])
    await receivers.until(lambda: len(receivers.at(HOOK)) == 4)
    assert receivers.at("/team") == []
    await receivers.until(lambda: receivers.at("/team"))
    first_s = min(request.at_s for request in receivers.at(HOOK))
    assert receivers.at("/team")[0].at_s - first_s >= 0.8
    await watch(made.api, "dub", NAMES[4])
    await all_delivered(made, until, "team")
    first, second = receivers.at("/team")
    assert told(first) == set(NAMES[:4])
    assert told(second) == {NAMES[4]}


async def test_more_than_one_digest_holds_goes_in_several(daemon, receivers, raw, until):
    """Each event in exactly one of them."""
    names = [f"batch-{number:03}" for number in range(100)]
    made = await daemon(laid(raw, team=slack(receivers, digest="1s"), hook=hook(receivers, concurrency=32)))
    await watch(made.api, "dub", *names)
    await all_delivered(made, until, "team", names)
    said = [name for request in receivers.at("/team") for name in names if name in json.dumps(request.document)]
    assert sorted(said) == names
    assert len(receivers.at("/team")) <= 6


async def test_what_is_removed_before_the_digest_leaves_is_not_in_it(daemon, receivers, raw, until):
    """Nobody is told of it."""
    made = await daemon(laid(raw, team=slack(receivers, digest="1s"), hook=hook(receivers)))
    await watch(made.api, "dub", *NAMES)
    await receivers.until(lambda: len(receivers.at(HOOK)) == 5)
    assert (await made.api.ask("DELETE", f"/v1/tasks/dub/{NAMES[0]}")).status == 204
    await all_delivered(made, until, "team", NAMES[1:])
    assert told(receivers.at("/team")[0]) == set(NAMES[1:])

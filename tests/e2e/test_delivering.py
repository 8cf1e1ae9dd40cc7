"""What is owed arrives: signed, under one id, as fast as its receiver wants it, and beside those who do not answer."""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime
from email.utils import format_datetime
from math import ceil

import pytest
from crowds import Crowd
from events import HOOK, ended, hear, hook, ids_of, settings, shown, watch
from receivers import Receivers, Reply
from standardwebhooks import Webhook

NAMES = [str(number) for number in range(24)]
SECRETS = ["whsec_" + letter * 43 + "=" for letter in "AB"]


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


def laid(raw, **destinations):
    """A configuration in which *raw* is Camb."""
    return settings(camb={"base_url": raw.url}, destinations=destinations)


async def deliveries(made, task_id):
    """What is owed of a task, by destination."""
    return {one["destination"]: one for one in (await shown(made.api, "dub", task_id))["deliveries"]}


async def in_state(made, until, task_id, state, destination="hook"):
    """Wait until a delivery is in *state*; returns it."""

    async def is_so():
        return (await deliveries(made, task_id)).get(destination, {}).get("state") == state

    await until(is_so)
    return (await deliveries(made, task_id))[destination]


async def test_the_official_library_verifies_every_webhook(daemon, receivers, raw):
    """Each attempt anew, with either of two secrets; the headers are those of the contract."""
    receivers.script(HOOK, Reply(500), Reply(503), Reply())
    own = {"x-team": "dubbing", "authorization": "Bearer b"}
    made = await daemon(laid(raw, hook=hook(receivers, secret=SECRETS, headers=own)))
    await watch(made.api, "dub", "t", name='Größe "1" 😀')
    await receivers.until(lambda: len(receivers.requests) == 3)
    for request in receivers.requests:
        for secret in SECRETS:
            document = Webhook(secret).verify(request.body, dict(request.headers))
            assert document["data"]["name"] == 'Größe "1" 😀'
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"].startswith("cambwatch/")
        assert {name: request.headers[name] for name in own} == own
    assert len(set(ids_of(receivers.requests))) == 1
    assert len({request.body for request in receivers.requests}) == 1


async def test_every_event_and_destination_has_an_id_of_its_own(daemon, receivers, raw):
    """Two tasks, two destinations: four ids."""
    made = await daemon(laid(raw, a=hook(receivers, "/a"), b=hook(receivers, "/b")))
    await watch(made.api, "dub", "s", "t")
    await receivers.until(lambda: len(receivers.requests) == 4)
    assert len(set(ids_of(receivers.requests))) == 4


async def test_a_retry_after_is_never_undercut(daemon, receivers, raw):
    """Whatever status it comes with, in seconds or as a date, although our own pause would be much shorter."""
    until = ceil(time.time()) + 1
    wishes = {"seconds": "1", "date": format_datetime(datetime.fromtimestamp(until, UTC), usegmt=True)}
    paths = [(f"/{form}-{status}", form) for form in wishes for status in (429, 503, 500)]
    for path, form in paths:
        receivers.script(path, Reply(int(path[-3:]), b"", {"retry-after": wishes[form]}), Reply())
    made = await daemon(laid(raw, **{path[1:]: hook(receivers, path) for path, _ in paths}))
    to_wall_s = time.time() - asyncio.get_running_loop().time()
    await watch(made.api, "dub", "t")
    await receivers.until(lambda: len(receivers.requests) == 2 * len(paths))
    for path, form in paths:
        first, second = receivers.at(path)
        assert second.at_s >= (first.at_s + 1 if form == "seconds" else until - to_wall_s)


async def test_a_429_pauses_its_destination_as_a_whole(daemon, receivers, raw):
    """What else waits for it would make it worse; other destinations do not wait. The longest wish holds."""
    both = asyncio.Event()
    limited = [Reply(429, b"", {"retry-after": wish}, held=both) for wish in ("3", "0")]
    receivers.script("/limited", *limited, Reply())
    made = await daemon(laid(raw, limited=hook(receivers, "/limited", concurrency=2), other=hook(receivers, "/other")))
    await watch(made.api, "dub", *NAMES)
    await receivers.until(lambda: len(receivers.at("/limited")) == 2)
    released_s = asyncio.get_running_loop().time()
    both.set()
    await hear(receivers, *NAMES, path="/other")
    assert len(receivers.at("/limited")) == 2
    await hear(receivers, *NAMES, path="/limited")
    assert receivers.at("/limited")[2].at_s >= released_s + 3


async def test_an_event_that_is_too_old_is_given_up(daemon, receivers, raw, until):
    """With a last attempt when the time is up, and not one after it."""
    receivers.otherwise = Reply(500, b"<b>no</b>")
    retry = {"first": "50ms", "factor": 1, "give_up_after": "200ms"}
    made = await daemon(laid(raw, hook=hook(receivers, retry=retry)))
    await watch(made.api, "dub", "t")
    dead = await in_state(made, until, "t", "dead")
    assert (dead["outcome"], dead["http_status"], dead["detail"]) == ("transient", 500, "<b>no</b>")
    assert dead["attempts"] == len(receivers.requests) >= 2
    assert receivers.requests[-1].at_s - receivers.requests[0].at_s >= 0.15


async def test_410_is_the_end_at_once(daemon, receivers, raw, until):
    """Standard Webhooks: the receiver does not want it any more."""
    receivers.otherwise = Reply(410)
    made = await daemon(laid(raw, hook=hook(receivers)))
    await watch(made.api, "dub", "t")
    dead = await in_state(made, until, "t", "dead")
    assert (dead["attempts"], dead["outcome"], len(receivers.requests)) == (1, "destination_gone", 1)


async def test_slack_says_in_its_body_whether_it_took_the_message(daemon, receivers, raw, until):
    """200 with anything but `ok` is tried again; a channel that is gone is not."""
    receivers.script("/odd", Reply(200, b"<html>Welcome"), Reply(200, b"ok"))
    receivers.script("/gone", Reply(404, b"no_service"))
    odd, gone = (hook(receivers, path) | {"type": "slack", "rate": "100/s"} for path in ("/odd", "/gone"))
    made = await daemon(laid(raw, odd=odd, gone=gone))
    await watch(made.api, "dub", "t")
    assert (await in_state(made, until, "t", "delivered", "odd"))["attempts"] == 2
    assert (await in_state(made, until, "t", "dead", "gone"))["attempts"] == 1


async def test_a_message_that_is_refused_for_its_form_is_said_plainly(daemon, receivers, raw):
    """Once, and without blocks: a channel that reads plain words is better than one that reads nothing."""
    receivers.script("/team", Reply(400, b"invalid_blocks"), Reply(200, b"ok"))
    team = hook(receivers, "/team") | {"type": "slack", "rate": "100/s", "retry": {"first": "50ms"}}
    made = await daemon(laid(raw, team=team))
    await watch(made.api, "dub", "t")
    await receivers.until(lambda: len(receivers.at("/team")) == 2)
    rich, plain = (json.loads(request.body) for request in receivers.at("/team"))
    assert "blocks" in rich
    assert "blocks" not in plain
    assert plain["text"]


async def test_a_receiver_that_never_answers_delays_no_other(daemon, receivers, raw):
    """One hangs, one refuses connections, one fails; the healthy one has everything while all of these still try."""
    never = asyncio.Event()
    receivers.script("/hangs", Reply(held=never))
    receivers.script("/fails", Reply(500))
    refuses = {"type": "webhook", "url": "http://127.0.0.1:9/", "allow_private": True}
    made = await daemon(
        laid(raw, hangs=hook(receivers, "/hangs"), fails=hook(receivers, "/fails"), refuses=refuses,
             healthy=hook(receivers, "/healthy"))
    )  # fmt: skip
    await watch(made.api, "dub", *NAMES)
    await hear(receivers, *NAMES, path="/healthy")
    assert len(receivers.at("/hangs")) == 4
    states = [await deliveries(made, name) for name in NAMES]
    assert {one["hangs"]["state"] for one in states} == {"pending"}
    assert {one["refuses"]["state"] for one in states} == {"pending"}
    never.set()
    await receivers.until(lambda: len(receivers.at("/hangs")) == len(NAMES))


async def test_slack_gets_one_message_a_second(daemon, receivers, raw):
    """Where the configuration says nothing else; whatever waits is posted in its turn."""
    made = await daemon(laid(raw, team=hook(receivers) | {"type": "slack"}))
    begun_s = asyncio.get_running_loop().time()
    await watch(made.api, "dub", "a", "b", "c")
    await receivers.until(lambda: len(receivers.requests) == 3)
    for number, request in enumerate(receivers.requests):
        assert request.at_s >= begun_s + number


async def test_a_rate_is_kept(daemon, receivers, raw):
    """At no instant have more come than the rate allows since the beginning, and what a burst may be."""
    made = await daemon(laid(raw, hook=hook(receivers, rate="60/s", concurrency=40)))
    begun_s = asyncio.get_running_loop().time()
    names = [str(number) for number in range(90)]
    await watch(made.api, "dub", *names)
    await hear(receivers, *names)
    for number, request in enumerate(receivers.requests, 1):
        assert number <= 60 * (request.at_s - begun_s) + 60


async def test_so_many_posts_at_once_and_no_more(daemon, raw):
    """Per destination, and each has its own."""
    async with Crowd().serve() as three, Crowd().serve() as one:
        three.otherwise = one.otherwise = Reply(delay_s=0.01)
        made = await daemon(laid(raw, three=hook(three, concurrency=3), one=hook(one, concurrency=1)))
        await watch(made.api, "dub", *NAMES)
        for crowd in (three, one):
            await hear(crowd, *NAMES)
        assert (three.most, one.most) == (3, 1)


async def test_nothing_is_posted_twice_while_the_store_is_read(daemon, receivers, raw):
    """What ends between the look into the store and its answer may still look owed there."""
    made = await daemon(laid(raw, hook=hook(receivers, concurrency=64), few=hook(receivers, "/few", concurrency=2)))
    names = [str(number) for number in range(300)]
    await watch(made.api, "dub", *names)
    await receivers.until(lambda: len(receivers.requests) >= 2 * len(names), 30)
    await made.stop()  # what was posted twice has come by then
    counted = Counter(ids_of(receivers.requests))
    assert len(counted) == 2 * len(names)
    assert [each for each, times in counted.items() if times > 1] == []


async def test_a_removed_task_is_told_no_more(daemon, receivers, raw, until):
    """Neither what waits for its next attempt, nor what is already read into memory and waits for its turn."""
    receivers.script("/limited", Reply(429, b"", {"retry-after": "1"}), Reply())
    receivers.script("/fails", Reply(500))
    fails = hook(receivers, "/fails", retry={"first": "1h", "max": "1h"})
    made = await daemon(laid(raw, limited=hook(receivers, "/limited"), fails=fails))
    await watch(made.api, "dub", "first")
    await receivers.until(lambda: receivers.at("/limited"))
    await watch(made.api, "dub", "second", "third")
    await receivers.until(lambda: len(receivers.at("/fails")) == 3)
    assert (await made.api.ask("DELETE", "/v1/tasks/dub/second")).status == 204
    assert {one["state"] for one in (await deliveries(made, "second")).values()} == {"cancelled"}
    await hear(receivers, "first", "third", path="/limited")
    await made.api.get("/healthz")  # a round trip, in which a post that should not be made would be
    assert "second" not in {request.document["data"]["task_id"] for request in receivers.at("/limited")}
    assert {one["state"] for one in (await deliveries(made, "second")).values()} == {"cancelled"}


async def test_a_delivery_that_is_removed_while_under_way_stays_removed(daemon, receivers, raw, until):
    """It cannot be called back, but it is not tried again."""
    held = asyncio.Event()
    receivers.script(HOOK, Reply(500, held=held), Reply())
    made = await daemon(laid(raw, hook=hook(receivers)))
    await watch(made.api, "dub", "t")
    await receivers.until(lambda: receivers.requests)
    assert (await made.api.ask("DELETE", "/v1/tasks/dub/t")).status == 204
    held.set()
    await watch(made.api, "dub", "u")
    await hear(receivers, "u")
    assert [request.document["data"]["task_id"] for request in receivers.requests] == ["t", "u"]
    assert (await deliveries(made, "t"))["hook"]["state"] == "cancelled"


async def test_a_redirect_is_not_followed(daemon, receivers, raw, until):
    """Where it leads was not checked, and the signature would go with it; it counts as a refusal."""
    statuses = ("301", "302", "303", "307", "308")
    for status in statuses:
        receivers.script(f"/{status}", Reply(int(status), b"", {"location": receivers.url + "/elsewhere"}), Reply())
    made = await daemon(laid(raw, **{status: hook(receivers, f"/{status}") for status in statuses}))
    await watch(made.api, "dub", "t")
    for status in statuses:
        assert (await in_state(made, until, "t", "delivered", status))["attempts"] == 2
    assert receivers.at("/elsewhere") == []


async def test_retries_that_fall_due_together_are_all_made(daemon, receivers, raw):
    """None is passed over because it fell due between two looks into the store."""
    receivers.script(HOOK, *[Reply(500)] * 100, Reply())
    retry = {"first": "1ms", "factor": 1, "max": "1ms"}
    made = await daemon(laid(raw, hook=hook(receivers, retry=retry, concurrency=1)))
    await watch(made.api, "dub", *NAMES)
    await receivers.until(lambda: len(receivers.requests) == 100 + len(NAMES))

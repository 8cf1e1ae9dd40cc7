"""A destination that is down: what it is owed waits, somebody else hears of it, and all of it arrives in the end."""

import asyncio
from collections import Counter

import pytest
from crowds import Crowd
from events import HOOK, ended, hear, hook, ids_of, settings, shown, watch
from receivers import Receivers, Reply

NAMES = [str(number) for number in range(24)]
HASTY = {"first": "50ms", "factor": 2, "max": "200ms"}


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


def laid(raw, **destinations):
    """A configuration in which *raw* is Camb."""
    return settings(camb={"base_url": raw.url}, destinations=destinations)


async def health(made, name="hook"):
    """How a destination stands."""
    items = (await made.api.get("/v1/destinations")).document["items"]
    return next(one for one in items if one["name"] == name)


async def states_of(made, names):
    """How often each state occurs among the deliveries of tasks."""
    owed = [one for name in names for one in (await shown(made.api, "dub", name))["deliveries"]]
    return Counter((one["destination"], one["state"]) for one in owed)


async def opened(made, until, name="hook"):
    """Wait until the breaker of *name* has opened."""

    async def is_open():
        return (await health(made, name))["breaker"] != "closed"

    await until(is_open)


async def test_what_waits_for_a_receiver_that_is_down_is_not_tried_but_by_one(daemon, raw, until):
    """One real delivery at a time finds out, the others wait untouched; when it is back, each arrives once."""
    async with Crowd().serve() as down:
        down.otherwise = Reply(500)
        made = await daemon(laid(raw, hook=hook(down, concurrency=4, retry=HASTY)))
        await watch(made.api, "dub", *NAMES)
        await opened(made, until)
        stragglers = len(down.requests) + 4  # what was under way when it opened
        down.most = 0
        await down.until(lambda: len(down.requests) >= stragglers + 5)
        assert down.most <= 4
        tried = {request.headers["webhook-id"] for request in down.requests}
        assert len(tried) < len(NAMES)
        standing = await health(made)
        assert (standing["pending"], standing["last_outcome"]) == (len(NAMES), "transient")
        assert standing["failing_since"] is not None
        down.requests.clear()
        down.most = 0
        down.otherwise = Reply()
        await hear(down, *NAMES)
        await until(lambda: len(down.requests) == len(NAMES))
        assert set(Counter(ids_of(down.requests)).values()) <= {1, 2}  # a probe that failed as it came back
        assert (await health(made))["breaker"] == "closed"
        assert (await health(made))["failing_since"] is None


async def test_a_probe_goes_by_itself(daemon, raw, until):
    """While the breaker is open no two posts are under way."""
    async with Crowd().serve() as down:
        down.otherwise = Reply(403, delay_s=0.02)
        made = await daemon(laid(raw, hook=hook(down, concurrency=8, retry=HASTY)))
        await watch(made.api, "dub", "first")
        await opened(made, until)  # one refusal is enough
        down.most = 0
        await watch(made.api, "dub", *NAMES)
        await down.until(lambda: len(down.requests) >= 5)
        assert down.most == 1


async def test_a_breaker_stays_open_over_a_restart(daemon, receivers, raw, until):
    """The next process greets a receiver that is down with one delivery, not with a burst."""
    receivers.otherwise = Reply(503)
    slow = {"first": "1h", "max": "1h"}
    made = await daemon(laid(raw, hook=hook(receivers, retry=slow, concurrency=8)))
    await watch(made.api, "dub", *NAMES)
    await opened(made, until)
    await made.stop()
    before = len(receivers.requests)
    made = await daemon(laid(raw, hook=hook(receivers, retry=slow, concurrency=8), other=hook(receivers, "/other")))
    standing = await health(made)
    assert standing["breaker"] != "closed"  # the one may be under way
    assert standing["pending"] == len(NAMES)
    receivers.script("/other", Reply())
    await watch(made.api, "dub", "new")
    await hear(receivers, "new", path="/other")
    await receivers.until(lambda: len(receivers.at(HOOK)) == before + 1)
    await made.stop()
    assert len(receivers.at(HOOK)) == before + 1


@pytest.mark.parametrize("wish", ["test", "retry"])
async def test_who_knows_that_it_is_back_need_not_wait(daemon, receivers, raw, until, wish):
    """A test message that arrives, or a wish for another try, lets one through at once; the others follow."""
    receivers.script(HOOK, Reply(500))
    made = await daemon(laid(raw, hook=hook(receivers, concurrency=8, retry={"first": "1h", "max": "1h"})))
    await watch(made.api, "dub", *NAMES)
    await opened(made, until)
    receivers.script(HOOK, Reply())
    if wish == "test":
        answer = await made.api.ask("POST", "/v1/destinations/hook/test", {})
    else:
        answer = await made.api.ask("POST", "/v1/deliveries/retry", {"destination": "hook", "state": "pending"})
    assert answer.status in {200, 202}

    async def all_delivered():
        return (await states_of(made, NAMES)) == {("hook", "delivered"): len(NAMES)}

    await until(all_delivered)


async def test_a_429_is_kept_over_a_restart(daemon, receivers, raw, until):
    """The receiver's wish does not end with our process."""
    receivers.script(HOOK, Reply(429, b"", {"retry-after": "3600"}), Reply())
    laid_out = laid(raw, hook=hook(receivers), other=hook(receivers, "/other"))
    made = await daemon(laid_out)
    await watch(made.api, "dub", "t")

    async def paused():
        return (await health(made))["paused_until"]

    await until(paused)
    await made.stop()
    made = await daemon(laid_out)
    assert await paused() is not None
    await watch(made.api, "dub", "u")
    await hear(receivers, "u", path="/other")
    assert len(receivers.at(HOOK)) == 1


async def test_the_fallback_hears_once_that_a_destination_is_down_and_once_that_it_is_back(
    daemon, receivers, raw, until
):
    """Also when the daemon is started anew in between."""
    receivers.script(HOOK, Reply(500))
    team = hook(receivers) | {"retry": HASTY, "fallback": "pager", "alert_after": "300ms"}
    quiet = [{"notify": ["hook"]}]
    document = settings(
        camb={"base_url": raw.url}, destinations={"hook": team, "pager": hook(receivers, "/pager")}, routes=quiet
    )
    made = await daemon(document)
    await watch(made.api, "dub", "t", "u")
    await receivers.until(lambda: receivers.at("/pager"))
    await made.stop()
    made = await daemon(document)
    tries = len(receivers.at(HOOK))
    await receivers.until(lambda: len(receivers.at(HOOK)) > tries + 2)
    receivers.script(HOOK, Reply())
    await receivers.until(lambda: len(receivers.at("/pager")) == 2)
    down, back = (request.document for request in receivers.at("/pager"))
    assert (down["type"], back["type"]) == ("cambwatch.destination.down", "cambwatch.destination.recovered")
    assert down["data"]["destination"] == back["data"]["destination"] == "hook"
    assert (down["data"]["waiting"], down["data"]["last_outcome"], down["data"]["last_http_status"]) == (
        2,
        "transient",
        500,
    )
    assert down["data"]["duration_seconds"] >= 0.3
    assert down["data"]["since"] == back["data"]["since"]
    await until(lambda: len(receivers.at("/pager")) == 2)
    # Owed like everything else, and shown as what it is.
    items = (await made.api.get("/v1/deliveries?destination=pager")).document["items"]
    assert [one["event_type"] for one in items] == ["cambwatch.destination.recovered", "cambwatch.destination.down"]


async def test_a_short_failure_alarms_nobody(daemon, receivers, raw):
    """Down for less than alert_after: delivered late, and that is all."""
    receivers.script(HOOK, Reply(500), Reply(500), Reply())
    team = hook(receivers) | {"retry": HASTY, "fallback": "pager"}
    made = await daemon(laid(raw, hook=team, pager=hook(receivers, "/pager")))
    await watch(made.api, "dub", "t")
    await receivers.until(lambda: len(receivers.at(HOOK)) == 3)
    await made.stop()
    assert {request.document["type"] for request in receivers.at("/pager")} == {"camb.task.error"}


async def test_what_is_new_goes_before_what_is_tried_again(daemon, receivers, raw, until):
    """However many wait for another try."""
    held = asyncio.Event()
    count = len(NAMES)
    receivers.script(HOOK, *[Reply(422)] * count, Reply(held=held), Reply())
    retry = {"first": "1s", "max": "1s"}
    made = await daemon(laid(raw, hook=hook(receivers, concurrency=1, retry=retry)))
    await watch(made.api, "dub", *NAMES)
    await receivers.until(lambda: len(receivers.requests) == count + 1)  # the first repeated one is held

    async def all_due():
        owed = (await made.api.get("/v1/deliveries?state=pending&limit=100")).document["items"]
        return len(owed) == count and all(one["attempts"] for one in owed)

    await until(all_due)
    await watch(made.api, "dub", "new")

    async def known():
        return (await shown(made.api, "dub", "new"))["deliveries"]

    await until(known)
    held.set()
    await receivers.until(lambda: len(receivers.requests) == 2 * count + 1)
    told = [request.document["data"]["task_id"] for request in receivers.requests[count:]]
    assert told.index("new") == 1
    assert sorted(told) == sorted([*NAMES, "new"])


async def test_a_rate_limit_uses_up_no_budget(daemon, receivers, raw, until):
    """However long the receiver has us wait: what is owed is not given up for it."""
    receivers.script(HOOK, *[Reply(429, b"", {"retry-after": "1"})] * 2, Reply())
    retry = {"first": "50ms", "max": "50ms", "give_up_after": "500ms"}
    made = await daemon(laid(raw, hook=hook(receivers, retry=retry)))
    await watch(made.api, "dub", "t", "u")

    async def delivered():
        return (await states_of(made, "tu"))[("hook", "delivered")] == 2

    await until(delivered)


async def test_waiting_for_a_receiver_that_is_down_uses_up_no_budget(daemon, receivers, raw, until):
    """What is tried for the first time long after its event, and fails, is not given up for its age."""
    receivers.script(HOOK, Reply(403), Reply(500), Reply(500), Reply())
    retry = {"first": "500ms", "max": "500ms", "factor": 1, "give_up_after": "500ms"}
    made = await daemon(laid(raw, hook=hook(receivers, retry=retry)))
    await watch(made.api, "dub", "t")
    await opened(made, until)
    await watch(made.api, "dub", "u", "v")

    async def none_waits():
        return not (await states_of(made, "tuv"))[("hook", "pending")]

    await until(none_waits)
    assert await states_of(made, "tuv") == {("hook", "delivered"): 3}
    assert len(receivers.requests) == 6


async def test_who_says_that_this_was_the_last_for_now_is_left_alone(daemon, receivers, raw):
    """As Discord does, by headers of an answer that accepts: the next comes when they say, not before."""
    last = {"x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "1.0"}
    receivers.script(HOOK, Reply(204, b"", last), Reply(204, b""))
    made = await daemon(laid(raw, hook=hook(receivers, concurrency=1)))
    await watch(made.api, "dub", "t", "u")
    await hear(receivers, "t", "u")
    first, second = receivers.requests
    assert second.at_s - first.at_s >= 1

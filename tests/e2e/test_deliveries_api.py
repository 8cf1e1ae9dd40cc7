"""What is owed can be looked up, with every attempt, and what is dead can be tried again."""

import asyncio

import pytest
from events import HOOK, ended, hook, settings, shown, watch
from receivers import Receivers, Reply

HOUR = {"first": "1h", "max": "1h"}


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


def laid(raw, **destinations):
    """A configuration in which *raw* is Camb."""
    return settings(camb={"base_url": raw.url}, destinations=destinations)


async def listed(made, query=""):
    page = await made.api.get(f"/v1/deliveries?{query}")
    assert page.status == 200
    return page.document["items"]


async def all_in(made, until, state, count):
    """Wait until *count* deliveries are in *state*; returns them."""

    async def is_so():
        return len(await listed(made, f"state={state}&limit=1000")) == count

    await until(is_so)
    return await listed(made, f"state={state}&limit=1000")


async def retry(made, **wish):
    return await made.api.ask("POST", "/v1/deliveries/retry", wish)


async def test_a_delivery_shows_every_attempt(daemon, receivers, raw, until):
    """When it was, what came of it, how long it took, in the receiver's words; and when the next one is due."""
    receivers.script(HOOK, Reply(503, b"busy"), Reply(500, b"x" * 5000), Reply(429, headers={"retry-after": "3600"}))
    made = await daemon(laid(raw, hook=hook(receivers)))
    await watch(made.api, "dub", "t", name="Pilot", group="g", group_size=2)

    async def tried():
        return [one["attempts"] for one in await listed(made)] == [3]

    await until(tried)
    (item,) = await listed(made)
    answer = await made.api.get(f"/v1/deliveries/{item['id']}")
    history = answer.document.pop("history")
    assert answer.document == item
    assert (item["event_type"], item["state"]) == ("camb.task.error", "pending")
    assert [item[key] for key in ("account", "kind", "task_id", "name", "group")] == [
        "default", "dub", "t", "Pilot", "g",
    ]  # fmt: skip
    assert [(one["number"], one["outcome"], one["http_status"]) for one in history] == [
        (1, "transient", 503), (2, "transient", 500), (3, "rate_limited", 429),
    ]  # fmt: skip
    assert history[0]["detail"] == "busy"
    assert 900 < len(history[1]["detail"]) <= 1024
    assert history[0]["at"] < history[1]["at"] < history[2]["at"] < item["next_attempt_at"]
    assert all(0 <= one["took_ms"] < 20_000 for one in history)


async def test_pages_and_filters_lead_to_every_delivery(daemon, receivers, raw, until):
    receivers.script("/gone", Reply(410))
    made = await daemon(laid(raw, hook=hook(receivers), gone=hook(receivers, "/gone")))
    await watch(made.api, "dub", *"abc", group="g", group_size=3)
    dead = await all_in(made, until, "dead", 4)  # three tasks and the group
    delivered = await all_in(made, until, "delivered", 4)
    found, query = [], "limit=3"
    while query:
        page = (await made.api.get(f"/v1/deliveries?{query}")).document
        found += page["items"]
        query = page["next_cursor"] and f"limit=3&cursor={page['next_cursor']}"
    assert sorted(one["id"] for one in found) == sorted(one["id"] for one in dead + delivered)
    assert [one["created_at"] for one in found] == sorted((one["created_at"] for one in found), reverse=True)
    assert {one["destination"] for one in dead} == {"gone"}
    assert await listed(made, "destination=gone") == dead
    assert [one["destination"] for one in await listed(made, "task_id=b&state=dead,pending")] == ["gone"]
    (group,) = [one for one in dead if one["task_id"] is None]
    assert (group["event_type"], group["group"], group["kind"]) == ("camb.group.complete", "g", None)


async def test_an_alert_says_which_destination_it_is_about(daemon, receivers, raw, until):
    """To whoever looks up what its fallback was told; what tells of a task is about none."""
    receivers.script("/team", Reply(503))
    team = hook(receivers, "/team", fallback="pager", alert_after="300ms")
    made = await daemon(laid(raw, team=team, pager=hook(receivers, "/pager")))
    await watch(made.api, "dub", "t", notify=["team"])
    (alert,) = await all_in(made, until, "delivered", 1)
    assert (alert["destination"], alert["event_type"], alert["about_destination"]) == (
        "pager", "cambwatch.destination.down", "team",
    )  # fmt: skip
    assert {alert[key] for key in ("account", "kind", "task_id", "name", "group")} == {None}
    assert [one["about_destination"] for one in await listed(made, "destination=team")] == [None]
    one = (await made.api.get(f"/v1/deliveries/{alert['id']}")).document
    assert (one["about_destination"], [past["delivery_count"] for past in one["history"]]) == ("team", [1])


async def test_an_attempt_says_how_many_it_told_of(daemon, receivers, raw, until):
    """Of a digest, all that went out in it."""
    made = await daemon(laid(raw, chat=hook(receivers, "/chat") | {"type": "mattermost", "digest": "2s"}))
    await watch(made.api, "dub", *"abc")
    for one in await all_in(made, until, "delivered", 3):
        history = (await made.api.get(f"/v1/deliveries/{one['id']}")).document["history"]
        assert [past["delivery_count"] for past in history] == [3]
    assert len(receivers.at("/chat")) == 1


async def test_what_is_asked_wrongly_is_said(daemon, receivers):
    made = await daemon(settings(destinations={"hook": hook(receivers)}))
    for query, name in (("state=lost", "state"), ("cursor=MTIzNA", "cursor"), ("limit=0", "limit"), ("kind=a", "kind")):
        answer = await made.api.get(f"/v1/deliveries?{query}")
        assert (answer.status, answer.pointers) == (422, [name])
    for wish, pointer in (
        ({"destination": "hock"}, "#/destination"),
        ({"state": "delivered"}, "#/state"),
        ({"since": "yesterday"}, "#/since"),
        ({"since": "2026-11-22T06:00:00"}, "#/since"),
        ({"sinse": "2026-11-22T06:00:00Z"}, "#/sinse"),
        ([], "#"),
    ):
        answer = await made.api.ask("POST", "/v1/deliveries/retry", wish)
        assert (answer.status, answer.pointers) == (422, [pointer])
    assert (await made.api.ask("POST", "/v1/deliveries/retry")).status == 400
    assert (await made.api.get("/v1/deliveries/msg_unknown")).status == 404
    assert (await made.api.ask("POST", "/v1/deliveries/msg_unknown/retry")).status == 404


async def test_a_dead_delivery_is_tried_again_under_its_id_and_a_delivered_one_never(daemon, receivers, raw, until):
    receivers.script(HOOK, Reply(410), Reply(200))
    made = await daemon(laid(raw, hook=hook(receivers)))
    await watch(made.api, "dub", "t")
    (dead,) = await all_in(made, until, "dead", 1)
    path = f"/v1/deliveries/{dead['id']}/retry"
    answer = await made.api.ask("POST", path)
    assert (answer.status, answer.document) == (202, {"queued": 1})
    await all_in(made, until, "delivered", 1)
    assert [request.headers["webhook-id"] for request in receivers.at(HOOK)] == [dead["id"]] * 2
    again = await made.api.ask("POST", path)
    assert again.status == 409
    assert "delivered" in again.document["detail"]
    for state in ("dead", "pending"):
        assert (await retry(made, state=state)).document == {"queued": 0}
    history = (await made.api.get(f"/v1/deliveries/{dead['id']}")).document["history"]
    assert [one["http_status"] for one in history] == [410, 200]


async def test_what_waits_is_due_now_if_somebody_wishes(daemon, receivers, raw):
    receivers.script(HOOK, Reply(503), Reply(503), Reply(503), Reply(200))
    made = await daemon(laid(raw, hook=hook(receivers, retry=HOUR)))
    await watch(made.api, "dub", *"abc")
    await receivers.until(lambda: len(receivers.at(HOOK)) == 3)
    queued = 0
    while queued < 3:  # an attempt may not be recorded yet
        queued += (await retry(made, state="pending", destination="hook")).document["queued"]
    await receivers.until(lambda: len(receivers.at(HOOK)) == 6)


async def test_only_what_was_named_is_tried_again(daemon, receivers, raw, until):
    """By destination and time; a destination that is not there any more keeps what is dead."""
    for path in ("/a", "/b"):
        receivers.script(path, Reply(410))
    made = await daemon(laid(raw, a=hook(receivers, "/a"), b=hook(receivers, "/b")))
    await watch(made.api, "dub", "t")
    dead = await all_in(made, until, "dead", 2)
    assert (await retry(made, since="2999-01-01T00:00:00+01:00")).document == {"queued": 0}
    assert (await retry(made, destination="b", since=dead[0]["created_at"][:-1] + "000Z")).document == {"queued": 1}
    await receivers.until(lambda: len(receivers.at("/b")) == 2)
    await all_in(made, until, "dead", 2)
    await made.stop()
    made = await daemon(laid(raw, b=hook(receivers, "/b")))
    (a,) = await listed(made, "destination=a")
    answer = await made.api.ask("POST", f"/v1/deliveries/{a['id']}/retry")
    assert (answer.status, (await retry(made)).document) == (409, {"queued": 1})
    await receivers.until(lambda: len(receivers.at("/b")) == 3)
    assert len(receivers.at("/a")) == 1


async def test_hundreds_are_tried_again_and_each_arrives_once(daemon, receivers, raw, until):
    """More than a step takes, while the daemon is stopped half-way and started again."""
    count = 600
    # Refused for its content: a refusal of the sender, or a failure, would open the breaker, and most would wait.
    receivers.script(HOOK, Reply(422))
    hasty = {"first": "1ms", "max": "1ms", "give_up_after": "1ms"}
    hooked = laid(raw, hook=hook(receivers, concurrency=16, retry=hasty))
    made = await daemon(hooked)
    await watch(made.api, "tts", *(f"t{number}" for number in range(count)))
    await until(lambda: len(receivers.at(HOOK)) >= count, 40)
    await all_in(made, until, "dead", count)
    receivers.requests.clear()
    receivers.script(HOOK, Reply(200))
    assert (await retry(made)).document == {"queued": count}
    await receivers.until(lambda: len(receivers.at(HOOK)) > 50)
    await made.stop()
    made = await daemon(hooked)
    await all_in(made, until, "delivered", count)
    again = [request.headers["webhook-id"] for request in receivers.at(HOOK)]
    assert len(again) == len(set(again)) == count


async def test_a_task_shows_that_it_is_owed_again(daemon, receivers, raw, until):
    held = asyncio.Event()
    receivers.script(HOOK, Reply(410), Reply(200, held=held))
    made = await daemon(laid(raw, hook=hook(receivers)))
    await watch(made.api, "dub", "t")
    await all_in(made, until, "dead", 1)
    await retry(made)
    (owed,) = (await shown(made.api, "dub", "t"))["deliveries"]
    assert (owed["state"], owed["attempts"], owed["outcome"], owed["finished_at"]) == ("pending", 1, None, None)
    held.set()

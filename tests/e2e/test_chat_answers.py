"""What a chat answers decides over its messages only in its own words: proxies and login pages lose none."""

import json
from collections import Counter

import pytest
from events import ended, hook, ids_of, settings, shown, watch
from receivers import Receivers, Reply
from structlog.testing import capture_logs

TEAM = "/team"
NAMES = [str(number) for number in range(12)]
FAST = {"rate": "1000/s", "concurrency": 1, "retry": {"first": "20ms", "factor": 1, "max": "20ms"}}
OWN_REFUSALS = {
    "slack": Reply(404, b"no_service"),
    "discord": Reply(404, b'{"message": "Unknown Webhook", "code": 10015}'),
    "google_chat": Reply(403, b'{"error": {"code": 403, "message": "...", "status": "PERMISSION_DENIED"}}'),
    "mattermost": Reply(400, b'{"id": "web.incoming_webhook.invalid.app_error", "message": "Invalid webhook."}'),
    "teams": Reply(401, b'{"error": {"code": "DirectApiAuthorizationRequired", "message": "..."}}'),
}
OK = {
    "slack": Reply(200, b"ok"),
    "discord": Reply(204, b""),
    "google_chat": Reply(200, b'{"name": "spaces/a/messages/b"}'),
    "mattermost": Reply(200, b"ok"),
    "teams": Reply(200, b"1"),
}
FOREIGN = [
    Reply(404, b"default backend - 404"),
    Reply(404, b""),
    Reply(410, b""),
    Reply(401, b'{"message": "Unauthorized"}'),
    Reply(403, b"<!DOCTYPE html><title>Just a moment...</title>"),
    Reply(404, b"<html>no_service</html>"),
    Reply(400, b"<html><h1>400 Bad Request</h1>"),
    Reply(413, b"<html>nginx"),
    Reply(200, b"<html>Please log in"),
    Reply(302, b"<html>Moved", {"location": "https://login.example/"}),
    Reply(502, b"<html>Bad Gateway"),
]


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


def chat(receivers, kind="slack", **fields):
    """A chat that is tried again soon, one message at a time."""
    return {"type": kind, "url": receivers.url + TEAM, "allow_private": True, **FAST, **fields}


def laid(raw, **team):
    return settings(camb={"base_url": raw.url}, destinations={"team": team})


async def deliveries(made, *names):
    return [one for name in names for one in (await shown(made.api, "dub", name))["deliveries"]]


async def settle(made, until, *names):
    """Wait until no delivery of *names* is pending; returns them."""

    async def none_is_pending():
        owed = await deliveries(made, *names)
        return len(owed) == len(names) and all(one["state"] != "pending" for one in owed)

    await until(none_is_pending)
    return await deliveries(made, *names)


@pytest.mark.parametrize("kind", OK)
async def test_a_gateway_in_the_place_of_the_chat_kills_no_message(daemon, receivers, raw, until, kind):
    """However many probes of the breaker meet it, and whatever it says: all arrive when the chat is back."""
    receivers.script(TEAM, *FOREIGN * 2, OK[kind])
    made = await daemon(laid(raw, **chat(receivers, kind)))
    await watch(made.api, "dub", *NAMES)
    settled = await settle(made, until, *NAMES)
    assert Counter(one["state"] for one in settled) == {"delivered": len(NAMES)}
    attempts = [
        attempt
        for one in settled
        for attempt in (await made.api.get(f"/v1/deliveries/{one['id']}")).document["history"]
        if attempt["outcome"] != "accepted"
    ]
    assert {attempt["outcome"] for attempt in attempts} == {"transient"}
    assert len(attempts) == 2 * len(FOREIGN)


@pytest.mark.parametrize("kind", OWN_REFUSALS)
async def test_a_refusal_in_the_chats_own_words_is_final(daemon, receivers, raw, until, kind):
    """With a line in the log that says so at level error."""
    receivers.script(TEAM, OWN_REFUSALS[kind])
    made = await daemon(laid(raw, **chat(receivers, kind)))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        (dead,) = await settle(made, until, "t")
    assert (dead["state"], dead["attempts"]) == ("dead", 1)
    (line,) = [line for line in logs if line["event"] == "delivery.attempted"]
    assert (line["log_level"], line["decision"]) == ("error", "GiveUp")


@pytest.mark.parametrize(
    "reply",
    [Reply(200, b'{"ok":true}'), Reply(200, b'{"success":true}'), Reply(200, b""), Reply(204, b""), Reply(201, b"ok")],
    ids=["ok", "success", "empty", "204", "201"],
)
async def test_a_success_in_other_words_is_posted_once(daemon, receivers, raw, until, reply):
    """As Gogs, Rocket.Chat and Slack's workflow triggers answer: it may be there, and twice would be worse."""
    receivers.script(TEAM, reply)
    made = await daemon(laid(raw, **chat(receivers)))
    await watch(made.api, "dub", "t")
    (delivered,) = await settle(made, until, "t")
    assert (delivered["state"], delivered["outcome"]) == ("delivered", "accepted_unverified")
    assert len(receivers.at(TEAM)) == 1


async def test_one_rejected_message_leaves_the_others_alone(daemon, receivers, raw, until):
    """It is said plainly once, and is dead then; no breaker opens."""
    receivers.script(TEAM, Reply(400, b"invalid_blocks"), Reply(200, b"ok"))
    made = await daemon(laid(raw, **chat(receivers)))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        (said,) = await settle(made, until, "t")
        receivers.script(TEAM, Reply(422, b"no"))
        await watch(made.api, "dub", "u")
        (dead,) = await settle(made, until, "u")
        receivers.script(TEAM, Reply(200, b"ok"))
        await watch(made.api, "dub", "v")
        (after,) = await settle(made, until, "v")
    assert (said["state"], said["attempts"]) == ("delivered", 2)
    assert (dead["state"], dead["attempts"], dead["outcome"]) == ("dead", 2, "payload_rejected")
    assert (after["state"], after["attempts"]) == ("delivered", 1)
    assert [line for line in logs if line["event"].startswith("breaker.")] == []


async def test_a_plain_webhook_is_judged_by_its_status(daemon, receivers, raw, until):
    """410 is final in any words; a page behind a 200 is an acceptance."""
    receivers.script("/gone", Reply(410, b"<html>gone"))
    receivers.script("/page", Reply(200, b"<html>thanks"))
    destinations = {name: hook(receivers, f"/{name}") for name in ("gone", "page")}
    made = await daemon(settings(camb={"base_url": raw.url}, destinations=destinations))
    await watch(made.api, "dub", "t")

    async def both_are_done():
        return {one["destination"]: one["state"] for one in await deliveries(made, "t")} == {
            "gone": "dead",
            "page": "delivered",
        }

    await until(both_are_done)
    assert len(set(ids_of(receivers.requests))) == len(receivers.requests) == 2


async def test_the_log_is_loud_when_trouble_begins_and_when_a_message_is_lost(daemon, receivers, raw, until):
    """The first failure is a warning, further ones are not, until something was accepted in between."""
    page = Reply(503, b"<html>")
    receivers.script(TEAM, page, page, page, Reply(200, b"ok"), page, Reply(200, b"ok"))
    made = await daemon(laid(raw, **chat(receivers)))
    with capture_logs() as logs:
        for name in "tu":
            await watch(made.api, "dub", name)
            await settle(made, until, name)
    levels = [line["log_level"] for line in logs if line["event"] == "delivery.attempted"]
    assert levels == ["warning", "info", "info", "info", "warning", "info"]


async def test_a_message_that_is_given_up_is_an_error_in_the_log(daemon, receivers, raw, until):
    """Also where a page was all that ever came."""
    receivers.script(TEAM, Reply(404, b"default backend - 404"))
    retry = {"first": "20ms", "factor": 1, "max": "20ms", "give_up_after": "100ms"}
    made = await daemon(laid(raw, **chat(receivers, retry=retry)))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        (dead,) = await settle(made, until, "t")
    assert (dead["state"], dead["outcome"]) == ("dead", "transient")
    *_, last = [line for line in logs if line["event"] == "delivery.attempted"]
    assert (last["log_level"], last["decision"], last["http_status"]) == ("error", "GiveUp", 404)
    assert json.dumps(last, default=str)

"""Each destination says how it stands, and takes a message to see whether it arrives."""

import json

import pytest
from events import HOOK, ended, hook, settings, watch
from receivers import Receivers, Reply

SECRET = "whsec_" + "A" * 43 + "="
CHAT = "/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX"


async def standing(made):
    answer = await made.api.get("/v1/destinations")
    assert answer.status == 200
    return {one["name"]: one for one in answer.document["items"]}


async def attempt(made, name):
    answer = await made.api.ask("POST", f"/v1/destinations/{name}/test")
    assert answer.status == 200
    return answer.document


async def test_a_destination_says_how_it_stands(daemon, receivers, until):
    """What waits and since when, what came of the last attempt; of its URL no more than the host."""
    async with Receivers().serve() as raw:
        raw.otherwise = ended()
        receivers.script("/secret-token", Reply(429, headers={"retry-after": "3600"}))
        busy = hook(receivers, "/secret-token?key=secret-key")
        made = await daemon(settings(camb={"base_url": raw.url}, destinations={"busy": busy, "idle": hook(receivers)},
                                     routes=[{"notify": ["busy"]}]))  # fmt: skip
        await watch(made.api, "dub", "a", "b")

        async def limited():
            return (await standing(made))["busy"]["last_outcome"] == "rate_limited"

        await until(limited)
        (found, idle) = (await standing(made)).values()
        assert (found["type"], found["host"], found["pending"]) == ("webhook", "127.0.0.1", 2)
        assert found["last_http_status"] == 429
        assert found["oldest_pending_at"] <= found["last_attempt_at"] < found["paused_until"]
        assert {key for key, value in idle.items() if value is None} == {
            "oldest_pending_at", "last_outcome", "last_http_status", "last_attempt_at", "paused_until",
            "failing_since", "fallback",
        }  # fmt: skip
        assert found["failing_since"] <= found["last_attempt_at"]
        assert (found["breaker"], idle["breaker"]) == ("closed", "closed")  # limited, not down
        assert idle["pending"] == 0
        assert "secret" not in json.dumps(await standing(made))


async def test_a_test_is_one_real_message_that_says_so(daemon, receivers):
    made = await daemon(settings(destinations={"hook": hook(receivers, secret=SECRET)}))
    first, second = await attempt(made, "hook"), await attempt(made, "hook")
    assert (first["destination"], first["outcome"], first["http_status"]) == ("hook", "accepted", 200)
    assert second["outcome"] == "accepted"
    one, other = receivers.at(HOOK)
    assert "test" in one.document["data"]["name"].lower()
    assert one.headers["webhook-signature"]
    assert one.headers["webhook-id"] != other.headers["webhook-id"]
    assert (await made.api.get("/v1/deliveries")).document["items"] == []


@pytest.mark.parametrize(
    ("reply", "outcome", "status"),
    [(Reply(404), "destination_gone", 404), (Reply(503), "transient", 503), (Reply(cut=True), "transient", None)],
)
async def test_a_test_that_fails_is_told_and_not_repeated(daemon, receivers, reply, outcome, status):
    receivers.script(HOOK, reply)
    made = await daemon(settings(destinations={"hook": hook(receivers)}))
    came = await attempt(made, "hook")
    assert (came["outcome"], came["http_status"]) == (outcome, status)
    assert len(receivers.at(HOOK)) == 1


async def test_a_test_goes_to_a_chat_in_its_own_form(daemon, receivers):
    chat = {"type": "slack", "url": receivers.script(CHAT, Reply(200, b"ok")), "allow_private": True}
    made = await daemon(settings(destinations={"chat": chat}))
    assert (await attempt(made, "chat"))["outcome"] == "accepted"
    assert "Test message" in receivers.at(CHAT)[0].body.decode()


async def test_a_template_that_fails_at_the_last_moment_is_an_outcome(daemon, receivers):
    """It renders every sample of the check, but not this event."""
    template = '{% if "task" in type and data.name == "Test message of cambwatch" %}{{ data.no.such }}{% endif %}{}'
    made = await daemon(settings(destinations={"hook": hook(receivers, template=template)}))
    came = await attempt(made, "hook")
    assert (came["outcome"], came["http_status"]) == ("payload_rejected", None)
    assert came["detail"].startswith("the template: ")
    assert receivers.requests == []


async def test_an_unknown_destination_is_refused_with_a_hint(daemon, receivers):
    made = await daemon(settings(destinations={"hook": hook(receivers)}))
    answer = await made.api.ask("POST", "/v1/destinations/hock/test")
    assert answer.status == 404
    assert "did you mean hook?" in answer.document["detail"]

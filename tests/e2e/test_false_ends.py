"""A task ends only when Camb itself says so: whatever a gateway answers, and whatever happens to other tasks."""

import pytest
from events import PENDING, ended, hear, hook, says, settings, shown, told, watch
from receivers import Receivers, Reply
from structlog.testing import capture_logs

MISSING_ROUTE = {"detail": "Not Found"}
GATEWAYS = {
    "text": Reply(404, b"404 page not found"),
    "empty": Reply(404, b""),
    "kong": says({"message": "no Route matched with those values"}, status=404),
    "route": says(MISSING_ROUTE, status=404),
    "spring": says({"timestamp": 1, "status": 404, "error": "Not Found", "path": "/apis"}, status=404),
    "gone": Reply(410, b"gone"),
    "page401": Reply(401, b"<html>log in</html>"),
    "page403": Reply(403, b"<!doctype html><title>Attention Required! | Cloudflare</title>"),
    "aws403": says({"message": "Forbidden"}, status=403),
    "text422": Reply(422, b"unprocessable"),
    "error200": says({"status": "error"}),
    "list200": says([{"run_id": 5}]),
    "page200": Reply(200, b"<html>back soon</html>"),
}
NO_SUCH_TASK = says({"detail": "No such task"}, status=404)
NOT_YOURS = says({"detail": "Not your run"}, status=403)
KEY_REFUSED = says({"error": "Invalid API key", "status": 401}, status=401)


@pytest.fixture
async def raw():
    """A Camb of the test's own words."""
    async with Receivers().serve() as made:
        yield made


def configured(raw, receivers, **sections):
    polling = {"interval": "20ms", "max_interval": "40ms", "not_found_grace": "0s", **sections.pop("polling", {})}
    camb = {"base_url": raw.url + "/apis", "requests_per_second": 1000}
    return settings(camb=camb, polling=polling, destinations={"hook": hook(receivers)}, **sections)


@pytest.mark.parametrize("before", [[], [PENDING]], ids=["never known", "known"])
async def test_what_a_gateway_says_ends_no_task_and_pauses_no_account(daemon, receivers, raw, before):
    for name, reply in GATEWAYS.items():
        raw.script(f"/apis/dub/{name}", *before, *[reply, PENDING] * 3, ended("TIMEOUT"))
    with capture_logs() as logs:
        made = await daemon(configured(raw, receivers))
        await watch(made.api, "dub", *GATEWAYS)
        heard = await hear(receivers, *GATEWAYS)
    assert {data["task_id"]: data["status"] for data in heard} == dict.fromkeys(GATEWAYS, "TIMEOUT")
    assert [line for line in logs if line["event"] == "account.paused"] == []


async def test_two_polls_that_say_the_same_in_another_spelling_end_a_task(daemon, receivers, raw):
    raw.script("/apis/dub/t", says({"status": "error"}), PENDING, says({"status": "failed"}), says({"status": "error"}))
    made = await daemon(configured(raw, receivers))
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert (data["status"], data["polls"]) == ("ERROR", 4)


async def test_a_task_that_camb_has_known_is_not_ended_by_404_even_after_a_restart(daemon, receivers, raw, until):
    raw.script("/apis/dub/known", PENDING)
    made = await daemon(configured(raw, receivers))
    await watch(made.api, "dub", "known")
    await until(lambda: raw.at("/apis/dub/known"))
    await made.stop()
    raw.script("/apis/dub/known", NO_SUCH_TASK)
    raw.script("/apis/dub/unheard-of", NO_SUCH_TASK)
    asked = len(raw.at("/apis/dub/known"))
    made = await daemon(configured(raw, receivers))
    await watch(made.api, "dub", "unheard-of")
    await hear(receivers, "unheard-of")
    await raw.until(lambda: len(raw.at("/apis/dub/known")) > asked + 5)
    assert {task_id: data["status"] for task_id, data in told(receivers).items()} == {"unheard-of": "NOT_FOUND"}
    assert (await shown(made.api, "dub", "known"))["status"] == "PENDING"


async def test_a_task_that_is_forbidden_expires_with_the_reason_while_the_others_go_on(daemon, receivers, raw):
    raw.script("/apis/dub/forbidden", NOT_YOURS)
    raw.otherwise = PENDING
    with capture_logs() as logs:
        made = await daemon(configured(raw, receivers))
        await watch(made.api, "dub", "fine")
        await watch(made.api, "dub", "forbidden", deadline="1s")
        (data,) = await hear(receivers, "forbidden")
        polls = len(raw.at("/apis/dub/fine"))
        await raw.until(lambda: len(raw.at("/apis/dub/fine")) > polls)
    assert data["status"] == "EXPIRED"
    assert data["message"] == "Camb refuses to show this task with this API key (HTTP 403): Not your run"
    assert [line for line in logs if line["event"] == "account.paused"] == []


async def test_a_404_does_not_resume_a_paused_account(daemon, receivers, raw, monkeypatch, until):
    monkeypatch.setattr("cambwatch.loops.polling.account_queue.PROBE_MIN_S", 0.05)
    monkeypatch.setattr("cambwatch.loops.polling.account_queue.PROBE_MAX_S", 0.05)
    raw.script("/apis/dub/first", KEY_REFUSED)
    raw.script("/apis/dub/unheard-of", NO_SUCH_TASK)
    with capture_logs() as logs:
        made = await daemon(configured(raw, receivers, polling={"not_found_grace": "1h"}))
        await watch(made.api, "dub", "first")
        await until(lambda: any(line["event"] == "account.paused" for line in logs))
        await watch(made.api, "dub", "unheard-of")
        await raw.until(lambda: len(raw.at("/apis/dub/unheard-of")) > 2)
        assert (await made.api.get("/readyz")).status == 503
        raw.script("/apis/dub/first", ended())
        await hear(receivers, "first")
    resumed = [line["event"] for line in logs if line["event"] in {"account.paused", "account.resumed"}]
    assert resumed == ["account.paused", "account.resumed"]


async def test_a_probe_of_a_paused_account_that_meets_a_gateway_ends_no_task(daemon, receivers, raw, monkeypatch):
    monkeypatch.setattr("cambwatch.loops.polling.account_queue.PROBE_MIN_S", 0.02)
    monkeypatch.setattr("cambwatch.loops.polling.account_queue.PROBE_MAX_S", 0.02)
    gateway = [Reply(502, b"bad gateway"), NO_SUCH_TASK, says({"status": "error"})]
    raw.script("/apis/dub/t", KEY_REFUSED, *gateway * 9, ended("TIMEOUT"))
    made = await daemon(configured(raw, receivers))
    await watch(made.api, "dub", "t", deadline="100ms")
    (data,) = await hear(receivers, "t")
    assert data["status"] == "TIMEOUT"


async def test_an_undecodable_byte_in_a_message_hides_no_end(daemon, receivers, raw):
    raw.script("/apis/dub/t", Reply(200, b'{"status": "ERROR", "run_id": null, "message": "caf\xe9 \xff"}'))
    made = await daemon(configured(raw, receivers))
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert (data["status"], data["message"]) == ("ERROR", "caf\N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}")

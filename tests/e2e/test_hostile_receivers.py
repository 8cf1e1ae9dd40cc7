"""Whoever answers us may be broken or hostile: an attempt ends in time, with a word on why, and the lane goes on."""

import asyncio
import tracemalloc
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import trustme
from certificates import LONG_AGO, certified
from events import ended, hear, hook, settings, shown, watch
from receivers import Receivers
from wire import BROKEN, ENDLESS, JSON, OK, SPEECHES, falling_silent, repeating, saying, speaking

from cambwatch.adapters.camb import CambClient
from cambwatch.adapters.http.response_head import LONGEST_ANSWER
from cambwatch.adapters.webhook import WebhookSender
from cambwatch.core.accounts import Account
from cambwatch.core.camb.result_requests import ResultRequest
from cambwatch.core.formats import Message
from cambwatch.core.model import Outcome, TaskKey, UnavailableReply
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

PATIENCE = timedelta(milliseconds=100)
MESSAGE = Message(b"{}" * 1000, {"content-type": "application/json"})
MUCH = 12 << 20  # bytes: what a hostile answer may cost at most


def now():
    return datetime.now(UTC)


async def post(url, *, kind="webhook", allow_private=True, patience=PATIENCE):
    """One attempt to *url*."""
    destination = Destination("it", kind, Secret(url), timeout=patience, allow_private=allow_private)
    async with WebhookSender({"it": destination}, user_agent="test", now=now) as webhook:
        return await webhook.post(destination, MESSAGE, number=1)


async def test_no_answer_is_an_attempt_that_failed():
    """Never an exception, and never a success; in words that show no part of the URL."""

    async def ask(name):
        async with speaking(SPEECHES[name]) as port:
            return name, await post(f"http://127.0.0.1:{port}/secret/path?and=query")

    # All of them at once, because most take as long as the timeout.
    for name, attempt in await asyncio.gather(*map(ask, SPEECHES)):
        assert attempt.outcome is Outcome.TRANSIENT, name
        assert attempt.detail or attempt.http_status, name
        assert "secret" not in (attempt.detail or ""), name
        assert "Error" not in (attempt.detail or ""), name  # words for people, not the name of a class


async def test_no_answer_of_camb_is_an_exception():
    """Nor is it an end of a task, or a result; here a whole body counts."""
    speeches = SPEECHES | BROKEN

    async def ask(name):
        async with speaking(speeches[name]) as port:
            account = Account(name, Secret("key"), f"http://127.0.0.1:{port}", timeout=PATIENCE)
            async with CambClient({name: account}, user_agent="test", now=now) as camb:
                return name, [
                    await camb.status(TaskKey(name, "dub", "t")),
                    await camb.result(name, ResultRequest("GET", "/dub-result/1")),
                ]

    for name, answers in await asyncio.gather(*map(ask, speeches)):
        assert all(isinstance(answer, UnavailableReply) and answer.detail for answer in answers), name


@pytest.mark.parametrize("name", ENDLESS)
async def test_an_endless_answer_is_not_read_to_its_end(name):
    """Neither into memory nor for ever; its status counts."""
    async with speaking(ENDLESS[name]) as port:
        tracemalloc.start()
        try:
            attempt = await post(f"http://127.0.0.1:{port}/")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (attempt.outcome, attempt.http_status) == (Outcome.ACCEPTED, 200)
    assert len(attempt.detail or "") <= 1000
    assert most < MUCH


@pytest.mark.parametrize("name", ENDLESS)
async def test_an_endless_answer_of_camb_says_nothing(name):
    """A status is refused beyond 1 MiB, a result beyond 8 MiB."""
    async with speaking(ENDLESS[name]) as port:
        account = Account("default", Secret("key"), f"http://127.0.0.1:{port}", timeout=timedelta(seconds=5))
        async with CambClient({"default": account}, user_agent="test", now=now) as camb:
            tracemalloc.start()
            try:
                reply = await camb.status(TaskKey("default", "dub", "t"))
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert isinstance(reply, UnavailableReply)
    assert reply.fault == "oversized"
    assert most < MUCH


async def test_a_slow_answer_is_cut_by_the_timeout():
    """Each byte comes in time, the whole does not."""
    async with speaking(SPEECHES["slow-headers"]) as port:
        attempt = await post(f"http://127.0.0.1:{port}/")
    assert attempt.detail == "no complete answer within 0.1 s"
    assert attempt.took_ms >= 100


async def test_slack_has_to_say_ok_in_full():
    """A body that only begins so proves nothing; one that comes compressed unasked is understood."""
    async with speaking(repeating(b"ok" * 1000, OK + b"\r\n")) as port:
        assert (await post(f"http://127.0.0.1:{port}/", kind="slack")).outcome is Outcome.ACCEPTED_UNVERIFIED
    async with speaking(saying(OK + b"content-length: 3\r\n\r\nok\n")) as port:
        assert (await post(f"http://127.0.0.1:{port}/", kind="slack")).outcome is Outcome.ACCEPTED


async def test_an_answer_that_is_longer_than_we_read_is_no_trouble():
    """The first LONGEST_ANSWER bytes are enough of an excerpt."""
    body = b"y" * (2 * LONGEST_ANSWER)
    async with speaking(saying(b"HTTP/1.1 400 No\r\ncontent-length: %d\r\n\r\n" % len(body) + body)) as port:
        attempt = await post(f"http://127.0.0.1:{port}/")
    assert (attempt.outcome, attempt.detail) == (Outcome.PAYLOAD_REJECTED, "y" * 999 + "…")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("[::ffff:127.0.0.1]", str(ip_address("::ffff:127.0.0.1"))),
        ("[::1]", "::1"),
        ("0x7f.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("169.254.169.254", "169.254.169.254"),
        ("[fe80::1]", "fe80::1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
async def test_private_addresses_are_not_dialled(host, address):
    """However they are written, unless allow_private says so; the word on it names the address and the option."""
    dialled = []

    async def note(writer):
        dialled.append(writer)

    async with speaking(note) as port:
        attempt = await post(f"http://{host}:{port}/secret", allow_private=False)
    assert attempt.outcome is Outcome.POLICY
    assert attempt.detail == (
        f"{address} is not a public address; set allow_private: true on this destination if that is meant"
    )
    assert dialled == []


@pytest.mark.parametrize(
    "addresses", [("127.0.0.1", "::1"), ("127.0.0.1", "::1", "10.0.0.1"), ("10.0.0.1", "10.0.0.2")]
)
async def test_a_name_with_several_private_addresses_is_refused_all_the_same(monkeypatch, addresses):
    """The dialler sums up what it met, and the reason must not get lost in that."""
    real = asyncio.get_running_loop().getaddrinfo

    async def several(host, port, **more):
        if host != "two.example":
            return await real(host, port, **more)
        return [item for each in addresses for item in await real(each, port, type=more["type"])]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", several)
    attempt = await post("https://two.example/", allow_private=False)
    assert attempt.outcome is Outcome.POLICY
    assert "allow_private" in (attempt.detail or "")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://nowhere.invalid/secret", "nowhere.invalid cannot be resolved"),
        ("http://127.0.0.1:9/secret", "cannot connect to 127.0.0.1:9"),
        ("http://exa mple/secret", "cannot be resolved"),
        ("http://" + "a" * 300 + "/secret", ""),
        ("http://xn--\u00e4/secret", ""),
    ],
)
async def test_what_cannot_be_dialled_is_an_attempt_that_failed(url, words):
    """Also a URL that a check of the configuration would have refused."""
    attempt = await post(url)
    assert attempt.outcome in {Outcome.TRANSIENT, Outcome.POLICY}
    assert attempt.detail
    assert words in attempt.detail
    assert "secret" not in attempt.detail


async def test_a_certificate_that_nobody_vouches_for_is_refused():
    """Nothing is posted; it is tried again, because certificates are renewed; Camb is not asked either."""
    heard = []

    async def hear_it(writer):
        heard.append(writer)

    async with speaking(hear_it, tls=certified(trustme.CA())) as port:
        attempt = await post(f"https://localhost:{port}/secret", patience=timedelta(seconds=5))
        account = Account("default", Secret("key"), f"https://localhost:{port}", timeout=timedelta(seconds=5))
        async with CambClient({"default": account}, user_agent="test", now=now) as camb:
            reply = await camb.status(TaskKey("default", "dub", "t"))
    assert attempt.outcome is Outcome.TRANSIENT
    assert "certificate" in (attempt.detail or "")
    assert isinstance(reply, UnavailableReply)
    assert reply.fault == "tls"
    assert heard == []


async def test_a_certificate_that_has_expired_is_refused(process, camb, tmp_path, until):
    """Although its issuer is trusted; one of the same issuer that is still good is taken."""
    heard = []
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    good, expired = certified(authority), certified(authority, until=LONG_AGO + timedelta(days=1))

    async def hear_it(writer):
        heard.append(writer)
        await saying(OK + b"content-length: 0\r\n\r\n")(writer)

    async with speaking(hear_it, tls=good) as good_port, speaking(hear_it, tls=expired) as expired_port:
        ports = {"good": good_port, "expired": expired_port}
        destinations = {
            name: {"type": "webhook", "url": f"https://localhost:{port}/", "allow_private": True}
            for name, port in ports.items()
        }
        made = await process(settings(destinations=destinations), ready=None)
        await made.start(environ={"SSL_CERT_FILE": str(tmp_path / "trusted.pem")})
        task_id = camb.add("dub", status="ERROR")
        await watch(made.api, "dub", task_id)

        async def both_were_tried():
            owed = (await shown(made.api, "dub", task_id))["deliveries"]
            return len(owed) == 2 and all(one["attempts"] for one in owed)

        await until(both_were_tried)
        owed = {one["destination"]: one for one in (await shown(made.api, "dub", task_id))["deliveries"]}
    assert (owed["good"]["state"], len(heard)) == ("delivered", 1)
    assert owed["expired"]["state"] == "pending"
    assert "expired" in owed["expired"]["detail"]


async def test_https_to_a_plain_server_is_an_attempt_that_failed(receivers):
    """A mistake that is easily made."""
    attempt = await post(receivers.url.replace("http:", "https:") + "/secret")
    assert attempt.outcome is Outcome.TRANSIENT
    assert receivers.requests == []
    assert "cannot connect" in (attempt.detail or "")


async def test_the_lane_goes_on_past_every_hostile_answer(daemon, receivers, until):
    """One receiver that is hostile in a new way each time, and then healthy: it gets everything in the end."""
    speeches = [*SPEECHES.values(), *BROKEN.values(), *ENDLESS.values()]
    calls = iter(speeches)
    healthy = saying(OK + JSON + b"content-length: 2\r\n\r\nok")
    happy = []

    async def vary(writer):
        speech = next(calls, None)
        if speech is None:
            happy.append(writer)
        await (speech or healthy)(writer)

    async with Receivers().serve() as raw, speaking(vary) as port:
        raw.otherwise = ended()
        moody = hook(receivers, timeout="200ms", concurrency=16) | {"url": f"http://127.0.0.1:{port}/"}
        made = await daemon(
            settings(camb={"base_url": raw.url}, destinations={"moody": moody, "hook": hook(receivers)})
        )
        names = [str(number) for number in range(len(speeches))]
        await watch(made.api, "dub", *names)
        await hear(receivers, *names)
        states = {}

        async def all_are_delivered():
            for name in set(names) - states.keys():
                task = await shown(made.api, "dub", name)
                (one,) = [one for one in task["deliveries"] if one["destination"] == "moody"]
                if one["state"] == "delivered":
                    states[name] = one["attempts"]
            return len(states) == len(names)

        await until(all_are_delivered, 15)
        assert happy
        assert (await made.api.get("/healthz")).status == 200


async def test_a_receiver_that_answers_and_then_hangs_holds_its_own_place_alone(daemon, receivers, until):
    """A connection that stays open with half an answer costs its timeout, and the next post is made."""
    half = falling_silent(b"HTTP/1.1 503 Later\r\ncontent-length: 5\r\n\r\no")
    async with Receivers().serve() as raw, speaking(half) as port:
        raw.otherwise = ended()
        stuck = hook(receivers, timeout="100ms", concurrency=1) | {"url": f"http://127.0.0.1:{port}/"}
        made = await daemon(
            settings(camb={"base_url": raw.url}, destinations={"stuck": stuck, "hook": hook(receivers)})
        )
        await watch(made.api, "dub", "a", "b")
        await hear(receivers, "a", "b")

        async def both_were_tried_twice():
            tasks = [await shown(made.api, "dub", name) for name in "ab"]
            stuck_at = [one for task in tasks for one in task["deliveries"] if one["destination"] == "stuck"]
            return min(one["attempts"] for one in stuck_at) >= 2

        await until(both_were_tried_twice)

"""Apprise itself, posting to receivers on this machine: what arrives, what a failure says, and what a hang holds up."""

import asyncio
import json
import re
import threading
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import pytest
import yaml
from events import ended, hook, settings, watch
from processes import free_port
from receivers import Receivers, Reply
from typer.testing import CliRunner

from cambwatch.adapters.apprise import AppriseSender
from cambwatch.cli import daemon as cli
from cambwatch.core.formats import Message
from cambwatch.core.model import Outcome
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

SOON = {"first": "50ms", "max": "100ms"}


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


def pager(receivers, path, *, scheme="json", **fields):
    """A destination that Apprise serves, at *path* of *receivers*."""
    url = receivers.url.replace("http", scheme) + path
    return {"type": "apprise", "url": url, "allow_private": True, "rate": "1000/s", "retry": SOON, **fields}


def laid(raw, **destinations):
    """A configuration in which *raw* is Camb."""
    return settings(camb={"base_url": raw.url}, destinations=destinations)


async def delivery_of(made, task_id, destination="pager"):
    """The delivery to *destination* with its attempts, as the API shows it; its state is None while there is none."""
    page = (await made.api.get(f"/v1/deliveries?task_id={task_id}&destination={destination}")).document
    [found] = page["items"] or [None]
    return {"state": None} if found is None else (await made.api.get(f"/v1/deliveries/{found['id']}")).document


async def delivered(made, until, task_id, destination="pager"):
    """Wait until it is, and return it."""

    async def is_so():
        return (await delivery_of(made, task_id, destination))["state"] == "delivered"

    await until(is_so)
    return await delivery_of(made, task_id, destination)


@asynccontextmanager
async def trickling():
    """A receiver whose answer never ends, a byte of a header at a time; yields its port and how often it was called."""
    called = []
    tasks = set()

    async def serve(_reader, writer):
        called.append(asyncio.current_task())
        tasks.add(asyncio.current_task())
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nx-endless: ")
            while True:
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(0.02)
        except (OSError, asyncio.CancelledError):
            pass  # it is told to end
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], called
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def calls_of(name):
    """The threads in which Apprise works for the destination *name*."""
    return [thread for thread in threading.enumerate() if thread.name == f"apprise {name}"]


def read_json(request):
    document = request.document
    return document["title"], document["message"], document["type"]


def read_form(request):
    fields = parse_qs(request.body.decode())
    return fields["title"][0], fields["message"][0], fields["type"][0]


def read_mattermost(request):
    [attachment] = [request.document["text"]] if "text" in request.document else request.document["attachments"]
    return attachment.split("\n", 1)[0], attachment, "failure"


@pytest.mark.parametrize(
    ("scheme", "path", "arrives", "read"),
    [
        ("json", "/in/1?+X-Own=yes", "/in/1", read_json),
        ("form", "/in/2", "/in/2", read_form),
        ("mmost", "/3ccdd113474722377935511fc85d3dd4", "/hooks/3ccdd113474722377935511fc85d3dd4", read_mattermost),
    ],
)
async def test_apprise_hands_over_title_words_and_kind(daemon, receivers, raw, until, scheme, path, arrives, read):
    """To whichever of its services; that it says True is not the service's word, so it counts as unverified."""
    made = await daemon(laid(raw, pager=pager(receivers, path, scheme=scheme)))
    await watch(made.api, "dub", "t-1", name="Narrator <b> @all *x*")
    done = await delivered(made, until, "t-1")
    [request] = receivers.at(arrives)
    title, words, kind = read(request)
    assert "Narrator" in title
    assert "Narrator" in words
    assert kind == "failure"
    assert "@all" not in title + words  # it is broken up, so that no service calls anybody
    assert (done["outcome"], done["http_status"]) == ("accepted_unverified", None)


async def test_a_failure_says_what_apprise_said_without_the_url(daemon, receivers, raw, until):
    """A later attempt arrives."""
    token = "3ccdd113474722377935511fc85d3dd4"
    receivers.script(f"/hooks/{token}", Reply(500), Reply(403), Reply())
    made = await daemon(laid(raw, pager=pager(receivers, f"/{token}/?to=Secret-1", scheme="mmost")))
    await watch(made.api, "dub", "t-1")
    done = await delivered(made, until, "t-1")
    assert [one["outcome"] for one in done["history"]] == ["transient", "transient", "accepted_unverified"]
    assert "500" in done["history"][0]["detail"]
    assert "403" in done["history"][1]["detail"]
    assert "to channel <secret>" in done["history"][0]["detail"]
    assert not re.search(f"Secret-1|{token}|://", json.dumps(done))


@pytest.mark.parametrize(
    ("query", "overflow", "lengths"),
    [
        ("", "truncate", [4000]),
        ("", "split", [8, 4000, 4000, 2000]),
        ("?overflow=upstream", "truncate", [10_000]),
    ],
)
async def test_what_is_too_long_is_cut_or_split_as_the_message_says(receivers, query, overflow, lengths):
    """At the limit of the service, of which Apprise knows; unless the URL says what to do."""
    url = receivers.url.replace("http", "mmost") + "/3ccdd113474722377935511fc85d3dd4" + query
    to = Destination("pager", "apprise", Secret(url))
    words = {"title": "Narrator", "body": "word " * 2000, "type": "success", "overflow": overflow}
    async with AppriseSender({"pager": to}) as sender:
        attempt = await sender.post(to, Message(json.dumps(words).encode()), number=1)
    assert (attempt.outcome, attempt.detail) == (Outcome.ACCEPTED_UNVERIFIED, None)
    found = [len(request.document["text"]) for request in receivers.requests]
    assert all(abs(one - wanted) <= 160 for one, wanted in zip(found, lengths, strict=True)), found


async def test_our_text_is_text_to_a_service_that_takes_html(daemon, receivers, raw, until):
    """Apprise escapes it, because it is told what it is."""
    made = await daemon(laid(raw, pager=pager(receivers, "/in?format=html")))
    await watch(made.api, "dub", "t-1", name="a & <b> c")
    await delivered(made, until, "t-1")
    words = receivers.at("/in")[0].document["message"]
    assert "&amp;" in words
    assert "<b" not in words.replace("<br", "")


async def test_a_url_that_apprise_no_longer_takes_is_refused(receivers):
    """As after an update of the library: by a rule, and without the URL."""
    to = Destination("pager", "apprise", Secret("nope://Secret-1"))
    async with AppriseSender({"pager": to}) as sender:
        attempt = await sender.post(to, Message(b"{}"), number=7)
    assert (attempt.number, attempt.outcome) == (7, Outcome.POLICY)
    assert attempt.detail == "the URL of this destination is not one that Apprise takes"


async def test_what_breaks_in_apprise_is_a_failed_attempt(receivers):
    """With the name of the error alone: its text may hold the URL."""
    to = Destination("pager", "apprise", Secret(receivers.url.replace("http", "json")))
    async with AppriseSender({"pager": to}) as sender:
        attempt = await sender.post(to, Message(b"{}"), number=1)
    assert (attempt.outcome, attempt.detail) == (Outcome.TRANSIENT, "Apprise failed (KeyError)")


async def test_a_redirect_is_not_followed(daemon, receivers, raw, until):
    """It may lead to where nobody has allowed."""
    receivers.script("/a", Reply(307, headers={"location": receivers.url + "/b"}), Reply())
    made = await daemon(laid(raw, pager=pager(receivers, "/a")))
    await watch(made.api, "dub", "t-1")
    done = await delivered(made, until, "t-1")
    assert [one["outcome"] for one in done["history"]] == ["transient", "accepted_unverified"]
    assert "307" in done["history"][0]["detail"]
    assert receivers.at("/b") == []


async def test_a_slow_answer_has_the_time_of_the_destination(daemon, receivers, raw, until):
    """Not the four seconds of Apprise, which are for a read; and a hang ends with it, and the lane goes on."""
    receivers.script("/slow", Reply(delay_s=30), Reply())
    made = await daemon(laid(raw, pager=pager(receivers, "/slow", timeout="400ms", concurrency=1)))
    await watch(made.api, "dub", "t-1")
    done = await delivered(made, until, "t-1")
    first, *_, last = done["history"]
    assert first["outcome"] == "transient"
    assert 300 <= first["took_ms"] < 5000
    assert last["outcome"] == "accepted_unverified"


async def test_the_timeout_is_also_that_of_each_read(daemon, receivers, raw, until):
    """Where the URL says nothing else, so that a receiver which takes five seconds can be had."""
    receivers.script("/slow", Reply(delay_s=5))
    slow = pager(receivers, "/slow", timeout="30s")
    hasty = pager(receivers, "/hasty?rto=0.2", timeout="30s")
    receivers.script("/hasty", Reply(delay_s=5), Reply())
    made = await daemon(laid(raw, slow=slow, hasty=hasty))
    await watch(made.api, "dub", "t-1")
    await until(lambda: len(receivers.at("/hasty")) >= 2)
    done = await delivered(made, until, "t-1", "slow")
    assert [one["outcome"] for one in done["history"]] == ["accepted_unverified"]
    assert (await delivery_of(made, "t-1", "hasty"))["history"][0]["outcome"] == "transient"


async def test_calls_that_hang_hold_up_nobody_else_and_no_end(daemon, receivers, raw, until):
    """A receiver that trickles for ever: no more threads than its concurrency, the others hear, and we can stop."""
    async with trickling() as (port, called):
        endless = {**pager(receivers, "/"), "url": f"json://127.0.0.1:{port}/a", "timeout": "300ms", "concurrency": 2}
        made = await daemon(laid(raw, endless=endless, pager=pager(receivers, "/in"), hook=hook(receivers)))
        await watch(made.api, "dub", *(f"t-{number}" for number in range(5)))
        for number in range(5):
            await delivered(made, until, f"t-{number}")
            await delivered(made, until, f"t-{number}", "hook")

        async def starved():
            page = (await made.api.get("/v1/deliveries?destination=endless")).document["items"]
            return any("earlier calls hang" in (one["detail"] or "") for one in page)

        await until(starved)
        assert len(called) == len(calls_of("endless")) == 2
        async with asyncio.timeout(5):
            await made.stop()
    await until(lambda: not calls_of("endless"))


async def test_a_process_ends_though_calls_hang(process, receivers, raw, until):
    """Their threads are not waited for."""
    async with trickling() as (port, called):
        endless = {**pager(receivers, "/"), "url": f"json://127.0.0.1:{port}/a", "timeout": "300ms"}
        made = await process(laid(raw, endless=endless))
        await watch(made.api, "dub", "t-1")
        await until(lambda: called)
        async with asyncio.timeout(10):
            assert await made.stop() == 0


async def test_a_test_message_tells_its_outcome_at_once(daemon, receivers, raw):
    """As that of any other destination."""
    made = await daemon(laid(raw, pager=pager(receivers, "/in"), broken=pager(receivers, "/out")))
    receivers.script("/out", Reply(500))
    good = await made.api.ask("POST", "/v1/destinations/pager/test")
    bad = await made.api.ask("POST", "/v1/destinations/broken/test")
    assert (good.status, good.document["outcome"]) == (200, "accepted_unverified")
    assert (bad.document["outcome"], "500" in bad.document["detail"]) == ("transient", True)
    assert "Test message" in receivers.at("/in")[0].document["title"]
    hosts = {one["name"]: one["host"] for one in (await made.api.get("/v1/destinations")).document["items"]}
    assert hosts == {"pager": "127.0.0.1", "broken": "127.0.0.1"}


async def test_a_token_in_place_of_the_host_is_not_shown(daemon, raw):
    """As in tgram://token/chat: nobody is told of anything here."""
    url = "tgram://123456789:Abcdefghijklmnopqrstuvwxyz/12315"
    made = await daemon(laid(raw, pager={"type": "apprise", "url": url, "allow_private": True}))
    page = (await made.api.get("/v1/destinations")).document
    assert page["items"][0]["host"] is None
    assert "123456789" not in json.dumps(page)


def test_render_shows_the_words_and_hides_the_url(tmp_path):
    """What Apprise is called with, and the service by its name."""
    url = "tgram://123456789:Abcdefghijklmnopqrstuvwxyz/12315"
    path = tmp_path / "config.yaml"
    pager = {"type": "apprise", "url": url, "allow_private": True}
    path.write_text(yaml.safe_dump({"camb": {"api_key": "abc"}, "destinations": {"pager": pager}}))
    arguments = ["render", "dub", "ERROR", "--destination", "pager", "--config", str(path)]
    plain = CliRunner().invoke(cli.app, arguments)
    assert plain.output.startswith("APPRISE tgram:///...\n")
    assert '"type": "failure"' in plain.output
    document = json.loads(CliRunner().invoke(cli.app, [*arguments, "--json"]).output)
    assert (document["method"], document["url"]) == ("APPRISE", "tgram:///...")
    assert "123456789" not in plain.output + json.dumps(document)


async def test_no_piece_of_the_url_is_ever_logged(process, receivers, raw, until):
    """At level debug, whatever goes wrong; and what Apprise logs by itself is no line of ours."""
    path = "/CANARY-path/x?token=CANARY-query&+X-Key=CANARY-key"
    echo = b"CANARY-path CANARY-query"
    receivers.script(
        "/CANARY-path/x", Reply(500, echo), Reply(307, echo, {"location": "/CANARY"}), Reply(cut=True), Reply()
    )

    async def mumble(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nno header\r\n\r\n")  # urllib3 warns, with the URL
        await writer.drain()
        writer.close()

    mumbling = await asyncio.start_server(mumble, "127.0.0.1", 0)

    def url(where):
        return f"json://CANARY-user:CANARY-pass@{where}{path}"

    pagers = {
        "echoes": url(receivers.url.removeprefix("http://")),
        "refuses": url(f"127.0.0.1:{free_port()}"),
        "unknown": url("nowhere.invalid"),
        "mumbles": url(f"127.0.0.1:{mumbling.sockets[0].getsockname()[1]}"),
    }
    made = await process(laid(raw, **{name: {**pager(receivers, ""), "url": where} for name, where in pagers.items()}))
    await watch(made.api, "dub", "t-1")
    await delivered(made, until, "t-1", "echoes")
    await delivered(made, until, "t-1", "mumbles")
    await until(lambda: '"unknown"' in made.log.read_text() and '"refuses"' in made.log.read_text())
    shown = [(await delivery_of(made, "t-1", name)) for name in pagers]
    assert await made.stop() == 0
    mumbling.close()
    text = made.log.read_text()
    assert "CANARY" not in text + json.dumps(shown)
    for line in text.splitlines():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", json.loads(line)["event"]), (
            line
        )  # ours; Apprise and urllib3 say sentences

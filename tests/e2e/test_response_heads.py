"""A receiver that answered with a complete head has answered: its status counts, whatever becomes of the body."""

import asyncio
import gzip
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
import uvloop
from certificates import certified
from events import settings, shown, watch
from trustme import CA
from wire import BROKEN, OK, falling_silent, in_pieces, resetting, saying, speaking

from cambwatch.adapters.camb import CambClient
from cambwatch.adapters.http.response_head import LARGEST_HEAD
from cambwatch.adapters.webhook import ACCEPTED_BODY_TIMEOUT_S, WebhookSender
from cambwatch.core.accounts import Account
from cambwatch.core.formats import Message
from cambwatch.core.model import Outcome, TaskKey, UnavailableReply
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

MESSAGE = Message(b"{}" * 1000, {"content-type": "application/json"})
CHATS = ("slack", "discord", "teams", "google_chat", "mattermost")
KEPT = OK + b"content-length: 2\r\n"
FIELD = b"x-a: " + b"b" * 93 + b"\r\n"  # 100 bytes


def now():
    return datetime.now(UTC)


async def post(port, *, kind="webhook", timeout_s=5.0, posts=1):
    """The last of so many attempts on one session."""
    url = Secret(f"http://127.0.0.1:{port}/secret/path")
    destination = Destination("it", kind, url, timeout=timedelta(seconds=timeout_s), allow_private=True)
    async with WebhookSender({"it": destination}, user_agent="test", now=now) as webhook:
        for number in range(1, posts + 1):
            attempt = await webhook.post(destination, MESSAGE, number=number)
    return attempt


async def answer(words, **more):
    """What comes of an answer of *words*."""
    async with speaking(saying(words)) as port:
        return await post(port, **more)


async def every(speeches, **more):
    """The attempt at each of *speeches* by its name, all of them at once."""

    async def ask(name):
        async with speaking(speeches[name]) as port:
            return name, await post(port, **more)

    return await asyncio.gather(*map(ask, speeches))


# What a complete head means


async def test_a_webhook_that_answers_2xx_is_not_posted_to_again():
    """Whether the body is cut, broken, in no known encoding or never comes."""
    for name, attempt in await every(BROKEN):
        assert (attempt.outcome, attempt.http_status) == (Outcome.ACCEPTED, 200), name
        assert "Error" not in (attempt.detail or ""), name


async def test_a_body_that_hangs_behind_2xx_of_a_webhook_costs_a_short_grace():
    async with speaking(falling_silent(OK + b"content-length: 5\r\n\r\nok")) as port:
        attempt = await post(port, timeout_s=60)
    assert attempt.outcome is Outcome.ACCEPTED
    assert attempt.took_ms < 30 * ACCEPTED_BODY_TIMEOUT_S * 1000
    assert attempt.detail == "ok"


@pytest.mark.parametrize("kind", ["webhook", *CHATS])
async def test_the_status_is_recorded_also_when_the_attempt_failed_afterwards(kind):
    ways = {}
    for status in (200, 302, 400, 401, 410, 429, 500, 503):
        head = b"HTTP/1.1 %d Words\r\n" % status
        ways |= {
            (status, "cut"): saying(head + b"content-length: 100\r\n\r\nbody"),
            (status, "bad-chunk"): saying(head + b"transfer-encoding: chunked\r\n\r\nzz\r\n"),
            (status, "reset"): resetting(head + b"content-length: 100\r\n\r\nbody"),
            (status, "two-lengths"): saying(head + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            (status, "hanging"): falling_silent(head + b"content-length: 100\r\n\r\nbody"),
        }
    for (status, way), attempt in await every(ways, kind=kind, timeout_s=4):
        assert attempt.http_status == status, way
        assert attempt.detail, (status, way)


async def test_a_broken_chunk_of_a_chat_is_known_at_once():
    """Readers of such a body would wait until the timeout: aiohttp by itself does not tell them."""
    chunked = b"HTTP/1.1 400 No\r\ntransfer-encoding: chunked\r\n\r\n"
    async with speaking(in_pieces(chunked + b"4\r\nwhat\r\n", b"zz\r\n")) as port:
        attempt = await post(port, kind="slack", timeout_s=60)
    assert (attempt.outcome, attempt.detail) == (Outcome.PAYLOAD_REJECTED, "what")
    assert attempt.took_ms < 30_000


async def test_a_retry_after_counts_beside_a_broken_body():
    attempt = await answer(b"HTTP/1.1 429 Slow\r\nretry-after: 77\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
    assert (attempt.outcome, attempt.retry_after) == (Outcome.RATE_LIMITED, timedelta(seconds=77))


@pytest.mark.parametrize("early", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\n" * 3])
@pytest.mark.parametrize("pieces", [False, True])
async def test_a_head_of_1xx_is_not_the_answer(early, pieces):
    rest = b"HTTP/1.1 204 Done\r\n\r\n"
    async with speaking(in_pieces(early, rest) if pieces else saying(early + rest)) as port:
        assert (await post(port)).http_status == 204
    async with speaking(falling_silent(early)) as port:
        assert (await post(port, timeout_s=0.2)).http_status is None


@pytest.mark.parametrize("words", [
    b"HTTP/1.1 204 No Content\r\n\r\nand more",
    b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 Odd\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nyes",
    KEPT + b"\r\nokand more",
])  # fmt: skip
@pytest.mark.parametrize("posts", [1, 3])
async def test_bytes_behind_the_answer_fail_no_attempt(words, posts):
    """The connection is not used again, so that they are not taken for the next answer either."""
    attempt = await answer(words, posts=posts)
    assert attempt.outcome is Outcome.ACCEPTED
    assert attempt.http_status in {200, 204}


@pytest.mark.parametrize("lengths", [
    b"content-length: 2\r\ncontent-length: 2\r\n",
    b"Content-Length: 2\r\nx: y\r\ncontent-length:2\r\nCONTENT-LENGTH:  2 \r\n",
    b"content-length: 2, 2\r\n",
    b"content-length: 900\r\ntransfer-encoding: chunked\r\n",
    b"transfer-encoding: chunked\r\ncontent-length: 2\r\n",
])  # fmt: skip
async def test_a_length_that_stands_there_twice_is_one(lengths):
    """And beside chunks none: the body of a chat can be read."""
    body = b"2\r\nok\r\n0\r\n\r\n" if b"chunked" in lengths else b"ok"
    attempt = await answer(OK + lengths + b"\r\n" + body, kind="slack")
    assert (attempt.outcome, attempt.http_status) == (Outcome.ACCEPTED, 200)


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
async def test_a_head_that_comes_byte_by_byte_is_one_head(newline):
    words = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".replace(b"\r\n", newline)

    async def trickle(writer):
        for byte in words:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    async with speaking(trickle) as port:
        attempt = await post(port, kind="slack")
    assert (attempt.outcome, attempt.http_status) == (Outcome.ACCEPTED, 200)


async def test_what_is_no_http_is_known_at_once():
    """Not when the timeout is over: a mail server speaks first, and then waits."""
    async with speaking(falling_silent(b"220 mail.example ESMTP\r\n")) as port:
        attempt = await post(port, timeout_s=60)
    assert (attempt.outcome, attempt.http_status) == (Outcome.TRANSIENT, None)
    assert attempt.detail == "the answer from the receiver is not valid HTTP"


# The connection


class Counting:
    """A receiver that keeps its connections open, answers each request with *words*, and counts what it is given."""

    def __init__(self, words):
        self.words = words
        self.connections = self.requests = 0
        self.talks = []

    async def __call__(self, reader, writer):
        self.connections += 1
        self.talks.append(asyncio.current_task())
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(MESSAGE.body))
                self.requests += 1
                writer.write(self.words)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def counted(words):
    """Two posts on one session: connections and requests."""
    counting = Counting(words)
    async with await asyncio.start_server(counting, "127.0.0.1", 0) as server:
        await post(server.sockets[0].getsockname()[1], posts=2)
        await asyncio.gather(*counting.talks)
    return counting.connections, counting.requests


@pytest.mark.parametrize(
    ("words", "connections"),
    [
        (KEPT + b"\r\nok", 1),
        (b"HTTP/1.1 204 Done\r\n\r\n", 1),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + KEPT + b"\r\nok", 1),
        (KEPT + b"\r\nokay", 2),
        (b"HTTP/1.1 204 Done\r\n\r\nmore", 2),
        (b"HTTP/1.1 204 Done\r\ncontent-length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 204 Done\r\ncontent-length: 4\r\n\r\n", 2),
        (b"HTTP/1.1 304 Same\r\ncontent-length: 4\r\n\r\n", 2),
        (b"HTTP/1.1 204 Done\r\ntransfer-encoding: chunked\r\n\r\n", 2),
        (KEPT + b"content-length: 2\r\n\r\nok", 2),
        (KEPT + b"connection: close\r\n\r\nok", 2),
    ],
)
async def test_a_connection_is_used_again_if_nothing_was_wrong_with_it(words, connections):
    assert await counted(words) == (connections, 2)


# The size of the head


@pytest.mark.parametrize("fields", [FIELD * 200, b"x-a: " + b"b" * 20_000 + b"\r\n", FIELD * 650,
                                    b"x-a: " + b"b" * (64 << 10) + b"\r\n", b"a:\r\n" * 16_000])  # fmt: skip
async def test_a_head_of_64_kb_is_read(fields):
    """In one field or in many."""
    attempt = await answer(OK + fields + b"content-length: 2\r\n\r\nok", kind="slack")
    assert (attempt.outcome, attempt.http_status) == (Outcome.ACCEPTED, 200)


@pytest.mark.parametrize("fields", [FIELD * (LARGEST_HEAD // 100 + 1), b"x-a: " + b"b" * LARGEST_HEAD + b"\r\n"])
async def test_a_larger_head_is_an_attempt_that_failed(fields):
    attempt = await answer(OK + fields + b"content-length: 2\r\n\r\nok")
    assert (attempt.outcome, attempt.http_status) == (Outcome.TRANSIENT, None)
    assert attempt.detail == "the head of the answer from the receiver is larger than 66 KB"


async def poll(words):
    """What Camb is understood to say."""
    async with speaking(saying(words)) as port:
        account = Account("default", Secret("key"), f"http://127.0.0.1:{port}", timeout=timedelta(seconds=5))
        async with CambClient({"default": account}, user_agent="test", now=now) as camb:
            return await camb.status(TaskKey("default", "dub", "t"))


@pytest.mark.parametrize("fields", [b"x-a: " + b"b" * (64 << 10) + b"\r\n", FIELD * 200])
async def test_a_head_of_64_kb_of_camb_is_read(fields):
    body = b'{"status": "PENDING"}'
    reply = await poll(OK + fields + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert not isinstance(reply, UnavailableReply)


async def test_a_larger_head_of_camb_is_an_outage_in_clear_words():
    reply = await poll(OK + b"x-a: " + b"b" * LARGEST_HEAD + b"\r\n\r\n")
    assert reply.detail == "the head of the answer from Camb is larger than 66 KB"


# Encodings that nobody asked for


RAW = zlib.compressobj(wbits=-15)
ENCODED = {
    "gzip": gzip.compress(b"ok"),
    "x-gzip": gzip.compress(b"ok"),
    "GZIP": gzip.compress(b"ok"),
    "deflate": zlib.compress(b"ok"),
    "Deflate": RAW.compress(b"ok") + RAW.flush(),
    "identity": b"ok",
    "": b"ok",
}


@pytest.mark.parametrize("encoding", ENCODED)
async def test_an_encoding_that_can_be_read_is_read(encoding):
    """A chat that accepts in it has accepted, and what is kept of the answer can be read."""
    body = ENCODED[encoding]
    head = OK + b"content-encoding: %s\r\ncontent-length: %d\r\n\r\n" % (encoding.encode(), len(body))
    attempt = await answer(head + body, kind="slack")
    assert (attempt.outcome, attempt.detail) == (Outcome.ACCEPTED, "ok")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
async def test_a_body_that_is_not_encoded_as_its_head_says_is_taken_as_it_is(encoding):
    head = OK + b"content-encoding: %s\r\ncontent-length: 2\r\n\r\n" % encoding.encode()
    assert (await answer(head + b"ok", kind="slack")).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("encoding", "words"), [("br", "(br-encoded body)"), ("zstd", "(zstd-encoded body)"), ("a b", "(encoded body)")]
)
async def test_an_encoding_that_is_not_known_is_named(encoding, words):
    head = OK + b"content-encoding: %s\r\ncontent-length: 3\r\n\r\n" % encoding.encode()
    attempt = await answer(head + b"\x0b\x80\x03")
    assert (attempt.outcome, attempt.detail) == (Outcome.ACCEPTED, words)


# The same on what the daemon runs on


def test_it_is_so_on_uvloop():
    """The daemon runs on it, and its transports are its own."""
    uvloop.run(_on_uvloop())


async def _on_uvloop():
    assert (await answer(b"HTTP/1.1 204 No Content\r\n\r\nmore", posts=2)).outcome is Outcome.ACCEPTED
    assert (await answer(KEPT + b"content-length: 2\r\n\r\nok", kind="slack")).outcome is Outcome.ACCEPTED
    assert (await answer(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n")).http_status == 200
    assert await counted(KEPT + b"\r\nok") == (1, 2)


async def test_it_is_so_behind_tls(process, camb, tmp_path, until):
    authority = CA()
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    async with speaking(saying(b"HTTP/1.1 204 No Content\r\n\r\nmore"), tls=certified(authority)) as port:
        hook = {"type": "webhook", "url": f"https://localhost:{port}/", "allow_private": True}
        made = await process(settings(destinations={"hook": hook}), ready=None)
        await made.start(environ={"SSL_CERT_FILE": str(tmp_path / "trusted.pem")})
        task_id = camb.add("dub", status="ERROR")
        await watch(made.api, "dub", task_id)

        async def tried():
            owed = (await shown(made.api, "dub", task_id))["deliveries"]
            return owed[0] if owed and owed[0]["attempts"] else None

        await until(tried)
        one = await tried()
    assert (one["state"], one["http_status"]) == ("delivered", 204)

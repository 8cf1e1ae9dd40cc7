"""A result too large for memory keeps its links, and does not delay other tasks."""

import asyncio
import json
import tracemalloc
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from events import ended, hear, hook, settings, shown, watch
from receivers import Receivers, Reply

from cambwatch.adapters.camb import MOST_READ, CambClient
from cambwatch.core.accounts import Account
from cambwatch.core.camb.link_scan import SLICE
from cambwatch.core.camb.result_requests import LONGEST_DOCUMENT, ResultRead, ResultRequest
from cambwatch.core.model import Fault, UnavailableReply
from cambwatch.core.redaction import Secret

MIB = 1 << 20
PIECE = 7919  # bytes that are sent at once: links and texts are split across them
LINE = json.dumps({"start": 0.12, "end": 1.5, "text": 'He said: "All work and no play"', "speaker": "J"}).encode()
LINKS = [("Audio", "https://cdn.example/a"), ("Video", "https://cdn.example/v"), ("Studio", "https://cdn.example/s")]


def lines(size):
    """A transcript of about *size* bytes, as a list."""
    yield b"["
    for _ in range(size // (len(LINE) + 1)):
        yield LINE + b","
    yield LINE + b"]"


def words(size):
    """The same as one text."""
    yield b'"'
    for _ in range(size // 1000):
        yield rb"All work and no play \"makes\" Jack a dull boy." * 20 + b" " * 60
    yield b'"'


def document(size, transcript):
    """A dub of about *size* bytes, with a link at its start, in its middle and at its end."""
    yield b'{"audio_url": "https://cdn.example/a", "transcript": '
    yield from transcript(size // 2)
    yield b', "video_url": "https://cdn.example/v", "transcripts": '
    yield from transcript(size // 2)
    yield b', "studio_url": "https://cdn.example/s"}'


@asynccontextmanager
async def answering(pieces, *, length=None):
    """A server that answers with *pieces*, made as they are sent; its URL."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        how = b"Connection: close" if length is None else b"Content-Length: %d" % length
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + how + b"\r\n\r\n")
        pending = bytearray()
        for piece in pieces:
            pending += piece
            while len(pending) >= PIECE:
                writer.write(bytes(pending[:PIECE]))
                del pending[:PIECE]
                await writer.drain()
        writer.write(bytes(pending))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def read(pieces, *, length=None):
    """The reply to a request for the result *pieces*."""
    async with answering(pieces, length=length) as url:
        account = Account("default", Secret("key"), url)
        async with CambClient({"default": account}, user_agent="test", now=lambda: datetime.now(UTC)) as camb:
            return await camb.result("default", ResultRequest("GET", "/dub-result/1"))


@pytest.mark.parametrize("announced", [False, True])
@pytest.mark.parametrize(("size", "transcript"), [(9 * MIB, lines), (9 * MIB, words), (60 * MIB, words)])
async def test_a_large_result_keeps_its_links(size, transcript, announced):
    length = sum(map(len, document(size, transcript)))
    reply = await read(document(size, transcript), length=length if announced else None)
    assert isinstance(reply, ResultRead)
    assert [(link.label, link.url) for link in reply.links] == LINKS
    assert reply.document == {
        "cut": True,
        "bytes": length,
        "reason": "larger than 8 MB: only its links were read; fetch it from result_endpoint",
        "links": [{"label": label, "url": url} for label, url in LINKS],
    }


async def test_others_have_their_turns_while_it_is_read():
    turns = 0

    async def take_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    await read(document(9 * MIB, lines))
    other.cancel()
    assert turns > 9 * MIB // SLICE


async def test_it_is_never_held_as_a_whole():
    """Beyond what is read as a document, whatever its size."""
    tracemalloc.start()
    try:
        reply = await read(document(60 * MIB, words))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [link.url for link in reply.links] == [url for _, url in LINKS]
    assert most < LONGEST_DOCUMENT + 4 * MIB


async def test_what_lies_beyond_the_most_that_is_read_is_left_out_and_the_marker_says_so():
    length = sum(map(len, document(MOST_READ * 5 // 4, words)))
    reply = await read(document(MOST_READ * 5 // 4, words), length=length)
    assert isinstance(reply, ResultRead)
    assert [(link.label, link.url) for link in reply.links] == LINKS[:2]
    assert reply.document["bytes"] == length
    assert "only the links of its first 64 MB were read" in reply.document["reason"]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"<html>", *[b"<a href='https://a/'>" * 1000] * 500],
        [b"ID3\x04", *[bytes(range(256)) * 100] * 500],
        [*document(9 * MIB, words)][:-1],  # it ends too early
    ],
    ids=["page", "sound", "half"],
)
async def test_what_is_large_and_not_json_is_no_result(pieces):
    reply = await read(pieces)
    assert isinstance(reply, UnavailableReply)
    assert reply.fault is Fault.UNREADABLE


async def test_its_links_are_in_the_message_and_in_the_api(daemon, receivers):
    body = b"".join(document(9 * MIB, words))
    async with Receivers().serve() as raw:
        raw.script("/dub/t", ended("SUCCESS", 5))
        raw.script("/dub-result/5", Reply(200, body, {"content-type": "application/json"}))
        made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
        await watch(made.api, "dub", "t")
        (data,) = await hear(receivers, "t")
        assert [(link["label"], link["url"]) for link in data["links"]] == LINKS
        assert (data["result"]["cut"], data["result"]["bytes"], data["result_pending"]) == (True, len(body), False)
        assert (await shown(made.api, "dub", "t"))["result"] == data["result"]
        await made.stop()

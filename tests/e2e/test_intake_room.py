"""Bodies, and heads, take together no more than there is room for; who sends small ones is served all the same."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from cambwatch.web.connections import ConnectionLimits
from cambwatch.web.server import LARGEST_BODY

HEAD = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LIMITS = ConnectionLimits()
LINES = "".join(f"x-line-{number}: {'x' * 8000}\r\n" for number in range(60))  # that one head may have
HEADS = LIMITS.shared_head_bytes // (len(LINES) - LIMITS.reserved_head_bytes)  # of that size, that there is room for
MANY = LIMITS.shared_body_bytes // (
    LARGEST_BODY - LIMITS.reserved_body_bytes
)  # of nearly the largest size, that there is room for


def array(prefix, size):
    """Registrations that fill *size* bytes or a little less."""
    one = len(json.dumps({"kind": "dub", "task_id": f"{prefix}-0000", "extra": {"text": ""}}))
    text = "x" * (size // 10 - one - 10)
    return [{"kind": "dub", "task_id": f"{prefix}-{number:04}", "extra": {"text": text}} for number in range(10)]


@asynccontextmanager
async def stalled(url, count, *, chunked=False):
    """Connections that have sent nearly LARGEST_BODY bytes of a body, and keep the rest to themselves."""
    address, most = urlsplit(url), LARGEST_BODY - 100
    framing = (
        "Transfer-Encoding: chunked\r\n\r\n" + f"{most + 50:x}\r\n"
        if chunked
        else f"Content-Length: {most + 50}\r\n\r\n"
    )
    made = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            made.append((reader, writer))
            writer.write((HEAD + framing).encode() + b" " * most)
            await writer.drain()
        yield [reader for reader, _ in made]
    finally:
        for _, writer in made:
            writer.transport.abort()


async def refused(api):
    """Whether a large array finds no room now."""
    answer = await api.ask("POST", "/v1/tasks", array("probe", LARGEST_BODY // 2))
    if answer.status != 503:
        return False
    assert answer.headers["retry-after"] == "1"
    assert "room" in answer.document["detail"]
    return True


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_bodies_that_stall_do_not_fill_the_memory(daemon, until, chunked):
    """Who finds no room is told so at once, 503; a small body always does; who has gone leaves the room to others."""
    made = await daemon("polling: {interval: 1h, max_interval: 1h}")
    async with stalled(made.url, MANY, chunked=chunked):
        await until(lambda: refused(made.api))
        async with stalled(made.url, 3, chunked=chunked) as late:
            for reader in late:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in head.lower()
        small = await made.api.ask("POST", "/v1/tasks", {"kind": "dub", "task_id": f"small-{chunked}"})
        assert small.status == 201
    await until(lambda: taken(made.api, "afterwards"))


async def taken(api, prefix):
    return (await api.ask("POST", "/v1/tasks", array(prefix, LARGEST_BODY - 100))).status == 201


async def test_room_is_given_back_with_each_answer(daemon):
    """Whatever the answer is: many more large bodies than fit at once, one after the other."""
    made = await daemon("polling: {interval: 1h, max_interval: 1h}")
    for number in range(MANY + 5):
        good = await made.api.ask("POST", "/v1/tasks", array(f"good-{number}", LARGEST_BODY // 2))
        bad = await made.api.ask("POST", "/v1/tasks", [{"kind": "dub", "task_id": "x" * (LARGEST_BODY - 1000)}])
        large = await made.api.ask("POST", "/v1/tasks", [{"kind": "dub", "task_id": "x" * LARGEST_BODY}])
        assert (good.status, bad.status, large.status) == (201, 422, 413)


@asynccontextmanager
async def sent(url, count, text):
    """Connections that have sent *text* and nothing else."""
    address = urlsplit(url)
    made = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            made.append((reader, writer))
            writer.write(text.encode())
            with suppress(ConnectionError):
                await writer.drain()
        yield [reader for reader, _ in made]
    finally:
        for _, writer in made:
            writer.transport.abort()


async def cut_off(reader):
    """Whether a connection was ended without a word."""
    try:
        async with asyncio.timeout(0.01):
            return await reader.read() == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("ahead", [False, True], ids=["unfinished", "sent ahead"])
async def test_heads_that_stall_do_not_fill_the_memory(daemon, until, ahead):
    """Who finds no room is cut off; small requests are served all the same; who has gone leaves the room to others."""
    made = await daemon("polling: {interval: 1h, max_interval: 1h}")
    await made.api.ask("POST", "/v1/tasks", {"kind": "dub", "task_id": "waited-for"})
    get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    wait = "GET /v1/tasks/dub/waited-for?wait=60s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    text = wait + get + LINES + "\r\n" if ahead else get + LINES
    async with sent(made.url, HEADS, text) as kept, sent(made.url, 5, text) as late:

        async def all_late() -> bool:
            return all([await cut_off(reader) for reader in late])

        await until(all_late)
        assert not any([await cut_off(reader) for reader in kept])
        small = await made.api.ask("POST", "/v1/tasks", {"kind": "dub", "task_id": f"small-{ahead}"})
        assert small.status == 201
    await until(lambda: taken(made.api, "afterwards"))


async def test_the_room_of_heads_is_given_back_with_each_answer(daemon):
    """Many more large heads than fit at once, one after the other, on one connection."""
    made = await daemon()
    text = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + LINES + "\r\n"
    address = urlsplit(made.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for _ in range(HEADS + 5):
        writer.write(text.encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
    writer.close()

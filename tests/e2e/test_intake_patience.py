"""Who dawdles is cut off, however it dawdles, and who does not is served meanwhile; on real sockets."""

import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pytest
from aiohttp import web

from cambwatch.web import server
from cambwatch.web.connections import ConnectionLimits, read_body
from cambwatch.web.guard import guard
from cambwatch.web.limits import rate_limit

HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
GET = b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n"
LARGE = 16 << 20  # bytes, more than sockets hold
SHORT = {"head_s": 0.2, "body_s": 0.2, "answer_s": 0.2, "idle_s": 0.5, "linger_s": 0.1}
LONG = dict.fromkeys(SHORT, 3600.0)
PATIENCE_S = 10


class Intake:
    """The intake with endpoints of its own: one that reads, one that answers when *go* is set, one with much to say."""

    def __init__(self) -> None:
        self.port = 0
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def echo(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=await read_body(request))

    async def wait(self, _request: web.Request) -> web.StreamResponse:
        self.asked.set()
        await self.go.wait()
        return web.Response(body=b"at last")

    async def much(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=io.BytesIO(bytes(LARGE)))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, closed at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2 * LARGE)
        self.writers.append(writer)
        return reader, writer


@asynccontextmanager
async def intake(
    limits: ConnectionLimits, *, per_second: float | None = None, monotonic: Callable[[], float] = time.monotonic
) -> AsyncIterator[Intake]:
    made = Intake()
    rows = [
        server.Endpoint(method, path, handler, "", {HTTPStatus.OK: None})
        for method, path, handler in (
            ("GET", "/echo", made.echo),
            ("POST", "/echo", made.echo),
            ("GET", "/wait", made.wait),
            ("GET", "/much", made.much),
        )
    ]
    app = server.application(
        rows,
        limit=rate_limit(per_second, monotonic=monotonic),
        guard=guard(allowed_hosts=(), token=None, unix=False),
    )
    listen = partial(asyncio.get_running_loop().create_server, host="127.0.0.1", port=0, backlog=1024)
    async with server.serve(app, listen, limits=limits) as (first,):
        made.port = first.sockets[0].getsockname()[1]
        try:
            yield made
        finally:
            made.go.set()
            for writer in made.writers:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All that still comes, up to the end of the connection, in whatever way it ends."""
    came = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE_S):
            while some := await reader.read(65_536):
                came += some
    return came


async def answer(reader: asyncio.StreamReader) -> bytes:
    """The head of the next answer, and its body."""
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await reader.readexactly(length)


DAWDLES = {  # how many requests come whole, then what comes once, then what comes again and again
    "says nothing": (0, b"", b""),
    "half a line": (0, b"GET /ec", b""),
    "a header at a time": (0, b"GET /echo HTTP/1.1\r\n" + HOST, b"X: y\r\n"),
    "empty lines": (0, b"", b"\r\n"),
    "half a line after an answer": (1, b"GET /ec", b""),
    "a header at a time after answers": (3, b"GET /echo HTTP/1.1\r\n", b"X: y\r\n"),
}


@pytest.mark.parametrize(("whole", "once", "again"), DAWDLES.values(), ids=DAWDLES)
async def test_a_head_that_does_not_come_ends_the_connection(whole, once, again):
    """Also where a little of it comes now and then."""
    async with intake(ConnectionLimits(**LONG | {"head_s": 0.3})) as made:
        reader, writer = await made.connect()
        for _ in range(whole):
            writer.write(GET)
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        writer.write(once)

        async def dribble() -> None:
            while again:
                writer.write(again)
                await asyncio.sleep(0.02)

        dribbling = asyncio.create_task(dribble())
        assert await rest(reader) == b""
        dribbling.cancel()


async def test_half_a_head_that_came_together_with_a_request_is_idleness():
    """Nothing tells us of it."""
    async with intake(ConnectionLimits(**LONG | {"idle_s": 0.3})) as made:
        reader, writer = await made.connect()
        writer.write(GET + b"GET /ec")
        assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        assert await rest(reader) == b""


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"], ids=["length", "chunks"]
)
async def test_a_body_that_does_not_come_is_answered_and_ends_the_connection(framing):
    """Though a byte comes now and then, and though the head came in time."""
    async with intake(ConnectionLimits(**LONG | {"body_s": 0.3, "linger_s": 0.2})) as made:
        reader, writer = await made.connect()
        writer.write(b"POST /echo HTTP/1.1\r\n" + JSON + framing)

        async def dribble() -> None:
            while True:
                writer.write(b"1\r\n \r\n" if b"chunked" in framing else b" ")
                await asyncio.sleep(0.02)

        dribbling = asyncio.create_task(dribble())
        came = await rest(reader)
        dribbling.cancel()
    assert came.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in came
    assert b"did not come within 0.3 s" in came


async def test_the_body_of_a_refused_request_is_not_waited_for():
    async with intake(ConnectionLimits(**LONG | {"linger_s": 0.2})) as made:
        reader, writer = await made.connect()
        writer.write(b"POST /echo HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 1000\r\n\r\nhalf")
        assert (await rest(reader)).startswith(b"HTTP/1.1 421 ")


async def test_an_idle_connection_ends():
    """After an answer; it could be used until then."""
    async with intake(ConnectionLimits(**LONG | {"idle_s": 0.3})) as made:
        reader, writer = await made.connect()
        for _ in range(3):
            writer.write(GET)
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        assert await rest(reader) == b""


async def test_an_answer_that_nobody_takes_ends_the_connection(until):
    """Without waiting for who takes nothing."""
    async with intake(ConnectionLimits(**LONG | {"answer_s": 0.3})) as made:
        reader, writer = await made.connect()
        reader._transport.pause_reading()
        writer.write(GET.replace(b"echo", b"wait"))
        await made.asked.wait()
        handles = Path("/proc/self/fd")
        open_before = len(list(handles.iterdir()))
        writer.write(GET.replace(b"echo", b"much"))
        made.go.set()
        await until(lambda: len(list(handles.iterdir())) == open_before - 1)
        reader._transport.resume_reading()
        assert len(await rest(reader)) < LARGE


async def test_a_large_answer_that_is_taken_arrives_whole():
    async with intake(ConnectionLimits()) as made:
        reader, writer = await made.connect()
        writer.write(b"GET /much HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n")
        assert (await rest(reader)).endswith(bytes(LARGE))


async def test_an_answer_may_take_its_time():
    """Long polls are no dawdling, and neither are the requests behind them, nor the next ones."""
    async with intake(ConnectionLimits(**SHORT)) as made:
        reader, writer = await made.connect()
        writer.write(GET.replace(b"echo", b"wait"))
        await made.asked.wait()
        writer.write(GET)
        await asyncio.sleep(3 * SHORT["head_s"])
        made.go.set()
        assert (await answer(reader)).endswith(b"at last")
        assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        writer.write(GET)
        assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")


async def test_of_too_many_connections_those_that_wait_longest_give_way():
    """Never one with a request under way, and a caller who was cut off may come again."""
    async with intake(ConnectionLimits(**LONG, connections=10)) as made:
        at_work = await made.connect()
        at_work[1].write(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
        await made.asked.wait()
        crowd = [await made.connect() for _ in range(30)]
        ended = [await rest(reader) for reader, _ in crowd[:21]]
        assert ended == [b""] * 21
        for reader, writer in crowd[21:]:
            writer.write(GET)
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        again = await made.connect()
        again[1].write(GET)
        assert (await answer(again[0])).startswith(b"HTTP/1.1 200 ")
        made.go.set()
        assert (await answer(at_work[0])).endswith(b"at last")


async def test_where_all_connections_are_at_work_a_new_one_ends():
    async with intake(ConnectionLimits(**LONG, connections=3)) as made:
        busy = [await made.connect() for _ in range(3)]
        for _, writer in busy:
            made.asked.clear()
            writer.write(b"GET /wait HTTP/1.1\r\n" + HOST + b"\r\n")
            await made.asked.wait()
        reader, writer = await made.connect()
        assert await rest(reader) == b""
        made.go.set()
        for one, _ in busy:
            assert (await answer(one)).endswith(b"at last")


async def test_a_closed_connection_makes_room():
    async with intake(ConnectionLimits(**LONG, connections=2)) as made:
        first = await made.connect()
        for _ in range(20):
            _, writer = await made.connect()
            writer.write(GET)
            writer.close()
            await writer.wait_closed()
            first[1].write(GET)  # not the one that waits longest, as long as there is room
            assert (await answer(first[0])).startswith(b"HTTP/1.1 200 ")


async def test_too_many_requests_are_asked_to_wait():
    """A second's requests pass at once, then as many as have become due; the connection stays."""
    now = [100.0]
    async with intake(ConnectionLimits(), per_second=5, monotonic=lambda: now[0]) as made:
        reader, writer = await made.connect()

        async def ask(words: bytes = GET) -> bytes:
            writer.write(words)
            return await answer(reader)

        assert [(await ask())[9:12] for _ in range(7)] == [b"200"] * 5 + [b"429"] * 2
        refused = await ask(b"POST /echo HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n")
        head, _, body = refused.partition(b"\r\n\r\n")
        assert b"\r\nretry-after: 1\r\n" in head.lower()
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == 429
        now[0] += 0.4
        assert [(await ask())[9:12] for _ in range(3)] == [b"200"] * 2 + [b"429"]
        other, writing = await made.connect()
        writing.write(GET)
        assert (await answer(other))[9:12] == b"429"  # it is the address that counts


async def test_this_machine_may_ask_as_often_as_it_likes_where_nothing_is_said():
    async with intake(ConnectionLimits(), monotonic=lambda: 100.0) as made:
        reader, writer = await made.connect()
        writer.write(GET * 1000)
        for _ in range(1000):
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")

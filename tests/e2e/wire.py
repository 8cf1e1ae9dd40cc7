"""Servers that speak, byte for byte, what no server should."""

import asyncio
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Speech = Callable[[asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\n"
JSON = b"content-type: application/json\r\n"
CHUNK = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"


@asynccontextmanager
async def speaking(
    speech: Speech, *, tls: ssl.SSLContext | None = None, heard: Callable[[bytes], None] = lambda _: None
) -> AsyncIterator[int]:
    """
    A server on 127.0.0.1 that reads the head of a request, then does *speech* and closes; yields its port.

    *heard* is given each head.
    """
    talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heard(await reader.readuntil(b"\r\n\r\n"))
            await speech(writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whom we spoke to has gone
        finally:
            writer.transport.abort()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks[asyncio.create_task(talk(reader, writer))] = writer

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    try:
        port: int = server.sockets[0].getsockname()[1]
        yield port
    finally:
        server.close()
        for one, writer in talks.items():
            one.cancel()
            writer.transport.abort()  # a talk that is cancelled before it begins does not even get to its end
        await asyncio.gather(*talks, return_exceptions=True)


def saying(words: bytes) -> Speech:
    """Says *words* and nothing more."""

    async def speech(writer: asyncio.StreamWriter) -> None:
        writer.write(words)

    return speech


def repeating(words: bytes, beginning: bytes = b"", *, pause_s: float = 0) -> Speech:
    """Says *beginning*, then *words* again and again, until nobody listens any more."""

    async def speech(writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while True:
            writer.write(words)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return speech


def falling_silent(words: bytes) -> Speech:
    """Says *words*, and keeps the connection open."""

    async def speech(writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await asyncio.Event().wait()

    return speech


def in_pieces(*pieces: bytes) -> Speech:
    """Says each of *pieces* in a segment of its own, and keeps the connection open."""

    async def speech(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)  # so that the next is not read together with it
        await asyncio.Event().wait()

    return speech


def resetting(words: bytes) -> Speech:
    """Says *words*, then resets the connection (RST)."""

    async def speech(writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        await asyncio.sleep(0.02)  # what was said is to arrive first
        peer: socket.socket = writer.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return speech


def bomb(megabytes: int) -> bytes:
    """So many megabytes of spaces, in gzip, as a whole answer."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(megabytes)) + packer.flush()
    return OK + JSON + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed


SPEECHES: dict[str, Speech] = {
    "silence": falling_silent(b""),
    "half-a-status-line": falling_silent(b"HTTP/1.1 20"),
    "half-the-headers": falling_silent(OK + b"content-le"),
    "closes-at-once": saying(b""),
    "resets-at-once": resetting(b""),
    "no-http": saying(b"220 mail.example ESMTP\r\n\r\n"),
    "binary": saying(bytes(range(256)) * 10 + b"\r\n\r\n"),
    "http-0.9": saying(b"ok"),
    "status-999": saying(b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n"),
    "status-without-number": saying(b"HTTP/1.1 OK\r\n\r\n"),
    "slow-headers": repeating(b"x-a: b\r\n", OK, pause_s=0.02),
    "endless-headers": repeating(b"x-a: " + b"b" * 1000 + b"\r\n", OK),
    "endless-header": repeating(b"b" * 65536, OK + b"x-a: "),
    "endless-status-line": repeating(b"b" * 65536, b"HTTP/1.1 200 "),
    "endless-continue": repeating(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless-early-hints": repeating(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    "switching-protocols": falling_silent(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    ),
}
"""What leaves a request without a whole answer of 2xx."""

BROKEN: dict[str, Speech] = {
    "negative-length": saying(OK + b"content-length: -1\r\n\r\n"),
    "two-lengths": saying(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
    "bad-chunk": saying(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nbody\r\n"),
    "huge-chunk-size": falling_silent(OK + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 100 + b"\r\n"),
    "cut-chunk": saying(OK + b"transfer-encoding: chunked\r\n\r\n1000\r\nbody"),
    "cut-body": saying(OK + b"content-length: 1000\r\n\r\nbody"),
    "reset-in-the-body": resetting(OK + b"content-length: 1000\r\n\r\nbody"),
    "slow-body": repeating(b".", OK + b"content-length: 100000\r\n\r\n", pause_s=0.02),
    "broken-gzip": saying(OK + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"),
    "cut-gzip": saying(OK + b"content-encoding: gzip\r\ncontent-length: 100000\r\n\r\n" + bomb(1)[-500:]),
    "hanging-body": falling_silent(OK + b"content-length: 5\r\n\r\no"),
    "hanging-chunks": falling_silent(OK + b"transfer-encoding: chunked\r\n\r\n1\r\no\r\n"),
    "bad-chunk-later": in_pieces(OK + b"transfer-encoding: chunked\r\n\r\n1\r\no\r\n", b"zz\r\n"),
    "length-beside-chunks": saying(OK + b"content-length: 9\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    "length-overflow": saying(OK + b"content-length: 99999999999999999999\r\n\r\nbody"),
    "empty-length": saying(OK + b"content-length:\r\n\r\nbody"),
    "bad-field": saying(OK + b"bad name: x\r\n\r\nbody"),
    "field-with-a-zero-byte": saying(OK + b"x-a: b\0\r\ncontent-length: 100\r\n\r\nbody"),
    "http-2": falling_silent(b"HTTP/2 200 OK\r\n\r\n"),
    "http-1.2": falling_silent(b"HTTP/1.2 200 OK\r\n\r\n"),
    "reset-behind-the-head": resetting(OK + b"\r\n"),
}
"""A complete head of 200, and behind it what makes no sense of it, or never comes."""


ENDLESS: dict[str, Speech] = {
    "endless-body": repeating(b"x" * 65536, OK + b"\r\n"),
    "endless-chunks": repeating(CHUNK, OK + b"transfer-encoding: chunked\r\n\r\n"),
    "gzip-bomb": saying(bomb(200)),
}
"""What begins as an answer and has more of it than anybody should read."""

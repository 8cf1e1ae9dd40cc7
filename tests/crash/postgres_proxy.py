"""
What stands between a node and PostgreSQL: it reads along, and says when a claim, a change or a commit passes.

The messages are those of https://www.postgresql.org/docs/current/protocol-message-formats.html:
a byte for the type, four for the length, and before the first of them a startup without a type.
"""

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum

from killing import Moment, Trap
from node import Node

_REFUSED_AT_FIRST = {80877103, 80877104}  # SSLRequest, GSSENCRequest: answered with N, the node goes on in the clear
_INT = struct.Struct(">i")
_CHUNK_BYTES = 65536

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class Act(Enum):
    """What a statement does, as far as kills are placed by it; the moments are: sent, done, answered."""

    CLAIM = (Moment.CLAIM_SENT, Moment.CLAIM_DONE, Moment.CLAIM_ANSWERED)
    CHANGE = (Moment.CHANGE_SENT, Moment.CHANGE_DONE, Moment.CHANGE_ANSWERED)
    COMMIT = (Moment.COMMIT_SENT, Moment.COMMIT_DONE, Moment.COMMIT_ANSWERED)


def act_of(statement: str) -> Act | None:
    """What *statement* does, by its words; None: it only reads, or is of the session."""
    words = statement.upper().split()
    if not words:
        return None
    if words[0].rstrip(";") in {"COMMIT", "END"}:
        return Act.COMMIT
    changing = {"INSERT", "UPDATE", "DELETE"}
    if "SKIP" in words and "LOCKED" in {word.strip("();") for word in words}:
        return Act.CLAIM
    if words[0] in changing or (words[0] == "WITH" and changing & {word.strip("(") for word in words}):
        return Act.CHANGE
    return None


class Messages:
    """Cuts a stream into messages; *feed* gives those that are complete, each with its type."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, some: bytes) -> list[tuple[bytes, bytes]]:
        self._rest += some
        found = []
        while len(self._rest) >= 5:
            end = 1 + _INT.unpack_from(self._rest, 1)[0]
            if len(self._rest) < end:
                break
            found.append((bytes(self._rest[:1]), bytes(self._rest[:end])))
            del self._rest[:end]
        return found


class Statements:
    """Which statement a message of the node begins: text comes once, in Parse, and is named from then on."""

    def __init__(self) -> None:
        self._parsed: dict[bytes, str] = {}
        self._bound: dict[bytes, str] = {}

    def begun(self, kind: bytes, message: bytes) -> str | None:
        """The text of the statement that *message* has executed; None for any other message."""
        body = message[5:]
        match kind:
            case b"Q":
                return body.rstrip(b"\0").decode()
            case b"P":
                name, text, _ = body.split(b"\0", 2)
                self._parsed[name] = text.decode()
            case b"B":
                portal, name, _ = body.split(b"\0", 2)
                self._bound[portal] = self._parsed.get(name, "")
            case b"E":
                return self._bound.get(body.split(b"\0", 1)[0], "")
        return None


class _Killed(Exception):  # noqa: N818 - no error: the end of a connection
    """The node is dead, and what it sent or was to hear goes no further."""


class Between:
    """One connection of *node*."""

    def __init__(self, node: Node, trap: Trap) -> None:
        self._node = node
        self._trap = trap
        self._statements = Statements()
        self._under_way: deque[Act | None] = deque()

    async def upwards(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """From the node to the server; ends with either."""
        messages = Messages()
        while some := await reader.read(_CHUNK_BYTES):
            for kind, message in messages.feed(some):
                statement = self._statements.begun(kind, message)
                if statement is not None:
                    act = act_of(statement)
                    self._under_way.append(act)
                    self._reach(act, 0)
                server.write(message)
            await server.drain()

    async def downwards(self, reader: asyncio.StreamReader, node: asyncio.StreamWriter) -> None:
        """From the server to the node; ends with either."""
        messages = Messages()
        done: list[Act | None] = []
        while some := await reader.read(_CHUNK_BYTES):
            for kind, message in messages.feed(some):
                if kind == b"C" and self._under_way:  # CommandComplete
                    act = self._under_way.popleft()
                    self._reach(act, 1)
                    done.append(act)
                node.write(message)
                if kind == b"Z":  # ReadyForQuery: now the node goes on; what had no CommandComplete has failed
                    self._under_way.clear()
                    await node.drain()
                    for act in done:
                        with contextlib.suppress(_Killed):  # nothing is left to be withheld
                            self._reach(act, 2)
                    done.clear()
            await node.drain()

    def _reach(self, act: Act | None, step: int) -> None:
        if act is not None and self._trap.reach(act.value[step], self._node):
            raise _Killed


@asynccontextmanager
async def between(node: Node, port: int, *, trap: Trap, open_server: Open) -> AsyncIterator[None]:
    """Stand at *port* for the length of the block, and hand everything on to the server."""
    underway: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        underway.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await _connection(Between(node, trap), reader, writer, open_server)
        writer.transport.abort()
        underway.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for task in list(underway):
            task.cancel()
        await asyncio.gather(*underway)


async def _connection(
    kept: Between, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_server: Open
) -> None:
    while True:
        startup = await reader.readexactly(8)
        length, code = _INT.unpack_from(startup)[0], _INT.unpack_from(startup, 4)[0]
        if code not in _REFUSED_AT_FIRST:
            break
        writer.write(b"N")
    up_reader, up_writer = await open_server()
    try:
        up_writer.write(startup + await reader.readexactly(length - len(startup)))
        ways = [
            asyncio.create_task(kept.upwards(reader, up_writer)),
            asyncio.create_task(kept.downwards(up_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for ended in await asyncio.gather(*ways, return_exceptions=True):
                if isinstance(ended, Exception) and not isinstance(ended, OSError | _Killed):
                    raise ended
    finally:
        up_writer.transport.abort()

"""How long a caller may take, how much, and how many may be connected: who dawdles keeps nobody else out."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from aiohttp import StreamReader, web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler

from cambwatch.adapters.open_files import MOST_CONNECTIONS
from cambwatch.web.limits import MemoryLimit, MemoryReservation
from cambwatch.web.problem_details import ProblemError

MOST_HEADERS = 64
LONGEST_LINE = 8190  # bytes of the first line, and of each header


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a caller has to keep to."""

    head_s: float = 10.0  # for the head of a request, from its first byte; the first time from the connection on
    body_s: float = 10.0  # from then on for its body
    answer_s: float = 30.0  # for taking an answer that the buffers do not hold
    idle_s: float = 75.0  # between two requests; longer than proxies and pools of clients usually keep a connection
    linger_s: float = 2.0  # for the rest of a body that nobody wants, so that its sender sees the answer
    connections: int = MOST_CONNECTIONS
    # What JSON makes of a body in memory is up to some 27 times as large: `[[],[],...`; of heads it is about twice. All
    # together, with every connection at work, come to some 700 MiB, less than the MemoryMax of the daemon's unit.
    reserved_body_bytes: int = 1 << 11  # bytes of each body for which there is always room
    shared_body_bytes: int = 12 << 20  # bytes of all bodies beyond those, until each has its answer
    reserved_head_bytes: int = 1 << 12  # likewise, of heads, finished or not, also of requests that were sent ahead
    shared_head_bytes: int = 32 << 20


class Connections:
    """
    All connections of the intake; where there are too many, those that wait longest give way to new ones.

    A connection that has a request under way never gives way.
    """

    def __init__(self, server: web.Server, limits: ConnectionLimits) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.limits = limits
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # for a request, or the rest of one; first come first
        self.body_memory = MemoryLimit(reserved=limits.reserved_body_bytes, shared=limits.shared_body_bytes)
        self.head_memory = MemoryLimit(reserved=limits.reserved_head_bytes, shared=limits.shared_head_bytes)

    def __call__(self) -> asyncio.Protocol:
        """A protocol for asyncio's servers."""
        return Connection(self, self._server, self._loop)

    def opened(self, connection: "Connection") -> None:
        """*connection* is one more; the one that has waited longest is ended where there are too many."""
        self._open.add(connection)
        self._idle[connection] = None
        if len(self._open) > self.limits.connections:
            longest = next(iter(self._idle))
            self.closed(longest)
            longest.disconnect()

    def closed(self, connection: "Connection") -> None:
        """*connection* counts no more; it may be told twice."""
        self._open.discard(connection)
        self._idle.pop(connection, None)

    @contextmanager
    def request_in_progress(self, connection: "Connection") -> Iterator[None]:
        """*connection* has a request under way for the length of the block."""
        self._idle.pop(connection, None)
        try:
            yield
        finally:
            if connection in self._open:
                self._idle[connection] = None


class _Timeout:
    """Calls *on_timeout* when what is expected has not come in time. One timer serves many requests: it looks again."""

    __slots__ = ("_expires_at_s", "_loop", "_on_timeout", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, on_timeout: Callable[[], None]) -> None:
        self._loop = loop
        self._on_timeout = on_timeout
        self._timer: asyncio.TimerHandle | None = None
        self._expires_at_s: float | None = None

    @property
    def armed(self) -> bool:
        return self._expires_at_s is not None

    def arm(self, within_s: float) -> None:
        self._expires_at_s = self._loop.time() + within_s
        if self._timer is not None and self._timer.when() > self._expires_at_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._expires_at_s, self._check)

    def disarm(self) -> None:
        self._expires_at_s = None

    def stop(self) -> None:
        self.disarm()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._expires_at_s is None:
            return
        if self._loop.time() < self._expires_at_s:
            self._timer = self._loop.call_at(self._expires_at_s, self._check)
        else:
            self._on_timeout()


class Connection(web.RequestHandler):
    """One connection, with aiohttp's reading of HTTP and our patience."""

    __slots__ = (
        "_body_memory",
        "_connections",
        "_content",
        "_head_memory",
        "_in_request",
        "_raw_transport",
        "_timeout",
        "limits",
    )

    def __init__(self, connections: Connections, server: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=connections.limits.idle_s,
            lingering_time=connections.limits.linger_s,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
            max_headers=MOST_HEADERS,
            access_log=None,  # type: ignore[arg-type] # as aiohttp's own runners have it
            auto_decompress=False,  # the guard refuses compressed bodies
        )
        self.limits = connections.limits
        self._connections = connections
        self._timeout = _Timeout(loop, self.disconnect)
        self._in_request = False
        self._content: StreamReader | None = None  # the body of the request under way, or of the last one
        self._body_memory = MemoryReservation(connections.body_memory)
        self._head_memory = MemoryReservation(connections.head_memory)
        self._raw_transport: asyncio.Transport | None = None

    def disconnect(self) -> None:
        """End the connection now, whatever is still to be read or written."""
        if self._raw_transport is not None:
            self._raw_transport.abort()  # close() would wait until the caller has taken what is left

    @contextmanager
    def request_in_progress(self, content: StreamReader) -> Iterator[None]:
        """A request has come, with that body, and has its answer at the end: it may take as long as it takes."""
        self._timeout.disarm()
        self._in_request, self._content = True, content
        try:
            with self._connections.request_in_progress(self):
                yield
        finally:
            self._in_request = False
            self._body_memory.shrink()
            if not self._messages:  # else further requests have come, of which nobody knows how large they are
                self._head_memory.shrink()

    def reserve_body(self, size: int) -> None:
        """The body of the request under way is so many bytes more; raises ProblemError where there is no room."""
        if not self._body_memory.grow(size):
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "other requests take all the room that there is for bodies; nothing was stored: try again",
                headers={"retry-after": "1", "connection": "close"},
            )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw_transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        self._timeout.arm(self.limits.head_s)
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._raw_transport = None
        self._timeout.stop()
        self._connections.closed(self)
        self._head_memory.shrink()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and not self._in_request and not self._timeout.armed:
            self._timeout.arm(self.limits.head_s)
        of_a_body = self._content is not None and not self._content.is_eof()
        if of_a_body or self._head_memory.grow(len(data)):
            super().data_received(data)
        else:  # there is no request yet that could be answered
            self.disconnect()

    def pause_writing(self) -> None:
        self._timeout.arm(self.limits.answer_s)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._timeout.disarm()
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is answered as every other mistake is, and is no line of the log: anybody can send it."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        why = (message or "").partition("\n")[0].strip(" :")[:200]
        response = ProblemError(
            HTTPStatus.BAD_REQUEST, f"this is no proper HTTP request: {why or 'no more'}"
        ).response()
        response.force_close()
        return response


@web.middleware
async def track_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """From the head of a request to its answer the connection is at work."""
    with cast("Connection", request.protocol).request_in_progress(request.content):
        return await handler(request)


async def read_body(request: web.Request) -> bytes:
    """The body, at most client_max_size of the application; raises ProblemError where it takes too long or too much."""
    connection = cast("Connection", request.protocol)
    body_s, largest = connection.limits.body_s, request.client_max_size
    body = bytearray()
    try:
        async with asyncio.timeout(body_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > largest:
                    raise web.HTTPRequestEntityTooLarge(largest)
                connection.reserve_body(len(chunk))
            return bytes(body)
    except TimeoutError:
        raise ProblemError(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not come within {body_s:g} s; nothing was stored",
            headers={"connection": "close"},
        ) from None

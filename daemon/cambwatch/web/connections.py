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

from cambwatch.core.open_files import MOST_CONNECTIONS
from cambwatch.web.memory_limit import Room, Share
from cambwatch.web.problem_details import ProblemError

MOST_HEADERS = 64
LONGEST_LINE = 8190  # bytes of the first line, and of each header


@dataclass(frozen=True, slots=True)
class Limits:
    """What a caller has to keep to."""

    head_s: float = 10.0  # for the head of a request, from its first byte; the first time from the connection on
    body_s: float = 10.0  # from then on for its body
    answer_s: float = 30.0  # for taking an answer that the buffers do not hold
    idle_s: float = 75.0  # between two requests; longer than proxies and pools of clients usually keep a connection
    linger_s: float = 2.0  # for the rest of a body that nobody wants, so that its sender sees the answer
    connections: int = MOST_CONNECTIONS
    # What JSON makes of a body in memory is up to some 27 times as large: `[[],[],...`; of heads it is about twice. All
    # together, with every connection at work, come to some 700 MiB, less than the MemoryMax of the daemon's unit.
    small_body: int = 1 << 11  # bytes of each body for which there is always room
    all_bodies: int = 12 << 20  # bytes of all bodies beyond those, until each has its answer
    small_head: int = 1 << 12  # likewise, of heads, finished or not, also of requests that were sent ahead
    all_heads: int = 32 << 20


class Connections:
    """
    All connections of the intake; where there are too many, those that wait longest give way to new ones.

    A connection that has a request under way never gives way.
    """

    def __init__(self, server: web.Server, limits: Limits) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self.limits = limits
        self._open: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}  # for a request, or the rest of one; first come first
        self.bodies = Room(each=limits.small_body, common=limits.all_bodies)
        self.heads = Room(each=limits.small_head, common=limits.all_heads)

    def __call__(self) -> asyncio.Protocol:
        """A protocol for asyncio's servers."""
        return Connection(self, self._server, self._loop)

    def opened(self, connection: "Connection") -> None:
        """*connection* is one more; the one that has waited longest is ended where there are too many."""
        self._open.add(connection)
        self._waiting[connection] = None
        if len(self._open) > self.limits.connections:
            longest = next(iter(self._waiting))
            self.closed(longest)
            longest.cut()

    def closed(self, connection: "Connection") -> None:
        """*connection* counts no more; it may be told twice."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    @contextmanager
    def at_work(self, connection: "Connection") -> Iterator[None]:
        """*connection* has a request under way for the length of the block."""
        self._waiting.pop(connection, None)
        try:
            yield
        finally:
            if connection in self._open:
                self._waiting[connection] = None


class _Patience:
    """Calls *end* when what is expected has not come in time. One timer serves many requests: it looks again."""

    __slots__ = ("_end", "_loop", "_timer", "_until_s")

    def __init__(self, loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
        self._loop = loop
        self._end = end
        self._timer: asyncio.TimerHandle | None = None
        self._until_s: float | None = None

    @property
    def expects(self) -> bool:
        return self._until_s is not None

    def expect(self, within_s: float) -> None:
        self._until_s = self._loop.time() + within_s
        if self._timer is not None and self._timer.when() > self._until_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._until_s, self._look)

    def relax(self) -> None:
        self._until_s = None

    def stop(self) -> None:
        self.relax()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._until_s is None:
            return
        if self._loop.time() < self._until_s:
            self._timer = self._loop.call_at(self._until_s, self._look)
        else:
            self._end()


class Connection(web.RequestHandler):
    """One connection, with aiohttp's reading of HTTP and our patience."""

    __slots__ = ("_body", "_connections", "_content", "_head", "_patience", "_under_way", "_wire", "limits")

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
        self._patience = _Patience(loop, self.cut)
        self._under_way = False
        self._content: StreamReader | None = None  # the body of the request under way, or of the last one
        self._body = Share(connections.bodies)
        self._head = Share(connections.heads)
        self._wire: asyncio.Transport | None = None

    def cut(self) -> None:
        """End the connection now, whatever is still to be read or written."""
        if self._wire is not None:
            self._wire.abort()  # close() would wait until the caller has taken what is left

    @contextmanager
    def at_work(self, content: StreamReader) -> Iterator[None]:
        """A request has come, with that body, and has its answer at the end: it may take as long as it takes."""
        self._patience.relax()
        self._under_way, self._content = True, content
        try:
            with self._connections.at_work(self):
                yield
        finally:
            self._under_way = False
            self._body.give_back()
            if not self._messages:  # else further requests have come, of which nobody knows how large they are
                self._head.give_back()

    def take_in(self, size: int) -> None:
        """The body of the request under way is so many bytes more; raises ProblemError where there is no room."""
        if not self._body.take(size):
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "other requests take all the room that there is for bodies; nothing was stored: try again",
                headers={"retry-after": "1", "connection": "close"},
            )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        self._patience.expect(self.limits.head_s)
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        self._patience.stop()
        self._connections.closed(self)
        self._head.give_back()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and not self._under_way and not self._patience.expects:
            self._patience.expect(self.limits.head_s)
        of_a_body = self._content is not None and not self._content.is_eof()
        if of_a_body or self._head.take(len(data)):
            super().data_received(data)
        else:  # there is no request yet that could be answered
            self.cut()

    def pause_writing(self) -> None:
        self._patience.expect(self.limits.answer_s)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._patience.relax()
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
async def patient(request: web.Request, handler: Handler) -> web.StreamResponse:
    """From the head of a request to its answer the connection is at work."""
    with cast("Connection", request.protocol).at_work(request.content):
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
                connection.take_in(len(chunk))
            return bytes(body)
    except TimeoutError:
        raise ProblemError(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not come within {body_s:g} s; nothing was stored",
            headers={"connection": "close"},
        ) from None

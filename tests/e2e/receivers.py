"""Receivers on a real socket: they write down every request and answer as they are told."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy

PATIENCE_S = 10.0


@dataclass(frozen=True)
class Received:
    """One request as it came; *path* is the target word for word, with its query."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    at_s: float  # of the event loop's clock

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """
    How to answer: after *delay_s*, and not before *held* is set.

    *cut*: the connection is closed instead, so that the sender never hears that we have it.
    """

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    held: asyncio.Event | None = None
    cut: bool = False


class Receivers:
    """One server, any number of receivers: each path is one."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Received] = []
        self.otherwise = Reply()
        """For paths of which nothing else is said."""
        self._scripts: dict[str, list[Reply]] = {}
        self._news = asyncio.Condition()

    def script(self, path: str, *replies: Reply) -> str:
        """Answer the next requests for *path* with *replies*, the last one for ever; returns the receiver's URL."""
        self._scripts[path] = list(replies)
        return self.url + path

    def at(self, path: str) -> list[Received]:
        """What came for *path*, first come first."""
        return [request for request in self.requests if request.path.partition("?")[0] == path]

    async def until(self, predicate: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        """Return when *predicate*, asked again at each request, holds; raises TimeoutError with what came."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: bool(predicate()))
        except TimeoutError:
            came = [f"{one.method} {one.path} {one.body[:200]!r}" for one in self.requests]
            raise TimeoutError(f"after {timeout_s} s only this had come: {came}") from None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        received = Received(request.method, request.raw_path, request.headers, body, asyncio.get_running_loop().time())
        script = self._scripts.get(request.raw_path.partition("?")[0], [])
        reply = (script.pop(0) if len(script) > 1 else script[0]) if script else self.otherwise
        async with self._news:
            self.requests.append(received)
            self._news.notify_all()
        if reply.held is not None:
            await reply.held.wait()
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.cut and request.transport is not None:
            request.transport.abort()
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator["Receivers"]:
        """Listen on *port* of 127.0.0.1, 0: a free one, for the length of the block."""
        server = web.Server(self._handle, handler_cancellation=True)
        runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

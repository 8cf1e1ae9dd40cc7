"""The project's own pretend Camb, with mishaps, and with an eye for the moments at which a node asks it."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from answering import answered, hung_up
from killing import Moment, Trap
from node import Node

from cambwatch.simulator import Settings, Simulator
from cambwatch.simulator.settings import Faults

FAULTS = Faults(
    rate_limited=0.002,
    server_error=0.03,
    reset=0.03,
    truncated=0.01,
    slow=0.03,
    html=0.01,
    retry_after_seconds=1,
    slow_seconds=0.3,
)

KEY_HEADER = "x-api-key"  # each node has a key of its own, so that Camb sees which one asks

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FaultyCamb:
    """Tasks that end when they are to, behind answers of which some go wrong."""

    def __init__(self, seed: int, trap: Trap, nodes: Mapping[str, Node]) -> None:
        """*nodes*, by their keys, may be filled later."""
        self.url = ""
        self.polls = 0
        self._simulator = Simulator(Settings(seed=seed, faults=FAULTS), clock=time.monotonic)
        self._trap = trap
        self._nodes = nodes

    def begin(self, kind: str, task_id: str, *, status: str, after_s: float) -> None:
        """A task that is PENDING for *after_s* from now on, and then *status* for ever."""
        self._simulator.add_task(kind, task_id, status=status, after_seconds=after_s)

    def calm_down(self) -> None:
        """No more mishaps."""
        self._simulator.faults = Faults()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FaultyCamb"]:
        """Listen on a free port of the loopback interface for the length of the block."""
        app = self._simulator.application()
        app.middlewares.append(self._watching())
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/apis"
            yield self
        finally:
            await runner.cleanup()

    def _watching(self) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            if "task_id" in request.match_info:
                self.polls += 1
                received, after = Moment.POLL_RECEIVED, Moment.POLL_ANSWERED
            elif "run_id" in request.match_info:
                received, after = Moment.RESULT_RECEIVED, Moment.RESULT_ANSWERED
            else:
                return await handler(request)
            node = self._nodes.get(request.headers.get(KEY_HEADER, ""))
            if self._trap.reach(received, node):
                return hung_up(request)
            response = await handler(request)
            if await answered(request, response):
                self._trap.reach(after, node)
            return response

        return watch

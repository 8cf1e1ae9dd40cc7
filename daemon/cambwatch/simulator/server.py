"""The pretend Camb as a whole, and its server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Unpack

from aiohttp import web

from cambwatch.simulator import api, control, creation, files
from cambwatch.simulator.script import TaskScript, TaskScriptFields
from cambwatch.simulator.settings import Faults, Settings
from cambwatch.simulator.state import SimulatorState

_GRACE_S = 1.0  # for requests under way when the server stops


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Simulator:
    """
    A pretend Camb: its state, which outlives any one server of it.

    *clock* gives seconds that never go back; *wall* the time of day, for dates in
    answers only. Not safe to use from other threads than that of the event loop.
    """

    def __init__(
        self,
        settings: Settings = Settings(),  # noqa: B008 - frozen
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._state = SimulatorState(settings)

    @property
    def polls(self) -> Mapping[str, int]:
        """How many status requests came for each task_id, known or not, whatever the answer."""
        return MappingProxyType(self._state.polls)

    @property
    def requests(self) -> Mapping[str, int]:
        """How many requests came for each route, such as `GET /apis/tts/{task_id}`."""
        return MappingProxyType(self._state.requests)

    @property
    def faults(self) -> Faults:
        """What befalls status polls; may be replaced at any time."""
        return self._state.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._state.faults = faults

    def add_task(self, kind: str, task_id: str | None = None, **script: Unpack[TaskScriptFields]) -> str:
        """
        Begin a task that goes by *script*, whose fields are those of TaskScript, and answer its task_id.

        Replaces a task of the same id. Replies may be written as the control API
        writes them. Raises pydantic's ValidationError, a ValueError, on a mistake.
        """
        fields = {"kind": kind, "task_id": task_id, **script}
        return self._state.register(TaskScript.model_validate(fields), now_s=self._clock()).task_id

    def application(self) -> web.Application:
        """Everything as one aiohttp application; may be called again for another server of the same state."""
        application = web.Application(client_max_size=creation.LONGEST_BODY)
        closing = asyncio.Event()

        async def close(_: web.Application) -> None:
            closing.set()

        application.on_shutdown.append(close)
        api.CambApi(self._state, clock=self._clock, wall=self._wall, closing=closing).add_routes(application.router)
        control.ControlApi(self._state, clock=self._clock).add_routes(application.router)
        download = partial(files.download, seed=self._state.settings.seed)
        application.router.add_get("/files/{run_id}/{name}", download)
        return application


@asynccontextmanager
async def serve(simulator: Simulator, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """
    Serve *simulator* while the block lasts, and yield its base URL, as in http://127.0.0.1:4321/apis.

    Port 0 takes a free one. Raises OSError where the address cannot be had.
    """
    runner = web.AppRunner(
        simulator.application(),
        access_log=None,
        handler_cancellation=True,  # a hanging answer ends with its client
        shutdown_timeout=_GRACE_S,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        bound_port = runner.addresses[0][1]
        shown_host = f"[{host}]" if ":" in host else host
        yield f"http://{shown_host}:{bound_port}{api.PREFIX}"
    finally:
        await runner.cleanup()

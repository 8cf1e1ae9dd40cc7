"""The pretend Camb as a whole, its HTTP server, and `cambwatch simulate`."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Annotated, Unpack

import typer
from aiohttp import web

from cambwatch.adapters.terminal import say
from cambwatch.simulator import api, control, creation, files
from cambwatch.simulator.script import TaskScript, TaskScriptFields
from cambwatch.simulator.settings import Faults, RetryAfterForm, Settings, SimulatedFault, UnknownTask
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


def simulate(  # noqa: PLR0913 - its options
    *,
    host: Annotated[str, typer.Option(help="Listen here.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8788,
    seed: Annotated[int, typer.Option(help="The same seed gives the same ids, durations and outcomes.")] = 1,
    speed: Annotated[float, typer.Option(help="Divides every duration: 60 makes a minute a second.")] = 1,
    key: Annotated[
        list[str] | None, typer.Option(help="A valid API key; without any, every key is. May be repeated.")
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(help="STATUS=weight of the tasks that are created, e.g. ERROR=0.1. May be repeated."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help=f"NAME=share of the status polls that go wrong; {', '.join(SimulatedFault)}. May be repeated."
        ),
    ] = None,
    retry_after: Annotated[float, typer.Option(help="Seconds that 429 and 503 ask for; negative: none.")] = 1,
    retry_after_form: Annotated[RetryAfterForm, typer.Option(help="How they ask.")] = RetryAfterForm.SECONDS,
    unknown_task: Annotated[
        UnknownTask, typer.Option(help="What a poll for an unknown task answers.")
    ] = UnknownTask.NOT_FOUND,
) -> None:
    """
    Pretend to be Camb, so that receivers can be tried without spending credits.

    Point camb.base_url at it. POST /simulator/tasks scripts single tasks,
    POST /simulator/faults changes the faults.
    """
    try:
        settings = Settings(
            seed=seed,
            speed=speed,
            keys=frozenset(key or ()),
            mix=_shares(mix or []) or {"SUCCESS": 1.0},
            faults=Faults(
                **_faults(fault or []),
                retry_after_seconds=None if retry_after < 0 else retry_after,
                retry_after_form=retry_after_form,
            ),
            unknown_task=unknown_task,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        asyncio.run(_serve(Simulator(settings, clock=time.monotonic), host, port))
    except OSError as error:
        say(f"cannot listen at {host}:{port}: {error.strerror or error}", err=True)
        raise typer.Exit(69) from None


async def _serve(simulator: Simulator, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(simulator, host=host, port=port) as base_url:
        control = f"{base_url.removesuffix('/apis')}/simulator/"
        say(f"pretending to be Camb at {base_url} (camb.base_url); control at {control}")
        await stop.wait()


def _faults(words: list[str]) -> dict[str, float]:
    shares = _shares(words)
    for name in shares:
        if name not in set(SimulatedFault):
            raise ValueError(f"{name!r} is no fault; there are {', '.join(SimulatedFault)}")
    return shares


def _shares(words: list[str]) -> dict[str, float]:
    shares = {}
    for word in words:
        name, _, share = word.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise ValueError(f"{word!r}: write NAME=number") from None
    return shares

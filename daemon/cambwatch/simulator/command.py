"""`cambwatch simulate`: the pretend Camb in the foreground."""

import asyncio
import signal
import time
from typing import Annotated

import typer

from cambwatch.adapters.terminal import say
from cambwatch.simulator.server import Simulator, serve
from cambwatch.simulator.settings import Faults, RetryAfterForm, Settings, SimulatedFault, UnknownTask


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

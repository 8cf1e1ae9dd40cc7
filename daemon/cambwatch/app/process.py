"""The process: its lock, its sockets, its clock, and one configuration after the other at work."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from cambwatch.adapters import systemd
from cambwatch.adapters.metrics.counters import Metrics
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.opening import store_at
from cambwatch.app.generation import GRACE_S, Around, generation
from cambwatch.app.sockets import addresses, held
from cambwatch.config import Config
from cambwatch.config.reloading import Change

__all__ = ["GRACE_S", "run"]

RETRY_S = 1.0  # until a configuration whose database cannot be had is begun again

log = structlog.get_logger()


class SystemClock:
    """The machine's clocks and dice."""

    def __init__(self) -> None:
        self._dice = random.Random()  # noqa: S311 - spreads load, guards nothing

    def now(self) -> datetime:
        """The instant."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def chance(self) -> float:
        """A number in [0, 1)."""
        return self._dice.random()


async def run(
    config: Config,
    *,
    stop: asyncio.Event,
    ready: Callable[[str], None] = lambda _address: None,
    changes: "asyncio.Queue[Change] | None" = None,
    heard: Callable[[], None] = lambda: None,
    log_lines_dropped: Callable[[], int] = lambda: 0,
) -> None:
    """
    Watch, poll and deliver until *stop* is set; then finish what is in flight, in at most GRACE_S.

    Calls *ready* with the intake's address as soon as it answers. A configuration out of
    *changes* takes the place of the one before, whole: what is in flight is finished,
    everything is made anew out of the database, and callers wait meanwhile. It has the
    http.listen and store.url of the first, see config.reloading. *heard* is called when
    another node that shares the database had its configuration changed. /metrics shows
    what *log_lines_dropped* returns.

    Raises StoreBusyError, StoreTooNewError or StoreUnavailableError when the database
    cannot be had at the start, OSError when the address cannot; then nothing was polled.
    """
    store = store_at(config.store.where)
    begun = False
    following: Change | None = Change(config)

    def at_work(watching: int) -> None:
        nonlocal begun
        assert following is not None  # noqa: S101 - it is what is at work
        names = {"destinations": list(following.config.destinations), "accounts": list(following.config.accounts)}
        where = addresses(sockets)
        if begun:
            log.info("config.reloaded", watching=watching, **names)
        else:
            log.info("service.started", address=where, watching=watching, **names)
            ready(where)
        begun = True
        systemd.notify("READY=1")

    async def change() -> Change | None:
        following = await _next(stop, changes)
        if following is None:
            log.info("service.stopping")
            systemd.notify("STOPPING=1")
        else:
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        return following

    with store.held():
        await store.migrate()
        with held(config) as sockets:
            clock = SystemClock()
            around = Around(
                store,
                sockets,
                clock=clock,
                started_at=clock.now(),
                metrics=Metrics(),
                watchdog_s=systemd.take_watchdog_s(os.environ, pid=os.getpid()),
                silences={},
                begun=at_work,
                change=change,
                heard=heard,
                log_lines_dropped=log_lines_dropped,
            )
            while following is not None:
                try:
                    following = await generation(following, around)
                except StoreUnavailableError as error:
                    if not begun:
                        raise
                    log.warning("store.unavailable", undone="reading", error=str(error))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(RETRY_S):
                            await stop.wait()
                            following = None
    log.info("service.stopped")


async def _next(stop: asyncio.Event, changes: "asyncio.Queue[Change] | None") -> Change | None:
    """The newest of *changes*, as soon as there is one, told if any was to be; None as soon as *stop* is set."""
    if changes is None:
        await stop.wait()
        return None
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(changes.get())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if stop.is_set():
        return None
    newest = waits[1].result()
    assert isinstance(newest, Change)  # noqa: S101 - of the two waits it is the one with a result
    while not changes.empty():
        following = changes.get_nowait()
        newest = following._replace(tell=newest.tell or following.tell)
    return newest

"""The process: its lock, sockets, clock and signals, and one generation after the other."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from cambwatch import config as configuration
from cambwatch.adapters import logs, systemd
from cambwatch.adapters.metrics.counters import Metrics
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.opening import store_at
from cambwatch.app.generation import GRACE_S, Environment, generation
from cambwatch.app.sockets import addresses, open_sockets
from cambwatch.config import Config
from cambwatch.config.load import ConfigChange, apply_to_running

log = structlog.get_logger()


class ConfigReloader:
    """Reads the file that *found* came from again, by *path* or by the rules without one, when it is to."""

    def __init__(self, path: str | None, found: configuration.LoadedConfig) -> None:
        self.changes: asyncio.Queue[ConfigChange] = asyncio.Queue()
        """What is to hold from now on, one after the other."""
        self._path = path
        self._running = found.config
        self._secrets = found.secrets

    def on_sighup(self) -> None:
        """Reload the configuration on this node and ask the other nodes to reload: SIGHUP."""
        if (config := self._read_config()) is not None:
            self.changes.put_nowait(ConfigChange(config, reload_others=True))

    def on_cluster_reload(self) -> None:
        """Another node was reloaded: reload here if the file has changed."""
        before = self._running
        if (config := self._read_config()) is None:
            return
        if config == before:
            log.info("config.unchanged", hint="another node was reloaded; the file here is as before")
        else:
            self.changes.put_nowait(ConfigChange(config))

    def _read_config(self) -> Config | None:
        """What is to hold from now on; None, and why in the log, where the file is wrong."""
        try:
            loaded = configuration.load(configuration.find(self._path, os.environ), os.environ)
            changed, kept = apply_to_running(self._running, loaded.config)
        except (configuration.ConfigError, ValueError) as error:
            log.error("config.refused", errors=str(error).splitlines(), hint="the daemon goes on as before")  # noqa: TRY400
            return None
        # Also the secrets of before: answers may hold them that come only now.
        self._secrets = tuple(dict.fromkeys((*self._secrets, *loaded.secrets)))
        logs.configure(level=changed.log.level, format=changed.log.format, secrets=self._secrets)
        for warning in loaded.warnings:
            log.warning("config.warning", hint=warning)
        for key in kept:
            log.warning("config.restart_required", key=key, hint="it stays as it is until the daemon is started again")
        self._running = changed
        return changed


async def until_signal(work: Callable[[asyncio.Event], Awaitable[None]], *, on_sighup: Callable[[], None]) -> None:
    """
    Do *work*, which ends when its event is set: that is what SIGTERM and SIGINT do.

    SIGHUP calls *on_sighup*.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_stop_signal() -> None:
        # A second Ctrl-C has its usual effect.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop_signal)
    loop.add_signal_handler(signal.SIGHUP, on_sighup)
    await work(stop)


__all__ = ["GRACE_S", "run"]

RETRY_S = 1.0  # until a configuration whose database cannot be had is begun again


class SystemClock:
    """The machine's clocks and dice."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - spreads load, guards nothing

    def now(self) -> datetime:
        """The instant."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def chance(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()


async def run(
    config: Config,
    *,
    stop: asyncio.Event,
    ready: Callable[[str], None] = lambda _address: None,
    changes: "asyncio.Queue[ConfigChange] | None" = None,
    on_cluster_reload: Callable[[], None] = lambda: None,
    log_lines_dropped: Callable[[], int] = lambda: 0,
) -> None:
    """
    Watch, poll and deliver until *stop* is set; then finish what is in flight, in at most GRACE_S.

    Calls *ready* with the intake's address as soon as it answers. A configuration out of
    *changes* takes the place of the one before, whole: what is in flight is finished,
    everything starts again from the database, and clients wait meanwhile. It has the
    http.listen and store.url of the first, see config.reloading. *on_cluster_reload* is called when
    another node that shares the database had its configuration changed. /metrics shows
    what *log_lines_dropped* returns.

    Raises StoreBusyError, StoreTooNewError or StoreUnavailableError when the database
    cannot be had at the start, OSError when the address cannot; then nothing was polled.
    """
    store = store_at(config.store.where)
    started = False
    following: ConfigChange | None = ConfigChange(config)

    def report_started(watching: int) -> None:
        nonlocal started
        assert following is not None  # noqa: S101 - it is what is at work
        names = {"destinations": list(following.config.destinations), "accounts": list(following.config.accounts)}
        where = addresses(sockets)
        if started:
            log.info("config.reloaded", watching=watching, **names)
        else:
            log.info("service.started", address=where, watching=watching, **names)
            ready(where)
        started = True
        systemd.notify("READY=1")

    async def next_change() -> ConfigChange | None:
        following = await _newest_change(stop, changes)
        if following is None:
            log.info("service.stopping")
            systemd.notify("STOPPING=1")
        else:
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        return following

    with store.exclusive_lock():
        await store.migrate()
        with open_sockets(config) as sockets:
            clock = SystemClock()
            environment = Environment(
                store,
                sockets,
                clock=clock,
                started_at=clock.now(),
                metrics=Metrics(),
                watchdog_s=systemd.pop_watchdog_s(os.environ, pid=os.getpid()),
                pauses={},
                on_started=report_started,
                next_change=next_change,
                on_cluster_reload=on_cluster_reload,
                log_lines_dropped=log_lines_dropped,
            )
            while following is not None:
                try:
                    following = await generation(following, environment)
                except StoreUnavailableError as error:
                    if not started:
                        raise
                    log.warning("store.unavailable", operation="reading", error=str(error))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(RETRY_S):
                            await stop.wait()
                            following = None
    log.info("service.stopped")


async def _newest_change(stop: asyncio.Event, changes: "asyncio.Queue[ConfigChange] | None") -> ConfigChange | None:
    """Wait for the newest of *changes*; it reloads the other nodes if any of them was to. None once *stop* is set."""
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
    assert isinstance(newest, ConfigChange)  # noqa: S101 - of the two waits it is the one with a result
    while not changes.empty():
        following = changes.get_nowait()
        newest = following._replace(reload_others=newest.reload_others or following.reload_others)
    return newest

"""What signals do to a daemon that runs."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import structlog

from cambwatch import config as configuration
from cambwatch.adapters import logs
from cambwatch.config import Config
from cambwatch.config.reloading import while_running

log = structlog.get_logger()


class Rereading:
    """What SIGHUP does: the file that *found* came from, by *path* or by the rules without one, is read again."""

    def __init__(self, path: str | None, found: configuration.Loaded) -> None:
        self._path = path
        self._running = found.config
        self._secrets = found.secrets

    def __call__(self) -> Config | None:
        """What is to hold from now on; None, and why in the log, where the file is wrong."""
        try:
            loaded = configuration.load(configuration.find(self._path, os.environ), os.environ)
            changed, kept = while_running(self._running, loaded.config)
        except (configuration.ConfigError, ValueError) as error:
            log.error("config.refused", problems=str(error).splitlines(), hint="the daemon goes on as before")  # noqa: TRY400
            return None
        # Also the secrets of before: answers may hold them that come only now.
        self._secrets = tuple(dict.fromkeys((*self._secrets, *loaded.secrets)))
        logs.configure(level=changed.log.level, format=changed.log.format, secrets=self._secrets)
        for warning in loaded.warnings:
            log.warning("config.doubtful", hint=warning)
        for key in kept:
            log.warning("config.kept", key=key, hint="it stays as it is until the daemon is started again")
        self._running = changed
        return changed


async def until_signal(
    work: Callable[[asyncio.Event, "asyncio.Queue[Config]"], Awaitable[None]], *, reread: Callable[[], Config | None]
) -> None:
    """
    Do *work*, which ends when its event is set: that is what SIGTERM and SIGINT do.

    SIGHUP puts what *reread* gives into its queue.
    """
    stop = asyncio.Event()
    changes: asyncio.Queue[Config] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def told() -> None:
        # A second Ctrl-C has its usual effect.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        stop.set()

    def hung_up() -> None:
        if (changed := reread()) is not None:
            changes.put_nowait(changed)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    loop.add_signal_handler(signal.SIGHUP, hung_up)
    await work(stop, changes)

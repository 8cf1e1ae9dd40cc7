"""What signals do to a daemon that runs."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import structlog

from cambwatch import config as configuration
from cambwatch.adapters import logs
from cambwatch.config import Config
from cambwatch.config.reloading import ConfigChange, apply_to_running

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
        """It is to hold anew, here and at the other nodes: that is what SIGHUP does."""
        if (config := self._read_config()) is not None:
            self.changes.put_nowait(ConfigChange(config, reload_others=True))

    def on_cluster_reload(self) -> None:
        """Another node was reloaded: it is to hold anew where it is not as before."""
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

"""One `cambwatch run` as a process of its own, to be killed and started again."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

import cambwatch

START_S = 30.0
PACKAGES = str(Path(cambwatch.__file__).parents[1])


class NotReadyError(RuntimeError):
    """A node that was not killed has ended, or does not get ready."""


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Node:
    """The daemon *name* with its configuration in *folder*; its log goes to one file over all starts."""

    def __init__(self, name: str, folder: Path, configuration: Mapping[str, Any]) -> None:
        self.name = name
        self.url = f"http://{configuration['http']['listen']}"
        self.config = folder / f"{name}.yaml"
        self.log = folder / f"{name}.log"
        self.starts = 0
        self.killed_at_s: list[float] = []
        self.alive = False
        self._child: asyncio.subprocess.Process | None = None
        self.config.write_text(json.dumps(configuration, indent=2), encoding="utf-8")  # JSON is YAML

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._child is not None
        return self._child.pid

    async def start(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cambwatch", "run", "--config", str(self.config)),
                env={"PATH": os.environ["PATH"], "PYTHONPATH": PACKAGES, "LANG": "C.UTF-8"},
                cwd=self.config.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.starts += 1
        self.alive = True

    async def until_ready(self, client: aiohttp.ClientSession) -> bool:
        """
        Return when /readyz answers 200; False when it was killed meanwhile.

        Raises NotReadyError when it ends by itself, or takes too long.
        """
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            self.check()
            if not self.alive:
                return False
            try:
                async with client.get(f"{self.url}/readyz") as response:
                    if response.status == 200:
                        return True
            except (aiohttp.ClientError, TimeoutError):
                pass  # it does not listen yet
            await asyncio.sleep(0.02)
        raise NotReadyError(f"{self.name} is not ready within {START_S:g} s, see {self.log}")

    def check(self) -> None:
        """Raises NotReadyError when it has ended and nobody killed it."""
        if self.alive and self._child is not None and self._child.returncode is not None:
            self.alive = False
            raise NotReadyError(f"{self.name} ended by itself with {self._child.returncode}, see {self.log}")

    def kill(self) -> None:
        """SIGKILL, at once; what has ended already is left alone."""
        if self._child is None:
            return
        if self.alive:
            self.killed_at_s.append(time.monotonic())
        self.alive = False
        # Not by the child's own kill(): that would collect one that the watcher of the log has killed already.
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: it does nothing any more, and will know nothing of it."""
        if self.alive and self._child is not None:
            self.alive = False
            self.killed_at_s.append(time.monotonic())
            self._child.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was."""
        assert self._child is not None
        self.killed_at_s.append(time.monotonic())  # what it does now explains a double as well
        self.alive = True
        self._child.send_signal(signal.SIGCONT)

    async def reap(self) -> None:
        """Wait for the end of what was killed."""
        if self._child is not None:
            await self._child.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._child is not None
        self.check()
        self.alive = False
        self._child.terminate()
        async with asyncio.timeout(START_S):
            return await self._child.wait()

"""The real process: `python -m cambwatch run`, to be asked, killed and started again, and single commands."""

import asyncio
import itertools
import json
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from api import Api

import cambwatch

START_S = 15.0
COMMAND_S = 30.0
PACKAGES = str(Path(cambwatch.__file__).parents[1])


# Below the ports that the kernel gives out by itself, and a range for each worker: no other server takes one of them
# between free_port() and the start of the process that it is for.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports = itertools.count(10_000 + 2_000 * _WORKER)


def free_port() -> int:
    """A TCP port that no server listens at, a new one with each call."""
    for port in _ports:
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is always another port")


def environment(**more: str) -> dict[str, str]:
    """What the process is to find: only what it needs, so that no setting of this machine leaks in."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": PACKAGES, "LANG": "C.UTF-8", **more}


class Process:
    """
    A daemon with the configuration file *config*, listening at *url*; not started yet.

    Its log goes to *log*, one file over all starts.
    """

    def __init__(self, config: Path, url: str, *, token: str | None = None) -> None:
        self.config = config
        self.url = url
        self.log = config.with_suffix(".log")
        self.api = Api(url, token=token)
        self._token = token
        self._child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._child is not None
        return self._child.pid

    async def start(
        self,
        *,
        ready: int | None = 200,
        environ: Mapping[str, str] = {},
        script: str = "exec {run}",
        stderr: int | None = None,
    ) -> None:
        """
        Start it and wait until /readyz answers *ready* (None: do not wait).

        *script* is how a shell starts it, for example with redirections (`exec {run} 2>&-`)
        or limits (`ulimit -n 256; exec {run}`). *stderr* is a descriptor to write to instead of the log.
        """
        run = shlex.join([sys.executable, "-m", "cambwatch", "run", "--config", str(self.config)])
        with self.log.open("ab") as log:
            self._child = await asyncio.create_subprocess_exec(
                *("sh", "-c", script.format(run=run)),
                env=environment(**environ),
                cwd=self.config.parent,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log if stderr is None else stderr,
            )
        if ready is not None:
            await self.until_ready(ready)

    async def until_ready(self, status: int = 200) -> None:
        """Return when /readyz answers *status*; raises RuntimeError, with the log, when the process ends before."""
        assert self._child is not None
        until_s = time.monotonic() + START_S
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        async with aiohttp.ClientSession(headers=headers) as session:
            while time.monotonic() < until_s:
                if self._child.returncode is not None:
                    raise RuntimeError(f"it ended with {self._child.returncode}: {self.log.read_text()}")
                try:
                    async with session.get(f"{self.url}/readyz") as response:
                        if response.status == status:
                            return
                except aiohttp.ClientError:
                    pass  # not listening yet
                await asyncio.sleep(0.02)
        raise TimeoutError(f"not {status} within {START_S} s: {self.log.read_text()}")

    def logged(self) -> list[dict[str, Any]]:
        """The lines of its log; while it runs, one comes a moment after what it tells of."""
        *lines, _unfinished = self.log.read_text().split("\n")
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log with the name *event*."""
        return [line for line in self.logged() if line["event"] == event]

    def change(self, **sections: object) -> None:
        """Put *sections* in place of those that its file has."""
        self.config.write_text(yaml.safe_dump(yaml.safe_load(self.config.read_text()) | sections))

    def signal(self, number: int) -> None:
        """Send the signal *number*."""
        assert self._child is not None
        self._child.send_signal(number)

    async def ended(self, timeout_s: float = 15) -> int:
        """The exit status, as soon as there is one; negative: the signal that ended it."""
        assert self._child is not None
        async with asyncio.timeout(timeout_s):
            return await self._child.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait for the end; does nothing to a process that has ended."""
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()

    async def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._child is not None
        self._child.terminate()
        return await self.ended()


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The standard output as JSON."""
        return json.loads(self.out)


async def command(
    *words: str,
    cwd: Path,
    stop_with: int = signal.SIGINT,
    stop_when: Awaitable[object] | None = None,
    encoding: str = "utf-8",
    **environ: str,
) -> Ended:
    """
    Run `python -m cambwatch` with *words* in the folder *cwd*, until it ends.

    It ends by itself, or, with *stop_when*, because it is sent the signal *stop_with*
    as soon as that is done. What it writes has to be in *encoding*.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cambwatch", *words),
        env=environment(**environ),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(COMMAND_S):
            if stop_when is not None:
                await stop_when
                child.send_signal(stop_with)
            out, err = await child.communicate()
    except BaseException:
        child.kill()
        await child.communicate()
        raise
    return Ended(child.returncode or 0, out.decode(encoding), err.decode(encoding))

"""Proxies on the way out: a real one that is not ours (proxy.py, as a process), and such as answer what they like."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from processes import environment
from wire import Speech, speaking

START_S = 15.0


class RealProxy:
    """
    proxy.py, listening at 127.0.0.1.

    *refused* are hosts that it lets nobody reach: it answers 418 for them. With
    *account*, `user:password`, it answers 407 to everybody else. Each request is a line of
    its log as soon as its connection ends, a tunnel's has CONNECT, host and port.
    """

    def __init__(self, folder: Path, *, account: str | None = None, refused: Iterable[str] = ()) -> None:
        self._folder = folder
        self._options = ["--basic-auth", account] if account else []
        if refused:
            self._options += ["--plugins", "proxy.plugin.FilterByUpstreamHostPlugin"]
            self._options += ["--filtered-upstream-hosts", ",".join(refused)]
        self._log = folder / "proxy.log"

    @property
    def log(self) -> str:
        """What it has written."""
        return self._log.read_text()

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen at *port*, 0: a free one, for the length of the block; yields host:port."""
        port_file = self._folder / "proxy.port"
        port_file.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", str(port)),
                *("--port-file", str(port_file), "--data-dir", str(self._folder / "proxy-data")),
                *("--num-acceptors", "1", "--num-workers", "1", *self._options),
                env=environment(HOME=str(self._folder)),
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(START_S):
                while not port_file.exists() or not port_file.read_text().strip():
                    assert child.returncode is None, self.log
                    await asyncio.sleep(0.01)
            yield f"127.0.0.1:{port_file.read_text().strip()}"
        finally:
            child.terminate()  # its acceptors end with it, which SIGKILL would leave behind
            await child.wait()


@dataclass
class Listener:
    """What was said to a listener: the head of each request."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def listening(speech: Speech, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
    """A proxy or a receiver on 127.0.0.1 that notes the head of each request, does *speech* and closes."""
    made = Listener()
    async with speaking(speech, tls=tls, heard=made.heads.append) as made.port:
        yield made

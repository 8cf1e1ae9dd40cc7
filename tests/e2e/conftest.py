"""
What the end-to-end tests share: a pretend Camb, receivers, the daemon in this process, and the real process.

`camb` and `receivers` serve on free ports. `daemon` and `process` take YAML that is
laid over a configuration which polls fast, knows `camb`, and keeps its database in
the test's folder.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
import yaml
from api import Api
from processes import Process, free_port
from receivers import Receivers

from cambwatch import config
from cambwatch.app import process as app
from cambwatch.config import Config, UnixListen
from cambwatch.simulator import Settings, Simulator, serve

API_KEY = "the-test-key"
PATIENCE_S = 20.0


class Camb:
    """A pretend Camb that takes API_KEY and no other key, on a real socket."""

    def __init__(self, simulator: Simulator, base_url: str) -> None:
        self.simulator = simulator
        self.base_url = base_url

    def add(self, kind: str, task_id: str | None = None, **script: Any) -> str:
        """Begin a task that goes by *script*, see TaskScript; returns its task_id."""
        return self.simulator.add_task(kind, task_id, **script)

    def polls(self, task_id: str) -> int:
        """How often its status was asked for."""
        return self.simulator.polls.get(task_id, 0)


@asynccontextmanager
async def _pretending() -> AsyncIterator[Camb]:
    simulator = Simulator(Settings(keys=frozenset({API_KEY})), clock=time.monotonic)
    async with serve(simulator) as base_url:
        yield Camb(simulator, base_url)


@pytest.fixture
async def camb() -> AsyncIterator[Camb]:
    async with _pretending() as made:
        yield made


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with Receivers().serve() as made:
        yield made


class Daemon:
    """The daemon, running in this event loop."""

    def __init__(self, settings: Config, url: str, stop: asyncio.Event, task: "asyncio.Task[None]") -> None:
        self.config = settings
        self.url = url
        listen, bearer = settings.http.listen, settings.http.bearer
        self.api = Api(
            "http://localhost" if isinstance(listen, UnixListen) else url,
            socket=listen.path if isinstance(listen, UnixListen) else None,
            token=bearer.reveal() if bearer else None,
        )
        self._stop = stop
        self.task = task

    def tell_to_stop(self) -> None:
        """What SIGTERM does."""
        self._stop.set()

    async def stop(self) -> None:
        """Tell it to stop and wait until it has; raises what it ended with."""
        self._stop.set()
        async with asyncio.timeout(PATIENCE_S + app.GRACE_S):
            await self.task

    async def stop_if_running(self) -> None:
        """The same at the end of a test, which may have stopped it, or seen it fail."""
        if not self.task.done():
            await self.stop()


class StartDaemon(Protocol):
    """Starts a daemon from *text*, laid over the usual configuration; it is stopped at the end of the test."""

    async def __call__(self, text: str = "", *, environ: Mapping[str, str] = {}) -> Daemon: ...


class StartProcess(Protocol):
    """
    Makes a process from *text*, laid over the usual configuration, and starts it.

    It is killed at the end of the test. *ready* is the status of /readyz to wait for,
    None: do not start it.
    """

    async def __call__(self, text: str = "", *, ready: int | None = 200) -> Process: ...


@pytest.fixture
def configuration(camb: Camb, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The usual configuration with *text* laid over it, section by section and key by key."""
    return lambda text: _configured(text, camb, tmp_path)


def _configured(text: str, camb: Camb, folder: Path) -> dict[str, Any]:
    usual = {
        "camb": {"base_url": camb.base_url, "api_key": API_KEY, "requests_per_second": 1000},
        "polling": {"interval": "50ms", "min_interval": "10ms", "not_found_grace": "300ms", "deadline": "1h"},
        "store": {"url": f"sqlite:///{folder}/cambwatch.db"},
        "http": {"listen": "127.0.0.1:0"},
        "log": {"level": "debug", "format": "json"},
    }
    return _laid_over(usual, yaml.safe_load(text) or {})


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


async def _start(document: dict[str, Any], folder: Path, environ: Mapping[str, str]) -> Daemon:
    raw = yaml.safe_dump(document, allow_unicode=True).encode()
    settings = config.loads(raw, file="test.yaml", folder=folder, environ=environ).config
    stop = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(app.run(settings, stop=stop, ready=address.set_result), name="daemon")
    await asyncio.wait([task, address], timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()  # raises why it did not start
    return Daemon(settings, address.result(), stop, task)


@pytest.fixture
async def daemon(configuration: Callable[[str], dict[str, Any]], tmp_path: Path) -> AsyncIterator[StartDaemon]:
    async with AsyncExitStack() as running:

        async def start(text: str = "", *, environ: Mapping[str, str] = {}) -> Daemon:
            made = await _start(configuration(text), tmp_path, environ)
            running.push_async_callback(made.stop_if_running)
            return made

        yield start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """
    One daemon for all tests of a module that leave nothing behind, from the YAML text SHARED of the module.

    Such tests are marked with pytest.mark.asyncio(loop_scope="module").
    """
    folder = tmp_path_factory.mktemp("shared")
    async with _pretending() as camb:
        made = await _start(_configured(request.module.SHARED, camb, folder), folder, {})
        yield made
        await made.stop()


@pytest.fixture
async def process(configuration: Callable[[str], dict[str, Any]], tmp_path: Path) -> AsyncIterator[StartProcess]:
    async with AsyncExitStack() as running:

        async def start(text: str = "", *, ready: int | None = 200) -> Process:
            port = free_port()  # a client of the command line reads it from the file, so it cannot be 0
            document = _laid_over(configuration(""), {"http": {"listen": f"127.0.0.1:{port}"}})
            document = _laid_over(document, yaml.safe_load(text) or {})
            path = tmp_path / f"config-{port}.yaml"
            path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
            made = Process(path, f"http://127.0.0.1:{port}", token=document["http"].get("token"))
            running.push_async_callback(made.kill)
            if ready is not None:
                await made.start(ready=ready)
            return made

        yield start

"""What systemd and the daemon say to each other: the socket it is handed, READY, the watchdog, the status."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from api import Api
from processes import environment

from cambwatch.adapters import systemd

# Puts the socket where systemd puts it, and names the process as systemd names it.
LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Systemd:
    """As much of a service manager as is needed: holds a socket, starts the daemon with it, hears it."""

    def __init__(self, listening: socket.socket, folder) -> None:
        self.socket = listening
        self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._channel.setblocking(False)
        self._path = folder / "notify"
        self._channel.bind(str(self._path))
        self.told: list[str] = []
        self._child: asyncio.subprocess.Process | None = None

    async def start(self, config, **environ):
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LAUNCH, str(self.socket.fileno())),
            *("-m", "cambwatch", "run", "--config", str(config)),
            env=environment(LISTEN_FDS="1", NOTIFY_SOCKET=str(self._path), **environ),
            cwd=config.parent,
            pass_fds=[self.socket.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def hears(self, line):
        """Return when the daemon tells *line*."""
        async with asyncio.timeout(20):
            while True:
                told = (await asyncio.get_running_loop().sock_recv(self._channel, 4096)).decode().splitlines()
                self.told += told
                if line in told:
                    return

    async def keeps_talking(self, seconds):
        """Raises TimeoutError where nothing comes for so long."""
        while True:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().sock_recv(self._channel, 4096)

    def signal(self, number):
        self._child.send_signal(number)

    async def ended(self):
        """Exit status and everything that was written."""
        async with asyncio.timeout(20):
            out, _ = await self._child.communicate()
        return self._child.returncode, out.decode()

    async def stop(self):
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def close(self):
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.communicate()
        self._channel.close()
        self.socket.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"


@pytest.fixture
async def manage(tmp_path) -> AsyncIterator:
    async with AsyncExitStack() as opened:

        def make(listening=None):
            made = Systemd(listening or socket.create_server(("127.0.0.1", 0)), tmp_path)
            opened.push_async_callback(made.close)
            return made

        yield make


@asynccontextmanager
async def connection(one):
    """A connection to *one*, on which nothing is said yet."""
    reader, writer = await asyncio.open_connection(*one.socket.getsockname()[:2])
    try:
        yield reader, writer
    finally:
        writer.close()


def registration(task_id):
    """The bytes of a POST on a connection of its own."""
    body = json.dumps({"kind": "dub", "task_id": task_id}).encode()
    head = f"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Content-Type: application/json\r\n\r\n".encode() + body


async def status(reader):
    async with asyncio.timeout(20):
        return int((await reader.readline()).split()[1])


async def test_the_socket_of_systemd_takes_the_place_of_http_listen(manage, process):
    """And the log says that no command will find it there."""
    made = await process(ready=None)  # its http.listen is another port
    manager = manage()
    await manager.start(made.config)
    await manager.hears("READY=1")
    assert (await Api(manager.url).get("/healthz")).status == 200
    with pytest.raises(aiohttp.ClientConnectorError):
        await made.api.get("/healthz")
    code, log = await manager.stop()
    assert code == 0
    assert f"the socket unit listens at {manager.url.removeprefix('http://')}, where no command looks" in log


async def test_nobody_is_refused_while_the_daemon_restarts(manage, process):
    """Who comes when it has gone waits, and is served by the next; who was there before is known to that."""
    made = await process(ready=None)
    manager = manage()
    await manager.start(made.config)
    await manager.hears("READY=1")
    assert (await Api(manager.url).post({"kind": "dub", "task_id": "before"})).status == 201
    assert (await manager.stop())[0] == 0
    async with connection(manager) as (reader, writer):
        writer.write(registration("between"))
        await manager.start(made.config)
        assert await status(reader) == 201
    page = await Api(manager.url).get("/v1/tasks")
    assert {task["task_id"] for task in page.document["items"]} == {"before", "between"}


async def test_who_was_accepted_and_not_heard_yet_is_heard_before_the_end(manage, process):
    """A caller who connects as the daemon is told to stop, and speaks a moment later."""
    made = await process(ready=None)
    manager = manage()
    await manager.start(made.config)
    await manager.hears("READY=1")
    async with connection(manager) as (reader, writer):
        assert (await Api(manager.url).get("/healthz")).status == 200  # so the one before is accepted too
        manager.signal(signal.SIGTERM)
        await manager.hears("STOPPING=1")
        writer.write(registration("last"))
        assert await status(reader) == 201
    assert (await manager.ended())[0] == 0


async def test_a_socket_that_other_machines_reach_needs_a_token(manage, process):
    """As http.listen does: without one the daemon ends with 78, and nobody was answered."""
    made = await process(ready=None)
    manager = manage(socket.create_server(("0.0.0.0", 0)))
    await manager.start(made.config)
    code, log = await manager.ended()
    assert code == 78
    assert "which other machines can reach: set http.token" in log
    assert "Traceback" not in log
    made = await process("http: {token: a-long-secret-token}", ready=None)
    await manager.start(made.config)
    await manager.hears("READY=1")
    assert (await Api(manager.url, token="a-long-secret-token").get("/v1/kinds")).status == 200


async def test_a_unix_socket_may_be_handed_over_too(manage, process, tmp_path):
    """On which Host says nothing; it stays when the daemon goes."""
    made = await process(ready=None)
    path = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    manager = manage(listening)
    await manager.start(made.config)
    await manager.hears("READY=1")
    assert (await Api("http://a-host-of-any-name", socket=path).get("/v1/kinds")).status == 200
    await manager.stop()
    assert os.path.exists(path)  # noqa: PTH110


async def test_sockets_for_another_process_are_left_alone(manage, process):
    """LISTEN_PID says for whom they are."""
    made = await process(ready=None)
    manager = manage()
    await manager.start(made.config, LISTEN_PID="1")
    await manager.hears("READY=1")
    assert (await made.api.get("/healthz")).status == 200


async def test_something_else_than_a_listening_socket_is_refused(manage, process, tmp_path):
    made = await process(ready=None)
    manager = manage(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    await manager.start(made.config)
    code, log = await manager.ended()
    assert code == 69
    assert "something else than ListenStream=" in log


async def test_the_watchdog_is_fed_while_the_daemon_comes_along(manage, process):
    """And hears nothing of one that is blocked, or stops."""
    made = await process("{tasks: [{kind: dub, task_id: a}], polling: {not_found_grace: 1h}}", ready=None)
    manager = manage()
    await manager.start(made.config, WATCHDOG_USEC="600000")
    await manager.hears("READY=1")
    for _ in range(3):
        await manager.hears("WATCHDOG=1")
    assert any(line.startswith("STATUS=watching 1, deliveries waiting ") for line in manager.told)
    manager.signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        await manager.keeps_talking(0.6)
    manager.signal(signal.SIGCONT)
    await manager.hears("WATCHDOG=1")
    manager.signal(signal.SIGTERM)
    await manager.hears("STOPPING=1")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30),
        ({"WATCHDOG_USEC": "30000000"}, 30),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_s_wish_is_read_once(environ, expected):
    """Only what is meant for this process; and nobody after us finds it."""
    assert systemd.pop_watchdog_s(environ, pid=7) == expected
    assert environ == {}


@pytest.mark.parametrize(
    ("host", "family", "expected"),
    [
        ("127.0.0.1", socket.AF_INET, None),
        ("127.3.2.1", socket.AF_INET, None),
        ("::1", socket.AF_INET6, None),
        ("0.0.0.0", socket.AF_INET, "0.0.0.0:"),
        ("::", socket.AF_INET6, "[::]:"),
    ],
)
def test_a_socket_is_exposed_unless_it_is_loopback(host, family, expected):
    """The first that others can reach is named as http.listen would write it."""
    with socket.create_server((host, 0), family=family) as one, socket.socket(socket.AF_UNIX) as local:
        found = systemd.exposed_address([local, one])
        port = one.getsockname()[1]
    assert found == (None if expected is None else f"{expected}{port}")

"""The real process where few files may be open: a crowd of idle clients takes nothing from polls and deliveries."""

import asyncio
import contextlib
import re
import resource
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from events import hear, hook, settings, watch

CROWD = 1100
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SPARE = 500  # for this process itself


@pytest.fixture(autouse=True)
def _enough_for_the_crowd():
    """Both ends of what the receivers serve and the crowd's are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = CROWD + SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"needs {needed} open files, the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def crowd(url):
    """CROWD connections that come at once, have one answer, and are idle from then on, for which they have 75 s."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()

    async def connect(one):
        with contextlib.suppress(OSError):  # it is cut off, or there is no room for it to wait in
            async with asyncio.timeout(5):
                await loop.sock_connect(one, (address.hostname, address.port))
                await loop.sock_sendall(one, GET)
                await loop.sock_recv(one, 4096)

    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(CROWD)]
        for one in sockets:
            one.setblocking(False)
        await asyncio.gather(*map(connect, sockets))
        yield


def descriptors(made):
    return len(list(Path(f"/proc/{made.pid}/fd").iterdir()))


@pytest.mark.parametrize("open_files", [256, 1024])
async def test_a_crowd_of_idle_clients_stops_neither_polls_nor_deliveries(process, camb, receivers, open_files):
    made = await process(settings(destinations={"hook": hook(receivers)}), ready=None)
    await made.start(script=f"ulimit -n {open_files}; exec {{run}}")
    camb.add("dub", "during", after_seconds=1)
    await watch(made.api, "dub", "during")
    async with crowd(made.url):
        await hear(receivers, "during")
        camb.add("dub", "later", after_seconds=0)
        await watch(made.api, "dub", "later")
        await hear(receivers, "later")
        assert descriptors(made) < open_files
    assert await made.stop() == 0
    assert [
        line["reply"] for line in made.said("task.polled") if not re.match("PendingReply|FinishedReply", line["reply"])
    ] == []
    (line,) = made.said("connections.limited")
    assert (line["open_files"], line["polls"], line["posts"]) == (open_files, 64, 4)
    assert line["connections"] < open_files - 68


async def test_where_polls_and_deliveries_need_more_than_there_is_the_log_says_so(process):
    made = await process("camb: {concurrency: 300}", ready=None)
    await made.start(script="ulimit -n 256; exec {run}")
    assert await made.stop() == 0
    (hint,) = [line["hint"] for line in made.said("config.warning") if "open files" in line["hint"]]
    assert "300" in hint
    assert "256" in hint
    assert "LimitNOFILE" in hint


async def test_the_soft_limit_is_raised_at_the_start(process):
    made = await process(ready=None)
    await made.start(script="ulimit -Sn 200; exec {run}")
    raised, _ = resource.prlimit(made.pid, resource.RLIMIT_NOFILE)
    assert raised > 200
    assert f"process_max_fds {float(raised)}" in (await made.api.get("/metrics")).body.decode()

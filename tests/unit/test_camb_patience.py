"""A Camb that never answers, or never ends, is cut at the account's timeout; the next question is answered."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from cambwatch.adapters.camb import CambClient
from cambwatch.core.accounts import Account
from cambwatch.core.model import Fault, PendingReply, TaskKey, UnavailableReply
from cambwatch.core.redaction import Secret

TIMEOUT = timedelta(seconds=0.3)
LONG_S = 30.0
BODY = b'{"status":"PENDING"}'
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)

HANGING = {"nothing": b"", "half a head": WHOLE[:20], "half a body": WHOLE[:-5]}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What the task_id says: one of HANGING, `drip` for a byte now and then, else a whole answer."""
    while head := (await reader.readuntil(b"\r\n\r\n")).decode():
        name = head.split()[1].rpartition("/")[2].replace("%20", " ")
        if name == "drip":
            for byte in WHOLE[:-1] * 100:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.02)
        elif name in HANGING:
            writer.write(HANGING[name])
        else:
            writer.write(WHOLE)


async def serve_until_gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await serve(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


@pytest.fixture
async def camb() -> AsyncIterator[CambClient]:
    server = await asyncio.start_server(serve_until_gone, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    account = Account("default", Secret("key"), base_url=url, timeout=TIMEOUT, concurrency=2)
    async with CambClient({"default": account}, user_agent="test", now=lambda: datetime.now(UTC)) as made:
        yield made
    server.close()


def key(task_id: str) -> TaskKey:
    return TaskKey("default", "tts", task_id)


@pytest.mark.parametrize("how", [*HANGING, "drip"])
async def test_what_does_not_end_is_cut(camb: CambClient, how: str) -> None:
    """At the timeout, not before, and its place is free again."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    async with asyncio.timeout(LONG_S):
        reports = await asyncio.gather(*(camb.status(key(how)) for _ in range(2)))
    assert reports == [UnavailableReply(Fault.TIMEOUT, detail="no answer in time")] * 2
    assert loop.time() - begun_s >= TIMEOUT.total_seconds() * 0.9
    assert await camb.status(key("t")) == PendingReply()


async def test_waiting_for_a_connection_counts(camb: CambClient) -> None:
    """Who stands in line behind two that hang has no more time than they."""
    async with asyncio.timeout(LONG_S):
        reports = await asyncio.gather(*(camb.status(key("nothing")) for _ in range(6)))
    assert {reply.fault for reply in reports if isinstance(reply, UnavailableReply)} == {Fault.TIMEOUT}
    assert len(reports) == 6

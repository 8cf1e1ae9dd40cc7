"""What no HTTP client sends, and what becomes of registrations when the disk takes nothing."""

import asyncio
import contextlib
import json
import re
import resource
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

SHARED = ""

STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [A-Z]")
HOST = b"Host: localhost\r\n"
JSON = HOST + b"Content-Type: application/json\r\n"
SMUGGLED = b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b'Content-Length: 31\r\n\r\n{"kind":"dub","task_id":"smug"}\n'

CHUNKED = b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "two lengths": b"POST /v1/tasks HTTP/1.1\r\n"
    + JSON
    + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]"
    + SMUGGLED,
    "length and chunks": (
        b"POST /v1/tasks HTTP/1.1\r\n"
        + JSON
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
        + SMUGGLED
    ),
    "chunks under another name": (
        b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n" + SMUGGLED
    ),
    "bad chunk size": b"POST /v1/tasks HTTP/1.1\r\n"
    + JSON
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n"
    + SMUGGLED,
    "chunks, then other chunks": b"POST /v1/tasks HTTP/1.1\r\n"
    + JSON
    + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "two codings": b"POST /v1/tasks HTTP/1.1\r\n"
    + JSON
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "tab before the coding": b"POST /v1/tasks HTTP/1.1\r\n"
    + JSON
    + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "chunks in HTTP/1.0": b"POST /v1/tasks HTTP/1.0\r\n"
    + JSON
    + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + SMUGGLED,
    "length as a list": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Content-Length: 2, 2\r\n\r\n[]" + SMUGGLED,
    "length in hexadecimal": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Content-Length: 0x2\r\n\r\n[]" + SMUGGLED,
    "length with underscores": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Content-Length: 0_2\r\n\r\n[]" + SMUGGLED,
    "length beyond 64 bits": b"POST /v1/tasks HTTP/1.1\r\n"
    + JSON
    + b"Content-Length: 18446744073709551618\r\n\r\n[]"
    + SMUGGLED,
    "chunk size with a sign": CHUNKED + b"+2\r\n[]\r\n0\r\n\r\n" + SMUGGLED,
    "chunk size beyond 64 bits": CHUNKED + b"10000000000000002\r\n[]\r\n0\r\n\r\n" + SMUGGLED,
    "chunk longer than it says": CHUNKED + b"1\r\n[]\r\n0\r\n\r\n" + SMUGGLED,
    "chunk ended by a line feed": CHUNKED + b"2\n[]\n0\n\n" + SMUGGLED,
    "line feed in a chunk extension": CHUNKED + b"2;a=\nb\r\n[]\r\n0\r\n\r\n" + SMUGGLED,
    "bare carriage return": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"X: a\rContent-Length: 0\r\n\r\n" + SMUGGLED,
    "65 headers": b"GET /v1/tasks HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(64)) + b"\r\n",
    "negative length": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "length with a sign": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Content-Length: +2\r\n\r\n[]" + SMUGGLED,
    "space before the colon": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Content-Length : 2\r\n\r\n[]" + SMUGGLED,
    "folded header": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"X: a\r\n Content-Length: 2\r\n\r\n" + SMUGGLED,
    "line feeds only": SMUGGLED.replace(b"\r\n", b"\n"),
    "two hosts": b"GET /v1/tasks HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "NUL in a header": b"GET /v1/tasks HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "bytes beyond ASCII in the path": b"GET /v1/tasks/dub/\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes beyond ASCII in the query": b"GET /v1/tasks?group=\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown method": b"WATCH /v1/tasks HTTP/1.1\r\n" + HOST + b"\r\n",
    "unknown version": b"GET /v1/tasks HTTP/9.9\r\n" + HOST + b"\r\n",
    "header of 100 KB": b"GET /v1/tasks HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "path of 100 KB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "noise": bytes(range(256)) * 8,
}

CUT = {
    "nothing": b"",
    "half a line": b"POST /v1/ta",
    "half a header": b"POST /v1/tasks HTTP/1.1\r\nHost: loc",
    "half a body": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b'Content-Length: 31\r\n\r\n{"kind":"dub","task',
    "half a chunk": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\nff\r\n[]",
    "no body": b"POST /v1/tasks HTTP/1.1\r\n" + JSON + b"Content-Length: 31\r\n\r\n",
}


async def exchange(made, sent):
    """What comes back for *sent*, until the daemon closes or has been silent for half a second."""
    address = urlsplit(made.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    came = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write(sent)
        await writer.drain()
        while chunk := await asyncio.wait_for(reader.read(65_536), 0.5):
            came += chunk
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return came


async def is_untouched(made):
    """Whether the daemon is alive and stored nothing."""
    assert (await made.api.get("/healthz")).status == 200
    return (await made.api.get("/v1/tasks")).document["items"] == []


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
async def test_a_request_with_two_meanings_is_refused_and_nothing_behind_it_is_read(shared, caplog, sent):
    came = await exchange(shared, sent)
    assert STATUS_LINE.findall(came) == [b"400"]
    assert b"application/problem+json" in came
    assert not caplog.records  # anybody can send it, as often as it likes
    assert await is_untouched(shared)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("sent", CUT.values(), ids=CUT)
async def test_half_a_request_stores_nothing_and_is_no_bug(shared, caplog, sent):
    address = urlsplit(shared.url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(sent)
    await writer.drain()
    with capture_logs() as logs:
        await shared.api.get("/healthz")  # later than what was sent
        writer.close()
        await writer.wait_closed()
        assert await is_untouched(shared)
    assert not [event for event in logs if event["log_level"] == "error"]
    assert not caplog.records


async def test_an_absolute_target_still_has_to_name_a_known_host(daemon):
    made = await daemon()
    target = b"GET http://evil.example/healthz HTTP/1.1\r\nConnection: close\r\n"
    came = await exchange(made, target + b"Host: evil.example\r\n\r\n")
    assert STATUS_LINE.findall(came) == [b"421"]


async def test_a_caller_who_hangs_up_before_the_answer_has_its_task_watched(daemon, camb, until):
    """What is on disk is also asked for, whether or not anybody has heard that it is."""
    made = await daemon()
    ids = [f"t{number}" for number in range(20)]
    address = urlsplit(made.url)
    for task_id in ids:
        body = json.dumps({"kind": "dub", "task_id": task_id}).encode()
        _, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"POST /v1/tasks HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (JSON, len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await until(lambda: all(camb.polls(task_id) for task_id in ids))
    assert {task["task_id"] for task in (await made.api.get("/v1/tasks")).document["items"]} == set(ids)


async def test_requests_on_one_connection_are_answered_in_turn(daemon):
    made = await daemon()
    one = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    came = await exchange(made, one * 3 + last)
    assert STATUS_LINE.findall(came) == [b"200"] * 4


async def test_many_silent_connections_keep_nobody_out(daemon):
    made = await daemon()
    address = urlsplit(made.url)
    opened = [await asyncio.open_connection(address.hostname, address.port) for _ in range(200)]
    for _, writer in opened:
        writer.write(b"POST /v1/tasks HTTP/1.1\r\nHost: local")
    assert (await made.api.post({"kind": "dub", "task_id": "a"})).status == 201
    for _, writer in opened:
        writer.close()
    await made.stop()


async def test_a_registration_that_the_disk_does_not_take_is_not_acknowledged(process, camb):
    """The limit on the size of files is what a full disk looks like to the process, and can be lifted again."""
    made = await process("log: {level: error}")
    kept = {"kind": "dub", "task_id": camb.add("dub", after_seconds=3600)}
    for _ in range(10):
        await made.api.post(kept)
        await made.api.ask("DELETE", f"/v1/tasks/dub/{kept['task_id']}")
    assert (await made.api.post(kept)).status == 201
    limit_bytes = 40_000  # room for the log, none for the database
    assert (made.config.parent / "cambwatch.db-wal").stat().st_size > limit_bytes
    before = resource.prlimit(made.pid, resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
    for wish in ({"kind": "dub", "task_id": "a"}, [{"kind": "dub", "task_id": f"b{number}"} for number in range(100)]):
        refused = await made.api.post(wish)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert "nothing was stored" in refused.document["detail"]
    refused = await made.api.ask("DELETE", f"/v1/tasks/dub/{kept['task_id']}")
    assert refused.status == 503
    unready = await made.api.get("/readyz")
    assert unready.status == 503
    assert unready.document["reasons"][0].startswith("database: ")
    assert [task["task_id"] for task in (await made.api.get("/v1/tasks")).document["items"]] == [kept["task_id"]]

    resource.prlimit(made.pid, resource.RLIMIT_FSIZE, before)
    assert (await made.api.post({"kind": "dub", "task_id": "a"})).status == 201
    assert (await made.api.get("/readyz")).status == 200
    ids = {task["task_id"] for task in (await made.api.get("/v1/tasks")).document["items"]}
    assert ids == {kept["task_id"], "a"}

"""No text of a library reaches log, database or API: the errors of aiohttp hold the URL, and that is the secret."""

import asyncio
import json
import sqlite3
import ssl
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from events import hear, hook, settings, shown, watch
from multidict import CIMultiDict, CIMultiDictProxy
from processes import free_port
from wire import OK, SPEECHES, resetting, saying, speaking
from yarl import URL

from cambwatch.adapters.http.network_errors import describe
from cambwatch.adapters.webhook import WebhookSender
from cambwatch.core.formats import Message
from cambwatch.core.model import Outcome
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

TARGET = "/hooks/CANARY%2Fpath/./x?token=CANARY%3Dquery&sp=%2FCANARY"
SECRET_URL = URL(f"https://hooks.example{TARGET}", encoded=True)

KEY = ConnectionKey("hooks.example", 443, True, True, None, None, None)
INFO = RequestInfo(SECRET_URL, "POST", CIMultiDictProxy(CIMultiDict()), SECRET_URL)
VERIFY = ssl.SSLCertVerificationError(1, f"no issuer for {SECRET_URL}")
ERRORS = [
    aiohttp.ClientConnectorDNSError(KEY, OSError(None, f"no name {SECRET_URL}")),
    aiohttp.ClientConnectorError(KEY, OSError(111, f"refused {SECRET_URL}")),
    aiohttp.ClientConnectorError(KEY, OSError(f"Multiple exceptions: {SECRET_URL}")),
    aiohttp.ClientConnectorCertificateError(KEY, VERIFY),
    aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, f"{SECRET_URL}")),
    aiohttp.ClientConnectorError(KEY, ConnectionResetError(f"{SECRET_URL}")),
    aiohttp.ClientOSError(104, f"Can not write request body for {SECRET_URL}"),
    aiohttp.ClientOSError(None, f"Can not write request body for {SECRET_URL}"),
    aiohttp.ClientConnectionError(f"Connection lost: {SECRET_URL}"),
    aiohttp.ClientConnectionResetError(f"{SECRET_URL}"),
    aiohttp.ServerDisconnectedError(f"{SECRET_URL}"),
    aiohttp.ConnectionTimeoutError(f"Connection timeout to host {SECRET_URL}"),
    aiohttp.SocketTimeoutError(f"{SECRET_URL}"),
    aiohttp.ServerFingerprintMismatch(b"a", b"b", f"{SECRET_URL}", 443),
    aiohttp.ClientPayloadError(f"{SECRET_URL}"),
    aiohttp.ClientResponseError(INFO, (), status=400, message=f"Got more than 8190 bytes {SECRET_URL}"),
    aiohttp.ClientResponseError(INFO, (), status=400, message=f"Bad status line {SECRET_URL}"),
    aiohttp.TooManyRedirects(INFO, ()),
    aiohttp.ContentTypeError(INFO, ()),
    aiohttp.InvalidURL(SECRET_URL, f"{SECRET_URL}"),
    aiohttp.NonHttpUrlClientError(SECRET_URL),
    aiohttp.InvalidUrlRedirectClientError(SECRET_URL),
    ValueError(f"{SECRET_URL}"),
    OSError(f"{SECRET_URL}"),
    asyncio.IncompleteReadError(f"{SECRET_URL}".encode(), 1000),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_the_words_on_an_error_hold_nothing_of_its_own(error):
    words = describe(error, "the receiver")
    assert "CANARY" not in words
    assert "Error" not in words  # words for people, not the name of a class
    assert 10 < len(words) < 200


def test_a_connection_that_broke_is_not_said_to_have_no_address():
    error = aiohttp.ClientOSError(None, f"Can not write request body for {SECRET_URL}")
    assert describe(error, "the receiver") == "the connection to the receiver broke"


async def test_a_body_that_cannot_be_written_is_said_without_the_url():
    """The receiver resets the connection while a large body is on its way to it."""
    async with speaking(resetting(b"")) as port:
        url = Secret(f"http://127.0.0.1:{port}{TARGET}")
        destination = Destination("it", "webhook", url, timeout=timedelta(seconds=10), allow_private=True)
        async with WebhookSender({"it": destination}, user_agent="test", now=lambda: datetime.now(UTC)) as webhook:
            attempt = await webhook.post(destination, Message(b"x" * (1 << 20), {}), number=1)
    assert attempt.outcome is Outcome.TRANSIENT
    assert "CANARY" not in attempt.detail
    assert "the receiver" in attempt.detail


ECHO = f"HTTP/1.1 500 {TARGET}\r\nx-echo: {TARGET}\r\ncontent-length: {{}}\r\n\r\n{{}}"
TROUBLE = {
    "hangs": SPEECHES["silence"],
    "closes": SPEECHES["closes-at-once"],
    "resets": SPEECHES["resets-at-once"],
    "no-http": saying(f"220 {TARGET}\r\n\r\n".encode()),
    "bad-status": saying(f"HTTP/1.1 {TARGET}\r\n\r\n".encode()),
    "bad-field": saying(b"HTTP/1.1 500 No\r\n" + f"{TARGET} x\r\n\r\n".encode()),
    "large-head": saying(OK + b"x: " + TARGET.encode() * 2000 + b"\r\n\r\n"),
    "redirects": saying(f"HTTP/1.1 307 No\r\nlocation: https://CANARY:x@new.example{TARGET}\r\n\r\n".encode()),
    "echoes": saying(ECHO.format(len(TARGET), TARGET).encode()),
    "echoes-decoded": saying(b"HTTP/1.1 500 No\r\n\r\nCannot POST /hooks/CANARY/path/x?token=CANARY=query&sp=/CANARY"),
    "echoes-json": saying(b"HTTP/1.1 500 No\r\n\r\n" + json.dumps({"at": TARGET}).replace("/", "\\/").encode()),
}


async def test_no_trouble_of_the_network_shows_a_secret_url(process, camb, receivers, until):
    """Neither in the log at level debug, nor in the database, nor in what the API answers."""
    async with AsyncExitStack() as stack:
        destinations = {"hook": hook(receivers)}
        for name, speech in TROUBLE.items():
            port = await stack.enter_async_context(speaking(speech))
            destinations[name] = hook(receivers, timeout="500ms") | {"url": f"http://127.0.0.1:{port}{TARGET}"}
        elsewhere = {
            "refuses": f"http://127.0.0.1:{free_port()}",
            "unknown": "http://nowhere.invalid",
            "plain": receivers.url.replace("http:", "https:"),
        }
        for name, origin in elsewhere.items():
            destinations[name] = hook(receivers, timeout="500ms") | {"url": origin + TARGET}
        made = await process(settings(destinations=destinations, log={"level": "debug"}))
        task_id = camb.add("dub", status="ERROR")
        await watch(made.api, "dub", task_id)
        await hear(receivers, task_id)

        async def all_were_tried_twice():
            owed = (await shown(made.api, "dub", task_id))["deliveries"]
            return all(one["attempts"] >= 2 or one["destination"] == "hook" for one in owed)

        await until(all_were_tried_twice, 20)
        answers = {path: (await made.api.get(path)).body.decode() for path in ("/v1/deliveries", "/v1/tasks")}
        for one in json.loads(answers["/v1/deliveries"])["items"]:
            path = f"/v1/deliveries/{one['id']}"
            answers[path] = (await made.api.get(path)).body.decode()
        for name in destinations:
            path = f"/v1/destinations/{name}/test"
            answers[path] = (await made.api.ask("POST", path)).body.decode()
        assert await made.stop() == 0
    with closing(sqlite3.connect(made.config.parent / "cambwatch.db")) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        stored = {name: repr(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in names}  # noqa: S608
    everywhere = {"log": made.log.read_text(), **answers, **stored}
    assert {place for place, text in everywhere.items() if "CANARY" in text} == set()
    assert {one["destination"] for one in json.loads(answers["/v1/deliveries"])["items"]} == set(destinations)
    assert "redirects are not followed; it points to new.example" in answers["/v1/deliveries"]

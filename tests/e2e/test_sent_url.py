"""The URL that is sent is the URL that was configured, byte for byte; only the host is written as DNS knows it."""

from datetime import UTC, datetime, timedelta

import pytest
from proxies import listening
from wire import OK, saying

from cambwatch.adapters.camb import CambClient
from cambwatch.adapters.webhook import WebhookSender
from cambwatch.config.urls import split_url
from cambwatch.core.accounts import Account
from cambwatch.core.formats import Message
from cambwatch.core.model import Outcome, TaskKey
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

DONE = saying(OK + b"content-length: 2\r\n\r\nok")
MESSAGE = Message(b"{}", {"content-type": "application/json"})
TARGETS = [
    "/hooks/a%2Fb%3D?sp=%2Fa",
    "/%7E%41%7e/%c3%A4%2f%2F",
    "/a+b?c+d=e+f",
    "/a;b?c;d",
    "//a//b/",
    "/./a/../b/.?c=../d",
    "/..",
    "/a?",
    "/?",
    "/a??b?=?",
    "/a?&&b=&=c&d",
    "/a!$'()*,:@[]|?!$'()*,:@[]|/",
    '/a\\b"<>^`{}?\\"<>^`{}',
    "/%zz%?%",
    "/services/T000/B000/XXXX",
    "/workflows/1/triggers/manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sig=a-b_c%2Fd%3D",
]


def now():
    return datetime.now(UTC)


async def post(url, *, kind="webhook", proxy=None, allow_private=True):
    """One attempt to *url*."""
    destination = Destination("it", kind, Secret(url), timeout=timedelta(seconds=5), allow_private=allow_private)
    secret = None if proxy is None else Secret(f"http://{proxy}")
    async with WebhookSender({"it": destination}, user_agent="test", now=now, proxy=secret) as webhook:
        return await webhook.post(destination, MESSAGE, number=1)


def first_line(heads):
    (head,) = heads
    return head.partition(b"\r\n")[0].decode()


@pytest.mark.parametrize("kind", ["webhook", "slack", "discord", "teams", "google_chat", "mattermost"])
@pytest.mark.parametrize("target", TARGETS)
async def test_path_and_query_go_out_byte_for_byte(kind, target):
    async with listening(DONE) as receiver:
        url = f"http://127.0.0.1:{receiver.port}{target}"
        split_url(url)  # check takes it
        await post(url, kind=kind)
    assert first_line(receiver.heads) == f"POST {target} HTTP/1.1"


@pytest.mark.parametrize(("rest", "target"), [("", "/"), ("?", "/?"), ("?a=%2F", "/?a=%2F")])
async def test_a_url_without_a_path_asks_for_the_root(rest, target):
    async with listening(DONE) as receiver:
        await post(f"http://127.0.0.1:{receiver.port}{rest}")
    assert first_line(receiver.heads) == f"POST {target} HTTP/1.1"


@pytest.mark.parametrize("target", TARGETS)
async def test_through_a_proxy_the_absolute_form_has_it_too(target):
    async with listening(DONE) as proxy:
        attempt = await post(f"http://receiver.example:81{target}", proxy=proxy.address)
    assert attempt.outcome is Outcome.ACCEPTED
    assert first_line(proxy.heads) == f"POST http://receiver.example:81{target} HTTP/1.1"


@pytest.mark.parametrize(
    ("origin", "sent"),
    [
        ("http://Receiver.EXAMPLE", "http://receiver.example"),
        ("HTTP://receiver.example:80", "http://receiver.example"),
        ("http://b\u00fccher.example", "http://xn--bcher-kva.example"),
    ],
)
async def test_the_host_is_written_as_dns_knows_it(origin, sent):
    async with listening(DONE) as proxy:
        await post(f"{origin}/%7E", proxy=proxy.address)
    assert first_line(proxy.heads) == f"POST {sent}/%7E HTTP/1.1"


@pytest.mark.parametrize("path", ["", "/apis", "/a%2Fb/..", "/%7E/"])
async def test_the_path_before_those_of_camb_goes_out_byte_for_byte(path):
    async with listening(saying(OK + b"content-length: 2\r\n\r\n{}")) as camb:
        account = Account("default", Secret("key"), f"http://127.0.0.1:{camb.port}{path}", timeout=timedelta(seconds=5))
        async with CambClient({"default": account}, user_agent="test", now=now) as asking:
            await asking.status(TaskKey("default", "dub", "t"))
    assert first_line(camb.heads) == f"GET {path.rstrip('/')}/dub/t HTTP/1.1"


@pytest.mark.parametrize("url", ["", "receiver.example/secret", "http:///secret", "ftp://receiver.example/secret",
                                 "http://[::1/secret", "http://receiver.example:99999/secret"])  # fmt: skip
async def test_what_is_no_url_is_an_attempt_that_failed(url):
    """The configuration would have refused it; the words on it show nothing of it."""
    attempt = await post(url)
    assert attempt.outcome is Outcome.POLICY
    assert "check its host and port" in attempt.detail
    assert "secret" not in attempt.detail


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://new.example/CANARY?sig=CANARY", "it points to new.example"),
        ("/login?next=CANARY", "it points to another path on the same host"),
    ],
)
@pytest.mark.parametrize("kind", ["webhook", "slack"])
async def test_a_redirect_is_explained_and_not_followed(kind, location, where):
    words = b"HTTP/1.1 307 Elsewhere\r\nlocation: %s\r\ncontent-length: 4\r\n\r\nmove" % location.encode()
    async with listening(saying(words)) as receiver:
        attempt = await post(f"http://127.0.0.1:{receiver.port}/", kind=kind)
    outcome = Outcome.POLICY if kind == "webhook" else Outcome.TRANSIENT  # before a chat it may be a login page
    assert (attempt.outcome, attempt.http_status) == (outcome, 307)
    assert attempt.detail == f"redirects are not followed; {where}: set url of this destination to the final URL"
    assert len(receiver.heads) == 1

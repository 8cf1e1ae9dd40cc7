"""The egress proxy: every destination goes through it, its own trouble has a name, and its password stays with us."""

import asyncio
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
import pytest_asyncio
import trustme
from certificates import certified
from events import HOOK, hear, hook, settings, shown, watch
from processes import free_port
from proxies import RealProxy, listening
from wire import BROKEN, JSON, OK, SPEECHES, falling_silent, saying

from cambwatch.adapters.webhook import WebhookSender
from cambwatch.core.formats import Message
from cambwatch.core.model import Outcome
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

PASSWORD = "p@ss/CANARY"  # of which a URL has another form, and a header a third
ACCOUNT = f"bob:{PASSWORD}"
IN_URL = "bob:p%40ss%2FCANARY@"
IN_HEADER = b64encode(ACCOUNT.encode()).decode()
UNKNOWN = "the egress proxy does not take the user and password in egress_proxy, or wants some (HTTP 407)"
MESSAGE = Message(b"{}", {"content-type": "application/json"})
DONE = saying(OK + JSON + b"content-length: 2\r\n\r\n{}")


def client(url, proxy, *, allow_private=True, timeout_s=5):
    """A destination for *url*, and what posts to it."""
    destination = Destination(
        "it", "webhook", Secret(url), timeout=timedelta(seconds=timeout_s), allow_private=allow_private
    )
    secret = None if proxy is None else Secret(f"http://{proxy}")
    return destination, WebhookSender(
        {"it": destination}, user_agent="test", now=lambda: datetime.now(UTC), proxy=secret
    )


async def post(url, proxy, **more):
    """One attempt to *url* through *proxy*, of which nothing that is said shows the password."""
    destination, webhook = client(url, proxy, **more)
    async with webhook:
        attempt = await webhook.post(destination, MESSAGE, number=1)
    assert not any(form in (attempt.detail or "") for form in ("CANARY", IN_HEADER)), attempt.detail
    return attempt


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory):
    """One for all that change nothing of it: it wants ACCOUNT, and lets nobody reach refused.example."""
    made = RealProxy(tmp_path_factory.mktemp("proxy"), account=ACCOUNT, refused=["refused.example"])
    async with made.serve() as address:
        made.address = address
        yield made


# What goes through it


async def test_plain_http_goes_through_the_proxy(real, receivers):
    """A receiver on loopback with allow_private as well; each request says who we are."""
    destination, webhook = client(receivers.url + "/hook?a=b", f"{IN_URL}{real.address}")
    async with webhook:
        attempts = [await webhook.post(destination, MESSAGE, number=number) for number in (1, 2)]
    assert [attempt.outcome for attempt in attempts] == [Outcome.ACCEPTED] * 2
    assert [request.path for request in receivers.requests] == ["/hook?a=b"] * 2
    assert "proxy.py" in receivers.requests[0].headers["via"]  # of the second on a connection it sends all as it is
    assert f"Basic {IN_HEADER}" not in str(receivers.requests[0].headers)


async def test_a_plain_request_has_the_absolute_form():
    """The proxy reads it, and finds there where it goes."""
    async with listening(DONE) as proxy:
        attempt = await post("http://receiver.example:81/a?b=c", f"{IN_URL}{proxy.address}")
    assert attempt.outcome is Outcome.ACCEPTED
    [head] = proxy.heads
    assert head.startswith(b"POST http://receiver.example:81/a?b=c HTTP/1.1\r\n")
    assert f"proxy-authorization: Basic {IN_HEADER}".encode().lower() in head.lower()


async def test_https_asks_for_a_tunnel():
    """The proxy learns host and port, and nothing of path, headers and body."""
    async with listening(saying(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")) as proxy:
        await post("https://receiver.example/secret?a=b", f"{IN_URL}{proxy.address}", allow_private=False)
    [head] = proxy.heads
    assert head.startswith(b"CONNECT receiver.example:443 HTTP/1.1\r\n")
    assert f"Basic {IN_HEADER}".encode() in head
    assert b"secret" not in head
    assert b"content-type" not in head.lower()


async def test_https_is_delivered_in_a_tunnel(process, camb, tmp_path, until):
    """Whom a proxy variable names is not asked; receiver, log and API do not see the password."""
    authority, trusted = trustme.CA(), tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(trusted)
    real = RealProxy(tmp_path, account=ACCOUNT)
    async with real.serve() as address, listening(DONE, tls=certified(authority)) as receiver, listening(DONE) as other:
        url = f"https://localhost:{receiver.port}/hook"
        made = await process(
            settings(
                egress_proxy=f"http://{IN_URL}{address}",
                destinations={"it": {"type": "webhook", "url": url, "allow_private": True}},
            ),
            ready=None,
        )
        variables = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "ALL_PROXY"), f"http://{other.address}")
        await made.start(environ={"SSL_CERT_FILE": str(trusted), "NO_PROXY": "*", **variables})
        task_id = camb.add("dub", status="ERROR")
        await watch(made.api, "dub", task_id)

        async def delivered():
            owed = (await shown(made.api, "dub", task_id))["deliveries"]
            return owed and owed[0]["state"] == "delivered"

        await until(delivered)
        answer = str((await made.api.get("/v1/deliveries")).document)
        assert await made.stop() == 0
        await until(lambda: f"CONNECT localhost:{receiver.port}" in real.log)
    [head] = receiver.heads
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"proxy-authorization" not in head.lower()
    assert other.heads == []
    for text in (made.log.read_text(), answer):
        assert not any(form in text for form in ("CANARY", IN_HEADER))


async def test_a_certificate_that_nobody_vouches_for_is_refused_in_a_tunnel_too(real, until):
    """The proxy has opened the way; nothing is posted, and it is tried again."""
    async with listening(DONE, tls=certified(trustme.CA())) as receiver:
        attempt = await post(f"https://localhost:{receiver.port}/secret", f"{IN_URL}{real.address}")
        await until(lambda: f"CONNECT localhost:{receiver.port}" in real.log)
    assert attempt.outcome is Outcome.TRANSIENT
    assert f"cannot connect to localhost:{receiver.port}" in attempt.detail
    assert "certificate verify failed" in attempt.detail
    assert receiver.heads == []


async def test_proxy_variables_do_nothing(receivers, monkeypatch):
    """Neither lead they anywhere, nor around the proxy that the configuration names."""
    async with listening(DONE) as named, listening(DONE) as other:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{other.address}")
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("no_proxy", "*")
        assert (await post(receivers.url + "/with", named.address)).outcome is Outcome.ACCEPTED
        monkeypatch.delenv("NO_PROXY")
        monkeypatch.delenv("no_proxy")
        assert (await post(receivers.url + "/without", None)).outcome is Outcome.ACCEPTED
    assert (len(named.heads), other.heads) == (1, [])
    assert [request.path for request in receivers.requests] == ["/without"]


async def test_a_proxy_that_comes_back_leads_to_delivery(daemon, camb, receivers, tmp_path, until):
    """Meanwhile the delivery waits, and says what it waits for."""
    port = free_port()
    made = await daemon(settings(egress_proxy=f"http://127.0.0.1:{port}", destinations={"hook": hook(receivers)}))
    task_id = camb.add("dub", status="ERROR")
    await watch(made.api, "dub", task_id)

    async def owed():
        [one] = (await shown(made.api, "dub", task_id))["deliveries"] or [{"attempts": 0}]
        return one if one["attempts"] else None

    await until(owed)
    one = await owed()
    assert (one["state"], one["outcome"]) == ("pending", "ours")
    assert one["detail"].startswith(f"cannot connect to the egress proxy at 127.0.0.1:{port} (")
    assert receivers.requests == []
    async with RealProxy(tmp_path).serve(port):
        await hear(receivers, task_id)
    assert "via" in receivers.at(HOOK)[0].headers


# The guard


PRIVATE = {
    "127.0.0.1": "127.0.0.1",
    "127.1": "127.0.0.1",
    "0x7f000001": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "\uff11\uff12\uff17.0.0.1": "127.0.0.1",
    "169.254.169.254": "169.254.169.254",
    "10.0.0.1": "10.0.0.1",
    "224.0.0.1": "224.0.0.1",
    "[::1]": "::1",
    "[::ffff:127.0.0.1]": str(ip_address("::ffff:127.0.0.1")),
    "[64:ff9b::a9fe:a9fe]": "64:ff9b::a9fe:a9fe",
    "[fe80::1]": "fe80::1",
}


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_a_private_address_in_a_url_is_not_asked_for(scheme):
    """However it is written; in the words of a guard without a proxy. The proxy itself may be private."""
    async with listening(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) as proxy:
        for host, address in PRIVATE.items():
            attempt = await post(f"{scheme}://{host}/secret", proxy.address, allow_private=False)
            assert attempt.outcome is Outcome.POLICY, host
            assert attempt.detail == (
                f"{address} is not a public address; set allow_private: true on this destination if that is meant"
            )
        assert proxy.heads == []


@pytest.mark.parametrize(
    ("host", "allow_private"),
    [("127.0.0.1", True), ("10.0.0.1", True), ("[::1]", True), ("8.8.8.8", False), ("[2606:4700::1]", False),
     ("receiver.example", False), ("1.2.3.example", False)],
)  # fmt: skip
async def test_the_rest_is_for_the_proxy_to_judge(host, allow_private):
    """A public address, what allow_private lets through, and every name, which we do not resolve."""
    async with listening(saying(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n")) as proxy:
        attempt = await post(f"https://{host}/", proxy.address, allow_private=allow_private)
    assert [head.split()[1].decode() for head in proxy.heads] == [f"{host}:443"]
    assert attempt.outcome is Outcome.POLICY
    assert "allow_private" not in attempt.detail


# Its own trouble


@pytest.mark.parametrize("url", ["https://receiver.example/secret", "http://receiver.example/secret"])
@pytest.mark.parametrize("account", ["", "bob:CANARY@", "eve:p%40ss%2FCANARY@"])
async def test_a_proxy_that_does_not_know_us_is_our_trouble(real, url, account):
    """No receiver is to blame, and the words say which key of the configuration."""
    attempt = await post(url, account + real.address)
    assert (attempt.outcome, attempt.detail) == (Outcome.OURS, UNKNOWN)


async def test_a_proxy_that_is_not_there_is_our_trouble():
    """Whether its name is not known or nobody listens."""
    port = free_port()
    for url in ("https://receiver.example/secret", "http://receiver.example/secret"):
        attempt = await post(url, f"{IN_URL}127.0.0.1:{port}")
        assert attempt.outcome is Outcome.OURS
        assert attempt.detail.startswith(f"cannot connect to the egress proxy at 127.0.0.1:{port} (")
        attempt = await post(url, f"{IN_URL}nowhere.invalid:3128")
        assert attempt.outcome is Outcome.OURS
        assert attempt.detail == "nowhere.invalid, the name of the egress proxy, cannot be resolved"


async def test_a_real_proxy_says_who_is_refused_and_who_is_not_reached(real):
    """By its own rules, and by what the network says to it."""
    proxy = f"{IN_URL}{real.address}"
    attempt = await post("https://refused.example/secret", proxy)
    assert attempt.outcome is Outcome.POLICY
    assert attempt.detail == "the egress proxy refuses to lead to refused.example:443 (HTTP 418): allow it there"
    attempt = await post("https://nowhere.invalid/secret", proxy)
    assert attempt.outcome is Outcome.TRANSIENT
    assert attempt.detail == "the egress proxy does not reach nowhere.invalid:443 (HTTP 502)"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (407, Outcome.OURS),
        (302, Outcome.POLICY),
        (400, Outcome.POLICY),
        (403, Outcome.POLICY),
        (404, Outcome.POLICY),
        (429, Outcome.TRANSIENT),
        (204, Outcome.TRANSIENT),
        (500, Outcome.TRANSIENT),
        (502, Outcome.TRANSIENT),
        (503, Outcome.TRANSIENT),
        (504, Outcome.TRANSIENT),
    ],
)
async def test_what_a_proxy_answers_to_connect(status, outcome):
    """It is the proxy that spoke, not the receiver: there is no HTTP status of that; what it echoes is not shown."""
    words = f"{ACCOUNT} {IN_HEADER}".encode()
    reply = b"HTTP/1.1 %d %s\r\nx-echo: %s\r\n\r\n%s" % (status, words, words, b"" if status == 204 else words)
    async with listening(saying(reply)) as proxy:
        attempt = await post("https://receiver.example:8443/secret", f"{IN_URL}{proxy.address}")
    assert (attempt.outcome, attempt.http_status) == (outcome, None)
    assert "the egress proxy" in attempt.detail
    assert f"HTTP {status}" in attempt.detail
    assert "secret" not in attempt.detail
    assert ("receiver.example:8443" in attempt.detail) == (status != 407)


async def test_a_page_of_the_proxy_that_shows_the_password_is_cut():
    """Without a tunnel its answer looks like one of the receiver, the first words of which are kept."""
    body = f"{ACCOUNT} may not; you said {IN_HEADER}".encode()
    async with listening(saying(b"HTTP/1.1 403 No\r\ncontent-length: %d\r\n\r\n" % len(body) + body)) as proxy:
        attempt = await post("http://receiver.example/", f"{IN_URL}{proxy.address}")
    assert (attempt.outcome, attempt.http_status) == (Outcome.AUTH, 403)
    assert attempt.detail == "bob:<secret> may not; you said <secret>"


OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
TUNNELS = {
    "tunnel-closes": saying(OPEN),
    "tunnel-hangs": falling_silent(OPEN),
    "tunnel-to-plain-http": saying(OPEN + OK + b"content-length: 0\r\n\r\n"),
    "tunnel-of-noise": saying(OPEN + bytes(range(256)) * 40),
}


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_no_answer_of_a_proxy_is_an_exception(scheme):
    """Nor a success: whatever it says or does not say is tried again, in words for people."""
    speeches = SPEECHES | BROKEN | TUNNELS if scheme == "https" else SPEECHES

    async def ask(name):
        async with listening(speeches[name]) as proxy:
            attempt = await post(f"{scheme}://receiver.example/secret", f"{IN_URL}{proxy.address}", timeout_s=1)
            return name, attempt, len(proxy.heads)

    for name, attempt, asked in await asyncio.gather(*map(ask, speeches)):
        assert attempt.outcome is Outcome.TRANSIENT, name
        assert asked == 1, name
        assert attempt.detail or attempt.http_status, name
        assert "secret" not in (attempt.detail or ""), name
        assert "Error" not in (attempt.detail or ""), (name, attempt.detail)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("silence", "no complete answer through the egress proxy within 0.2 s"),
        ("closes-at-once", "the egress proxy or the receiver closed the connection without an answer"),
        ("no-http", "the answer from the egress proxy or the receiver is not valid HTTP"),
    ],
)
async def test_where_nobody_can_tell_who_it_was_both_are_named(name, words):
    """A proxy in trouble is not told as a receiver in trouble."""
    async with listening(SPEECHES[name]) as proxy:
        attempt = await post("https://receiver.example/", proxy.address, timeout_s=0.2)
    assert attempt.detail == words

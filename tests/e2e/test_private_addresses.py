"""`check` and the sender refuse the same URLs of destinations that may not be private."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from processes import free_port

from cambwatch.adapters.webhook import WebhookSender
from cambwatch.config import ConfigError, loads
from cambwatch.core.formats import Message
from cambwatch.core.model import Outcome
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

UNICODE = ("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021")
PRIVATE = [
    *("127.0.0.1", "127.0.0.1.", "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "0", "0.0.0.0"),
    *("10.0.0.1", "10.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "198.18.0.1", "192.0.2.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1", "168.63.129.16", "192.0.0.9"),
    *("[::1]", "[::]", "[fe80::1]", "[fe80::1%25eth0]", "[fd00::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]"),
    *("[::ffff:10.0.0.1]", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::a00:1]", "[64:ff9b:1::a00:1]"),
    *("[2002:a00:1::1]", "[3fff::1]", "[5f00::1]", "[2001::1]", "[100::1]"),
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "\u24dbocalhost"),
    *(*UNICODE, "0x7f\u30021"),
]
# As only a resolver takes them; the HTTP client does not.
ODD = {"127.0.0.1.", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0", "10.1", "0x7f\u30021", *UNICODE}
IMPROPER = "destinations.a.url: this URL has no proper host"
PRIVATE_WORDS = "an address of this machine or of a private network: needs allow_private: true"
NOT_PRIVATE = [
    *("8.8.8.8", "1.1.1.1", "0x8080808", "172.32.0.1", "223.255.255.255"),
    *("[2606:4700::1111]", "[::ffff:8.8.8.8]", "[64:ff9b::808:808]", "[2002:808:808::1]"),
    *("hooks.example", "host.docker.internal", "metadata.internal", "localhost.example", "127.0.0.1.example"),
    "b\u00fccher.example",
]


def mistake(host: str, *, allow_private: bool = False) -> str | None:
    """What `check` says of a destination at *host*; None where it takes it."""
    url = f"url: 'https://{host}/x', allow_private: {str(allow_private).lower()}"
    text = f"camb: {{api_key: abc1}}\ndestinations: {{a: {{type: webhook, {url}}}}}"
    try:
        loads(text.encode(), file="f", folder=Path("/nowhere"), environ={})
    except ConfigError as error:
        return str(error)
    return None


async def sent(host: str, *, proxied: bool) -> bool:
    """Whether the sender goes on to *host*, as far as a proxy that is not there."""
    destination = Destination("it", "webhook", Secret(f"https://{host}/x"))
    proxy = Secret(f"http://127.0.0.1:{free_port()}") if proxied else None
    async with WebhookSender(
        {"it": destination}, user_agent="test", now=lambda: datetime.now(UTC), proxy=proxy
    ) as webhook:
        attempt = await webhook.post(destination, Message(b"{}", {}), number=1)
    if attempt.outcome is Outcome.POLICY:
        assert "is not a public address" in (attempt.detail or "")
        return False
    assert attempt.outcome is Outcome.OURS
    return True


@pytest.mark.parametrize("host", PRIVATE)
async def test_what_the_sender_refuses_is_refused_by_check(host):
    assert not await sent(host, proxied=True)
    said = mistake(host)
    assert said
    assert said.endswith(IMPROPER if host in ODD else PRIVATE_WORDS)


@pytest.mark.parametrize("host", sorted(set(PRIVATE) - ODD))
def test_what_check_refuses_as_private_is_allowed_by_allow_private(host):
    assert mistake(host, allow_private=True) is None


@pytest.mark.parametrize("host", NOT_PRIVATE)
async def test_what_check_takes_the_sender_sends(host):
    """What a name leads to shows only when it is resolved."""
    assert await sent(host, proxied=True)
    assert mistake(host) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f000001", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
async def test_without_a_proxy_the_sender_refuses_them_at_the_socket(host):
    assert not await sent(host, proxied=False)


@pytest.mark.parametrize("host", ["134744072", "8.8.2056", "010.8.8.8"])
def test_an_address_in_a_form_that_no_request_can_be_sent_to_is_refused_by_check(host):
    for allow_private in (False, True):
        assert (mistake(host, allow_private=allow_private) or "").endswith(IMPROPER)

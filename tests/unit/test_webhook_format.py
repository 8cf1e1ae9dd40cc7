"""The plain webhook's request."""

import base64
import json
from datetime import UTC, datetime

import pytest
from event_samples import ended, events, receiver
from hypothesis import given
from standardwebhooks.webhooks import Webhook as Official
from standardwebhooks.webhooks import WebhookVerificationError

from cambwatch.core.event_json import notification_body
from cambwatch.core.events import Event
from cambwatch.core.formats import FORMATS
from cambwatch.core.formats.webhook import FORMAT
from cambwatch.core.model import Status
from cambwatch.core.redaction import Secret

SECRETS = tuple(Secret("whsec_" + base64.b64encode(bytes([n]) * 32).decode()) for n in (1, 2))
AT = datetime(2026, 11, 22, 6, 0, 0, 999_999, tzinfo=UTC)


@given(events)
def test_official_library_verifies_every_message_with_every_secret(event: Event) -> None:
    """Whatever the event holds; the library insists on a fresh timestamp."""
    message = FORMAT.render(event, receiver("webhook", secrets=SECRETS), delivery_id="msg_1", at=datetime.now(UTC))
    for secret in SECRETS:
        seen = Official(secret.reveal()).verify(message.body, dict(message.headers))
        assert seen["type"] == event.type


def test_changed_body_is_noticed() -> None:
    """The signature is over the bytes that are sent."""
    message = FORMAT.render(ended(), receiver("webhook", secrets=SECRETS), delivery_id="msg_1", at=datetime.now(UTC))
    with pytest.raises(WebhookVerificationError):
        Official(SECRETS[0].reveal()).verify(message.body + b" ", dict(message.headers))


def test_body_is_the_notification_in_compact_utf8() -> None:
    """No escapes, no spaces."""
    event = ended(Status.ERROR, name="Édith ✨")
    message = FORMAT.render(event, receiver("webhook"), delivery_id="msg_1", at=AT)
    assert json.loads(message.body) == notification_body(event)
    assert "Édith ✨".encode() in message.body
    assert b'{"type":"camb.task.error","timestamp":' in message.body


def test_headers_without_a_secret() -> None:
    """The timestamp is whole seconds, rounded down; there is no signature."""
    message = FORMAT.render(ended(), receiver("webhook"), delivery_id="msg_1", at=AT)
    assert message.headers == {
        "content-type": "application/json",
        "webhook-id": "msg_1",
        "webhook-timestamp": "1795327200",
    }


def test_configured_headers_are_sent_but_cannot_forge_the_webhooks_own() -> None:
    """In any spelling; the content type is theirs to choose."""
    configured = {
        "Authorization": Secret("Bearer x"),
        "Webhook-Id": Secret("forged"),
        "WEBHOOK-SIGNATURE": Secret("forged"),
        "Content-Type": Secret("application/x-camb+json"),
    }
    message = FORMAT.render(
        ended(), receiver("webhook", headers=configured, secrets=SECRETS), delivery_id="msg_1", at=AT
    )
    assert message.headers["authorization"] == "Bearer x"
    assert message.headers["webhook-id"] == "msg_1"
    assert message.headers["webhook-signature"].startswith("v1,")
    assert message.headers["content-type"] == "application/x-camb+json"
    assert all(name == name.lower() for name in message.headers)


def test_no_rate_but_the_configured_one() -> None:
    """Custom receivers say by 429 what they bear."""
    assert FORMATS["webhook"].rate is None

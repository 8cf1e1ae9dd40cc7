"""The plain webhook: JSON or a template, signed as Standard Webhooks 1.0.0 requires (HMAC-SHA256)."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cambwatch.core.event_json import notification_body
from cambwatch.core.events import Event
from cambwatch.core.formats.message import Message, compact_json, headers_for
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination, RateLimit

PREFIX = "whsec_"
SHORTEST_KEY = 24  # bytes, both by the specification
LONGEST_KEY = 64


def sign(secrets: Sequence[Secret], *, delivery_id: str, timestamp_s: int, body: bytes) -> str:
    """
    The value of `webhook-signature`: one `v1,<base64>` for each secret, in their order.

    *timestamp_s* is the value of `webhook-timestamp`, *body* the exact bytes that
    are sent. The secrets have passed check_secret_format().
    """
    signed = f"{delivery_id}.{timestamp_s}.".encode() + body
    digests = (hmac.new(_key(secret.reveal()), signed, hashlib.sha256).digest() for secret in secrets)
    return " ".join(f"v1,{b64encode(digest).decode()}" for digest in digests)


def check_secret_format(text: str) -> None:
    """Raise ValueError, which never holds *text* itself, unless it is a secret that sign() takes."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a signing secret starts with {PREFIX}")
    try:
        key = _key(text)
    except ValueError as error:  # says what is wrong with base64, holds nothing of it
        raise ValueError(f"what follows {PREFIX} in a signing secret is base64, with + and /") from error
    if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
        raise ValueError(f"a signing secret holds {SHORTEST_KEY} to {LONGEST_KEY} bytes, this one holds {len(key)}")


def _key(text: str) -> bytes:
    # The official libraries take secrets without padding, too; what is too much of it is an error from Python 3.13 on.
    encoded = text.removeprefix(PREFIX).rstrip("=")
    return b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)


@dataclass(frozen=True, slots=True)
class WebhookFormat:
    """Any receiver that takes our JSON; it says by 429 when we are too fast."""

    rate: RateLimit | None = None

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The request of an attempt made at *at*; the configured headers cannot take the place of the webhook's own."""
        document = notification_body(event)
        template = destination.template
        content = compact_json(document) if template is None else template.render({**document, "id": delivery_id})
        timestamp_s = int(at.timestamp())
        headers = headers_for(destination)
        headers["webhook-id"] = delivery_id
        headers["webhook-timestamp"] = str(timestamp_s)
        if destination.secrets:
            headers["webhook-signature"] = sign(
                destination.secrets, delivery_id=delivery_id, timestamp_s=timestamp_s, body=content
            )
        return Message(content, headers)

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """None: a program gets every event."""
        del events, destination, late
        return None

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """None: a program gets all of an event or nothing."""
        del event, destination
        return None


FORMAT = WebhookFormat()

"""The plain webhook: the notification as JSON or by a template, signed as Standard Webhooks 1.0.0 asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cambwatch.core.delivery.signature import sign
from cambwatch.core.event_json import notification_body
from cambwatch.core.events import Event
from cambwatch.core.formats.message import Message, compact_json, headers_for
from cambwatch.core.routing import Destination, RateLimit


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

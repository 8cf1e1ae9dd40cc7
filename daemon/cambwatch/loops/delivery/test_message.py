"""One real message to see whether a destination takes it: at once, outside of the lane and of what is owed."""

import structlog

from cambwatch.core.destinations import Destination
from cambwatch.core.events import webhook_id
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Attempt, Outcome
from cambwatch.core.sample_events import sample_test_message
from cambwatch.core.templates import TemplateError
from cambwatch.loops.clock import Clock
from cambwatch.loops.delivery.worker import Sender

log = structlog.get_logger()


async def send_test_message(destination: Destination, sender: Sender, *, clock: Clock) -> Attempt:
    """Send a message whose name says that it is a test; returns what came of it, and is not repeated."""
    now = clock.now()
    event = sample_test_message(now)
    try:
        message = FORMATS[destination.type].render(
            event, destination, delivery_id=webhook_id(event, destination.name), at=now
        )
    except TemplateError as error:
        attempt = Attempt(1, Outcome.PAYLOAD_REJECTED, took_ms=0, detail=f"the template: {error}")
    else:
        attempt = await sender.post(destination, message, number=1)
    log.info(
        "destination.tested",
        destination=destination.name,
        outcome=attempt.outcome,
        http_status=attempt.http_status,
        took_ms=attempt.took_ms,
        detail=attempt.detail,
    )
    return attempt

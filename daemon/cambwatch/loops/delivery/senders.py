"""Composes a request from due deliveries and sends it: a single event, a digest or a test message."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

import structlog

from cambwatch.core.delivery.attempts import PendingDelivery
from cambwatch.core.events import Event, sample_test_message, webhook_id
from cambwatch.core.formats import FORMATS, Message
from cambwatch.core.lifecycle import is_late, needs_plain_format
from cambwatch.core.model import Attempt, Delivery, Outcome
from cambwatch.core.routing import Destination
from cambwatch.core.templates import TemplateError
from cambwatch.loops.scheduler import Clock

log = structlog.get_logger()


class Sender(Protocol):
    """What carries a message to its receiver."""

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt: ...


def describe_bug(error: Exception) -> str:
    """The stored description of a bug in cambwatch, without the text of *error*, which may contain a secret."""
    return (
        f"a bug in cambwatch ({type(error).__name__}): the log says more at delivery.internal_error; please report it"
    )


def can_join_digest(delivery: Delivery, destination: Destination, now: datetime) -> bool:
    """Whether *delivery* goes into one message with others: it is late, or its chat wants digests of all."""
    if destination.type == "webhook" or needs_plain_format(delivery):
        return False
    return destination.digest is not None or is_late(delivery, now)


def compose_digest(
    queued: Sequence[PendingDelivery], destination: Destination, now: datetime
) -> tuple[Message, int] | None:
    """One message about the first n >= 2 of *queued*, and n; None: each is sent alone."""
    late = any(is_late(delivery, now) for delivery, _ in queued)
    try:
        digest = FORMATS[destination.type].digest([event for _, event in queued], destination, late=late)
    except Exception:  # a bug with one event must not take the others with it
        log.exception("delivery.internal_error", destination=destination.name, deliveries=len(queued))
        return None
    return digest if digest is not None and digest[1] > 1 else None


def compose(delivery: Delivery, event: Event, destination: Destination, now: datetime) -> Message | Attempt:
    """What says *event* by itself, plainly where its form was refused; an attempt that failed if it cannot be said."""
    number = delivery.attempts + 1
    form = FORMATS[destination.type]
    try:
        plain = form.plain(event, destination) if needs_plain_format(delivery) else None
        return plain or form.render(event, destination, delivery_id=delivery.id, at=now)
    except TemplateError as error:
        return Attempt(number, Outcome.PAYLOAD_REJECTED, took_ms=0, detail=f"the template: {error}")
    except Exception as error:  # a bug with one event must not stop the worker
        log.exception("delivery.internal_error", destination=destination.name, delivery_id=delivery.id)
        return Attempt(number, Outcome.OURS, took_ms=0, detail=describe_bug(error))


class SenderByType:
    """The sender in *own* for the destination types named there, *otherwise* for all others."""

    def __init__(self, otherwise: Sender, *, own: Mapping[str, Sender]) -> None:
        self._otherwise = otherwise
        self._own = own

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt:
        """Make attempt *number* with the sender of the destination's type."""
        sender = self._own.get(destination.type, self._otherwise)
        return await sender.post(destination, message, number=number)


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

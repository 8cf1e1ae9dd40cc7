"""Deliveries with what they are about, attempts, destinations: as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from cambwatch.core.apprise_url import public_host
from cambwatch.core.delivery.breaker import Breaker, BreakerState
from cambwatch.core.destinations import Destination
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Attempt, Backlog, Delivery, DeliverySubject, Outcome, PastAttempt
from cambwatch.web.api.views import TIMESTAMP, DeliveryView, JsonObject, delivery_view, instant


class ListedDeliveryView(DeliveryView):
    """A delivery, and what it tells of: a task, the completion of a group, or trouble with another destination."""

    event_type: str = Field(examples=["camb.task.success"])
    account: str | None
    kind: str | None
    task_id: str | None = Field(description="null: it tells of no task")
    name: str | None
    group: str | None
    about_destination: str | None = Field(
        description="the destination that is down or has recovered; null: it tells of none"
    )


class DeliveryPage(BaseModel):
    """Part of a listing, newest first."""

    items: list[ListedDeliveryView]
    next_cursor: str | None = Field(description="for `cursor` of the next request; null at the end")


class AttemptView(BaseModel):
    """One request to a receiver, and what came of it."""

    number: int
    at: str = Field(description=f"when the outcome was known; {TIMESTAMP}")
    outcome: Outcome
    http_status: int | None
    took_ms: int
    detail: str | None = Field(description="the receiver's words, up to 1 KiB, or what went wrong")
    delivery_count: int = Field(description="deliveries that this request told of: of a digest, several")


class DetailedDeliveryView(ListedDeliveryView):
    """A delivery with its attempts."""

    history: list[AttemptView] = Field(description="oldest first; of many, the last 50")


class RetryResponse(BaseModel):
    """How many deliveries are due now that were not."""

    queued: int


class DestinationView(BaseModel):
    """A destination, and how it stands."""

    name: str
    type: str
    host: str | None = Field(description="of its URL, of which the rest is a secret")
    waiting: int = Field(description="deliveries that are not closed")
    oldest_waiting_at: str | None = Field(description=f"since when the oldest of them is owed; {TIMESTAMP}")
    last_outcome: Outcome | None = Field(
        description="of the last attempt since the daemon started, as are the next two"
    )
    last_http_status: int | None
    last_attempt_at: str | None = Field(description=TIMESTAMP)
    breaker: BreakerState = Field(description="open: it fails, and what it is owed waits but for one at a time")
    failing_since: str | None = Field(description=f"since when nothing was accepted; {TIMESTAMP}")
    paused_until: str | None = Field(
        description=f"nothing is posted before: it limits us, or its breaker is open; {TIMESTAMP}"
    )
    fallback: str | None = Field(description="who hears when it is down")


class DestinationStatus(Protocol):
    """What delivers to one destination."""

    @property
    def last(self) -> PastAttempt | None: ...
    @property
    def breaker(self) -> Breaker: ...
    @property
    def state(self) -> BreakerState: ...
    @property
    def paused_until(self) -> datetime | None: ...


class DestinationPage(BaseModel):
    """All destinations."""

    items: list[DestinationView]


class TestMessageView(BaseModel):
    """What came of a test message."""

    destination: str
    outcome: Outcome
    http_status: int | None
    took_ms: int
    detail: str | None = Field(description="the receiver's words, or what went wrong")


def listed_delivery_view(delivery: Delivery, subject: DeliverySubject) -> JsonObject:
    """*delivery* of *subject* as the API shows it: the members of an ListedDeliveryView."""
    return delivery_view(delivery) | {
        "event_type": subject.event_type,
        "account": subject.account,
        "kind": subject.kind,
        "task_id": subject.task_id,
        "name": subject.name,
        "group": subject.group,
        "about_destination": subject.about_destination,
    }


def detailed_delivery_view(
    delivery: Delivery, subject: DeliverySubject, kept: Sequence[PastAttempt]
) -> DetailedDeliveryView:
    """The same with the attempts that are *kept* of it."""
    history = [
        AttemptView(
            number=past.attempt.number,
            at=rfc3339(past.at),
            outcome=past.attempt.outcome,
            http_status=past.attempt.http_status,
            took_ms=past.attempt.took_ms,
            detail=past.attempt.detail,
            delivery_count=past.attempt.delivery_count,
        )
        for past in kept
    ]
    return DetailedDeliveryView(**listed_delivery_view(delivery, subject), history=history)


def destination_view(
    destination: Destination,
    backlog: Backlog | None,
    *,
    worker: DestinationStatus,
) -> DestinationView:
    """*destination* as the API shows it."""
    url = destination.url.reveal()
    last = worker.last
    return DestinationView(
        name=destination.name,
        type=destination.type,
        host=public_host(url) if destination.type == "apprise" else urlsplit(url).hostname,
        waiting=0 if backlog is None else backlog.pending,
        oldest_waiting_at=None if backlog is None else rfc3339(backlog.oldest_pending_at),
        last_outcome=None if last is None else last.attempt.outcome,
        last_http_status=None if last is None else last.attempt.http_status,
        last_attempt_at=None if last is None else rfc3339(last.at),
        breaker=worker.state,
        failing_since=instant(worker.breaker.failing_since),
        paused_until=instant(worker.paused_until),
        fallback=destination.fallback,
    )


def test_message_view(name: str, attempt: Attempt) -> TestMessageView:
    """What came of the test message to the destination *name*."""
    return TestMessageView(
        destination=name,
        outcome=attempt.outcome,
        http_status=attempt.http_status,
        took_ms=attempt.took_ms,
        detail=attempt.detail,
    )

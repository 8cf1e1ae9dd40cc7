"""The endpoints about deliveries, and how the API shows deliveries, attempts and destinations."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from http import HTTPStatus
from typing import Annotated, Literal, Protocol
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.delivery.breaker import Breaker, BreakerState
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import (
    Attempt,
    Backlog,
    Delivery,
    DeliveryFilter,
    DeliveryState,
    DeliverySubject,
    Outcome,
    PastAttempt,
)
from cambwatch.core.routing import Destination
from cambwatch.core.service_urls import public_host
from cambwatch.web.api.registration import mistake_from_pydantic
from cambwatch.web.api.requests import (
    read_delivery_cursor,
    read_delivery_filter,
    read_json,
    read_limit,
    write_delivery_cursor,
)
from cambwatch.web.api.tasks import json_answer
from cambwatch.web.api.views import TIMESTAMP, DeliveryView, JsonObject, delivery_view, instant
from cambwatch.web.connections import read_body
from cambwatch.web.problem_details import Mistake, ProblemError, unprocessable


class ListedDeliveryView(DeliveryView):
    """A delivery and its subject: a task, the completion of a group, or trouble with another destination."""

    event_type: str = Field(examples=["camb.task.success"])
    account: str | None
    kind: str | None
    task_id: str | None = Field(description="null: it is not about a task")
    name: str | None
    group: str | None
    about_destination: str | None = Field(
        description="the destination that is down or has recovered; null: it is not about a destination"
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
    delivery_count: int = Field(description="deliveries in this request, several for a digest")


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
    pending: int = Field(description="pending deliveries")
    oldest_pending_at: str | None = Field(description=f"when the oldest of them was created; {TIMESTAMP}")
    last_outcome: Outcome | None = Field(
        description="of the last attempt since the daemon started, as are the next two"
    )
    last_http_status: int | None
    last_attempt_at: str | None = Field(description=TIMESTAMP)
    breaker: BreakerState = Field(description="open: it fails, and only probes are sent")
    failing_since: str | None = Field(description=f"since when nothing was accepted; {TIMESTAMP}")
    paused_until: str | None = Field(
        description=f"nothing is posted before: it limits us, or its breaker is open; {TIMESTAMP}"
    )
    fallback: str | None = Field(description="gets an alert when it is down")


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
        pending=0 if backlog is None else backlog.pending,
        oldest_pending_at=None if backlog is None else rfc3339(backlog.oldest_pending_at),
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


log = structlog.get_logger()


class ApiDeliveryStore(Protocol):
    """Where deliveries are looked up and tried again."""

    async def page(
        self, wanted: DeliveryFilter, *, limit: int, before: tuple[datetime, str] | None
    ) -> list[tuple[Delivery, DeliverySubject]]: ...
    async def delivery(self, delivery_id: str) -> tuple[Delivery, DeliverySubject, list[PastAttempt]] | None: ...
    async def retry(self, delivery_id: str, *, now: datetime) -> bool: ...
    async def retry_some(
        self, state: DeliveryState, *, destinations: Collection[str], since: datetime | None, now: datetime
    ) -> int: ...


def _instant(text: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("is no instant: write RFC 3339, such as 2026-11-22T06:00:00Z")
    return text


class RetryRequest(BaseModel):
    """Which deliveries are to be tried again; all parts must hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    destination: Annotated[str, Field(max_length=64)] | None = Field(None, description="all, if not given")
    state: Literal["dead", "pending"] = Field(
        "dead", description="pending: those that wait for their next attempt are due now"
    )
    since: (
        Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_instant)] | None
    ) = Field(None, description="only of events from then on; RFC 3339", examples=["2026-11-22T06:00:00Z"])


class DeliveryEndpoints:
    """Lists, shows and retries deliveries."""

    def __init__(
        self,
        delivery_store: ApiDeliveryStore,
        destinations: Mapping[str, Destination],
        *,
        wake_deliverer: Callable[[Collection[str]], None],
        now: Callable[[], datetime],
    ) -> None:
        """*wake_deliverer* is called with the destinations that have deliveries to retry."""
        self._delivery_store = delivery_store
        self._destinations = destinations
        self._wake_deliverer = wake_deliverer
        self._now = now

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Deliveries, newest first."""
        wanted = read_delivery_filter(request)
        limit = read_limit(request.query)
        # One more than requested shows whether there is a next page.
        found = await self._delivery_store.page(wanted, limit=limit + 1, before=read_delivery_cursor(request.query))
        views = [listed_delivery_view(delivery, subject) for delivery, subject in found[:limit]]
        last = found[limit - 1][0] if len(found) > limit else None
        next_cursor = None if last is None else write_delivery_cursor(last.created_at, last.id)
        return json_answer({"items": views, "next_cursor": next_cursor})

    async def delivery(self, request: web.Request) -> web.StreamResponse:
        """A delivery with its attempts."""
        return json_answer(await self._view(request.match_info["id"]))

    async def retry(self, request: web.Request) -> web.StreamResponse:
        """Try a delivery again: it is due now, with a fresh budget."""
        delivery_id = request.match_info["id"]
        found = await self._view(delivery_id)
        if found.destination not in self._destinations:
            raise ProblemError(
                HTTPStatus.CONFLICT,
                f"its destination {found.destination} is not in the configuration, so it would not be sent",
            )
        if not await self._delivery_store.retry(delivery_id, now=self._now()):
            found = await self._view(delivery_id)
            raise ProblemError(
                HTTPStatus.CONFLICT, f"the delivery is {found.state.value}; only what is dead or pending is tried again"
            )
        self._wake_deliverer([found.destination])
        log.info("deliveries.requeued", delivery_id=delivery_id, destination=found.destination, queued=1)
        return json_answer(RetryResponse(queued=1), status=HTTPStatus.ACCEPTED)

    async def retry_some(self, request: web.Request) -> web.StreamResponse:
        """Try all deliveries again that the body describes, by steps; what a step has queued stays queued."""
        selection = self._read_selection(await read_body(request))
        names = self._destinations if selection.destination is None else [selection.destination]
        since = None if selection.since is None else datetime.fromisoformat(selection.since)
        now = self._now()  # of all steps: by it the next one knows what the last one did
        queued = 0
        try:
            while batch := await self._delivery_store.retry_some(
                DeliveryState(selection.state), destinations=names, since=since, now=now
            ):
                queued += batch
                self._wake_deliverer(names)
        except StoreUnavailableError as error:
            if not queued:
                raise
            log.warning("store.unavailable", operation="retry", queued=queued, error=str(error))
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{queued} deliveries are queued, then the database took no more: ask again for the rest",
                headers={"retry-after": "5"},
            ) from None
        log.info("deliveries.requeued", **selection.model_dump(exclude_none=True), queued=queued)
        return json_answer(RetryResponse(queued=queued), status=HTTPStatus.ACCEPTED)

    def _read_selection(self, body: bytes) -> RetryRequest:
        """What *body* asks for; an empty object means all that are dead, an empty body nothing that can be guessed."""
        try:
            selection = RetryRequest.model_validate(read_json(body))
        except ValidationError as error:
            mistakes = error.errors(include_url=False, include_input=False)
            raise unprocessable(
                [mistake_from_pydantic(one, known=RetryRequest.model_fields) for one in mistakes]
            ) from None
        if selection.destination is not None and selection.destination not in self._destinations:
            close = get_close_matches(selection.destination, self._destinations, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            detail = f"there is no destination {selection.destination!r} in the configuration{hint}"
            raise unprocessable([Mistake(pointer="#/destination", detail=detail)])
        return selection

    async def _view(self, delivery_id: str) -> DetailedDeliveryView:
        found = await self._delivery_store.delivery(delivery_id)
        if found is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "there is no delivery with this id")
        delivery, subject, kept = found
        return detailed_delivery_view(delivery, subject, kept)

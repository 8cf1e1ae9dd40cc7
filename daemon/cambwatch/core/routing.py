"""Destinations, routes, and which destinations an event is delivered to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.events import GroupComplete, RoutedEvent, TaskEnded
from cambwatch.core.model import Status
from cambwatch.core.redaction import Secret
from cambwatch.core.templates import BodyTemplate


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most *per_second* on average and *burst* at once; both > 0."""

    per_second: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Destination:
    """
    A named receiver.

    *type* is a name of formats.FORMATS. With *secrets* every request is signed with
    each of them, so that a receiver can change from one to the next. *template* makes
    the whole body of type webhook, in place of the notification. *timeout* covers an
    attempt from the first byte of the dial to the last of the answer. *fallback*, the
    name of another destination, gets an alert when this one has accepted nothing for *alert_after*.
    With *digest* the events of that time, counted from the first, go out in one message.
    """

    name: str
    type: str
    url: Secret
    secrets: tuple[Secret, ...] = ()
    headers: Mapping[str, Secret] = field(default_factory=dict)
    template: BodyTemplate | None = None
    timeout: timedelta = timedelta(seconds=15)
    concurrency: int = 4
    rate: RateLimit | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    allow_private: bool = False
    alert_after: timedelta = timedelta(minutes=15)
    fallback: str | None = None
    digest: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """What a route asks of an event; an empty part asks nothing, all parts must hold."""

    events: frozenset[str] = frozenset()  # "task", "group"
    statuses: frozenset[Status] = frozenset()
    kinds: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """If *condition* matches, deliver to *notify*."""

    condition: Condition
    notify: tuple[str, ...]


TASK = "task"
GROUP = "group"
_UNROUTED_STATUSES = frozenset({Status.PENDING, Status.REMOVED})


def destinations_for(
    event: RoutedEvent, *, routes: Sequence[Route], destinations: Collection[str], notify: tuple[str, ...] | None
) -> tuple[str, ...]:
    """
    The names of *destinations*, in their order, that hear of *event*.

    A task's own *notify* takes the place of the routes, an empty one means nobody.
    Else every route that matches adds its destinations, and without any routes all
    hear everything. Names that are no destination (any more) are left out.
    """
    if isinstance(event, TaskEnded) and event.status in _UNROUTED_STATUSES:
        return ()
    if notify is not None:
        named = set(notify)
    elif not routes:
        named = set(destinations)
    else:
        named = {name for route in routes if matches(route.condition, event) for name in route.notify}
    return tuple(name for name in dict.fromkeys(destinations) if name in named)


def matches(condition: Condition, event: RoutedEvent) -> bool:
    """Whether *event* is what *condition* asks for."""
    match event:
        case TaskEnded():
            return _matches_task(condition, event)
        case GroupComplete():
            return _matches_group(condition, event)
        case _:
            assert_never(event)


def _matches_task(condition: Condition, event: TaskEnded) -> bool:
    return (
        (not condition.events or TASK in condition.events)
        and (not condition.statuses or event.status in condition.statuses)
        and (not condition.kinds or event.kind in condition.kinds)
        and (not condition.accounts or event.account in condition.accounts)
        and (not condition.groups or event.group in condition.groups)
        and all(event.labels.get(label) == value for label, value in condition.labels.items())
    )


def _matches_group(condition: Condition, event: GroupComplete) -> bool:
    """A group has no status, kind, account or label: who asks for one means tasks, unless groups are named as well."""
    if condition.events:
        wanted = GROUP in condition.events
    else:
        wanted = not (condition.statuses or condition.kinds or condition.accounts or condition.labels)
    return wanted and (not condition.groups or event.group in condition.groups)

"""Who can be told, and what it takes: destinations and routes as the loops know them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.model import Status
from cambwatch.core.secret import Secret
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
    name of another destination, hears when this one has taken nothing for *alert_after*.
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
    """When *condition* holds, *notify* hear of it."""

    condition: Condition
    notify: tuple[str, ...]

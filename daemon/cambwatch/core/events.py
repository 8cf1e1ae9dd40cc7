"""What happened, as it is told: the end of a task, the completion of a group, trouble with a destination."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid5

from cambwatch.core.model import Json, Outcome, Status

_NAMESPACE = UUID("5f0c0a3e-6d1b-5b0e-9d5e-0f4f7d9b1c27")  # any constant will do; it must never change


@dataclass(frozen=True, slots=True)
class Link:
    """Something of a result that a person can open."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """
    A task reached the terminal *status* at *finished_at*.

    *result_pending*: cambwatch could not read the result, or all of it, in time, and retries.
    """

    account: str
    kind: str
    task_id: str
    registrations: int
    status: Status
    registered_at: datetime
    finished_at: datetime
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    run_id: int | None = None
    exception_reason: str | None = None
    message: str | None = None
    polls: int = 0
    result_endpoint: str | None = None  # absolute URL
    result: Json = None
    links: tuple[Link, ...] = ()
    result_pending: bool = False

    @property
    def type(self) -> str:
        """The event's type on the wire."""
        return f"camb.task.{self.status.lower()}"

    @property
    def origin(self) -> str:
        """What this event is, once and for all: two events never share it."""
        # The instant, because the count begins anew once the task was forgotten.
        since = self.registered_at.isoformat()
        return f"{self.account}\n{self.kind}\n{self.task_id}\n{self.registrations}\n{self.type}\n{since}"


@dataclass(frozen=True, slots=True)
class GroupComplete:
    """All tasks of *group* are terminal; *counts* has a number for each status that occurs."""

    group: str
    counts: Mapping[str, int]
    tasks: int
    registered_at: datetime  # of its first task
    finished_at: datetime

    @property
    def type(self) -> str:
        """The event's type on the wire."""
        return "camb.group.complete"

    @property
    def origin(self) -> str:
        """What this event is, once and for all: two events never share it."""
        # The instant, because the name may be used anew once the group was forgotten.
        return f"{self.group}\n{self.type}\n{self.registered_at.isoformat()}"


@dataclass(frozen=True, slots=True)
class DestinationAlert:
    """
    *destination* has taken nothing from *since* to *at*, or, when *recovered*, takes messages again.

    Told to the destination's fallback, never by the routes. *waiting* is how many
    deliveries it was owed at *at*; *outcome* and *http_status* are those of the last
    attempt that failed.
    """

    destination: str
    since: datetime
    at: datetime
    recovered: bool
    waiting: int
    outcome: Outcome
    http_status: int | None = None

    @property
    def type(self) -> str:
        """The event's type on the wire; not `camb.`, because it is about us."""
        return f"cambwatch.destination.{'recovered' if self.recovered else 'down'}"

    @property
    def origin(self) -> str:
        """What this event is, once and for all: two events never share it."""
        return f"{self.destination}\n{self.since.isoformat()}\n{self.type}"

    @property
    def registered_at(self) -> datetime:
        """When it began."""
        return self.since

    @property
    def finished_at(self) -> datetime:
        """When it happened."""
        return self.at


RoutedEvent = TaskEnded | GroupComplete
"""What the routes decide about."""

Event = RoutedEvent | DestinationAlert


def webhook_id(event: Event, destination: str) -> str:
    """
    The id of what is owed: the same whenever the same end is told to the same destination.

    Holds no dot, because Standard Webhooks signs `id.timestamp.body`.
    """
    origin = f"{event.origin}\n{destination}"
    return f"msg_{uuid5(_NAMESPACE, origin).hex}"

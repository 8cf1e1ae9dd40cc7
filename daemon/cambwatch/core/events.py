"""What cambwatch notifies about: a finished task, a completed group, a destination in trouble; with samples of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
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


TEST_NAME = "Test message of cambwatch"
_TOOK = timedelta(seconds=41)
_AUDIO = "https://example.com/sample.flac"


@dataclass(frozen=True, slots=True)
class RoutingAttributes:
    """What routes ask of a task besides its kind and status."""

    account: str = "default"
    group: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


def sample_event(
    kind: str,
    status: Status,
    *,
    at: datetime,
    task_id: str = "sample",
    name: str = "Sample",
    attributes: RoutingAttributes | None = None,
) -> TaskEnded:
    """The end of a task that there is not, with the terminal *status*, at *at*."""
    attributes = attributes or RoutingAttributes()
    success = status is Status.SUCCESS
    return TaskEnded(
        account=attributes.account,
        kind=kind,
        task_id=task_id,
        registrations=1,
        status=status,
        registered_at=at - _TOOK,
        finished_at=at,
        name=name,
        labels=attributes.labels,
        group=attributes.group,
        run_id=123 if success else None,
        exception_reason="SAMPLE_REASON" if status is Status.ERROR else None,
        message=None if success else "This is a sample",
        polls=9,
        result={"output_url": _AUDIO} if success else None,
        links=(Link("Audio", _AUDIO),) if success else (),
    )


def sample_test_message(at: datetime) -> TaskEnded:
    """What a destination is tried out with at *at*; every instant has its own, so that none is taken for known."""
    task_id = f"test-{at:%Y%m%d-%H%M%S-%f}"
    return sample_event("dub", Status.SUCCESS, at=at, task_id=task_id, name=TEST_NAME)

"""The vocabulary: task, status, poll, report, step, event, destination, delivery, outcome, verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from cambwatch.core.delivery.retry import PauseReading

Json = Any
"""What a JSON document may hold; only passed on, never looked into without a check."""


class Status(StrEnum):
    """
    Where a task stands. The first five are Camb's own words, the rest are ours.

    Every status but PENDING is terminal.
    """

    PENDING = "PENDING"
    SUCCESS = "SUCCESS"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    PAYMENT_REQUIRED = "PAYMENT_REQUIRED"
    EXPIRED = "EXPIRED"  # our deadline passed
    NOT_FOUND = "NOT_FOUND"  # Camb does not know the task
    REMOVED = "REMOVED"  # a user stopped watching; nobody is told


RESTARTABLE_STATUSES = frozenset({Status.REMOVED, Status.EXPIRED, Status.NOT_FOUND})
"""Statuses that are not Camb's last word: registering such a task again watches it again."""


class TaskKey(NamedTuple):  # which is made and looked up several times as fast as a dataclass
    """What names a task: *kind* is a name of kinds.KINDS, *task_id* is opaque and case-sensitive."""

    account: str
    kind: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Registration:
    """A wish to watch a task. *notify* None means: the routes decide who hears of it."""

    key: TaskKey
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    notify: tuple[str, ...] | None = None
    group: str | None = None
    group_size: int | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)  # what a result needs besides run_id
    deadline: timedelta = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Task:
    """
    A Camb job that somebody wants to hear of.

    *id* is ours, grows with time, and stays when the task is watched anew;
    *registrations* counts those times, from 1. *finished_at* is None exactly
    while *status* is PENDING. *polls* counts from the last start of the process
    that watches; it is written down when the task ends. *known*: Camb has
    returned a status for this task.
    """

    id: int
    key: TaskKey
    registrations: int
    status: Status
    registered_at: datetime
    deadline_at: datetime
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    notify: tuple[str, ...] | None = None
    group: str | None = None
    group_size: int | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)
    run_id: int | None = None
    exception_reason: str | None = None
    message: str | None = None
    result: Json = None
    polls: int = 0
    first_polled_at: datetime | None = None
    finished_at: datetime | None = None
    known: bool = False


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """What came of a registration; *new* is False where the task was known already and left as it is."""

    task: Task
    new: bool


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks a listing shows; an empty part asks nothing, all parts must hold."""

    statuses: frozenset[Status] = frozenset()
    kinds: frozenset[str] = frozenset()
    group: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None


@dataclass(frozen=True, slots=True)
class GroupState:
    """
    Where the tasks of a group stand: a number for each status that occurs.

    Complete when all of them are terminal and as many are known as *size* says,
    where one was given.
    """

    group: str
    counts: Mapping[Status, int]
    size: int | None
    registered_at: datetime  # of its first task

    @property
    def tasks(self) -> int:
        """How many are known."""
        return sum(self.counts.values())

    @property
    def complete(self) -> bool:
        """Whether nothing more is to be waited for."""
        return not self.counts.get(Status.PENDING) and self.tasks >= (self.size or 1)


class Fault(StrEnum):
    """Why Camb gave no answer that says anything about the task."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    DNS = "dns"
    TLS = "tls"
    UNREADABLE = "unreadable"  # HTML, truncated or otherwise not JSON
    OVERSIZED = "oversized"
    MALFORMED = "malformed"  # JSON, but no shape of a status
    UNEXPECTED = "unexpected"  # an HTTP status that Camb has no use for here
    FOREIGN = "foreign"  # a refusal that is not in Camb's form: a proxy, gateway or firewall answered
    NOT_READY = "not_ready"  # of a result: the task has ended, and its result is not there yet


@dataclass(frozen=True, slots=True)
class PendingReply:
    """Camb still works on the task. *unknown_status* is its status if that is not one that cambwatch knows."""

    unknown_status: str | None = None


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """
    Camb is done with the task.

    *certain* is False if the status is not in Camb's own words or in an unusual shape. Another
    server may have sent it, so a second poll has to confirm it.
    """

    status: Status
    run_id: int | None = None
    exception_reason: str | None = None
    message: str | None = None
    certain: bool = True


@dataclass(frozen=True, slots=True)
class UnconfirmedReply:
    """A run without a status word: finished if, and only if, its result can be fetched."""

    run_id: int


@dataclass(frozen=True, slots=True)
class UnknownTaskReply:
    """Camb does not know the task (404, 410)."""

    detail: str | None = None


@dataclass(frozen=True, slots=True)
class InvalidTaskIdReply:
    """Camb refuses the task_id itself (422)."""

    detail: str | None = None


@dataclass(frozen=True, slots=True)
class ForbiddenReply:
    """Camb refuses the key (401), or access to this task with it (403)."""

    http_status: int
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class UnavailableReply:
    """
    No answer to the question. *retry_after* is Camb's own wish, never negative.

    *reading* is how that was understood, where the log should say so.
    """

    fault: Fault
    retry_after: timedelta | None = None
    detail: str | None = None
    reading: PauseReading | None = None


_Refusal = UnconfirmedReply | UnknownTaskReply | InvalidTaskIdReply | ForbiddenReply | UnavailableReply
PollReply = PendingReply | FinishedReply | _Refusal


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The task reached a terminal status: write it down and owe its event."""

    status: Status
    run_id: int | None = None
    exception_reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """Try to fetch the result of *run_id*: only that tells whether the task ended."""

    run_id: int


@dataclass(frozen=True, slots=True)
class PollAgain:
    """Ask again after *pause*."""

    pause: timedelta


@dataclass(frozen=True, slots=True)
class PauseAccount:
    """Ask nothing for this account but a probe now and then; ask for this task after *pause*."""

    http_status: int
    pause: timedelta


PollDecision = Conclusion | Confirm | PollAgain | PauseAccount


class DeliveryState(StrEnum):
    """Where a delivery stands; only `pending` can be left by itself."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    One event owed to one destination.

    *id* is the webhook-id: the same over every attempt, other for another
    event, another destination or a task watched anew. *attempts* counts those
    whose outcome was recorded. *next_attempt_at* is None unless *state* is
    pending. *budget_from* is when somebody wished for another try: the budget of
    retries counts from there, None: from *created_at*. *uncharged* is how much of the
    time since then does not count, because the delivery had to wait for something
    else than its own pauses.
    """

    id: str
    event_id: int
    destination: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None = None
    outcome: "Outcome | None" = None  # of the last attempt within the budget
    http_status: int | None = None  # of the same, None when there was no answer
    detail: str | None = None  # of the same: the first words of the answer, or what went wrong
    budget_from: datetime | None = None
    uncharged: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class DeliverySubject:
    """The subject of a delivery: the event's type and its task (with *kind*), group or destination."""

    event_type: str
    account: str | None = None
    kind: str | None = None
    task_id: str | None = None
    name: str | None = None
    group: str | None = None
    about_destination: str | None = None


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many deliveries wait for a destination, at least one, and since when the oldest is owed."""

    pending: int
    oldest_pending_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries a listing shows; an empty part asks nothing, all parts must hold."""

    states: frozenset[DeliveryState] = frozenset()
    destination: str | None = None
    task_id: str | None = None


class Outcome(StrEnum):
    """What became of one attempt: the log field and the column."""

    ACCEPTED = "accepted"
    ACCEPTED_UNVERIFIED = "accepted_unverified"  # taken, but its fate is not known (Teams: 202)
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"
    PAYLOAD_REJECTED = "payload_rejected"
    DESTINATION_GONE = "destination_gone"
    AUTH = "auth"
    POLICY = "policy"  # refused by a rule: ours about addresses, or the workspace's
    OURS = "ours"  # our own trouble: shutdown, disk, rendering


ACCEPTED = frozenset({Outcome.ACCEPTED, Outcome.ACCEPTED_UNVERIFIED})
"""The receiver has accepted the message, as far as cambwatch knows."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One POST and what came of it; *number* counts from 1.

    *accepts_again_after* is how long the receiver takes nothing more, as it says beside having
    accepted. *delivery_count* is the number of deliveries in the POST, several for a digest.
    *reading* is how the receiver's pause was understood, where the log should say so; it is not kept.
    """

    number: int
    outcome: Outcome
    took_ms: int
    http_status: int | None = None
    retry_after: timedelta | None = None
    detail: str | None = None
    accepts_again_after: timedelta | None = None
    delivery_count: int = 1
    reading: PauseReading | None = None


@dataclass(frozen=True, slots=True)
class PastAttempt:
    """An attempt as it is kept: *at* is when its outcome was known."""

    at: datetime
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """
    The next attempt is due at *at*, on no account before *not_before*.

    *uncharged* is how much of the delivery's time so far, and until then, its budget is not charged with.
    """

    at: datetime
    not_before: datetime | None = None
    uncharged: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further attempt by itself: the delivery is dead."""


DeliveryDecision = Delivered | RetryAt | GiveUp

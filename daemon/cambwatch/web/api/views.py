"""A task, a delivery, a group, a kind: as the API shows them."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, Field

from cambwatch.core.guidance import guidance_for
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Delivery, DeliveryState, GroupState, Json, Outcome, Status, Task

TIMESTAMP = "RFC 3339, UTC, milliseconds"
JsonObject = dict[str, Json]
"""The members of a model, in its order, for answers that hold a thousand: what is ours needs no check."""


class DeliveryView(BaseModel):
    """One event owed to one destination."""

    id: str = Field(description="the webhook-id")
    destination: str
    state: DeliveryState
    attempts: int
    outcome: Outcome | None = Field(description="of the last attempt; null again where another try was wished for")
    http_status: int | None = Field(description="of the same")
    detail: str | None = Field(description="of the same: the receiver's words, or what went wrong")
    created_at: str
    next_attempt_at: str | None
    finished_at: str | None


class TaskView(BaseModel):
    """A task that is or was watched."""

    account: str
    kind: str
    task_id: str
    name: str | None
    labels: dict[str, str]
    group: str | None
    notify: list[str] | None
    status: Status
    run_id: int | None
    exception_reason: str | None
    message: str | None
    icon: str
    action: str
    registered_at: str = Field(description=TIMESTAMP)
    first_polled_at: str | None = Field(description=TIMESTAMP)
    finished_at: str | None = Field(description=TIMESTAMP)
    next_poll_at: str | None = Field(description=f"{TIMESTAMP}; null while it is asked for and when it has ended")
    polls: int = Field(description="while it is pending: since the daemon started, with what was written down before")
    deadline_at: str = Field(description=TIMESTAMP)
    limited_by: Literal["budget"] | None = Field(
        description="budget: requests_per_second of the account does not suffice to ask for its tasks when they are due"
    )
    result_endpoint: str | None
    result: Any
    deliveries: list[DeliveryView]


class TaskPage(BaseModel):
    """Part of a listing, newest first."""

    items: list[TaskView]
    next_cursor: str | None = Field(description="for `cursor` of the next request; null at the end")


class GroupView(BaseModel):
    """Where the tasks of a group stand."""

    group: str
    counts: dict[str, int] = Field(description="a number for each status that occurs")
    tasks: int
    group_size: int | None
    complete: bool


class Readiness(BaseModel):
    """Whether the daemon does its job, and if not, why."""

    ready: bool
    reasons: list[str]


def instant(at: datetime | None) -> str | None:
    """*at* on the wire."""
    return None if at is None else rfc3339(at)


def delivery_view(delivery: Delivery) -> JsonObject:
    """*delivery* as the API shows it: the members of a DeliveryView."""
    return {
        "id": delivery.id,
        "destination": delivery.destination,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "outcome": delivery.outcome,
        "http_status": delivery.http_status,
        "detail": delivery.detail,
        "created_at": rfc3339(delivery.created_at),
        "next_attempt_at": instant(delivery.next_attempt_at),
        "finished_at": instant(delivery.finished_at),
    }


class TaskViews:
    """Tasks as one answer shows them; what many of them share is said once."""

    def __init__(self) -> None:
        self._instant = cache(instant)
        self._guide = cache(guidance_for)

    def view(
        self,
        task: Task,
        *,
        next_poll_at: datetime | None,
        limited: bool,
        result_endpoint: str | None,
        deliveries: Sequence[Delivery],
    ) -> JsonObject:
        """*task* as the API shows it."""
        guidance = self._guide(task.key.kind, task.status, task.exception_reason)
        return {
            "account": task.key.account,
            "kind": task.key.kind,
            "task_id": task.key.task_id,
            "name": task.name,
            "labels": task.labels,
            "group": task.group,
            "notify": task.notify,
            "status": task.status,
            "run_id": task.run_id,
            "exception_reason": task.exception_reason,
            "message": task.message,
            "icon": guidance.icon,
            "action": guidance.action,
            "registered_at": self._instant(task.registered_at),
            "first_polled_at": self._instant(task.first_polled_at),
            "finished_at": self._instant(task.finished_at),
            "next_poll_at": self._instant(next_poll_at),
            "polls": task.polls,
            "deadline_at": self._instant(task.deadline_at),
            "limited_by": "budget" if limited and task.status is Status.PENDING else None,
            "result_endpoint": result_endpoint,
            "result": task.result,
            "deliveries": [delivery_view(delivery) for delivery in deliveries],
        }


def group_view(state: GroupState) -> GroupView:
    """*state* as the API shows it."""
    return GroupView(
        group=state.group,
        counts={status.value: count for status, count in state.counts.items()},
        tasks=state.tasks,
        group_size=state.size,
        complete=state.complete,
    )

"""Maps rows to values of the core: instants as microseconds, JSON columns, and the search for a label."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from cambwatch.adapters.store.schema import NulSafeText, tasks
from cambwatch.core.model import Attempt, Delivery, DeliveryState, Outcome, PastAttempt, Status, Task, TaskKey

_encode = json.JSONEncoder(separators=(",", ":")).encode


def to_json(value: object) -> str:
    """*value* as the columns hold it."""
    return "{}" if value == {} else _encode(value)  # most tasks have no labels and no extra


def from_json(text: str) -> Any:
    """The value that a column holds."""
    return {} if text == "{}" else json.loads(text)


class json_each_text(GenericFunction[Any]):  # noqa: N801 - SQLAlchemy takes the function's name from here
    """The members of a JSON object as rows of `key` and `value`: PostgreSQL's, under the name it has there."""

    inherit_cache = True


@compiles(json_each_text, "sqlite")
def _json_each(function: json_each_text, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each{compiler.process(function.clause_expr, **options)}"


def has_label(name: str, value: str) -> sa.ColumnElement[bool]:
    """
    Whether a task has the label *name* with exactly this *value*.

    Not by `labels[name]`: a path into JSON has no way to quote a quote on SQLite,
    and does not find names that are stored with escapes, such as those beyond ASCII.
    """
    label = json_each_text(tasks.c.labels).table_valued("key", "value")
    return sa.exists().where(
        label.c.key == sa.literal(name, NulSafeText), label.c.value == sa.literal(value, NulSafeText)
    )


T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STATUSES = {status.value: status for status in Status}


def padded(values: Sequence[T]) -> Sequence[T]:
    """*values*, of which there is one, in one of a few lengths: a database keeps a plan for each length of an IN."""
    return [*values, *[values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))]


def to_micros(at: datetime) -> int:
    """*at* as the columns hold it."""
    return (at - _EPOCH) // _MICROSECOND


def span_to_micros(span: timedelta) -> int:
    """*span* as the columns hold it."""
    return span // _MICROSECOND


def instant(value: int) -> datetime:
    """The instant that a column holds."""
    return _EPOCH + timedelta(microseconds=value)


def instant_or_none(value: int | None) -> datetime | None:
    """The instant that a column holds, if it holds one."""
    return None if value is None else instant(value)


def task(row: Any) -> Task:
    """A task out of a row with all columns of `tasks`, in their order."""
    (
        number, account, kind, task_id, registrations, status, name, labels, notify, group, group_size, extra, run_id,
        exception_reason, message, result, polls, registered_at, first_polled_at, deadline_at, finished_at, _, known,
    ) = row  # fmt: skip
    return Task(
        id=number,
        key=TaskKey(sys.intern(account), sys.intern(kind), task_id),  # one text for all that share it
        registrations=registrations,
        status=_STATUSES[status],
        registered_at=instant(registered_at),
        deadline_at=instant(deadline_at),
        name=name,
        labels=labels,
        notify=None if notify is None else tuple(notify),
        group=group,
        group_size=group_size,
        extra=extra,
        run_id=run_id,
        exception_reason=exception_reason,
        message=message,
        result=result,
        polls=polls,
        first_polled_at=instant_or_none(first_polled_at),
        finished_at=instant_or_none(finished_at),
        known=known,
    )


def delivery(row: Any) -> Delivery:
    """A delivery out of a row that has all columns of `deliveries`."""
    return Delivery(
        id=row.id,
        event_id=row.event_id,
        destination=row.destination,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        created_at=instant(row.created_at),
        next_attempt_at=instant_or_none(row.next_attempt_at),
        finished_at=instant_or_none(row.finished_at),
        outcome=None if row.outcome is None else Outcome(row.outcome),
        http_status=row.http_status,
        detail=row.detail,
        budget_from=instant_or_none(row.budget_from),
        uncharged=timedelta(microseconds=row.uncharged),
    )


def attempt(row: Any) -> PastAttempt:
    """An attempt out of a row of `attempts`."""
    return PastAttempt(
        at=instant(row.at),
        attempt=Attempt(
            row.number,
            Outcome(row.outcome),
            row.took_ms,
            http_status=row.http_status,
            detail=row.detail,
            delivery_count=row.delivery_count,
        ),
    )

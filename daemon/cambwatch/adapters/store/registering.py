"""How a watch begins: a row for a task that nobody knew, a fresh start for one that is watched anew."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.rows import us
from cambwatch.adapters.store.schema import tasks
from cambwatch.core.model import Registered, Registration, Status, Task, TaskKey

AT_ONCE = 500  # task_ids in one statement

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
_ADD = sa.insert(tasks)
_AGAIN = sa.update(tasks).where(tasks.c.id == sa.bindparam("number"))
_OF_KIND = sa.select(tasks).where(
    tasks.c.account == sa.bindparam("account"), tasks.c.kind == sa.bindparam("kind")
)
_ONE = _OF_KIND.where(tasks.c.task_id == sa.bindparam("task_id"))
_SEVERAL = _OF_KIND.where(tasks.c.task_id.in_(sa.bindparam("task_ids", expanding=True)))


def register(
    connection: sa.Connection, wishes: Sequence[Registration], *, now: datetime, anew: Collection[Status]
) -> list[Registered]:
    """Watch all of *wishes*; see TaskStore.register()."""
    first: dict[TaskKey, Registration] = {}
    for wish in wishes:
        first.setdefault(wish.key, wish)  # named twice in one array: the second time it is known
    known = by_key(connection, first)
    fresh = [key for key in first if key not in known]
    again = [key for key, task in known.items() if task.status in anew]
    if fresh:
        connection.execute(_ADD, [_columns(first[key], now) | {"registrations": 1} for key in fresh])
    if again:
        connection.execute(
            _AGAIN,
            [
                _columns(first[key], now) | {"number": known[key].id, "registrations": known[key].registrations + 1}
                for key in again
            ],
        )
    known |= by_key(connection, [*fresh, *again])
    unheard = {*fresh, *again}
    answers = []
    for wish in wishes:
        answers.append(Registered(known[wish.key], new=wish.key in unheard))
        unheard.discard(wish.key)
    return answers


def by_key(connection: sa.Connection, keys: Iterable[TaskKey]) -> dict[TaskKey, Task]:
    """Those of the tasks named by *keys* that anybody registered."""
    wanted: dict[tuple[str, str], list[str]] = {}
    for key in dict.fromkeys(keys):
        wanted.setdefault((key.account, key.kind), []).append(key.task_id)
    found = {}
    # Not `(account, kind, task_id) IN (...)`: for that SQLite reads the whole table.
    for (account, kind), task_ids in wanted.items():
        for start in range(0, len(task_ids), AT_ONCE):
            some = task_ids[start : start + AT_ONCE]
            of_kind = {"account": account, "kind": kind}
            if len(some) == 1:
                result = connection.execute(_ONE, {**of_kind, "task_id": some[0]})
            else:
                result = connection.execute(_SEVERAL, {**of_kind, "task_ids": some})
            for row in result.all():
                task = rows.task(row)
                found[task.key] = task
    return found


def _columns(wish: Registration, now: datetime) -> dict[str, object]:
    """All columns but `id` and `registrations`, as they are when a watch begins."""
    return {
        "account": wish.key.account,
        "kind": wish.key.kind,
        "task_id": wish.key.task_id,
        "status": Status.PENDING.value,
        "name": wish.name,
        "labels": dict(wish.labels),
        "notify": None if wish.notify is None else list(wish.notify),
        "group": wish.group,
        "group_size": wish.group_size,
        "extra": dict(wish.extra),
        "run_id": None,
        "exception_reason": None,
        "message": None,
        "result": None,
        "polls": 0,
        "registered_at": us(now),
        "first_polled_at": None,
        "deadline_at": us(now + wish.deadline),
        "finished_at": None,
    }

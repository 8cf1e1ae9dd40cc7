"""How a watch begins: a row for a task that nobody knew, a fresh start for one that is watched anew."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cambwatch.adapters.store import rows
from cambwatch.adapters.store.bulk_insert import ManyRows
from cambwatch.adapters.store.rows import padded, us
from cambwatch.adapters.store.schema import tasks
from cambwatch.core.model import Registered, Registration, Status, Task, TaskKey

AT_ONCE = 500  # task_ids in one statement

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
# What all have in common stands in the statement: of a thousand tasks each value is handed over by itself.
_FRESH: dict[str, sa.ColumnElement[Any]] = {
    "status": sa.literal_column(f"'{Status.PENDING}'"),
    "polls": sa.literal_column("0"),
    "known": sa.false(),
    **dict.fromkeys(("run_id", "exception_reason", "message", "result", "first_polled_at", "finished_at"), sa.null()),
}
# In the order of the table.
_WISHED = (
    "account",
    "kind",
    "task_id",
    "name",
    "labels",
    "notify",
    "group",
    "group_size",
    "extra",
    "registered_at",
    "deadline_at",
    "node",
)
_ADD = ManyRows(tasks, ("id", *_WISHED), {"registrations": sa.literal_column("1"), **_FRESH})
_AGAIN = sa.update(tasks).where(tasks.c.id == sa.bindparam("number")).values(**_FRESH)
_OF_KIND = sa.and_(tasks.c.account == sa.bindparam("account"), tasks.c.kind == sa.bindparam("kind"))
_ONE = sa.and_(_OF_KIND, tasks.c.task_id == sa.bindparam("task_id"))
_SEVERAL = sa.and_(_OF_KIND, tasks.c.task_id.in_(sa.bindparam("task_ids", expanding=True)))
_TASKS = (sa.select(tasks).where(_ONE), sa.select(tasks).where(_SEVERAL))
_TASKS_HELD = (_TASKS[0].with_for_update(), _TASKS[1].with_for_update())
# Given out by ourselves: a thousand that the database gave would all have to be looked up.
_LAST_NUMBER = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'tasks'")
_NEXT_NUMBERS = sa.text("SELECT nextval(pg_get_serial_sequence('tasks', 'id')) FROM generate_series(1, :count)")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody wants *node* to watch from *now* on, all or none; see TaskStore.register()."""

    wishes: Sequence[Registration]
    now: datetime
    anew: Collection[Status]
    node: str | None


def register(connection: sa.Connection, several: Sequence[Wishes]) -> list[list[Registered]]:
    """What TaskStore.register() promises, for each of *several*."""
    # Named twice, in one array or by two callers: the second time it is known.
    first: dict[TaskKey, tuple[Registration, Wishes]] = {}
    for asked in several:
        for wish in asked.wishes:
            first.setdefault(wish.key, (wish, asked))
    known = by_key(connection, first, hold=True)
    fresh = [key for key in first if key not in known]
    again = [key for key, task in known.items() if task.status in first[key][1].anew]
    if fresh:
        numbered = list(zip(_new_numbers(connection, len(fresh)), fresh, strict=True))
        _ADD.insert(connection, ([number, *_columns(*first[key])] for number, key in numbered))
        known |= {key: _task(*first[key], number=number, registrations=1) for number, key in numbered}
    for key in again:
        number, registrations = known[key].id, known[key].registrations + 1
        columns = dict(zip(_WISHED, _columns(*first[key]), strict=True))
        connection.execute(_AGAIN, columns | {"registrations": registrations, "number": number})
        known[key] = _task(*first[key], number=number, registrations=registrations)
    unheard = {*fresh, *again}
    answers = []
    for asked in several:
        told = []
        for wish in asked.wishes:
            told.append(Registered(known[wish.key], new=wish.key in unheard))
            unheard.discard(wish.key)
        answers.append(told)
    return answers


def _new_numbers(connection: sa.Connection, count: int) -> Sequence[int]:
    """So many ids that no task ever had, nor will another have; ascending."""
    if connection.dialect.name == "sqlite":  # of which this transaction has the only writer
        last = connection.execute(_LAST_NUMBER).scalar() or 0
        return range(last + 1, last + 1 + count)
    return connection.execute(_NEXT_NUMBERS, {"count": count}).scalars().all()


def by_key(connection: sa.Connection, keys: Iterable[TaskKey], *, hold: bool = False) -> dict[TaskKey, Task]:
    """Those of the tasks named by *keys* that anybody registered; with *hold* nobody else changes them meanwhile."""
    found = (rows.task(row) for row in _look(connection, _TASKS_HELD if hold else _TASKS, keys))
    return {task.key: task for task in found}


def _look(
    connection: sa.Connection, statements: tuple[sa.Select[Any], sa.Select[Any]], keys: Iterable[TaskKey]
) -> Iterator[sa.Row[Any]]:
    """The rows that *keys* name, by *statements*: one that finds one task, one that finds several."""
    one, several = statements
    wanted: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        wanted.setdefault((key.account, key.kind), []).append(key.task_id)
    # Not `(account, kind, task_id) IN (...)`: for that SQLite reads the whole table.
    for (account, kind), task_ids in wanted.items():
        of_kind = {"account": account, "kind": kind}
        for start in range(0, len(task_ids), AT_ONCE):
            some = task_ids[start : start + AT_ONCE]
            if len(some) == 1:
                yield from connection.execute(one, {**of_kind, "task_id": some[0]})
            else:
                yield from connection.execute(several, {**of_kind, "task_ids": padded(some)})


def _columns(wish: Registration, asked: Wishes) -> tuple[object, ...]:
    """The values of _WISHED."""
    return (
        *wish.key,
        wish.name,
        dict(wish.labels),
        None if wish.notify is None else list(wish.notify),
        wish.group,
        wish.group_size,
        dict(wish.extra),
        us(asked.now),
        us(asked.now + wish.deadline),
        asked.node,
    )


def _task(wish: Registration, asked: Wishes, *, number: int, registrations: int) -> Task:
    """The task as it was written: reading a thousand back would take as long as writing them."""
    return Task(
        id=number,
        key=wish.key,
        registrations=registrations,
        status=Status.PENDING,
        registered_at=asked.now,
        deadline_at=asked.now + wish.deadline,
        name=wish.name,
        labels=wish.labels,
        notify=wish.notify,
        group=wish.group,
        group_size=wish.group_size,
        extra=wish.extra,
    )

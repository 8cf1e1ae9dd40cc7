"""Inserts and restarts watched tasks, many in one transaction."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.row_mapping import padded, to_micros
from cambwatch.adapters.store.schema import tasks
from cambwatch.core.model import Registration, RegistrationResult, Status, Task, TaskKey

Processor = Callable[[Any], Any]


class _Prepared(NamedTuple):
    sql: str
    processors: Sequence[tuple[int, Processor]]  # by the place of their column


class BulkInsert:
    """Inserts rows into *table*, with values for *columns* in this order, and those of *constants* in the statement."""

    def __init__(self, table: sa.Table, columns: Sequence[str], constants: dict[str, sa.ColumnElement[Any]]) -> None:
        self._table = table
        self._columns = list(columns)
        self._statement = sa.insert(table).values(**constants).inline()
        self._prepared: WeakKeyDictionary[sa.Dialect, _Prepared] = WeakKeyDictionary()

    def insert(self, connection: sa.Connection, rows: Iterable[list[Any]]) -> None:
        """Insert *rows*, of which there is one, and which are changed for it."""
        dialect = connection.dialect
        prepared = self._prepared.get(dialect)
        if prepared is None:
            prepared = self._prepared[dialect] = self._prepare(dialect)
        values = []
        for row in rows:
            for column_index, process in prepared.processors:
                row[column_index] = process(row[column_index])
            values.append(tuple(row))
        connection.exec_driver_sql(prepared.sql, values)

    def _prepare(self, dialect: sa.Dialect) -> _Prepared:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        if compiled.positiontup != self._columns:
            raise ValueError(f"the values of {self._table} are to be in the order of {compiled.positiontup}")
        types = [self._table.c[name].type.dialect_impl(dialect) for name in self._columns]
        processors = [(column_index, one.bind_processor(dialect)) for column_index, one in enumerate(types)]
        return _Prepared(
            str(compiled), [(column_index, process) for column_index, process in processors if process is not None]
        )


TASK_IDS_PER_STATEMENT = 500  # task_ids in one statement

# Built once: to build a statement takes SQLAlchemy longer than it takes SQLite to run it.
# What all have in common stands in the statement: of a thousand tasks each value is handed over by itself.
_INITIAL_VALUES: dict[str, sa.ColumnElement[Any]] = {
    "status": sa.literal_column(f"'{Status.PENDING}'"),
    "polls": sa.literal_column("0"),
    "known": sa.false(),
    **dict.fromkeys(("run_id", "exception_reason", "message", "result", "first_polled_at", "finished_at"), sa.null()),
}
# In the order of the table.
_REQUESTED_COLUMNS = (
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
_INSERT = BulkInsert(tasks, ("id", *_REQUESTED_COLUMNS), {"registrations": sa.literal_column("1"), **_INITIAL_VALUES})
_RESTART = sa.update(tasks).where(tasks.c.id == sa.bindparam("number")).values(**_INITIAL_VALUES)
_OF_KIND = sa.and_(tasks.c.account == sa.bindparam("account"), tasks.c.kind == sa.bindparam("kind"))
_ONE = sa.and_(_OF_KIND, tasks.c.task_id == sa.bindparam("task_id"))
_SEVERAL = sa.and_(_OF_KIND, tasks.c.task_id.in_(sa.bindparam("task_ids", expanding=True)))
_TASKS = (sa.select(tasks).where(_ONE), sa.select(tasks).where(_SEVERAL))
_TASKS_LOCKED = (_TASKS[0].with_for_update(), _TASKS[1].with_for_update())
# Given out by ourselves: a thousand that the database gave would all have to be looked up.
_LAST_ROW_ID = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'tasks'")
_NEXT_ROW_IDS = sa.text("SELECT nextval(pg_get_serial_sequence('tasks', 'id')) FROM generate_series(1, :count)")


@dataclass(frozen=True, slots=True)
class RegistrationBatch:
    """What somebody wants *node* to watch from *now* on, all or none; see TaskStore.register()."""

    requested: Sequence[Registration]
    now: datetime
    restart_statuses: Collection[Status]
    node: str | None


def register_batches(connection: sa.Connection, several: Sequence[RegistrationBatch]) -> list[list[RegistrationResult]]:
    """What TaskStore.register() promises, for each of *several*."""
    # Named twice, in one array or by two callers: the second time it is known.
    first: dict[TaskKey, tuple[Registration, RegistrationBatch]] = {}
    for batch in several:
        for registration in batch.requested:
            first.setdefault(registration.key, (registration, batch))
    known = tasks_by_key(connection, first, lock=True)
    fresh = [key for key in first if key not in known]
    restarted = [key for key, task in known.items() if task.status in first[key][1].restart_statuses]
    if fresh:
        with_row_ids = list(zip(_new_row_ids(connection, len(fresh)), fresh, strict=True))
        _INSERT.insert(connection, ([row_id, *_columns(*first[key])] for row_id, key in with_row_ids))
        known |= {key: _task(*first[key], row_id=row_id, registrations=1) for row_id, key in with_row_ids}
    for key in restarted:
        row_id, registrations = known[key].id, known[key].registrations + 1
        columns = dict(zip(_REQUESTED_COLUMNS, _columns(*first[key]), strict=True))
        connection.execute(_RESTART, columns | {"registrations": registrations, "number": row_id})
        known[key] = _task(*first[key], row_id=row_id, registrations=registrations)
    unreported = {*fresh, *restarted}
    answers = []
    for batch in several:
        results = []
        for registration in batch.requested:
            results.append(RegistrationResult(known[registration.key], new=registration.key in unreported))
            unreported.discard(registration.key)
        answers.append(results)
    return answers


def _new_row_ids(connection: sa.Connection, count: int) -> Sequence[int]:
    """So many ids that no task ever had, nor will another have; ascending."""
    if connection.dialect.name == "sqlite":  # of which this transaction has the only writer
        last = connection.execute(_LAST_ROW_ID).scalar() or 0
        return range(last + 1, last + 1 + count)
    return connection.execute(_NEXT_ROW_IDS, {"count": count}).scalars().all()


def tasks_by_key(connection: sa.Connection, keys: Iterable[TaskKey], *, lock: bool = False) -> dict[TaskKey, Task]:
    """The registered tasks among *keys*; with *lock* no other transaction changes them meanwhile."""
    found = (row_mapping.task(row) for row in _select_tasks(connection, _TASKS_LOCKED if lock else _TASKS, keys))
    return {task.key: task for task in found}


def _select_tasks(
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
        for start in range(0, len(task_ids), TASK_IDS_PER_STATEMENT):
            some = task_ids[start : start + TASK_IDS_PER_STATEMENT]
            if len(some) == 1:
                yield from connection.execute(one, {**of_kind, "task_id": some[0]})
            else:
                yield from connection.execute(several, {**of_kind, "task_ids": padded(some)})


def _columns(registration: Registration, batch: RegistrationBatch) -> tuple[object, ...]:
    """The values of _WISHED."""
    return (
        *registration.key,
        registration.name,
        dict(registration.labels),
        None if registration.notify is None else list(registration.notify),
        registration.group,
        registration.group_size,
        dict(registration.extra),
        to_micros(batch.now),
        to_micros(batch.now + registration.deadline),
        batch.node,
    )


def _task(registration: Registration, batch: RegistrationBatch, *, row_id: int, registrations: int) -> Task:
    """The task as it was written: reading a thousand back would take as long as writing them."""
    return Task(
        id=row_id,
        key=registration.key,
        registrations=registrations,
        status=Status.PENDING,
        registered_at=batch.now,
        deadline_at=batch.now + registration.deadline,
        name=registration.name,
        labels=registration.labels,
        notify=registration.notify,
        group=registration.group,
        group_size=registration.group_size,
        extra=registration.extra,
    )

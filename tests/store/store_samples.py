"""Tasks and ends for the tests of the store: plain ones, and those that hypothesis makes up."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from cambwatch.adapters.store import row_mapping
from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import AttemptRecord, PendingDelivery
from cambwatch.core.events import GroupComplete, Link, TaskEnded
from cambwatch.core.model import Attempt, Delivery, DeliveryDecision, Registration, Status, Task, TaskKey

# For processes of their own, which find what this one finds.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
NOW = datetime(2026, 11, 22, 6, 0, 0, 123456, tzinfo=UTC)
CAMBS_LAST_WORDS = [Status.SUCCESS, Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED]
TERMINAL = [status for status in Status if status is not Status.PENDING]

# The examples of one test share its database, so each needs names of its own.
on_one_database = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30) | st.sampled_from(
    ["👩‍👩‍👧‍👦", "شكرا", 'it\'s "quoted"', "$.a[0]", "\\", "%_", "null", "{}", "x" * 5000]
)
whole_numbers = st.integers(-(10**30), 10**30)
json_values = st.recursive(
    st.none() | st.booleans() | whole_numbers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - naive by its API
spans = st.timedeltas(timedelta(microseconds=1), timedelta(days=3650))


def wish(task_id: str = "one", *, kind: str = "dub", account: str = "default", **fields: object) -> Registration:
    """A plain registration; *fields* say what else is special."""
    return Registration(TaskKey(account, kind, task_id), **fields)


async def watch(tasks: TaskStore, *task_ids: str, now: datetime = NOW, **fields: object) -> list[Task]:
    """Register tasks that are alike but for their names."""
    registered = await tasks.register([wish(task_id, **fields) for task_id in task_ids], now=now)
    return [one.task for one in registered]


def ending(
    task: Task, status: Status = Status.SUCCESS, *, at: datetime = NOW + timedelta(seconds=41), **fields: object
) -> tuple[Task, TaskEnded]:
    """*task* as it ended, and what is told of that; *fields* are those that both have."""
    ended = replace(task, status=status, finished_at=at, **fields)
    event = TaskEnded(
        account=task.key.account,
        kind=task.key.kind,
        task_id=task.key.task_id,
        registrations=task.registrations,
        status=status,
        registered_at=task.registered_at,
        finished_at=at,
        name=task.name,
        labels=task.labels,
        group=task.group,
        run_id=ended.run_id,
        exception_reason=ended.exception_reason,
        message=ended.message,
        polls=ended.polls,
        result=ended.result,
        links=(Link("Audio", "https://cdn.example/a.mp3"),),
    )
    return ended, event


def nobody(_event: GroupComplete) -> Sequence[str]:
    """Who hears of a group, where that is not the subject."""
    return ()


async def conclude(
    tasks: TaskStore,
    task: Task,
    status: Status = Status.SUCCESS,
    *,
    notify: Sequence[str] = ("hook",),
    destinations_for_group: Callable[[GroupComplete], Sequence[str]] = nobody,
    at: datetime = NOW + timedelta(seconds=41),
) -> list[str] | None:
    """End *task* and owe that to *notify*."""
    ended, event = ending(task, status, at=at)
    return await tasks.conclude(ended, event, notify=notify, destinations_for_group=destinations_for_group)


async def owed(tasks: TaskStore, task: Task) -> list[Delivery]:
    """All deliveries of the ends of *task*."""
    return (await tasks.deliveries_of([task.id]))[task.id]


async def all_due(
    deliveries: DeliveryStore, destination: str, *, now: datetime, limit: int = 99, exclude: Collection[str] = ()
) -> list[PendingDelivery]:
    """What is due: up to *limit* fresh ones, and behind them as many repeated ones."""
    due = await deliveries.due(destination, now=now, fresh=limit, repeated=limit, exclude=exclude)
    return [*due.fresh, *due.repeated]


async def record(
    deliveries: DeliveryStore, delivery: Delivery, attempt: Attempt, decision: DeliveryDecision, *, now: datetime
) -> bool:
    """Write down what came of one attempt; whether it was."""
    return await deliveries.record([AttemptRecord(delivery, attempt, decision)], None, now=now) == 1


async def not_before(database: Database, delivery: Delivery) -> datetime | None:
    """When the receiver of *delivery* wishes to be asked again, as it is written down."""
    query = sa.text("SELECT not_before FROM deliveries WHERE id = :id")
    return row_mapping.instant_or_none(
        await database.read(lambda connection: connection.execute(query, {"id": delivery.id}).scalar_one())
    )


async def count(database: Database, table: str) -> int:
    """The number of rows in *table*."""
    return await database.read(lambda connection: connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar())  # noqa: S608 - of this folder


@asynccontextmanager
async def broken(database: Database, table: str, *, where: str = "") -> AsyncIterator[None]:
    """Nothing can be inserted into *table*, or nothing whose column delivery_id is *where*."""
    condition = f"NEW.delivery_id = '{where}'" if where else "1 = 1"

    def make(connection: sa.Connection) -> None:
        if connection.dialect.name == "sqlite":
            when = f"WHEN {condition} BEGIN SELECT RAISE(ABORT, 'broken'); END"
        else:
            raises = "BEGIN RAISE EXCEPTION 'broken' USING ERRCODE = 'check_violation'; END"
            connection.exec_driver_sql(
                f"CREATE FUNCTION raise_broken() RETURNS trigger LANGUAGE plpgsql AS $$ {raises} $$"
            )
            when = f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION raise_broken()"
        connection.exec_driver_sql(f"CREATE TRIGGER broken BEFORE INSERT ON {table} {when}").close()

    def mend(connection: sa.Connection) -> None:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("DROP TRIGGER broken").close()
        else:
            connection.exec_driver_sql("DROP FUNCTION raise_broken CASCADE")

    await database.write(make)
    try:
        yield
    finally:
        await database.write(mend)

"""What many ask for at once is done together, and each hears of its own as if it had been alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.util import await_only
from store_samples import NOW, all_due, conclude, ending, nobody, owed, record, watch, wish

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Attempt, Delivered, Outcome, RetryAt, Status

LATER = NOW + timedelta(minutes=1)


@asynccontextmanager
async def crowd(database: Database) -> AsyncIterator[None]:
    """Keep the writer busy within the block, so that all that is handed in meanwhile is done at once."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    let_go: asyncio.Future[None] = loop.create_future()

    def work(connection: sa.Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        if connection.dialect.is_async:
            await_only(let_go)
        else:
            asyncio.run_coroutine_threadsafe(_wait(let_go), loop).result()

    busy = asyncio.create_task(database.write(work))
    await begun.wait()
    try:
        yield
    finally:
        let_go.set_result(None)
        await busy


async def _wait(future: asyncio.Future[None]) -> None:
    await future


async def test_items_of_one_work_are_done_in_one_call(database: Database) -> None:
    """In their order, and each gets its own result; another work is another call."""
    calls: list[tuple[str, list[int]]] = []

    def double(_connection: sa.Connection, items: Sequence[int]) -> list[int]:
        calls.append(("double", list(items)))
        return [2 * item for item in items]

    def negate(_connection: sa.Connection, items: Sequence[int]) -> list[int]:
        calls.append(("negate", list(items)))
        return [-item for item in items]

    async with crowd(database):
        asked = [
            asyncio.ensure_future(database.write_batched(work, item)) for item in range(4) for work in (double, negate)
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*asked) == [0, 0, 2, -1, 4, -2, 6, -3]
    assert calls == [("double", [0, 1, 2, 3]), ("negate", [0, 1, 2, 3])]


@pytest.fixture
async def notes(database: Database) -> AsyncIterator[None]:
    """A table of texts, which goes with the test: another looks for tables that do not belong there."""

    async def execute(statement: str) -> None:
        await database.write(lambda connection: connection.exec_driver_sql(statement).close())

    await execute("CREATE TABLE notes (name TEXT PRIMARY KEY)")
    yield
    await execute("DROP TABLE notes")


@pytest.mark.usefixtures("notes")
async def test_an_item_that_fails_takes_no_neighbour_with_it(database: Database) -> None:
    """Nothing of the failed call stays written; each is done by itself then."""

    def note(connection: sa.Connection, items: Sequence[str]) -> list[str]:
        for item in items:
            connection.execute(sa.text("INSERT INTO notes VALUES (:name)"), {"name": item})
            if item == "bad":
                raise LookupError(item)
        return list(items)

    async with crowd(database):
        asked = [asyncio.ensure_future(database.write_batched(note, item)) for item in ("a", "bad", "b")]
        await asyncio.sleep(0)
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert results[0] == "a"
    assert isinstance(results[1], LookupError)
    assert results[2] == "b"
    read = sa.text("SELECT name FROM notes ORDER BY name")
    assert await database.read(lambda connection: list(connection.execute(read).scalars())) == ["a", "b"]


async def test_ends_that_come_together_are_told_apart(
    database: Database, tasks: TaskStore, deliveries: DeliveryStore
) -> None:
    """A task that ends twice at once ends once; one that was watched anew meanwhile does not end at all."""
    one, two, anew = await watch(tasks, "one", "two", "anew")
    await tasks.remove(anew.key, destinations_for_group=nobody, now=NOW)
    await tasks.register([wish("anew")], now=NOW)
    async with crowd(database):
        asked = [
            asyncio.ensure_future(conclude(tasks, one)),
            asyncio.ensure_future(conclude(tasks, anew)),
            asyncio.ensure_future(conclude(tasks, one, Status.ERROR)),
            asyncio.ensure_future(conclude(tasks, two, notify=("hook", "chat"))),
            asyncio.ensure_future(conclude(tasks, two, notify=())),
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*asked) == [["hook"], None, None, ["hook", "chat"], None]
    due = await all_due(deliveries, "hook", now=LATER)
    assert sorted((event.task_id, event.status) for _, event in due) == [("one", "SUCCESS"), ("two", "SUCCESS")]
    assert [event.task_id for _, event in await all_due(deliveries, "chat", now=LATER)] == ["two"]
    again = await tasks.task(anew.key)
    assert again is not None
    assert again.status is Status.PENDING


async def test_a_group_whose_last_tasks_end_together_is_complete_once(
    database: Database, tasks: TaskStore, deliveries: DeliveryStore
) -> None:
    """Each of them sees all of the others as ended."""
    members = await watch(tasks, "one", "two", "three", group="g")
    async with crowd(database):
        asked = [
            asyncio.ensure_future(conclude(tasks, task, notify=(), destinations_for_group=lambda _: ("chat",)))
            for task in members
        ]
        await asyncio.sleep(0)
    assert sorted(await asyncio.gather(*asked)) == [[], [], ["chat"]]
    ((_, event),) = await all_due(deliveries, "chat", now=LATER)
    assert event.counts == {"SUCCESS": 3}


async def test_attempts_that_are_recorded_together_are_told_apart(
    database: Database, tasks: TaskStore, deliveries: DeliveryStore
) -> None:
    """What was cancelled meanwhile is not written, and keeps none of the others from it."""
    watched = await watch(tasks, "sent", "again", "gone")
    for task in watched:
        await conclude(tasks, task)
    due = {event.task_id: delivery for delivery, event in await all_due(deliveries, "hook", now=LATER)}
    await tasks.remove(watched[2].key, destinations_for_group=nobody, now=LATER)
    accepted, failed = Attempt(1, Outcome.ACCEPTED, took_ms=1), Attempt(1, Outcome.TRANSIENT, took_ms=1)
    async with crowd(database):
        asked = [
            asyncio.ensure_future(record(deliveries, due["gone"], accepted, Delivered(), now=LATER)),
            asyncio.ensure_future(record(deliveries, due["sent"], accepted, Delivered(), now=LATER)),
            asyncio.ensure_future(record(deliveries, due["again"], failed, RetryAt(LATER), now=LATER)),
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*asked) == [False, True, True]
    states = [[(one.state, one.attempts) for one in await owed(tasks, task)] for task in watched]
    assert states == [[("delivered", 1)], [("pending", 1)], [("cancelled", 0)]]


async def test_a_task_that_two_register_at_once_is_new_to_one(database: Database, tasks: TaskStore) -> None:
    """The other hears of the same task that it is known; each has its own instant."""
    async with crowd(database):
        asked = [
            asyncio.ensure_future(tasks.register([wish("one"), wish("two")], now=NOW)),
            asyncio.ensure_future(tasks.register([wish("two"), wish("three"), wish("three")], now=LATER)),
        ]
        await asyncio.sleep(0)
    first, second = await asyncio.gather(*asked)
    assert [one.new for one in first] == [True, True]
    assert [one.new for one in second] == [False, True, False]
    assert [one.task.registered_at for one in second] == [NOW, LATER, LATER]
    assert first[1].task == second[0].task
    assert await tasks.watched() == [one.task for one in (*first, second[1])]


@pytest.mark.parametrize("count", [1, 3])
async def test_what_is_owed_of_an_end_is_its_own(tasks: TaskStore, deliveries: DeliveryStore, count: int) -> None:
    """However many are owed at once."""
    watched = await watch(tasks, *(f"t{number}" for number in range(count)))
    ends = [ending(task, at=NOW + timedelta(seconds=task.id)) for task in watched]
    await asyncio.gather(
        *(tasks.conclude(ended, event, notify=("hook",), destinations_for_group=nobody) for ended, event in ends)
    )
    due = await all_due(deliveries, "hook", now=NOW + timedelta(hours=1))
    assert [event for _, event in due] == [event for _, event in ends]
    assert [delivery.created_at for delivery, _ in due] == [event.finished_at for _, event in ends]

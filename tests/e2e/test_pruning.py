"""The daemon forgets what ended long ago, soon after its start and then every hour, and nobody has to wait for that."""

# ruff: noqa: ARG002 - the neighbour is called by the names of its Protocol

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from events import hear, hook, settings, watch
from structlog.testing import capture_logs

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.retention import PruneCursor, PruneResult
from cambwatch.app.process import SystemClock
from cambwatch.loops.retention import Retention

MONTH = timedelta(days=30)


@pytest.fixture
def soon(monkeypatch):
    """A minute and an hour would be no other promise."""
    monkeypatch.setattr("cambwatch.app.assembly.FIRST_RUN_S", 0.05)
    monkeypatch.setattr("cambwatch.app.assembly.RUN_EVERY_S", 0.2)


def age(path, by):
    """Make everything in the database *path* older."""
    microseconds = by // timedelta(microseconds=1)
    with sqlite3.connect(path) as database:
        for table, column in (("tasks", "finished_at"), ("events", "created_at"), ("deliveries", "finished_at")):
            database.execute(f"UPDATE {table} SET {column} = {column} - ?", (microseconds,))  # noqa: S608 - of the line above
    database.close()


async def delivered(made, count):
    return len((await made.api.get("/v1/deliveries?state=delivered")).document["items"]) == count


async def ended_and_told(daemon, camb, receivers, until, **sections):
    """A daemon, and two tasks that have ended, of which it has told everybody; one is named by the configuration."""
    named, plain = camb.add("dub", status="ERROR"), camb.add("dub", status="ERROR")
    text = settings(destinations={"hook": hook(receivers)}, tasks=[{"kind": "dub", "task_id": named}], **sections)
    made = await daemon(text)
    await watch(made.api, "dub", plain)
    await hear(receivers, named, plain)

    await until(lambda: delivered(made, 2))
    return made, text, named, plain


@pytest.mark.usefixtures("soon")
async def test_old_tasks_are_forgotten_and_may_come_again(daemon, camb, receivers, until, tmp_path):
    """But for those of the configuration, which would be told again at each start; the log says how many."""
    made, text, named, plain = await ended_and_told(daemon, camb, receivers, until)
    await made.stop()
    age(tmp_path / "cambwatch.db", MONTH + timedelta(minutes=1))
    made = await daemon(text)

    async def status(task):
        return (await made.api.get(f"/v1/tasks/dub/{task}")).status

    async def forgotten():
        return await status(plain) == 404

    await until(forgotten)
    assert await status(named) == 200
    assert (await made.api.post({"kind": "dub", "task_id": plain})).status == 201
    await receivers.until(lambda: len(receivers.requests) == 3)
    assert len({request.headers["webhook-id"] for request in receivers.requests}) == 3
    assert [request.document["data"]["task_id"] for request in receivers.requests].count(plain) == 2


@pytest.mark.usefixtures("soon")
async def test_every_round_looks_again(daemon, camb, receivers, until, tmp_path):
    """What grows old while the daemon runs goes with one of the next; what is younger than is wished stays."""
    made, _, _, first = await ended_and_told(daemon, camb, receivers, until, store={"keep_finished": "60d"})
    path = tmp_path / "cambwatch.db"

    async def known(task):
        return (await made.api.get(f"/v1/tasks/dub/{task}")).status == 200

    async def first_forgotten():
        return not await known(first)

    async def second_forgotten():
        return not await known(second)

    age(path, 2 * MONTH + timedelta(minutes=1))
    await until(first_forgotten)
    second, third = camb.add("dub", status="ERROR"), camb.add("dub", status="ERROR")
    await watch(made.api, "dub", second)
    await hear(receivers, second)
    await until(lambda: delivered(made, 2))
    age(path, MONTH + timedelta(minutes=1))
    await watch(made.api, "dub", third)
    await hear(receivers, third)
    await until(lambda: delivered(made, 3))
    age(path, MONTH)
    await until(second_forgotten)
    assert await known(third)


class Book:
    """Says of a few steps that they had something to do; the first of all finds the store in trouble."""

    def __init__(self):
        self.steps = []
        self.late = asyncio.Event()

    async def prune_tasks(self, since, *, before, exclude):
        self.steps.append((since, before))
        if len(self.steps) == 1:
            raise StoreUnavailableError("full", hint="make room")
        if len(self.steps) < 4:
            return PruneResult(7, PruneCursor(len(self.steps), 0))
        return PruneResult(0, None)

    async def prune_events(self, since, *, before):
        self.late.set()
        return PruneResult(2, None)


async def test_trouble_of_the_store_ends_a_run_and_the_next_starts_again():
    """The batches of the next run go on from where the last one came to."""
    store = Book()
    retention = Retention(store, keep=MONTH, exclude=(), clock=SystemClock())
    with capture_logs() as logged:
        assert await retention.prune_batch() is None
        while await retention.prune_batch() is not None:
            pass
    assert [since for since, _ in store.steps] == [PruneCursor(), PruneCursor(), PruneCursor(2, 0), PruneCursor(3, 0)]
    assert len({before for _, before in store.steps[1:]}) == 1
    age = datetime.now(UTC) - store.steps[1][1]
    assert MONTH < age < MONTH + timedelta(minutes=1)
    trouble, done = logged
    assert (trouble["event"], trouble["operation"]) == ("store.unavailable", "retention")
    assert (done["event"], done["tasks"], done["events"]) == ("tasks.pruned", 14, 2)


async def test_a_run_that_is_cut_short_says_what_it_deleted():
    retention = Retention(Book(), keep=MONTH, exclude=(), clock=SystemClock())
    with capture_logs() as logged:
        await retention.prune_batch()
        await retention.prune_batch()
        retention.end_run()
        retention.end_run()
    assert [line["event"] for line in logged] == ["store.unavailable", "tasks.pruned"]

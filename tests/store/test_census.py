"""How much there is: tasks by status, what waits, how long transactions took, and room on the disk."""

import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import NOW, all_due, conclude, record, watch

from cambwatch.adapters.store.database import Database, StoreUnavailableError
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.stats import StoreStatsReader, disk_space
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Attempt, Backlog, Delivered, Outcome, RetryAt, Status
from cambwatch.core.store_stats import StoreStats


async def test_an_empty_database_has_nothing(database: Database) -> None:
    assert await StoreStatsReader(database).read() == StoreStats({}, {})


async def test_tasks_are_counted_by_status(database: Database, tasks: TaskStore) -> None:
    """With those that are pending."""
    one, two, _, _ = await watch(tasks, "one", "two", "three", "four")
    await conclude(tasks, one, Status.ERROR, notify=())
    await conclude(tasks, two, Status.EXPIRED, notify=())
    store_stats = await StoreStatsReader(database).read()
    assert store_stats == StoreStats({Status.PENDING: 2, Status.ERROR: 1, Status.EXPIRED: 1}, {})


async def test_what_waits_is_counted_by_destination(
    database: Database, tasks: TaskStore, deliveries: DeliveryStore
) -> None:
    """Since when the oldest is owed, whether it was tried or not; what was delivered is not in it."""
    later = NOW + timedelta(minutes=5)
    for number, task in enumerate(await watch(tasks, "one", "two", "three")):
        await conclude(tasks, task, notify=("hook", "chat"), at=NOW + number * timedelta(minutes=1))
    first, second, _ = [delivery for delivery, _ in await all_due(deliveries, "hook", now=later)]
    await record(deliveries, first, Attempt(1, Outcome.TRANSIENT, took_ms=1), RetryAt(later), now=later)
    await record(deliveries, second, Attempt(1, Outcome.ACCEPTED, took_ms=1), Delivered(), now=later)
    assert (await StoreStatsReader(database).read()).backlogs == {"hook": Backlog(2, NOW), "chat": Backlog(3, NOW)}


class Meter:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.writes: list[float] = []
        self.reads: list[float] = []

    def observe_write(self, took_s: float) -> None:
        self.writes.append(took_s)

    def read(self, took_s: float) -> None:
        self.reads.append(took_s)


async def test_transactions_are_timed(path: Path) -> None:
    """Each once, by what it is; one that fails as well, and with the time that it waited for the file."""
    meter = Meter()
    async with SqliteDatabase(path, meter=meter, busy_timeout_s=0.1) as database:
        await watch(TaskStore(database), "one")
        assert (len(meter.writes), len(meter.reads)) == (1, 0)
        assert 0 < meter.writes[0] < 5
        await TaskStore(database).watched()
        assert (len(meter.writes), len(meter.reads)) == (1, 1)
        assert 0 < meter.reads[0] < 5
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError):
            await watch(TaskStore(database), "two")
        other.close()
    assert len(meter.writes) == 2
    assert meter.writes[1] >= 0.1


async def test_room_is_what_there_is(path: Path) -> None:
    """The file and its log; of the file system what is left for a user that is not root."""
    before = disk_space(path)
    assert before.database == path.stat().st_size
    async with SqliteDatabase(path) as database:
        await watch(TaskStore(database), *map(str, range(50)))
        log = path.with_name(path.name + "-wal")
        now = disk_space(path)
        assert log.stat().st_size > 0
        assert now.database == path.stat().st_size + log.stat().st_size
    files = os.statvfs(path)
    assert now.size == files.f_blocks * files.f_frsize
    assert abs(now.free - files.f_bavail * files.f_frsize) < 1 << 30  # others write too


def test_room_of_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        disk_space(tmp_path / "gone" / "cambwatch.db")

"""Which tasks Camb has returned a status for is written down once, for all of them together."""

import asyncio
from datetime import UTC, datetime

import pytest

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.loops.polling.known_tasks import KnownTasks
from cambwatch.loops.scheduler import Scheduler


class Book:
    """A store that is unavailable for the first *failures* writes."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.written: list[list[int]] = []

    async def record_known(self, numbers: list[int]) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailableError("the disk is full", hint="make room")
        self.written.append(list(numbers))


@pytest.fixture
async def scheduler():
    async with Scheduler(now=lambda: datetime.now(UTC)) as made:
        yield made


async def test_tasks_that_become_known_together_are_one_write(scheduler):
    book = Book()
    known = KnownTasks(book, wakeup=scheduler.wakeup("known tasks", asyncio.Event()))
    for number in (1, 2, 3):
        known.add(number)
    await known.save()
    await known.save()
    assert book.written == [[1, 2, 3]]


async def test_what_an_unavailable_store_did_not_take_is_written_later(scheduler):
    book = Book(failures=2)
    known = KnownTasks(book, wakeup=scheduler.wakeup("known tasks", asyncio.Event()))
    known.add(1)
    await known.save()
    known.add(2)
    await known.save()
    assert book.written == []
    await known.save()
    assert book.written == [[1, 2]]


async def test_the_loop_writes_when_its_alarm_rings_and_ends_when_told(scheduler, until):
    book, wakeup = Book(), scheduler.wakeup("known tasks", asyncio.Event())
    known = KnownTasks(book, wakeup=wakeup)
    running = asyncio.create_task(known.run())
    known.add(7)
    wakeup.wake()
    await until(lambda: book.written)
    known.stop()
    await running
    assert book.written == [[7]]

"""Stores which tasks Camb has returned a status for, in batches."""

from collections.abc import Sequence
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.loops.scheduler import Alarm

GATHER_S = 1.0  # how long to collect a batch
TRY_AGAIN_S = 5.0  # while the database is unavailable

log = structlog.get_logger()


class KnownTaskStore(Protocol):
    """The store of tasks."""

    async def note_known(self, numbers: Sequence[int]) -> None: ...


class KnownTasks:
    """
    The tasks that became known and are not stored yet.

    A crash loses at most those of the last second; they become known again with their next
    status. A PENDING poll of a known task writes nothing.
    """

    def __init__(self, book: KnownTaskStore, *, alarm: Alarm) -> None:
        self._book = book
        self._alarm = alarm
        self._numbers: list[int] = []
        self._stopping = False

    def add(self, number: int) -> None:
        """Camb has returned a status for the task with the id *number* for the first time."""
        if not self._numbers:
            self._alarm.set(GATHER_S)
        self._numbers.append(number)

    async def run(self) -> None:
        """Store batches until stop() is called. Call save() afterwards for the rest."""
        while not self._stopping:
            self._alarm.kick.clear()
            await self._alarm.kick.wait()
            await self.save()

    def stop(self) -> None:
        """End run()."""
        self._stopping = True
        self._alarm.kick.set()

    async def save(self) -> None:
        """Store the tasks that became known so far."""
        if not self._numbers:
            return
        saving, self._numbers = self._numbers, []
        try:
            await self._book.note_known(saving)
        except StoreUnavailableError as error:
            self._numbers = saving + self._numbers
            self._alarm.set(TRY_AGAIN_S)
            log.warning("store.unavailable", undone="known tasks", error=str(error))

"""Writes down which tasks Camb has answered for: one statement for all that became known together."""

from collections.abc import Sequence
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.loops.scheduler import Alarm

GATHER_S = 1.0  # after the first, in which others may become known
TRY_AGAIN_S = 5.0  # while the database cannot be had

log = structlog.get_logger()


class KnownTaskStore(Protocol):
    """Where it is written down."""

    async def note_known(self, numbers: Sequence[int]) -> None: ...


class KnownTasks:
    """
    The tasks that became known and are not written down yet.

    A crash loses at most those of the last second: they become known again with the
    next answer. So a poll that leaves a known task pending writes nothing.
    """

    def __init__(self, book: KnownTaskStore, *, alarm: Alarm) -> None:
        self._book = book
        self._alarm = alarm
        self._numbers: list[int] = []
        self._stopping = False

    def add(self, number: int) -> None:
        """Camb has answered for the task with the id *number*, for the first time."""
        if not self._numbers:
            self._alarm.set(GATHER_S)
        self._numbers.append(number)

    async def run(self) -> None:
        """Write down what was gathered, until stop() is called; save() then writes down the rest."""
        while not self._stopping:
            self._alarm.kick.clear()
            await self._alarm.kick.wait()
            await self.save()

    def stop(self) -> None:
        """End run()."""
        self._stopping = True
        self._alarm.kick.set()

    async def save(self) -> None:
        """Write down all that is known by now."""
        if not self._numbers:
            return
        saving, self._numbers = self._numbers, []
        try:
            await self._book.note_known(saving)
        except StoreUnavailableError as error:
            self._numbers = saving + self._numbers
            self._alarm.set(TRY_AGAIN_S)
            log.warning("store.unavailable", undone="known tasks", error=str(error))

"""Stores which tasks Camb has returned a status for, in batches."""

from collections.abc import Sequence
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.loops.scheduler import Wakeup

BATCH_S = 1.0  # how long to collect a batch
STORE_RETRY_S = 5.0  # while the database is unavailable

log = structlog.get_logger()


class KnownTaskStore(Protocol):
    """The store of tasks."""

    async def record_known(self, row_ids: Sequence[int]) -> None: ...


class KnownTasks:
    """
    The tasks that became known and are not stored yet.

    A crash loses at most those of the last second; they become known again with their next
    status. A PENDING poll of a known task writes nothing.
    """

    def __init__(self, store: KnownTaskStore, *, wakeup: Wakeup) -> None:
        self._store = store
        self._wakeup = wakeup
        self._row_ids: list[int] = []
        self._stopping = False

    def add(self, row_id: int) -> None:
        """Camb has returned a status for the task with the id *row_id* for the first time."""
        if not self._row_ids:
            self._wakeup.set(BATCH_S)
        self._row_ids.append(row_id)

    async def run(self) -> None:
        """Store batches until stop() is called. Call save() afterwards for the rest."""
        while not self._stopping:
            self._wakeup.wakeup_event.clear()
            await self._wakeup.wakeup_event.wait()
            await self.save()

    def stop(self) -> None:
        """End run()."""
        self._stopping = True
        self._wakeup.wakeup_event.set()

    async def save(self) -> None:
        """Store the tasks that became known so far."""
        if not self._row_ids:
            return
        saving, self._row_ids = self._row_ids, []
        try:
            await self._store.record_known(saving)
        except StoreUnavailableError as error:
            self._row_ids = saving + self._row_ids
            self._wakeup.set(STORE_RETRY_S)
            log.warning("store.unavailable", operation="known tasks", error=str(error))

"""Prunes finished tasks and events that are older than store.keep_finished: once an hour, in short transactions."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.retention import PruneCursor, PruneResult
from cambwatch.core.model import TaskKey
from cambwatch.loops.scheduler import Clock

FIRST_RUN_S = 60.0  # after the start, when polls and deliveries come first
RUN_EVERY_S = 3600.0  # between two runs
BATCH_PAUSE_S = 0.02  # between two batches: other writes share the writer

log = structlog.get_logger()


class PruningStore(Protocol):
    """Deletes old rows in batches of a few milliseconds."""

    async def prune_tasks(
        self, since: PruneCursor, *, before: datetime, exclude: Collection[TaskKey]
    ) -> PruneResult: ...
    async def prune_events(self, since: PruneCursor, *, before: datetime) -> PruneResult: ...


class Retention:
    """Deletes from *store* what finished longer than *keep* ago."""

    def __init__(self, store: PruningStore, *, keep: timedelta, exclude: Collection[TaskKey], clock: Clock) -> None:
        """*exclude* are tasks that the next start would register again: those that the configuration names."""
        self._store = store
        self._keep = keep
        self._exclude = exclude
        self._clock = clock
        self._before: datetime | None = None  # of the current run; None: between two runs
        self._cursor = PruneCursor()
        self._tasks_done = False
        self._pruned_tasks = self._pruned_events = 0

    async def prune_batch(self) -> float | None:
        """
        Delete one batch. Returns the seconds until the next, None when the run is complete.

        Events of groups come after the tasks, because they stay as long as a task of their group is there.
        """
        if self._before is None:
            self._before = self._clock.now() - self._keep
            self._cursor, self._tasks_done, self._pruned_tasks, self._pruned_events = PruneCursor(), False, 0, 0
        try:
            pruned = await (self._prune_events if self._tasks_done else self._prune_tasks)(self._before)
        except StoreUnavailableError as error:  # the next run starts again
            log.warning("store.unavailable", operation="retention", error=str(error))
            self.end_run()
            return None
        if pruned.next is not None:
            self._cursor = pruned.next
        elif self._tasks_done:
            self.end_run()
            return None
        else:
            self._tasks_done, self._cursor = True, PruneCursor()
        return BATCH_PAUSE_S

    def end_run(self) -> None:
        """Log what the current run deleted, also when it is cut short."""
        if self._before is not None and (self._pruned_tasks or self._pruned_events):
            log.info("tasks.pruned", tasks=self._pruned_tasks, events=self._pruned_events,
                     before=self._before.isoformat())  # fmt: skip
        self._before = None

    async def _prune_tasks(self, before: datetime) -> PruneResult:
        pruned = await self._store.prune_tasks(self._cursor, before=before, exclude=self._exclude)
        self._pruned_tasks += pruned.count
        return pruned

    async def _prune_events(self, before: datetime) -> PruneResult:
        pruned = await self._store.prune_events(self._cursor, before=before)
        self._pruned_events += pruned.count
        return pruned

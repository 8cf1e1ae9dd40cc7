"""Forgets what ended long ago: a small step, a pause for everybody else, and so on; once an hour."""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.retention import PruneCursor, PruneResult
from cambwatch.core.model import TaskKey
from cambwatch.loops.scheduler import Clock, Wakeup

FIRST_RUN_S = 60.0  # after the start, which has better things to do
RUN_EVERY_S = 3600.0  # between two looks at all that is old
BATCH_PAUSE_S = 0.02  # between two steps: the writer is everybody's

log = structlog.get_logger()


class PruningStore(Protocol):
    """Where there are things to be forgotten, in steps of a few milliseconds."""

    async def prune_tasks(
        self, since: PruneCursor, *, before: datetime, exclude: Collection[TaskKey]
    ) -> PruneResult: ...
    async def prune_events(self, since: PruneCursor, *, before: datetime) -> PruneResult: ...


class Retention:
    """Has *store* forget what ended longer than *keep* ago."""

    def __init__(
        self,
        store: PruningStore,
        *,
        keep: timedelta | None,
        exclude: Collection[TaskKey],
        clock: Clock,
        wakeup_event: asyncio.Event,
        wakeup: Wakeup,
    ) -> None:
        """
        *keep* None: for ever.

        *exclude* are tasks that the next start would take for new ones: those that the configuration names.
        """
        self._store = store
        self._keep = keep
        self._exclude = exclude
        self._clock = clock
        self._wakeup_event = wakeup_event
        self._wakeup = wakeup
        self._stopping = False

    async def run(self) -> None:
        """Look once soon, and then every hour, until stop() is called."""
        if self._keep is None:
            return
        await self._wait(FIRST_RUN_S)
        while not self._stopping:
            try:
                await self._prune(before=self._clock.now() - self._keep)
            except StoreUnavailableError as error:  # nobody waits for it
                log.warning("store.unavailable", operation="retention", error=str(error))
            await self._wait(RUN_EVERY_S)

    def stop(self) -> None:
        """Take no further step."""
        self._stopping = True
        self._wakeup_event.set()

    async def _prune(self, *, before: datetime) -> None:
        # The groups' events behind the tasks, because they stay as long as there is a task of their group.
        tasks = events = 0
        since: PruneCursor | None = PruneCursor()
        try:
            while since is not None and not self._stopping:
                pruned = await self._store.prune_tasks(since, before=before, exclude=self._exclude)
                tasks, since = tasks + pruned.count, pruned.next
                await self._wait(BATCH_PAUSE_S)
            since = PruneCursor()
            while since is not None and not self._stopping:
                pruned = await self._store.prune_events(since, before=before)
                events, since = events + pruned.count, pruned.next
                await self._wait(BATCH_PAUSE_S)
        finally:
            if tasks or events:
                log.info("tasks.pruned", tasks=tasks, events=events, before=before.isoformat())

    async def _wait(self, pause_s: float) -> None:
        """For *pause_s*, or less if somebody wakes us; every wait says to the watchdog that we come round."""
        if self._stopping:
            return
        self._wakeup_event.clear()
        self._wakeup.set(pause_s)
        await self._wakeup_event.wait()

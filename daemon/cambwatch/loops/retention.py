"""Forgets what ended long ago: a small step, a pause for everybody else, and so on; once an hour."""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.retention import Position, Pruned
from cambwatch.core.model import TaskKey
from cambwatch.loops.clock import Clock
from cambwatch.loops.scheduler import Alarm

FIRST_S = 60.0  # after the start, which has better things to do
ROUND_S = 3600.0  # between two looks at all that is old
STEP_PAUSE_S = 0.02  # between two steps: the writer is everybody's

log = structlog.get_logger()


class RetentionBook(Protocol):
    """Where there are things to be forgotten, in steps of a few milliseconds."""

    async def prune_tasks(self, since: Position, *, before: datetime, spare: Collection[TaskKey]) -> Pruned: ...
    async def prune_events(self, since: Position, *, before: datetime) -> Pruned: ...


class Retention:
    """Has *book* forget what ended longer than *keep* ago."""

    def __init__(
        self,
        book: RetentionBook,
        *,
        keep: timedelta | None,
        spare: Collection[TaskKey],
        clock: Clock,
        kick: asyncio.Event,
        alarm: Alarm,
    ) -> None:
        """
        *keep* None: for ever.

        *spare* are tasks that the next start would take for new ones: those that the configuration names.
        """
        self._book = book
        self._keep = keep
        self._spare = spare
        self._clock = clock
        self._kick = kick
        self._alarm = alarm
        self._stopping = False

    async def run(self) -> None:
        """Look once soon, and then every hour, until stop() is called."""
        if self._keep is None:
            return
        await self._wait(FIRST_S)
        while not self._stopping:
            try:
                await self._round(before=self._clock.now() - self._keep)
            except StoreUnavailableError as error:  # nobody waits for it
                log.warning("store.unavailable", undone="retention", error=str(error))
            await self._wait(ROUND_S)

    def stop(self) -> None:
        """Take no further step."""
        self._stopping = True
        self._kick.set()

    async def _round(self, *, before: datetime) -> None:
        # The groups' events behind the tasks, because they stay as long as there is a task of their group.
        tasks = events = 0
        since: Position | None = Position()
        try:
            while since is not None and not self._stopping:
                pruned = await self._book.prune_tasks(since, before=before, spare=self._spare)
                tasks, since = tasks + pruned.count, pruned.next
                await self._wait(STEP_PAUSE_S)
            since = Position()
            while since is not None and not self._stopping:
                pruned = await self._book.prune_events(since, before=before)
                events, since = events + pruned.count, pruned.next
                await self._wait(STEP_PAUSE_S)
        finally:
            if tasks or events:
                log.info("tasks.pruned", tasks=tasks, events=events, before=before.isoformat())

    async def _wait(self, pause_s: float) -> None:
        """For *pause_s*, or less if somebody wakes us; every wait says to the watchdog that we come round."""
        if self._stopping:
            return
        self._kick.clear()
        self._alarm.set(pause_s)
        await self._kick.wait()

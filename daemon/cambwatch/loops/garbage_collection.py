"""
Looks, now and then, for garbage that reference counts do not find.

Python by itself would look when so many objects were made, and then at all there are:
with a hundred thousand watched tasks that keeps everything else waiting for half a
second, time and again while they are registered. But hardly any garbage of ours needs
it, so there is no hurry.
"""

import asyncio
import gc
from collections.abc import Callable
from math import inf

import structlog

from cambwatch.loops.scheduler import Clock, Wakeup

YOUNG_GENERATION_THRESHOLDS = (10_000, 1_000_000, 1_000_000)
"""For gc.set_threshold(): at what is new Python looks by itself, in some milliseconds; the old is left to Garbage."""

MIN_PAUSE_S = 600.0  # between two looks
PAUSE_FACTOR = 10_000  # of the time, at most one part for them

log = structlog.get_logger()


class GarbageCollection:
    """Looks at all objects, the more seldom the longer it takes."""

    def __init__(
        self, *, clock: Clock, wakeup_event: asyncio.Event, wakeup: Wakeup, collect: Callable[[], int] = gc.collect
    ) -> None:
        self._collect = collect
        self._clock = clock
        self._wakeup_event = wakeup_event
        self._wakeup = wakeup
        self._due_s = inf
        self._stopping = False

    async def run(self) -> None:
        """Look until stop() is called; for the first time SHORTEST_S from now."""
        self._due_s = self._clock.monotonic() + MIN_PAUSE_S
        while not self._stopping:
            self._wakeup_event.clear()
            begun_s = self._clock.monotonic()
            if begun_s >= self._due_s:
                found = self._collect()
                now_s = self._clock.monotonic()
                log.debug("garbage.collected", objects=found, seconds=round(now_s - begun_s, 3))
                self._due_s = now_s + max(MIN_PAUSE_S, (now_s - begun_s) * PAUSE_FACTOR)
            self._wakeup.set(self._due_s - self._clock.monotonic())
            await self._wakeup_event.wait()

    def stop(self) -> None:
        """Look no more."""
        self._stopping = True
        self._wakeup_event.set()

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

from cambwatch.loops.clock import Clock
from cambwatch.loops.scheduler import Alarm

YOUNG_ONLY = (10_000, 1_000_000, 1_000_000)
"""For gc.set_threshold(): at what is new Python looks by itself, in some milliseconds; the old is left to Garbage."""

SHORTEST_S = 600.0  # between two looks
SHARE = 10_000  # of the time, at most one part for them

log = structlog.get_logger()


class Garbage:
    """Looks at all objects, the more seldom the longer it takes."""

    def __init__(
        self, *, clock: Clock, kick: asyncio.Event, alarm: Alarm, collect: Callable[[], int] = gc.collect
    ) -> None:
        self._collect = collect
        self._clock = clock
        self._kick = kick
        self._alarm = alarm
        self._due_s = inf
        self._stopping = False

    async def run(self) -> None:
        """Look until stop() is called; for the first time SHORTEST_S from now."""
        self._due_s = self._clock.monotonic() + SHORTEST_S
        while not self._stopping:
            self._kick.clear()
            begun_s = self._clock.monotonic()
            if begun_s >= self._due_s:
                found = self._collect()
                now_s = self._clock.monotonic()
                log.debug("garbage.collected", objects=found, seconds=round(now_s - begun_s, 3))
                self._due_s = now_s + max(SHORTEST_S, (now_s - begun_s) * SHARE)
            self._alarm.set(self._due_s - self._clock.monotonic())
            await self._kick.wait()

    def stop(self) -> None:
        """Look no more."""
        self._stopping = True
        self._kick.set()

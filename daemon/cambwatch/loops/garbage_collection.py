"""
Collects cyclic garbage at long intervals.

By default Python collects after a number of allocations, and each full collection visits every object: with
100,000 watched tasks that stalls the event loop for half a second, repeatedly during registration. Almost no
garbage of cambwatch is cyclic, so full collections can be rare.
"""

import gc
from collections.abc import Callable

import structlog

from cambwatch.loops.scheduler import Clock

YOUNG_GENERATION_THRESHOLDS = (10_000, 1_000_000, 1_000_000)
"""For gc.set_threshold(): Python collects young objects itself, in milliseconds; collect_garbage() does the rest."""

MIN_PAUSE_S = 600.0  # between two collections
PAUSE_FACTOR = 10_000  # a collection takes at most this fraction of the time

log = structlog.get_logger()


async def collect_garbage(clock: Clock, *, collect: Callable[[], int] = gc.collect) -> float:
    """Collect once. Returns the seconds until the next collection: the longer this one took, the more."""
    started_s = clock.monotonic()
    found = collect()
    took_s = clock.monotonic() - started_s
    log.debug("garbage.collected", objects=found, seconds=round(took_s, 3))
    return max(MIN_PAUSE_S, took_s * PAUSE_FACTOR)

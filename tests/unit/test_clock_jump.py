"""The machine's clock is set while the daemon runs."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cambwatch.loops.scheduler import Scheduler


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_wakes_the_loops(hours: int) -> None:
    """Else a clock set back by an hour would let them sleep for that hour: APScheduler goes by it."""
    jump = timedelta(0)
    kick = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC) + jump, look_s=0.05) as scheduler:
        scheduler.alarm("poller", kick).set(7200)
        jump = timedelta(hours=hours)

        await asyncio.wait_for(kick.wait(), timeout=10)


async def test_a_clock_that_goes_evenly_wakes_nobody() -> None:
    """An alarm that is not due does not ring, however often the clock is looked at."""
    kick = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC), look_s=0.05) as scheduler:
        scheduler.alarm("poller", kick).set(7200)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kick.wait(), timeout=0.5)

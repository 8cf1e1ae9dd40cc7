"""The machine's clock is set while the daemon runs."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from cambwatch.loops.scheduler import Scheduler


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_wakes_the_loops(hours: int) -> None:
    """Else a clock set back by an hour would let them sleep for that hour: APScheduler goes by it."""
    jump = timedelta(0)
    wakeup_event = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC) + jump, clock_check_s=0.05) as scheduler:
        scheduler.wakeup("poller", wakeup_event).set(7200)
        jump = timedelta(hours=hours)

        await asyncio.wait_for(wakeup_event.wait(), timeout=10)


async def test_a_clock_that_goes_evenly_wakes_nobody() -> None:
    """An alarm that is not due does not ring, however often the clock is looked at."""
    wakeup_event = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC), clock_check_s=0.05) as scheduler:
        scheduler.wakeup("poller", wakeup_event).set(7200)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wakeup_event.wait(), timeout=0.5)

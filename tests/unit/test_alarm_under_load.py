"""The alarms of the loops while the event loop is busy, and when the scheduler forgets one."""

import asyncio
from datetime import UTC, datetime

from cambwatch.loops.scheduler import Scheduler


async def test_a_ring_is_not_skipped_because_another_is_under_way() -> None:
    """On a busy event loop APScheduler may still count the last run of a job when the next is due."""
    wakeup_event = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC), clock_check_s=0.05) as scheduler:
        wakeup = scheduler.wakeup("poller", wakeup_event)
        executor = scheduler._scheduler._lookup_executor("default")
        executor._instances[wakeup._job.id] = 1
        wakeup.set(0.01)

        await asyncio.wait_for(wakeup_event.wait(), timeout=1)


async def test_a_ring_that_was_lost_is_made_up_for() -> None:
    """Whatever becomes of a job, no loop sleeps for more than seconds past its alarm."""
    wakeup_event = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC), clock_check_s=0.05) as scheduler:
        scheduler.wakeup("poller", wakeup_event).set(0.5)
        scheduler._scheduler.pause()

        await asyncio.wait_for(wakeup_event.wait(), timeout=20)

"""The alarms of the loops while the event loop is busy, and when the scheduler forgets one."""

import asyncio
from datetime import UTC, datetime

from cambwatch.loops.scheduler import Scheduler


async def test_a_ring_is_not_skipped_because_another_is_under_way() -> None:
    """On a busy event loop APScheduler may still count the last run of a job when the next is due."""
    kick = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC), look_s=0.05) as scheduler:
        alarm = scheduler.alarm("poller", kick)
        executor = scheduler._scheduler._lookup_executor("default")
        executor._instances[alarm._job.id] = 1
        alarm.set(0.01)

        await asyncio.wait_for(kick.wait(), timeout=1)


async def test_a_ring_that_was_lost_is_made_up_for() -> None:
    """Whatever becomes of a job, no loop sleeps for more than seconds past its alarm."""
    kick = asyncio.Event()
    async with Scheduler(now=lambda: datetime.now(UTC), look_s=0.05) as scheduler:
        scheduler.alarm("poller", kick).set(0.5)
        scheduler._scheduler.pause()

        await asyncio.wait_for(kick.wait(), timeout=20)

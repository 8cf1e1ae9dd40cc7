"""
Every timed duty, by APScheduler: its jobs only wake loops.

A loop has one alarm, set to when it has something to do next. There is no job for
each Camb task: a thousand jobs due together lose runs, and a shutdown cancels jobs
that are under way. The loops keep their due times themselves.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Self

from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


class _Unset(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """Keeps a job that has rung, until it is set again."""

    def get_next_fire_time(self, _previous: datetime | None, _now: datetime) -> datetime:
        return _NEVER


class Alarm:
    """Sets the kick of its loop at the earliest instant that it was set to since it last rang."""

    def __init__(self, job: Job, kick: asyncio.Event, now: Callable[[], datetime]) -> None:
        self._job = job
        self._kick = kick
        self._now = now
        self._at: datetime | None = None

    def set(self, pause_s: float | None) -> None:
        """
        Ring in *pause_s* seconds, at once if that is not positive, not for this if None.

        An earlier ring that is set stays set: a loop that is woken too early finds
        nothing to do, and moving the ring each time would cost more.
        """
        if pause_s is None:
            return
        if pause_s <= 0:
            self._kick.set()
            return
        at = self._now() + timedelta(seconds=pause_s)
        if self._at is None or at < self._at:
            self._at = at
            self._job.modify(next_run_time=at)

    async def ring(self) -> None:
        """Called by the scheduler. A coroutine, because a plain function would run in a thread."""
        self._at = None
        self._kick.set()


class Scheduler:
    """Hands out alarms and recurring duties; use as a context manager, inside the running loop."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    async def __aenter__(self) -> Self:
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._scheduler.shutdown(wait=False)

    def alarm(self, name: str, kick: asyncio.Event) -> Alarm:
        """An alarm for the loop *name*, which waits for *kick*; not set yet."""
        job = self._scheduler.add_job(_nothing, _Unset(), id=name, name=name)
        alarm = Alarm(job, kick, self._now)
        job.modify(func=alarm.ring)
        return alarm


async def _nothing() -> None:
    """What a job calls until its alarm is there."""

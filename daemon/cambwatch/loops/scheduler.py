"""
Every timed duty, by APScheduler: its jobs only wake loops.

A loop has one alarm, set to when it has something to do next. There is no job for
each Camb task: a thousand jobs due together lose runs, and a shutdown cancels jobs
that are under way. The loops keep their due times themselves.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Self

import structlog
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
LOOK_S = 2.0  # between two looks at the machine's clock
JUMP_S = 1.0  # by which it may wander in that time
OVERDUE = timedelta(seconds=1)  # of an alarm, before it is taken to be lost

log = structlog.get_logger()


class _Unset(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """Keeps a job that has rung, until it is set again."""

    def get_next_fire_time(self, _previous: datetime | None, _now: datetime) -> datetime:
        return _NEVER


class Alarm:
    """Sets the kick of its loop at the earliest instant that it was set to since it last rang."""

    def __init__(self, job: Job, kick: asyncio.Event, now: Callable[[], datetime]) -> None:
        self._job = job
        self.kick = kick
        self._now = now
        self._at: datetime | None = None
        self.rounds = 0
        """How often the loop has come round to setting this."""

    @property
    def name(self) -> str:
        """The loop's."""
        name: str = self._job.name
        return name

    @property
    def kicked(self) -> bool:
        """Whether the loop was woken and has not come round since."""
        return self.kick.is_set()

    def set(self, pause_s: float | None) -> None:
        """
        Ring in *pause_s* seconds, at once if that is not positive, not for this if None.

        An earlier ring that is set stays set: a loop that is woken too early finds
        nothing to do, and moving the ring each time would cost more.
        """
        self.rounds += 1
        if pause_s is None:
            return
        if pause_s <= 0:
            self.kick.set()
            return
        at = self._now() + timedelta(seconds=pause_s)
        if self._at is None or at < self._at:
            self._at = at
            self._job.modify(next_run_time=at)

    async def ring(self) -> None:
        """Called by the scheduler. A coroutine, because a plain function would run in a thread."""
        self.wake()

    def overdue(self, now: datetime) -> bool:
        """Whether it should have rung long since."""
        return self._at is not None and now - self._at > OVERDUE

    def wake(self) -> None:
        """Set the kick now, and forget what the alarm was set to."""
        self._at = None
        self.kick.set()


class Scheduler:
    """Hands out alarms and recurring duties; use as a context manager, inside the running loop."""

    def __init__(
        self, *, now: Callable[[], datetime], look_s: float = LOOK_S, lagged: Callable[[float], None] = lambda _: None
    ) -> None:
        """*lagged* is told with every look how many seconds later it comes than it was meant to."""
        self._now = now
        self._lagged = lagged
        self._look_s = look_s
        self.alarms: list[Alarm] = []
        self._look: asyncio.TimerHandle | None = None
        self._look_due_s = inf
        # With a low max_instances APScheduler skips a run, for ever, whenever the event loop is so busy that the run
        # before is not yet ticked off; a ring takes no time, so any number may overlap.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1_000_000}
        )

    async def __aenter__(self) -> Self:
        self._scheduler.start()
        loop = asyncio.get_running_loop()
        self._look_again(loop, self._now().timestamp() - loop.time())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._look is not None:
            self._look.cancel()
        self._scheduler.shutdown(wait=False)

    def alarm(self, name: str, kick: asyncio.Event) -> Alarm:
        """An alarm for the loop *name*, which waits for *kick*; not set yet."""
        job = self._scheduler.add_job(_nothing, _Unset(), id=name, name=name)
        alarm = Alarm(job, kick, self._now)
        job.modify(func=alarm.ring)
        self.alarms.append(alarm)
        return alarm

    def _look_at_clocks(self, loop: asyncio.AbstractEventLoop, offset_s: float) -> None:
        """
        Wake the loops that would oversleep: the net under APScheduler, which goes by the machine's clock.

        Set back by an hour, that clock would let the loops sleep for the hour. They know
        by one that only grows what is due, and set their alarms anew.
        """
        self._lagged(max(loop.time() - self._look_due_s, 0.0))
        now = self._now()
        new_offset_s = now.timestamp() - loop.time()
        jumped = abs(new_offset_s - offset_s) > JUMP_S
        if jumped:
            log.warning("clock.jumped", seconds=round(new_offset_s - offset_s, 1))
        for alarm in self.alarms:
            if jumped or alarm.overdue(now):
                alarm.wake()
        self._look_again(loop, new_offset_s)

    def _look_again(self, loop: asyncio.AbstractEventLoop, offset_s: float) -> None:
        self._look_due_s = loop.time() + self._look_s
        self._look = loop.call_later(self._look_s, self._look_at_clocks, loop, offset_s)


async def _nothing() -> None:
    """What a job calls until its alarm is there."""

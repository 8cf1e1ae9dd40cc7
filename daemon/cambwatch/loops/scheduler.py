"""Wakes loops on time (APScheduler) and repeats periodic functions.

A loop has one wakeup, set to when it has work next. There is no job per Camb task: a thousand jobs due together
lose runs, and a shutdown cancels jobs that are running. The loops keep their due times themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Protocol, Self

import structlog
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger


class Clock(Protocol):
    """The only source of time and dice; app/process.py has the real one."""

    def now(self) -> datetime:
        """The instant, aware, in UTC: for what is written down."""

    def monotonic(self) -> float:
        """Seconds that only grow: for what is waited for."""

    def chance(self) -> float:
        """A number in [0, 1)."""


_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
CLOCK_CHECK_S = 2.0  # between two looks at the machine's clock
CLOCK_JUMP_S = 1.0  # by which it may wander in that time
LOST_AFTER = timedelta(seconds=1)  # of an alarm, before it is taken to be lost

PeriodicFunction = Callable[[], Awaitable[float | None]]
"""Periodic work; it returns the seconds until its next run, or None for the usual interval."""

log = structlog.get_logger()


class _NeverTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """Keeps a job that has rung, until it is set again."""

    def get_next_fire_time(self, _previous: datetime | None, _now: datetime) -> datetime:
        return _NEVER


class Wakeup:
    """Sets the kick of its loop at the earliest instant that it was set to since it last rang."""

    def __init__(self, job: Job, wakeup_event: asyncio.Event, now: Callable[[], datetime]) -> None:
        self._job = job
        self.wakeup_event = wakeup_event
        self._now = now
        self._at: datetime | None = None
        self.iterations = 0
        """How often the loop has come round to setting this."""

    @property
    def name(self) -> str:
        """The loop's."""
        name: str = self._job.name
        return name

    @property
    def is_pending(self) -> bool:
        """Whether the loop was woken and has not come round since."""
        return self.wakeup_event.is_set()

    def set(self, pause_s: float | None) -> None:
        """
        Ring in *pause_s* seconds, at once if that is not positive, not for this if None.

        An earlier ring that is set stays set: a loop that is woken too early finds
        nothing to do, and moving the ring each time would cost more.
        """
        self.iterations += 1
        if pause_s is None:
            return
        if pause_s <= 0:
            self.wakeup_event.set()
            return
        at = self._now() + timedelta(seconds=pause_s)
        if self._at is None or at < self._at:
            self._at = at
            self._job.modify(next_run_time=at)

    async def fire(self) -> None:
        """Called by the scheduler. A coroutine, because a plain function would run in a thread."""
        self.wake()

    def overdue(self, now: datetime) -> bool:
        """Whether it should have rung long since."""
        return self._at is not None and now - self._at > LOST_AFTER

    def wake(self) -> None:
        """Set the kick now, and forget what the alarm was set to."""
        self._at = None
        self.wakeup_event.set()


class Repeated:
    """
    A loop that runs one function again and again: periodic work, such as pruning and lease renewal.

    Runs do not overlap. An exception of the function ends run(). A wakeup that comes before the interval is over means
    that the machine's clock jumped, as when it resumes from a suspend, which the monotonic clock does not count:
    with *run_after_jump* the function runs then, without it the loop sleeps on.
    """

    def __init__(
        self,
        wakeup: Wakeup,
        function: PeriodicFunction,
        *,
        every_s: float,
        first_s: float,
        run_after_jump: bool,
        on_stop: Callable[[], None],
    ) -> None:
        self._wakeup = wakeup
        self._function = function
        self._every_s = every_s
        self._first_s = first_s
        self._run_after_jump = run_after_jump
        self._on_stop = on_stop
        self._requested = False
        self._stopping = False

    async def run(self) -> None:
        """Run the function until stop() is called."""
        monotonic = asyncio.get_running_loop().time
        due_s = monotonic() + self._first_s
        try:
            while not self._stopping:
                self._wakeup.wakeup_event.clear()
                if self._requested or monotonic() >= due_s:
                    self._requested = False
                    pause_s = await self._function()
                    due_s = monotonic() + (self._every_s if pause_s is None else pause_s)
                else:
                    self._wakeup.set(due_s - monotonic())
                    await self._wakeup.wakeup_event.wait()
                    self._requested |= self._run_after_jump
        finally:
            self._on_stop()

    def run_now(self) -> None:
        """Run the function as soon as it is not running."""
        self._requested = True
        self._wakeup.set(0)

    def stop(self) -> None:
        """End run() after the current run of the function."""
        self._stopping = True
        self._wakeup.wakeup_event.set()


class Scheduler:
    """Hands out alarms and recurring duties; use as a context manager, inside the running loop."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        clock_check_s: float = CLOCK_CHECK_S,
        lagged: Callable[[float], None] = lambda _: None,
    ) -> None:
        """*lagged* is told with every look how many seconds later it comes than it was meant to."""
        self._now = now
        self._lagged = lagged
        self._clock_check_s = clock_check_s
        self.wakeups: list[Wakeup] = []
        self._clock_check: asyncio.TimerHandle | None = None
        self._clock_check_due_s = inf
        # With a low max_instances APScheduler skips a run, for ever, whenever the event loop is so busy that the run
        # before is not yet ticked off; a ring takes no time, so any number may overlap.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1_000_000}
        )

    async def __aenter__(self) -> Self:
        self._scheduler.start()
        loop = asyncio.get_running_loop()
        self._schedule_clock_check(loop, self._now().timestamp() - loop.time())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._clock_check is not None:
            self._clock_check.cancel()
        self._scheduler.shutdown(wait=False)

    def wakeup(self, name: str, wakeup_event: asyncio.Event) -> Wakeup:
        """An alarm for the loop *name*, which waits for *wakeup_event*; not set yet."""
        job = self._scheduler.add_job(_nothing, _NeverTrigger(), id=name, name=name)
        wakeup = Wakeup(job, wakeup_event, self._now)
        job.modify(func=wakeup.fire)
        self.wakeups.append(wakeup)
        return wakeup

    def repeat(
        self,
        name: str,
        function: PeriodicFunction,
        *,
        every_s: float,
        first_s: float | None = None,
        run_after_jump: bool = False,
        on_stop: Callable[[], None] = lambda: None,
    ) -> Repeated:
        """
        A loop that runs *function* every *every_s* seconds, the first time after *first_s* (None: *every_s*).

        *function* may return the seconds until its next run instead. With *run_after_jump* it also runs when the
        machine's clock jumps. *on_stop* is called when the loop ends.
        """
        wakeup = self.wakeup(name, asyncio.Event())
        first_s = every_s if first_s is None else first_s
        return Repeated(
            wakeup, function, every_s=every_s, first_s=first_s, run_after_jump=run_after_jump, on_stop=on_stop
        )

    def _check_clocks(self, loop: asyncio.AbstractEventLoop, offset_s: float) -> None:
        """
        Wake the loops that would oversleep: the net under APScheduler, which goes by the machine's clock.

        Set back by an hour, that clock would let the loops sleep for the hour. They know
        by one that only grows what is due, and set their alarms anew.
        """
        self._lagged(max(loop.time() - self._clock_check_due_s, 0.0))
        now = self._now()
        new_offset_s = now.timestamp() - loop.time()
        jumped = abs(new_offset_s - offset_s) > CLOCK_JUMP_S
        if jumped:
            log.warning("clock.jumped", seconds=round(new_offset_s - offset_s, 1))
        for wakeup in self.wakeups:
            if jumped or wakeup.overdue(now):
                wakeup.wake()
        self._schedule_clock_check(loop, new_offset_s)

    def _schedule_clock_check(self, loop: asyncio.AbstractEventLoop, offset_s: float) -> None:
        self._clock_check_due_s = loop.time() + self._clock_check_s
        self._clock_check = loop.call_later(self._clock_check_s, self._check_clocks, loop, offset_s)


async def _nothing() -> None:
    """What a job calls until its alarm is there."""

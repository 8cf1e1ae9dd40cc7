"""Tells systemd that the daemon makes progress. Without progress it stays quiet, and systemd restarts the service.

Only what a restart can cure counts: a loop that does not turn, a thread that does not answer. Trouble of Camb, of a
receiver or of the disk is reported elsewhere (/readyz, the log).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.model import PastAttempt
from cambwatch.loops.scheduler import Clock, Wakeup


class DebouncedCondition:
    """
    A condition that counts as changed once it has been otherwise for *debounce_s* seconds, wherever it was looked at.

    False at the start. Time is an argument, in seconds of a clock that only grows.
    """

    def __init__(self, debounce_s: float) -> None:
        self.active = False
        """How it counts as standing."""
        self.since_s: float | None = None
        """Since when it has been otherwise; None: it is not."""
        self._debounce_s = debounce_s

    def update(self, found: bool, now_s: float) -> bool:  # noqa: FBT001 - what is found is the subject
        """Take in how it was *found* to be; True where it counts as changed with that."""
        if found == self.active:
            self.since_s = None
        elif self.since_s is None:
            self.since_s = now_s
        elif now_s - self.since_s >= self._debounce_s:
            self.active, self.since_s = found, None
            return True
        return False

    @property
    def next_check_s(self) -> float | None:
        """When a look is worth it even where nothing else happens; None: at no time."""
        return None if self.since_s is None else self.since_s + self._debounce_s


CHECK_S = 5.0  # between two checks, unless the watchdog is in more of a hurry
CHECKS_PER_LIMIT = 6  # in the time that the watchdog leaves: a single one that falls out does no harm
PROBE_S = 60.0  # between two writes that only show that the database can be written

LAG_S = 5.0  # for one turn of the event loop
UNRESPONSIVE_S = 20.0  # until a loop that was woken comes round; a read of a locked database may take 5 s
STALLED_S = 15.0  # until a poll goes out that may
HUNG_S = 30.0  # beyond the timeout of a request, until it is given up
DATABASE_S = 20.0  # until the database says yes or no; a locked one says no after 5 s

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HealthReadings:
    """
    What was measured of the service, in seconds.

    *lag_s*: one turn of the event loop. *unresponsive_s*, by loop: since it was woken, without
    having come round. *stalled_s*, by account: for how long a poll may go out, by due
    time, budget and pauses, and does not. *hung_s*, by account: how far all its
    requests are beyond their timeout. *database_s*: since the database was asked to
    write, without having said yes or no; 0 while it is not asked.
    """

    lag_s: float = 0.0
    unresponsive_s: Mapping[str, float] = field(default_factory=dict)
    stalled_s: Mapping[str, float] = field(default_factory=dict)
    hung_s: Mapping[str, float] = field(default_factory=dict)
    database_s: float = 0.0


def unhealthy_reason(readings: HealthReadings) -> str | None:
    """Why systemd is not to be told that all is well; None: it is."""
    if readings.lag_s > LAG_S:
        return f"the event loop takes {readings.lag_s:.0f} s for a turn"
    limits = (
        (readings.unresponsive_s, UNRESPONSIVE_S, "does not come round"),
        (readings.stalled_s, STALLED_S, "has polls to send and sends none"),
        (readings.hung_s, HUNG_S, "has requests that outlive their timeout"),
    )
    for measured, limit_s, words in limits:
        for name, seconds in measured.items():
            if seconds > limit_s:
                return f"{name} {words}, since {seconds:.0f} s"
    if readings.database_s > DATABASE_S:
        return f"the database has not answered for {readings.database_s:.0f} s"
    return None


class AccountProgress(Protocol):
    """How an account's polls come along; seconds."""

    def overdue_s(self, now_s: float) -> float: ...
    def stalled_s(self, now_s: float) -> float: ...
    def full_s(self, now_s: float) -> float: ...


class DestinationProgress(Protocol):
    """How a destination's deliveries come along."""

    @property
    def last(self) -> PastAttempt | None: ...


@dataclass(frozen=True, slots=True)
class WatchdogSources:
    """
    What is watched over.

    *timeouts* are those of one request, by account. *check_write* writes to the database and
    returns its trouble, *pending_counts* counts the pending deliveries by destination.
    """

    watching: Callable[[], int]
    accounts: Mapping[str, AccountProgress]
    timeouts: Mapping[str, timedelta]
    workers: Mapping[str, DestinationProgress]
    check_write: Callable[[], Awaitable[str | None]]
    pending_counts: Callable[[], Awaitable[Mapping[str, int]]]


class Watchdog:
    """Checks *sources* every few seconds, and says by *notify* what it has found."""

    def __init__(
        self,
        sources: WatchdogSources,
        *,
        notify: Callable[..., None],
        limit_s: float | None,
        clock: Clock,
        wakeups: Iterable[Wakeup],
    ) -> None:
        """*limit_s* is within how long systemd wants to hear of progress; None: only the status is told."""
        self._sources = sources
        self._notify = notify
        self._sends_keepalive = limit_s is not None
        self.check_every_s = CHECK_S if limit_s is None else min(CHECK_S, limit_s / CHECKS_PER_LIMIT)
        self._clock = clock
        self._watched_wakeups = tuple(wakeups)
        self._progress_marks: dict[
            str, tuple[object, float]
        ] = {}  # by loop: how far it was when it was first seen woken
        self._probe: asyncio.Task[None] | None = None
        self._probed_s = -inf  # when the database was last asked
        self._pending_deliveries: int | None = None
        self._last_status: str | None = None
        self._withheld = False

    def cancel_probe(self) -> None:
        """Give up a write that is under way only to show that the database can be written."""
        if self._probe is not None:
            self._probe.cancel()

    async def check(self) -> None:
        """Check once, every *check_every_s* seconds, and notify systemd."""
        begun_s = self._clock.monotonic()
        await asyncio.sleep(0)
        now_s = self._clock.monotonic()
        why = unhealthy_reason(self._readings(now_s, lag_s=now_s - begun_s))
        lines = [] if why is not None or not self._sends_keepalive else ["WATCHDOG=1"]
        status = self._status(now_s)
        if status != self._last_status:
            lines.append(f"STATUS={status}")
            self._last_status = status
        if lines:
            self._notify(*lines)
        if why is not None and not self._withheld:
            log.warning("watchdog.withheld", reason=why, hint="should it last, systemd starts the service anew")
        self._withheld = why is not None
        if now_s - self._probed_s >= PROBE_S and self._probe is None:
            self._probed_s = now_s
            self._probe = asyncio.create_task(self._probe_database(), name="watchdog probe")

    def _readings(self, now_s: float, *, lag_s: float) -> HealthReadings:
        accounts, timeouts = self._sources.accounts, self._sources.timeouts
        return HealthReadings(
            lag_s=lag_s,
            unresponsive_s={wakeup.name: self._unresponsive_s(wakeup, now_s) for wakeup in self._watched_wakeups},
            stalled_s={f"account {name}": one.stalled_s(now_s) for name, one in accounts.items()},
            hung_s={
                f"account {name}": one.full_s(now_s) - timeouts[name].total_seconds() for name, one in accounts.items()
            },
            database_s=0 if self._probe is None else now_s - self._probed_s,
        )

    def _unresponsive_s(self, wakeup: Wakeup, now_s: float) -> float:
        if not wakeup.is_pending:
            self._progress_marks.pop(wakeup.name, None)
            return 0
        # Under load a lane may be at one round for long, and gets its posts done all the same.
        worker = self._sources.workers.get(wakeup.name.removeprefix("destination "))
        mark = (wakeup.iterations, None if worker is None else worker.last)
        seen, since_s = self._progress_marks.get(wakeup.name, (None, now_s))
        if seen != mark:
            since_s = now_s
        self._progress_marks[wakeup.name] = (mark, since_s)
        return now_s - since_s

    def _status(self, now_s: float) -> str:
        overdue_s = _longest(one.overdue_s(now_s) for one in self._sources.accounts.values())
        pending = "?" if self._pending_deliveries is None else self._pending_deliveries
        return (
            f"watching {self._sources.watching()}, deliveries waiting {pending}, oldest poll overdue {overdue_s:.1f} s"
        )

    async def _probe_database(self) -> None:
        try:
            await self._sources.check_write()  # whatever it says: that it says something is what counts here
            self._pending_deliveries = sum((await self._sources.pending_counts()).values())
        except StoreUnavailableError:
            self._pending_deliveries = None
        finally:
            self._probe = None


def _longest(spans_s: Iterable[float]) -> float:
    return max(spans_s, default=0.0)

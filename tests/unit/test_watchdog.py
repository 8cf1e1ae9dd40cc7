"""What systemd hears of a service that works, and of one that does not."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.model import Attempt, Outcome, PastAttempt
from cambwatch.loops import watchdog as limits
from cambwatch.loops.scheduler import Scheduler, Wakeup
from cambwatch.loops.watchdog import Watchdog, WatchdogSources

PATIENCE_S = 10.0


class Clock:
    """The real one, which can be moved ahead, so that nobody has to wait for a limit."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s

    def chance(self) -> float:
        return 0.5


class Account:
    """Of one account, what the test says."""

    def __init__(self) -> None:
        self.overdue = self.stalled = self.full = 0.0

    def overdue_s(self, _now_s: float) -> float:
        return self.overdue

    def stalled_s(self, _now_s: float) -> float:
        return self.stalled

    def full_s(self, _now_s: float) -> float:
        return self.full


class Lane:
    """Of one destination, what the test says."""

    last: PastAttempt | None = None


class Database:
    """Answers when the test lets it, with its trouble; the answer of a count is 7."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.trouble: str | None = None

    async def check_write(self) -> str | None:
        self.asked += 1
        await self.answers.wait()
        return self.trouble

    async def pending_counts(self) -> Mapping[str, int]:
        if self.trouble is not None:
            raise StoreUnavailableError(self.trouble, hint="make room")
        return {"chat": 3, "hook": 4}


class Bench:
    """A watchdog that checks a hundred times a second, on a service of pieces that the test moves."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.account, self.lane, self.database = Account(), Lane(), Database()
        self.heard: list[tuple[str, ...]] = []
        self._news = asyncio.Event()
        self.wakeup_event = asyncio.Event()
        self.wakeup: Wakeup
        self.watchdog: Watchdog

    def notify(self, *lines: str) -> None:
        self.heard.append(lines)
        self._news.set()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def checks(self, count: int) -> list[tuple[str, ...]]:
        """What was told in the next *count* checks, each of which shows by another status."""
        begin = len(self.heard)
        for _ in range(count):
            self.account.overdue += 1
            status = f"oldest poll overdue {self.account.overdue:.1f} s"
            await self.until(lambda status=status: any(status in line for lines in self.heard for line in lines))
        return self.heard[begin + 1 :]  # the first may have been under way

    async def pings(self) -> bool:
        """Whether the checks from now on tell that all is well."""
        told = ["WATCHDOG=1" in lines for lines in await self.checks(5)]
        assert len(set(told)) == 1, self.heard
        return told[0]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running(limit_s=0.06) as made:
        yield made


@asynccontextmanager
async def running(*, limit_s: float | None) -> AsyncIterator[Bench]:
    made = Bench()
    async with Scheduler(now=made.clock.now) as scheduler:
        made.wakeup = scheduler.wakeup("destination chat", made.wakeup_event)
        sources = WatchdogSources(
            watching=lambda: 412,
            accounts={"default": made.account},
            timeouts={"default": timedelta(seconds=30)},
            workers={"chat": made.lane},
            check_write=made.database.check_write,
            pending_counts=made.database.pending_counts,
        )
        watchdog = Watchdog(sources, notify=made.notify, limit_s=limit_s, clock=made.clock, wakeups=scheduler.wakeups)
        loop = scheduler.repeat(
            "watchdog", watchdog.check, every_s=watchdog.check_every_s, first_s=0, on_stop=watchdog.cancel_probe
        )
        task = asyncio.create_task(loop.run())
        yield made
        loop.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task


async def test_while_all_is_well_it_is_told_again_and_again(bench: Bench) -> None:
    """With what goes on, for `systemctl status`."""
    assert await bench.pings()
    told = "STATUS=watching 412, deliveries waiting 7, oldest poll overdue"
    assert any(line.startswith(told) for lines in bench.heard for line in lines)


async def test_what_has_not_changed_is_not_told_again(bench: Bench) -> None:
    await bench.until(lambda: bench.heard[-3:] == [("WATCHDOG=1",)] * 3)


async def test_without_a_watchdog_only_the_status_is_told() -> None:
    async with running(limit_s=None) as bench:
        await bench.until(lambda: bench.heard)
        assert [line.partition("=")[0] for line in bench.heard[0]] == ["STATUS"]


async def test_an_event_loop_that_hardly_turns_is_no_progress(bench: Bench) -> None:
    async def slow() -> None:
        while True:
            bench.clock.ahead_s += limits.LAG_S + 1
            await asyncio.sleep(0)

    assert await bench.pings()
    slowing = asyncio.create_task(slow())
    assert not await bench.pings()
    slowing.cancel()
    assert await bench.pings()


async def test_polls_that_stall_are_no_progress(bench: Bench) -> None:
    """Until they go out again."""
    with capture_logs() as logged:
        bench.account.stalled = limits.STALLED_S + 1
        assert not await bench.pings()
        bench.account.stalled = 0
        assert await bench.pings()
    assert [(line["event"], line["reason"]) for line in logged] == [
        ("watchdog.withheld", "account default has polls to send and sends none, since 16 s")
    ]


async def test_requests_that_outlive_their_timeout_are_no_progress(bench: Bench) -> None:
    bench.account.full = 30 + limits.HUNG_S
    assert await bench.pings()
    bench.account.full += 1
    assert not await bench.pings()


async def test_a_loop_that_does_not_come_round_is_no_progress(bench: Bench) -> None:
    """Woken, and deaf since; from the round on all is well."""
    bench.wakeup_event.set()
    assert await bench.pings()
    bench.clock.ahead_s += limits.UNRESPONSIVE_S + 1
    assert not await bench.pings()
    bench.wakeup.set(None)
    assert await bench.pings()


async def test_a_loop_that_nobody_wakes_may_sleep_for_ever(bench: Bench) -> None:
    assert await bench.pings()
    bench.clock.ahead_s += 100_000
    assert await bench.pings()


async def test_a_lane_whose_posts_end_comes_along(bench: Bench) -> None:
    """A long round under load is not deafness."""
    bench.wakeup_event.set()
    assert await bench.pings()
    bench.clock.ahead_s += limits.UNRESPONSIVE_S + 1
    bench.lane.last = PastAttempt(bench.clock.now(), Attempt(1, Outcome.ACCEPTED, took_ms=1))
    assert await bench.pings()


async def test_a_database_that_says_nothing_is_no_progress(bench: Bench) -> None:
    await bench.until(lambda: bench.database.asked == 1)
    bench.database.answers.clear()
    bench.clock.ahead_s += limits.PROBE_S + 1
    assert await bench.pings()
    assert bench.database.asked == 2
    bench.clock.ahead_s += limits.DATABASE_S + 1
    assert not await bench.pings()
    bench.database.answers.set()
    assert await bench.pings()


async def test_a_full_disk_is_no_reason_to_start_anew(bench: Bench) -> None:
    """The database says no, so it is there; a restart makes no room. The status shows that nothing can be counted."""
    bench.database.trouble = "database or disk is full"
    for _ in range(5):
        bench.clock.ahead_s += limits.PROBE_S + 1
        assert await bench.pings()
    assert "deliveries waiting ?" in bench.heard[-1][-1]


async def test_the_database_is_asked_once_a_minute(bench: Bench) -> None:
    """A daemon that has nothing to do leaves the disk alone."""
    await bench.checks(20)
    assert bench.database.asked == 1

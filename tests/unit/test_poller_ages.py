"""How old a task is, by a clock that nobody sets: its pauses, its deadline, and what is learned of it."""

# ruff: noqa: ARG002 - the neighbours are called by the names of their Protocols and use what they need

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from task_samples import START, pending

from cambwatch.core.accounts import Account
from cambwatch.core.cadence.estimate import PollSchedule
from cambwatch.core.cadence.histogram import BINS, EDGES_S, Completion
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import StartEntry
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import (
    Conclusion,
    Fault,
    FinishedReply,
    PendingReply,
    PollReply,
    Status,
    Task,
    UnavailableReply,
    UnknownTaskReply,
)
from cambwatch.core.redaction import Secret
from cambwatch.loops.polling.poller import Poller

HOUR = timedelta(hours=1)
NOON_S = 5000.0  # of the clock that only grows


class Clock:
    """Two clocks: one that only grows, by the test's hand, and the machine's, which may be set."""

    def __init__(self) -> None:
        self.now_s = NOON_S
        self.set_by = timedelta(0)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.now_s - NOON_S) + self.set_by

    def monotonic(self) -> float:
        return self.now_s

    def chance(self) -> float:
        return 0.5


class Camb:
    """Answers as the test says, by the seconds since NOON_S."""

    def __init__(self, clock: Clock, says: Callable[[float], PollReply]) -> None:
        self.clock, self.says = clock, says
        self.asked: list[float] = []

    async def status(self, key: object) -> PollReply:
        at_s = self.clock.now_s - NOON_S
        self.asked.append(at_s)
        return self.says(at_s)


class Concluder:
    """Takes every end, unless somebody else has closed the task."""

    def __init__(self) -> None:
        self.steps: list[Conclusion] = []
        self.closed = False

    async def conclude(
        self, task: Task, progress: object, step: Conclusion, lane: object, *, result: object = None
    ) -> bool:
        self.steps.append(step)
        return not self.closed


class Cadence:
    """One policy, and what it is told."""

    def __init__(self, policy: PollPolicy) -> None:
        self.one = policy
        self.completions: list[Completion] = []
        self.expired = 0
        self.watched = 0

    def policy(self, task: Task) -> PollPolicy:
        return self.one

    def task_watched(self, task: Task, progress: Progress, *, since_s: float) -> StartEntry:
        self.watched += 1
        return StartEntry(None, since_s, progress)

    def task_finished(self, task: Task, start_entry: StartEntry, completion: Completion) -> None:
        self.completions.append(completion)

    def task_expired(self, task: Task, start_entry: StartEntry) -> None:
        self.expired += 1

    def task_dropped(self, task: Task, start_entry: StartEntry) -> None:
        self.watched -= 1


class Meter:
    """Deaf."""

    def polled(self, *_: object) -> None: ...
    def concluded(self, *_: object) -> None: ...


class Wakeup:
    """Tells the test when the poller wants to be woken."""

    def __init__(self, clock: Clock, wakeup_event: asyncio.Event) -> None:
        self.clock = clock
        self.wakeup_event = wakeup_event
        self.wakes: list[float] = []

    def set(self, pause_s: float | None) -> None:
        if pause_s is not None:
            heapq.heappush(self.wakes, self.clock.now_s + pause_s)


class Bench:
    """A poller whose time passes as fast as it can be worked through."""

    def __init__(self, says: Callable[[float], PollReply], policy: PollPolicy = PollPolicy()) -> None:  # noqa: B008
        self.clock = Clock()
        self.camb = Camb(self.clock, says)
        self.wakeup_event = asyncio.Event()
        self.concluder, self.cadence, self.wakeup = Concluder(), Cadence(policy), Wakeup(self.clock, self.wakeup_event)
        self.known: list[int] = []
        self.poller = Poller(
            self.camb,
            self.concluder,
            accounts={"default": Account("default", Secret("key"))},
            cadence=self.cadence,
            meter=Meter(),
            clock=self.clock,
            wakeup=self.wakeup,
            on_first_status=self.known.append,
        )

    async def run(self, until_s: float) -> None:
        """Let the time pass until so many seconds after NOON_S."""
        working = asyncio.create_task(self.poller.run())
        while True:
            self.wakeup_event.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await self.poller.drain()
            if not self.poller.watching or not self.wakeup.wakes or self.wakeup.wakes[0] > NOON_S + until_s:
                break
            self.clock.now_s = max(heapq.heappop(self.wakeup.wakes), self.clock.now_s)
        self.clock.now_s = max(self.clock.now_s, NOON_S + until_s)
        self.poller.stop()
        await working


def until_then(at_s: float) -> Callable[[float], PollReply]:
    """Pending before *at_s*, ended from then on."""
    return lambda now_s: PendingReply() if now_s < at_s else FinishedReply(Status.SUCCESS, 1)


def even(pause_s: float) -> PollPolicy:
    """Learned pauses that are all alike."""
    return PollPolicy(schedule=PollSchedule([1 / pause_s] * BINS, shortest_s=1, longest_s=120))


async def test_what_is_learned_is_between_the_last_pending_and_the_end() -> None:
    """Both as ages since the registration."""
    bench = Bench(until_then(12))
    bench.poller.watch([pending()])
    await bench.run(60)
    assert bench.camb.asked == [0, 5, 10, 15]
    assert bench.cadence.completions == [Completion(10, 15)]


async def test_a_task_goes_on_at_its_age_after_a_restart() -> None:
    """Spread over the pause of that age, and what is learned counts from the registration."""
    schedule = PollSchedule([1 / 100 if age_s < 500 else 1 / 10 for age_s in EDGES_S[1:]], shortest_s=1, longest_s=120)
    bench = Bench(until_then(33), PollPolicy(schedule=schedule))
    bench.poller.watch([replace(pending(), registered_at=START - timedelta(seconds=600), polls=7)], spread=True)
    await bench.run(100)
    assert bench.camb.asked == pytest.approx([5, 15, 25, 35])
    (completion,) = bench.cadence.completions
    assert (completion.pending_s, completion.ended_s) == pytest.approx((625, 635))


async def test_what_had_ended_at_the_first_look_is_not_learned() -> None:
    """It may have ended long before: after a restart, or because it was registered late."""
    bench = Bench(until_then(0))
    bench.poller.watch([pending()])
    await bench.run(60)
    assert bench.concluder.steps
    assert bench.cadence.completions == []


async def test_an_answer_that_says_nothing_does_not_tell_that_a_task_was_pending() -> None:
    """An outage makes the interval wider, not narrower."""
    trouble = UnavailableReply(Fault.SERVER_ERROR, detail="HTTP 503")
    bench = Bench(lambda now_s: trouble if 7 < now_s < 60 else until_then(30)(now_s))
    bench.poller.watch([pending()])
    await bench.run(200)
    (completion,) = bench.cadence.completions
    assert completion.pending_s == 5
    assert completion.ended_s >= 60


@pytest.mark.parametrize(
    ("says", "expired"),
    [
        (lambda _: PendingReply(), 1),
        (lambda now_s: PendingReply() if now_s < 3000 else UnavailableReply(Fault.SERVER_ERROR), 0),
        (lambda _: UnknownTaskReply(), 0),
    ],
    ids=["pending", "no answer", "unknown"],
)
async def test_only_what_is_pending_at_its_deadline_is_endless(
    says: Callable[[float], PollReply], expired: int
) -> None:
    """What Camb gave no answer about may have ended."""
    bench = Bench(says)
    bench.poller.watch([pending(deadline=HOUR)])
    await bench.run(5000)
    assert len(bench.concluder.steps) == 1
    assert (bench.cadence.expired, bench.cadence.completions) == (expired, [])


async def test_what_somebody_else_has_closed_is_not_learned() -> None:
    """Such as a user who lost patience, and most with the slow ones."""
    bench = Bench(until_then(12))
    bench.concluder.closed = True
    bench.poller.watch([pending()])
    await bench.run(60)
    assert bench.concluder.steps
    assert bench.cadence.completions == []


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_set_makes_no_task_older(hours: int) -> None:
    """Neither its pauses nor its deadline care, nor what is learned of it."""
    jumped = Bench(until_then(1000), PollPolicy(interval=timedelta(seconds=10)))

    def says(now_s: float) -> PollReply:
        jumped.clock.set_by = hours * HOUR if now_s > 100 else timedelta(0)
        return until_then(1000)(now_s)

    jumped.camb.says = says
    jumped.poller.watch([pending(deadline=timedelta(minutes=30))])
    await jumped.run(2000)
    assert jumped.camb.asked == [10.0 * number for number in range(101)]
    assert [step.status for step in jumped.concluder.steps] == [Status.SUCCESS]
    assert jumped.cadence.completions == [Completion(990, 1000)]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_deadline_comes_when_its_time_has_passed(hours: int) -> None:
    """However the machine's clock is set meanwhile."""
    bench = Bench(lambda _: PendingReply(), PollPolicy(interval=timedelta(seconds=10)))
    bench.poller.watch([pending(deadline=timedelta(minutes=30))])
    bench.clock.set_by = hours * HOUR
    await bench.run(4000)
    assert bench.camb.asked[-1] == 1800
    assert [step.status for step in bench.concluder.steps] == [Status.EXPIRED]


async def test_a_registration_in_the_future_is_now() -> None:
    """The clock was set back since: the task is new, not a million years old."""
    bench = Bench(until_then(12))
    bench.poller.watch([replace(pending(), registered_at=START + HOUR, deadline_at=START + 25 * HOUR)])
    await bench.run(60)
    assert bench.cadence.completions == [Completion(10, 15)]


@pytest.mark.parametrize("says", [until_then(12), lambda _: UnknownTaskReply()], ids=["ended", "unknown"])
async def test_nobody_stays_in_the_line_who_is_watched_no_more(says: Callable[[float], PollReply]) -> None:
    """Nor one that is forgotten, nor one that is watched anew."""
    bench = Bench(says)
    bench.poller.watch([pending(), pending(number=2)])
    bench.poller.watch([pending(number=2)])
    bench.poller.stop_watching(2)
    assert bench.cadence.watched == 1
    await bench.run(300)
    assert bench.cadence.watched == 0


async def test_learned_pauses_are_kept() -> None:
    """The first one, too."""
    bench = Bench(until_then(100), even(30))
    bench.poller.watch([pending()])
    await bench.run(200)
    assert bench.camb.asked == [0, 30, 60, 90, 120]


async def test_a_429_slows_the_account_down() -> None:
    """Other trouble does not."""
    for fault, share in ((Fault.RATE_LIMITED, 0.5), (Fault.SERVER_ERROR, 1)):
        bench = Bench(lambda _, fault=fault: UnavailableReply(fault))
        bench.poller.watch([pending()])
        await bench.run(0)
        assert bench.poller.queues["default"].share(NOON_S) == share


async def test_a_restart_is_no_burst() -> None:
    """Ten thousand tasks come back through the bucket, late ones too."""
    bench = Bench(lambda _: PendingReply())
    tasks = [
        replace(pending(number=number), registered_at=START - timedelta(hours=number % 23)) for number in range(10_000)
    ]
    bench.poller.watch(tasks, spread=True)
    await bench.run(10)
    per_second = Account("default", Secret("key")).requests_per_second
    assert len(bench.camb.asked) <= 10 * per_second + per_second / 10 + 1
    assert bench.poller.limited("default")
    assert not bench.poller.limited("nobody")

"""The loops with hand-written neighbours, for what real ones do too seldom: a bug, a slow store, a second thought."""

# ruff: noqa: ARG002, ARG005 - the neighbours are called by the names of their Protocols and use what they need

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from meters import Meter
from structlog.testing import capture_logs

from cambwatch.core.accounts import Account
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import StartEntry
from cambwatch.core.delivery.attempts import DueDelivery
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import TaskEnded
from cambwatch.core.model import (
    Attempt,
    Delivery,
    DeliveryState,
    Fault,
    FinishedReply,
    Outcome,
    PendingReply,
    Status,
    Task,
    TaskKey,
    UnavailableReply,
    UnknownTaskReply,
)
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination
from cambwatch.core.templates import BodyTemplate
from cambwatch.loops.delivery.worker import DestinationWorker
from cambwatch.loops.polling.conclusion import Concluder, TaskWaiters
from cambwatch.loops.polling.poller import Poller
from cambwatch.loops.scheduler import Scheduler

PATIENCE_S = 10
BREAKER = Breaker()
DOWN = Breaker(open=True, failures=5, probes=1, failing_since=datetime(2026, 11, 22, tzinfo=UTC), alerted=True)


class Clock:
    """The machine's clocks, of which the test may set the one for instants ahead."""

    def __init__(self):
        self.ahead = timedelta(0)

    def now(self):
        return datetime.now(UTC) + self.ahead

    def monotonic(self):
        return time.monotonic()

    def chance(self):
        return 0.5


class Book:
    """One delivery that is owed, in a store whose reads can take a second of the clock."""

    def __init__(self, clock, delivery, *, slow=False):
        self.clock = clock
        self.delivery = delivery
        self.event = TaskEnded("default", "dub", "t", 1, Status.ERROR, clock.now(), clock.now())
        self.slow = slow
        self.trouble = None
        self.recorded = asyncio.Event()
        self.breaker_changes = []

    async def due(self, destination, *, now, fresh, repeated, exclude):
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        at = self.delivery.next_attempt_at
        due = at <= now and not self.recorded.is_set() and self.delivery.id not in exclude
        if self.slow:
            self.clock.ahead += timedelta(seconds=1)
        return DueDelivery([(self.delivery, self.event)] if due else [], [], next_due_at=at if at > now else None)

    async def record(self, tried, breaker_change, *, now):
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        self.breaker_changes.append(breaker_change)
        self.recorded.set()
        return 1

    async def record_breaker_change(self, breaker_change, *, now):
        raise AssertionError("nothing is down for long here")


class Sender:
    """Counts the posts; each is accepted, or what *trouble* says."""

    def __init__(self, trouble=None):
        self.posts = 0
        self.trouble = trouble

    async def post(self, destination, message, *, number):
        self.posts += 1
        if self.trouble is not None:
            raise self.trouble
        return Attempt(number, Outcome.ACCEPTED, took_ms=1)


def queued(at):
    """A delivery that is due *at*."""
    return Delivery("msg_1", 1, "hook", DeliveryState.PENDING, 0, at, at)


async def run_lane(book, sender, *, until, breaker=BREAKER, made=lambda lane: None, meter=None, **destination):
    """Let a lane work until the event *until* is set."""
    async with Scheduler(now=book.clock.now) as scheduler:
        destination = Destination("hook", "webhook", Secret("https://hooks.example/"), **destination)
        lane = DestinationWorker(
            destination,
            book,
            sender,
            breaker=breaker,
            meter=meter or Meter(),
            clock=book.clock,
            wakeup=scheduler.wakeup("lane", asyncio.Event()),
            queued=lambda destinations: None,
        )
        lane.acquire()
        made(lane)
        working = asyncio.create_task(lane.run())
        async with asyncio.timeout(PATIENCE_S):
            await until.wait()
            lane.stop()
            await working
            await lane.drain()


async def test_what_falls_due_while_the_store_is_read_is_not_passed_over():
    """Neither due yet when the store began to look, nor any more in the future when it was done."""
    clock = Clock()
    book = Book(clock, queued(clock.now() + timedelta(milliseconds=500)), slow=True)
    sender = Sender()
    await run_lane(book, sender, until=book.recorded)
    assert sender.posts == 1


async def test_a_store_that_cannot_be_read_is_read_again(monkeypatch):
    """With one line in the log, and no end of the lane."""
    monkeypatch.setattr("cambwatch.loops.delivery.worker.RECORD_PAUSE_S", 0.05)
    clock = Clock()
    book = Book(clock, queued(clock.now()))
    book.trouble = OSError("disk I/O error")
    with capture_logs() as logs:
        await run_lane(book, Sender(), until=book.recorded)
    assert [line["error"] for line in logs if line["event"] == "store.unavailable"] == ["disk I/O error"]


async def test_what_was_posted_is_not_posted_again_while_it_cannot_be_written_down(monkeypatch):
    """It is offered to the store until it takes it."""
    monkeypatch.setattr("cambwatch.loops.delivery.worker.RECORD_PAUSE_S", 0.05)
    clock = Clock()
    book = Book(clock, queued(clock.now()))
    sender = Sender()

    async def post(destination, message, *, number):
        book.trouble = OSError("database or disk is full")
        return await Sender.post(sender, destination, message, number=number)

    sender.post = post
    with capture_logs() as logs:
        await run_lane(book, sender, until=book.recorded)
    assert sender.posts == 1
    assert [line["error"] for line in logs if line["event"] == "store.unavailable"] == ["database or disk is full"]


async def test_a_bug_with_one_delivery_is_an_attempt_that_failed():
    """It is logged with its traceback, counts as trouble of ours, and is tried again later."""
    clock = Clock()
    book = Book(clock, queued(clock.now()))
    with capture_logs() as logs:
        await run_lane(book, Sender(KeyError("a bug")), until=book.recorded)
    broken, attempted = (line for line in logs if line["event"].startswith("delivery."))
    assert (broken["event"], broken["exc_info"], broken["log_level"]) == ("delivery.internal_error", True, "error")
    assert (attempted["outcome"], attempted["decision"]) == (Outcome.OURS, "RetryAt")


@pytest.mark.parametrize("breaker", [BREAKER, DOWN], ids=["closed", "open"])
@pytest.mark.parametrize(
    ("trouble", "template", "posts"),
    [(KeyError("a bug"), None, 1), (None, BodyTemplate("{{ data.nothing.more }}"), 0)],
    ids=["a bug", "a template"],
)
async def test_what_was_never_posted_says_nothing_of_the_receiver(trouble, template, posts, breaker):
    """Neither that it is down, nor that it is back."""
    clock = Clock()
    book = Book(clock, queued(clock.now()))
    sender, meter = Sender(trouble), Meter()
    await run_lane(book, sender, until=book.recorded, breaker=breaker, template=template, meter=meter)
    assert (sender.posts, book.breaker_changes) == (posts, [None])
    assert [(name, posted) for name, _, posted in meter.attempts] == [("hook", False)]


async def test_a_record_that_was_held_up_writes_the_breaker_as_it_is_by_then(monkeypatch):
    """Not as the attempt found it, which may be long ago."""
    monkeypatch.setattr("cambwatch.loops.delivery.worker.RECORD_PAUSE_S", 0.05)
    clock = Clock()
    book = Book(clock, queued(clock.now()))
    sender = Sender()
    queues = []

    async def post(destination, message, *, number):
        book.trouble = OSError("database or disk is full")
        return Attempt(number, Outcome.AUTH, took_ms=1)

    async def record(tried, breaker_change, *, now):
        if book.trouble is not None:
            queues[0]._health.set(BREAKER)  # as if another post had been accepted meanwhile
        return await Book.record(book, tried, breaker_change, now=now)

    sender.post, book.record = post, record
    await run_lane(book, sender, until=book.recorded, made=queues.append)
    (breaker_change,) = book.breaker_changes
    assert breaker_change.breaker == BREAKER


class Source:
    """A Camb that goes by a list of answers, of which some are bugs."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def status(self, key):
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def result(self, account, request):
        raise AssertionError("nobody asks for the result of an ERROR")

    def endpoint(self, account, request):
        return None


class Ends:
    """Where ends are written down, with some trouble first."""

    def __init__(self, *trouble):
        self.trouble = list(trouble)
        self.ended = asyncio.Event()
        self.statuses = []

    async def conclude(self, ended, event, *, notify, destinations_for_group):
        if self.trouble:
            trouble = self.trouble.pop(0)
            if trouble is None:
                return None
            raise trouble
        self.statuses.append(ended.status)
        self.ended.set()
        return list(notify)


def task(number=1):
    """A pending task, just registered."""
    now = datetime.now(UTC)
    return Task(number, TaskKey("default", "dub", f"t{number}"), 1, Status.PENDING, now, now + timedelta(hours=1))


class Cadence:
    """One policy for every task; learns nothing."""

    def __init__(self, policy):
        self.one = policy

    def policy(self, task):
        return self.one

    def task_watched(self, task, progress, *, since_s):
        return StartEntry(None, since_s, progress)

    def task_finished(self, task, start_entry, completion):
        pass

    def task_expired(self, task, start_entry):
        pass

    def task_dropped(self, task, start_entry):
        pass


async def run_poller(source, ends, meter=None):
    """Let a poller work on one task until its end is written down; returns whether it is still watched then."""
    clock = Clock()
    policy = PollPolicy(interval=timedelta(milliseconds=10), not_found_grace=timedelta(0))
    async with Scheduler(now=clock.now) as scheduler:
        concluder = Concluder(
            source,
            ends,
            destinations_for=lambda event, notify: (),
            queued=lambda destinations: None,
            task_waiters=TaskWaiters(),
            result_retries=None,
            clock=clock,
            repeat_alt_format=False,
        )
        poller = Poller(
            source,
            concluder,
            accounts={"default": Account("default", Secret("key"))},
            cadence=Cadence(policy),
            meter=meter or Meter(),
            clock=clock,
            wakeup=scheduler.wakeup("poller", asyncio.Event()),
            on_first_status=lambda number: None,
        )
        poller.watch([task()])
        working = asyncio.create_task(poller.run())
        async with asyncio.timeout(PATIENCE_S):
            await ends.ended.wait()
            poller.stop()
            await working
            await poller.drain()
        assert all(lane.is_idle for lane in poller.queues.values())
        return poller.watching


@pytest.mark.parametrize(
    ("source", "ends"),
    [
        (Source(KeyError("a bug"), PendingReply(), FinishedReply(Status.ERROR)), ()),
        (Source(FinishedReply(Status.ERROR)), (KeyError("a bug"),)),
    ],
    ids=["asking", "concluding"],
)
async def test_a_bug_with_one_task_does_not_end_its_watch(monkeypatch, source, ends):
    """It is logged with its traceback and asked for again, after a while."""
    monkeypatch.setattr("cambwatch.loops.polling.poller.POSTPONED_S", 0.05)
    book = Ends(*ends)
    with capture_logs() as logs:
        assert await run_poller(source, book) == 0
    assert book.statuses == [Status.ERROR]
    assert [line["exc_info"] for line in logs if line["event"] == "task.postponed"] == [True]


async def test_it_is_told_what_became_of_each_poll():
    """With how late it went out and how long it took; and of the end, for how long it can have waited to be seen."""
    meter, slow_s = Meter(), 0.03

    class Slow(Source):
        async def status(self, key):
            await asyncio.sleep(slow_s)
            return await super().status(key)

    answers = [UnavailableReply(Fault.SERVER_ERROR), PendingReply(), PendingReply(), FinishedReply(Status.ERROR)]
    await run_poller(Slow(*answers), Ends(), meter)
    assert [poll[:3] for poll in meter.polls] == [("default", "dub", answer) for answer in answers]
    for *_, lateness_s, took_s in meter.polls:
        assert 0 <= lateness_s < PATIENCE_S
        assert slow_s * 0.9 <= took_s < PATIENCE_S
    ((kind, status, detection_s),) = meter.ends
    assert (kind, status) == ("dub", Status.ERROR)
    assert slow_s * 2 * 0.9 + 0.01 * 0.5 <= detection_s < PATIENCE_S  # two answers and the shortest pause between them


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([FinishedReply(Status.SUCCESS, 5)], Status.SUCCESS),  # at the first look
        ([PendingReply("REFRACTING"), UnknownTaskReply("gone")], Status.NOT_FOUND),
    ],
)
async def test_an_end_that_was_not_looked_for_in_time_has_no_delay(answers, status):
    """Nobody knows since when it was there; and what Camb does not know has no end."""
    meter = Meter()
    await run_poller(Source(*answers), Ends(), meter)
    assert meter.ends == [("dub", status, None)]


async def test_a_task_that_somebody_else_has_closed_is_watched_no_more():
    """Its end is told, and counted, by whoever closed it."""
    book, meter = Ends(None), Meter()
    clockwork = asyncio.create_task(run_poller(Source(FinishedReply(Status.ERROR)), book, meter))
    async with asyncio.timeout(PATIENCE_S):
        while book.trouble:  # noqa: ASYNC110 - a plain list has no event
            await asyncio.sleep(0.005)
    book.ended.set()
    assert await clockwork == 0
    assert (len(meter.polls), meter.ends, book.statuses) == (1, [], [])

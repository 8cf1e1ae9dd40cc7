"""What the poller is told of the next pause, what it tells of ends, and how that is kept."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from structlog.testing import capture_logs
from task_samples import START, pending, unasked

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.cadence.cadence_model import SavedDurations
from cambwatch.core.cadence.estimate import Strategy
from cambwatch.core.cadence.histogram import MIN_COMPLETIONS, Completion
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.cadence.start_order import StartEntry
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Task
from cambwatch.loops.polling.learner import CACHED_POLICIES, CadenceLearner

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
PREDICTABLE = Completion(58, 60)


class Clock:
    """Stands still, but for the test's hand."""

    now_s = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.now_s

    def chance(self) -> float:
        return 0.5


class Book:
    """Keeps what it is given, unless there is *trouble*."""

    def __init__(self, *saved_durations: SavedDurations) -> None:
        self.kept = {(one.kind, one.size): one for one in saved_durations}
        self.trouble = 0
        self.writes: list[set[tuple[str, str | None]]] = []
        self.written = asyncio.Event()

    async def saved_durations(self) -> list[SavedDurations]:
        return list(self.kept.values())

    async def save_durations(self, saved_durations: Sequence[SavedDurations], *, now: datetime) -> None:
        assert now == NOW
        if self.trouble:
            self.trouble -= 1
            raise StoreUnavailableError("database or disk is full", hint="make room")
        self.kept |= {(one.kind, one.size): one for one in saved_durations}
        self.writes.append({(one.kind, one.size) for one in saved_durations})
        self.written.set()


def made(book: Book, policy: PollPolicy = PollPolicy(), clock: Clock = Clock()) -> CadenceLearner:  # noqa: B008
    return CadenceLearner(lambda _: policy, book, clock=clock)


def task(size: str | None = None) -> Task:
    return replace(pending(), labels={} if size is None else {"size": size})


def begun(learning: CadenceLearner, one: Task) -> StartEntry:
    return learning.task_watched(one, unasked(), since_s=learning._clock.monotonic())


def teach(
    learning: CadenceLearner, one: Task, completion: Completion = PREDICTABLE, count: int = MIN_COMPLETIONS
) -> None:
    for _ in range(count):
        learning.task_finished(one, begun(learning, one), completion)


def is_learned(learning: CadenceLearner, one: Task) -> bool:
    return learning.policy(one).schedule is not None


async def test_tasks_are_asked_for_as_configured_until_enough_is_known() -> None:
    """Then by what was learned, all else as configured."""
    policy = PollPolicy(not_found_grace=timedelta(seconds=7))
    learning = made(Book(), policy)
    teach(learning, task(), count=MIN_COMPLETIONS - 1)
    assert learning.policy(task()) is policy
    teach(learning, task(), count=1)
    found = learning.policy(task())
    assert found.schedule is not None
    assert found.with_fixed_interval() == policy
    assert learning.policy(task()) is found  # and is not made anew for each poll


async def test_who_wants_the_fixed_interval_keeps_it() -> None:
    """What is known is shown all the same, and is there when the strategy changes."""
    learning = made(Book(), PollPolicy(strategy=Strategy.FIXED))
    teach(learning, task())
    assert not is_learned(learning, task())
    (insight,) = learning.summaries()
    assert (insight.strategy, insight.completions, insight.polls) == (
        Strategy.FIXED,
        MIN_COMPLETIONS,
        insight.fixed_polls,
    )
    assert insight.gain is not None
    assert insight.gain > 1.1


async def test_sizes_are_told_apart_by_a_label() -> None:
    """An empty one is none."""
    learning = made(Book())
    for _ in range(MIN_COMPLETIONS):
        teach(learning, task("long"), Completion(600, 602), count=1)
        teach(learning, task("short"), Completion(8, 9), count=1)
    teach(learning, task(""), Completion(600, 602), count=1)
    schedules = [learning.policy(task(size)).schedule for size in ("long", "short", None, "", "unknown")]
    assert schedules[2] is schedules[3] is schedules[4]
    assert len({id(schedule) for schedule in schedules}) == 3
    assert [(one.size, one.completions) for one in learning.summaries()] == [
        (None, 2 * MIN_COMPLETIONS + 1),
        ("long", MIN_COMPLETIONS),
        ("short", MIN_COMPLETIONS),
    ]


@pytest.mark.parametrize(
    ("deadline", "counts"), [(timedelta(hours=24), 1), (timedelta(days=2), 1), (timedelta(hours=1), 0)]
)
async def test_a_deadline_that_somebody_set_shorter_says_nothing(deadline: timedelta, counts: int) -> None:
    """The task may have ended a moment later."""
    learning = made(Book())
    one = replace(task(), deadline_at=START + deadline)
    learning.task_expired(one, begun(learning, one))
    assert [known.expired for _, _, known in learning.durations()] == [1.0] * counts


async def test_a_kind_whose_tasks_never_end_is_asked_for_at_the_interval() -> None:
    """And nothing breaks: there is neither a median nor a gain."""
    learning = made(Book())
    for _ in range(1000):
        learning.task_expired(task(), begun(learning, task()))
    (insight,) = learning.summaries()
    assert not is_learned(learning, task())
    assert (insight.completions, insight.median_s, insight.p95_s, insight.gain) == (0, None, None, None)
    await learning.save()


async def test_tasks_that_end_at_once_are_learned() -> None:
    """With durations of zero the pauses stay within the limits."""
    learning = made(Book())
    teach(learning, task(), Completion(0, 0), count=100)
    policy = learning.policy(task())
    for age_s in (0, 1, 60, 86400):
        assert timedelta(seconds=1) <= policy.pause(timedelta(seconds=age_s)) <= timedelta(minutes=2)


async def test_a_change_is_told_in_the_log() -> None:
    """Once for the kind, once for the size."""
    learning = made(Book())
    teach(learning, task("long"), count=100)
    with capture_logs() as logs:
        teach(learning, task("long"), Completion(900, 902), count=20)
    assert [(line["event"], line["size"]) for line in logs] == [
        ("durations.changed", None),
        ("durations.changed", "long"),
    ]


async def test_what_was_learned_survives_a_restart() -> None:
    """The very same pauses."""
    book = Book()
    before = made(book)
    teach(before, task("long"))
    await before.save()
    again = made(book)
    await again.load()
    for one in (task(), task("long")):
        pauses = [
            [learning.policy(one).pause(timedelta(seconds=age_s)) for age_s in (0, 10, 55, 300)]
            for learning in (before, again)
        ]
        assert pauses[0] == pauses[1]
    assert is_learned(again, task())


async def test_what_cannot_be_read_is_learned_anew() -> None:
    """With a line in the log, and the others are read."""
    book = Book()
    before = made(book)
    teach(before, task())
    await before.save()
    book.kept["tts", None] = SavedDurations("tts", None, {"form": "of a later version"})
    again = made(book)
    with capture_logs() as logs:
        await again.load()
    assert [(line["event"], line["kind"]) for line in logs] == [("durations.unreadable", "tts")]
    assert is_learned(again, task())
    teach(again, replace(task(), key=task().key._replace(kind="tts")))
    assert [one.completions for one in again.summaries()] == [MIN_COMPLETIONS, MIN_COMPLETIONS]


async def test_only_what_is_new_is_written() -> None:
    """Nothing, if nothing is."""
    book = Book()
    learning = made(book)
    await learning.save()
    teach(learning, task("long"), count=1)
    await learning.save()
    await learning.save()
    teach(learning, task(), count=1)
    await learning.save()
    assert book.writes == [{("dub", None), ("dub", "long")}, {("dub", None)}]


async def test_what_could_not_be_written_is_written_the_next_time() -> None:
    """As it is by then, together with what is new."""
    book = Book()
    book.trouble = 2
    learning = made(book)
    teach(learning, task("long"), count=1)
    with capture_logs() as logs:
        await learning.save()
        teach(learning, task(), count=1)
        await learning.save()
    assert [(line["event"], line["operation"]) for line in logs] == [("store.unavailable", "durations")] * 2
    await learning.save()
    assert book.writes == [{("dub", None), ("dub", "long")}]
    assert book.kept["dub", None].durations["completions"] == 2
    await learning.save()
    assert len(book.writes) == 1


async def test_sizes_that_users_make_up_fill_no_memory() -> None:
    """A label is any text."""
    learning = made(Book())
    for number in range(3000):
        one = task(f"size {number}")
        teach(learning, one, count=1)
        learning.policy(one)
    assert len(learning.durations()) < 20
    assert learning._cached_scheduled_policy.cache_info().currsize <= CACHED_POLICIES


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.2])
async def test_a_batch_is_learned_as_tasks_one_after_another_are(sigma: float) -> None:
    """Its quick ones end first: that is no sign that tasks take longer and longer, nor what the last of them show."""
    clock, dice = Clock(), Random(f"batch {sigma}")
    learning = made(Book(), clock=clock)
    with capture_logs() as logs:
        for batch in range(5):
            start_s = clock.now_s = batch * 10_000.0
            tasks = [replace(pending(number=number), labels={}) for number in range(400)]
            progress = [Progress(known_at=START) for _ in tasks]
            turns = [learning.task_watched(one, p, since_s=start_s) for one, p in zip(tasks, progress, strict=True)]
            ends = [dice.lognormvariate(math.log(60), sigma) for _ in tasks]
            for number in sorted(range(400), key=ends.__getitem__):
                clock.now_s = start_s + ends[number]
                for one in progress:
                    one.pending_at_s = clock.now_s - start_s
                learning.task_finished(tasks[number], turns[number], Completion(ends[number] * 0.98, ends[number]))
    assert logs == []
    (insight,) = learning.summaries()
    assert insight.completions == 5 * 400
    assert insight.median_s == pytest.approx(60, rel=0.12)
    assert insight.p95_s == pytest.approx(60 * math.exp(1.645 * sigma), rel=0.3)


async def test_restarts_amid_tasks_do_not_make_them_look_longer() -> None:
    """The quick ones of a batch may have ended and not been learned: then the slow ones are not, either."""
    book, clock, dice = Book(), Clock(), Random("restarts")
    under_way: list[tuple[float, float]] = []  # from when until when
    with capture_logs() as logs:
        for process in range(40):
            learning = made(book, clock=clock)
            await learning.load()
            start_s = clock.now_s = process * 75.0
            under_way += [(start_s, start_s + dice.lognormvariate(math.log(60), 0.5)) for _ in range(50)]
            watched = []
            for since_s, until_s in under_way:
                progress = Progress(known_at=START)
                start_entry = learning.task_watched(task(), progress, since_s=since_s)
                watched.append((until_s, since_s, start_entry, progress))
            for until_s, since_s, start_entry, progress in sorted(watched, key=lambda one: one[0]):
                if until_s > start_s + 75:
                    break
                clock.now_s, progress.pending_at_s = until_s, (until_s - since_s) * 0.98
                learning.task_finished(task(), start_entry, Completion(progress.pending_at_s, until_s - since_s))
            under_way = [one for one in under_way if one[1] > start_s + 75]
            await learning.save()
    assert logs == []
    (insight,) = learning.summaries()
    assert insight.completions > MIN_COMPLETIONS
    assert insight.median_s is not None
    assert 60 / 1.3 < insight.median_s < 60 * 1.1


async def test_a_batch_that_takes_longer_than_all_before_is_noticed() -> None:
    """As soon as its tasks outlast the usual, before they end."""
    clock = Clock()
    learning = made(Book(), clock=clock)
    teach(learning, task(), count=100)
    assert is_learned(learning, task())
    progress = [Progress(known_at=START, pending_at_s=300) for _ in range(20)]
    turns = [learning.task_watched(task(), one, since_s=0) for one in progress]
    clock.now_s = 301
    with capture_logs() as logs:
        teach(learning, task(), Completion(290, 300), count=1)
    assert [line["event"] for line in logs] == ["durations.changed"]
    for start_entry in turns:
        learning.task_finished(task(), start_entry, Completion(590, 600))
    (insight,) = learning.summaries()
    assert insight.median_s == pytest.approx(600, rel=0.1)
    assert not is_learned(learning, task())
    teach(learning, task(), Completion(590, 600), count=MIN_COMPLETIONS)
    assert learning.policy(task()).pause(timedelta(seconds=60)) > timedelta(seconds=20)  # where all ended before


async def test_what_comes_late_is_written_down_as_well() -> None:
    """Like any other completion."""
    book, clock = Book(), Clock()
    learning = made(book, clock=clock)
    teach(learning, task(), count=100)
    slow = learning.task_watched(task(), Progress(known_at=START, pending_at_s=400), since_s=0)
    clock.now_s = 500
    teach(learning, task(), count=1)
    await learning.save()
    learning.task_finished(task(), slow, Completion(400, 600))
    await learning.save()
    assert [known["completions"] for known in (book.kept["dub", None].durations,)] == [102]
    assert len(book.writes) == 2

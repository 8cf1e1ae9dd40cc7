"""The deliveries of a lane that are in memory: which is the next, and when the store is asked for more."""

from datetime import timedelta

import pytest
from books import Book, Clock, chat, finish, step

from cambwatch.core.delivery.attempts import PendingDelivery
from cambwatch.core.formats import MOST_IN_DIGEST
from cambwatch.core.model import DeliveryState
from cambwatch.loops.delivery.window import READ_AHEAD_FACTOR, REPEATED_EVERY, Window

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Lane:
    """A window and what lies around it, a minute after the start of the world."""

    def __init__(self, **destination: object) -> None:
        self.clock = Clock()
        self.book = Book()
        self.window = Window(chat(**destination), self.book, clock=self.clock)
        self.clock.forward(MINUTE)

    def read_due(self, *under_way: str) -> None:
        """As the lane does: only if the window wants it."""
        if self.window.wants_more:
            finish(self.window.read_due(under_way))

    def owe(self, count: int, *, attempts: int = 0) -> list[str]:
        """So many that are due, a second apart, the last of them now."""
        return [self.book.add(at=self.clock.at - n * SECOND, attempts=attempts) for n in reversed(range(count))]

    def take(self, count: int) -> list[str]:
        return [self.window.take()[0].id for _ in range(count)]


@pytest.fixture
def lane() -> Lane:
    return Lane()


def ids(owed: list[PendingDelivery]) -> list[str]:
    return [delivery.id for delivery, _ in owed]


def test_the_longest_due_is_the_first(lane: Lane) -> None:
    """Of fresh ones and of repeated ones."""
    repeated, fresh = lane.owe(3, attempts=1), lane.owe(3)
    lane.read_due()
    assert lane.take(6) == fresh + repeated
    assert not lane.window.ready


def test_one_in_eight_is_a_repeated_one_while_both_wait(lane: Lane) -> None:
    """So that those that were tried before do not starve."""
    repeated, fresh = lane.owe(3, attempts=1), lane.owe(30)
    lane.read_due()
    assert REPEATED_EVERY == 8
    taken = lane.take(33)
    assert taken == [*fresh[:7], repeated[0], *fresh[7:14], repeated[1], *fresh[14:21], repeated[2], *fresh[21:]]


def test_only_turns_while_both_wait_are_counted(lane: Lane) -> None:
    """Else the first repeated one might come before all that is fresh."""
    alone = lane.owe(7)
    lane.read_due()
    assert lane.take(7) == alone
    repeated, fresh = lane.owe(1, attempts=1), lane.owe(8)
    lane.window.wake()
    lane.read_due(*alone)
    assert lane.take(9) == [*fresh[:7], *repeated, *fresh[7:]]


def test_the_store_is_asked_once_where_it_has_no_more(lane: Lane) -> None:
    """However often the lane comes round, until it is woken."""
    lane.owe(2)
    lane.read_due()
    lane.take(1)
    lane.read_due()
    lane.take(1)
    lane.read_due()
    assert len(lane.book.readings) == 1
    assert lane.window.wait_s is None
    lane.window.wake()
    lane.read_due()
    lane.read_due()
    assert len(lane.book.readings) == 2


def test_more_is_read_as_soon_as_half_is_gone(lane: Lane) -> None:
    """While the rest is posted; never more than there is room for: the store keeps the others."""
    owed = lane.owe(2 * MOST_IN_DIGEST)
    lane.read_due()
    half = MOST_IN_DIGEST // 2
    taken = []
    for _ in range(half):
        taken += lane.take(1)
        assert len(lane.book.readings) == 1
        if len(taken) < half:
            lane.read_due()
    lane.read_due(*taken)
    assert [reading.fresh for reading in lane.book.readings] == [MOST_IN_DIGEST, half]
    assert lane.take(MOST_IN_DIGEST) == owed[half : half + MOST_IN_DIGEST]


def test_what_waits_for_a_fresh_one_waits_for_the_look(lane: Lane) -> None:
    """Who is woken while repeated ones are at hand looks first; with a fresh one at hand nothing waits."""
    lane.owe(3, attempts=1)
    lane.read_due()
    assert not lane.window.must_read_first
    (fresh,) = lane.owe(1)
    lane.window.wake()
    assert lane.window.must_read_first
    read_due = lane.window.read_due(())
    step(read_due)
    assert lane.window.must_read_first
    finish(read_due)
    assert not lane.window.must_read_first
    assert lane.take(1) == [fresh]


@pytest.mark.parametrize(("concurrency", "limit"), [(1, MOST_IN_DIGEST), (64, 64 * READ_AHEAD_FACTOR)])
def test_a_few_are_read_for_each_that_may_be_under_way(concurrency: int, limit: int) -> None:
    """Enough for a digest, at least."""
    lane = Lane(concurrency=concurrency)
    lane.read_due()
    assert [(reading.fresh, reading.repeated) for reading in lane.book.readings] == [(limit, limit)]


def test_fresh_ones_are_read_although_repeated_ones_wait(lane: Lane) -> None:
    """An event of now is not kept waiting by a backlog."""
    lane.owe(5, attempts=1)
    lane.read_due()
    lane.read_due()
    assert len(lane.book.readings) == 1
    fresh = lane.owe(1)
    lane.window.wake()
    lane.read_due()
    assert lane.take(1) == fresh


def test_what_is_under_way_or_here_is_not_read_again(lane: Lane) -> None:
    """The store still has it as owed."""
    first, second, *_ = lane.owe(3, attempts=1)
    lane.read_due()
    lane.take(1)
    lane.owe(1)
    lane.window.wake()
    lane.read_due(first)
    assert {first, second} < set(lane.book.readings[-1].exclude)
    assert first not in lane.take(3)
    assert not lane.window.ready


def test_what_ends_while_the_store_is_read_is_not_read_again(lane: Lane) -> None:
    """It may still look owed to the read."""
    (one,) = lane.owe(1)
    under_way = {one: None}
    read_due = lane.window.read_due(under_way)
    step(read_due)
    lane.book.change(one, state=DeliveryState.DELIVERED)
    del under_way[one]
    finish(read_due)
    assert not lane.window.ready


def test_the_store_is_asked_when_more_falls_due(lane: Lane) -> None:
    """At the earliest instant that the store or an attempt has named."""
    later = lane.book.add(at=lane.clock.at + MINUTE)
    lane.read_due()
    assert lane.window.wait_s == 60
    lane.window.note_due_at(lane.clock.at + 2 * MINUTE)
    assert lane.window.wait_s == 60
    lane.window.note_due_at(lane.clock.at + 20 * SECOND)
    assert lane.window.wait_s == 20
    lane.clock.forward(20 * SECOND)
    lane.read_due()
    assert not lane.window.ready
    assert lane.window.wait_s == 40
    lane.clock.forward(40 * SECOND)
    lane.read_due()
    assert lane.take(1) == [later]


@pytest.mark.parametrize(("in_store", "expected", "wait_s"), [(None, 20, 20), (60, 20, 20), (10, 20, 10)])
def test_what_is_expected_while_the_store_is_read_is_not_forgotten(
    lane: Lane, in_store: int | None, expected: int, wait_s: float
) -> None:
    """The read may have begun before the attempt was written down; the earlier instant counts."""
    if in_store is not None:
        lane.book.add(at=lane.clock.at + in_store * SECOND)
    read_due = lane.window.read_due(())
    step(read_due)
    lane.window.note_due_at(lane.clock.at + expected * SECOND)
    finish(read_due)
    assert lane.window.wait_s == wait_s


def test_who_wakes_it_while_the_store_is_read_is_heard(lane: Lane) -> None:
    """The read may have begun before the new one was written down."""
    read_due = lane.window.read_due(())
    step(read_due)
    fresh = lane.owe(1)
    lane.window.wake()
    finish(read_due)
    assert not lane.window.ready
    lane.read_due()
    assert lane.take(1) == fresh


@pytest.mark.parametrize("attempts", [0, 1])
def test_what_is_forgotten_is_not_posted(lane: Lane, attempts: int) -> None:
    """Whether it is here already, or is just being read."""
    first, second, third = lane.owe(3, attempts=attempts)
    read_due = lane.window.read_due(())
    step(read_due)
    lane.window.discard([first])
    finish(read_due)
    lane.window.discard([third, "msg_of_another_lane"])
    assert lane.take(1) == [second]
    assert not lane.window.ready


def test_what_was_forgotten_may_be_owed_again(lane: Lane) -> None:
    """Only a read that was under way then passes over it, also where it failed."""
    (one,) = lane.owe(1)
    lane.window.discard([one])
    lane.book.trouble = OSError("disk")
    read_due = lane.window.read_due(())
    step(read_due)
    lane.window.discard([one])
    with pytest.raises(OSError, match="disk"):
        finish(read_due)
    lane.window.wake()
    lane.read_due()
    assert lane.take(1) == [one]


def test_nothing_is_kept_of_what_is_forgotten_while_nothing_is_read(lane: Lane) -> None:
    """A lane that is owed nothing hears of all that other lanes cancel."""
    lane.read_due()
    lane.window.discard([f"msg_{number}" for number in range(1000)])
    assert lane.window._discarded is None


def test_all_that_fit_are_taken_together(lane: Lane) -> None:
    """Fresh ones first, and no more than so many; the others stay in their order."""
    repeated, fresh = lane.owe(4, attempts=1), lane.owe(4)
    lane.read_due()
    odd = lane.window.take_matching(lambda delivery: delivery.event_id % 2 == 1, 3)
    assert ids(odd) == [fresh[0], fresh[2], repeated[0]]
    assert lane.take(5) == [fresh[1], fresh[3], *repeated[1:]]
    assert lane.window.take_matching(lambda _: True, 3) == []


def test_what_could_not_go_with_the_others_is_the_next(lane: Lane) -> None:
    """In its order, each with its own kind."""
    repeated, fresh = lane.owe(3, attempts=1), lane.owe(3)
    lane.read_due()
    lane.window.put_back(lane.window.take_matching(lambda delivery: delivery.id not in {repeated[2], fresh[2]}, 40))
    assert lane.take(6) == fresh + repeated


def test_fresh_ones_ripen_for_a_digest() -> None:
    """From when the first of them was due."""
    lane = Lane(digest=5 * MINUTE)
    fresh = lane.owe(11)
    lane.read_due()
    assert not lane.window.ready
    assert lane.window.wait_s == 290
    lane.clock.forward(289 * SECOND)
    assert not lane.window.ready
    assert lane.window.wait_s == 1
    lane.clock.forward(SECOND)
    assert lane.window.ready
    assert lane.take(1) == fresh[:1]
    assert not lane.window.ready
    assert lane.window.wait_s == 1
    assert ids(lane.window.take_matching(lambda _: True, 40)) == fresh[1:]


def test_a_digest_takes_in_what_comes_until_it_leaves() -> None:
    """More is read while the first still ripens, even if a store that is asked has nothing then."""
    lane = Lane(digest=5 * MINUTE)
    lane.owe(1)
    lane.read_due()
    lane.read_due()
    assert len(lane.book.readings) == 1
    lane.owe(1)
    lane.window.wake()
    lane.read_due()
    lane.clock.forward(5 * MINUTE)
    lane.owe(1)
    lane.window.wake()
    lane.read_due()
    assert lane.take(1) == ["msg_1"]
    assert ids(lane.window.take_matching(lambda _: True, 40)) == ["msg_2", "msg_3"]


def test_a_digest_that_is_full_takes_in_no_more() -> None:
    """However many come in its time: the others wait in the store, and none of them is lost."""
    lane = Lane(digest=60 * MINUTE)
    due = lane.owe(MOST_IN_DIGEST)
    for _ in range(MOST_IN_DIGEST):
        due += lane.owe(1)
        lane.window.wake()
        lane.read_due()
    assert sum(reading.fresh for reading in lane.book.readings) == MOST_IN_DIGEST
    readings = len(lane.book.readings)
    lane.read_due()
    assert len(lane.book.readings) == readings
    lane.clock.forward(60 * MINUTE)
    lane.read_due()
    assert len(lane.window.take_matching(lambda _: True, 1000)) == MOST_IN_DIGEST
    lane.read_due(*due[:MOST_IN_DIGEST])
    assert len(lane.window.take_matching(lambda _: True, 1000)) == MOST_IN_DIGEST


@pytest.mark.parametrize("waiting", [1, MOST_IN_DIGEST, MOST_IN_DIGEST + 1])
def test_what_was_tried_before_does_not_wait_for_the_digest(waiting: int) -> None:
    """It has waited for its own pause, also where no more fresh ones are to be read."""
    lane = Lane(digest=60 * MINUTE)
    lane.owe(waiting)
    again = lane.book.add(at=lane.clock.at + 10 * SECOND, attempts=1)
    lane.read_due()
    assert not lane.window.ready
    assert lane.window.wait_s == 10
    lane.clock.forward(10 * SECOND)
    lane.read_due()
    assert lane.window.ready
    assert lane.take(1) == [again]
    assert not lane.window.ready
    assert (lane.window.wait_s or 0) > 60
    lane.read_due()
    assert len(lane.book.readings) <= 3

"""Who of an account's tasks is asked for next, and when."""

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from task_samples import pending, unasked

from cambwatch.core.model import ForbiddenReply, PendingReply
from cambwatch.loops.polling.account_queue import (
    PROBE_MAX_S,
    PROBE_MIN_S,
    UNREACHABLE_AFTER,
    AccountChange,
    AccountQueue,
    WatchedTask,
)


def lane(*, per_second: float = 1000, concurrency: int = 100) -> AccountQueue:
    return AccountQueue(per_second=per_second, concurrency=concurrency, now_s=0)


def watch(number: int = 1) -> WatchedTask:
    return WatchedTask(pending(number=number), unasked())


SOMEBODY = watch(9999)
"""Whose answer it is, where that makes no difference."""


def good(one: AccountQueue, whose: WatchedTask = SOMEBODY) -> AccountChange | None:
    return one.record_reply(whose, PendingReply(), now_s=0)


def refuse(one: AccountQueue, http_status: int, *, now_s: float, whose: WatchedTask = SOMEBODY) -> AccountChange | None:
    return one.record_reply(whose, ForbiddenReply(http_status), now_s=now_s)


def filled(one: AccountQueue, tasks: int) -> list[WatchedTask]:
    """So many watches, all due at 0 and put into *one*."""
    watches = [watch(number) for number in range(tasks)]
    for each in watches:
        one.put(each, due_s=0)
    return watches


def test_watches_come_when_they_are_due_and_in_that_order() -> None:
    """Those due at the same instant in the order in which they were put in."""
    one = lane()
    late, early, same = watch(1), watch(2), watch(3)
    for each, due_s in ((late, 3), (early, 1), (same, 1)):
        one.put(each, due_s=due_s)
    assert one.take(0.9) is None
    assert [one.take(5) for _ in range(4)] == [early, same, late, None]


def test_a_watch_that_is_put_again_comes_once() -> None:
    """When it was said last, be that earlier or later."""
    one, sooner, later = lane(), watch(1), watch(2)
    one.put(sooner, due_s=10)
    one.put(sooner, due_s=1)
    one.put(later, due_s=2)
    one.put(later, due_s=10)
    assert one.take(9) is sooner
    assert one.take(9) is None
    assert one.take(10) is later
    assert one.take(100) is None


def test_a_dropped_watch_is_passed_over() -> None:
    """Also as the reason to wake up."""
    one = lane()
    gone, stays = filled(one, 2)
    one.put(stays, due_s=7)
    one.drop(gone)
    assert one.next_wakeup_s(0) == 7
    assert one.take(7) is stays
    assert one.next_wakeup_s(7) is None


def test_no_more_are_asked_at_once_than_allowed() -> None:
    """One answer makes room for one."""
    one = lane(concurrency=3)
    filled(one, 5)
    assert [one.take(0) is not None for _ in range(4)] == [True, True, True, False]
    assert one.next_wakeup_s(0) is None
    good(one)
    assert one.next_wakeup_s(0) == 0
    assert [one.take(0) is not None for _ in range(2)] == [True, False]


def test_the_budget_spaces_the_polls() -> None:
    """With a tenth of a second's worth at once."""
    one = lane(per_second=20)
    filled(one, 10)
    assert [one.take(0) is not None for _ in range(3)] == [True, True, False]
    assert one.next_wakeup_s(0) == pytest.approx(0.05)


def test_results_spend_the_same_budget_and_come_first() -> None:
    """Polls wait until what was reserved is paid."""
    one = lane(per_second=1)
    filled(one, 2)
    assert [one.reserve(0), one.reserve(0)] == [0, 1]
    assert one.take(1) is None
    assert one.next_wakeup_s(1) == 2
    assert one.take(2) is not None


def test_a_request_that_would_come_too_late_spends_nothing() -> None:
    """A thousand results that are due at once leave the polls their budget."""
    one = lane(per_second=1)
    assert [one.reserve(0, within_s=2.5) for _ in range(5)] == [0, 1, 2, None, None]
    assert one.reserve(3, within_s=0) == 0
    one.pause_until(60)
    assert one.reserve(10, within_s=49) is None
    assert one.reserve(10, within_s=50) == 50


def test_idle_is_when_nothing_is_asked() -> None:
    """Whatever waits."""
    one = lane()
    filled(one, 1)
    assert one.is_idle
    one.take(0)
    assert not one.is_idle
    good(one)
    assert one.is_idle


@pytest.mark.parametrize("http_status", [401, 403])
def test_a_refused_key_is_said_once(http_status: int) -> None:
    """Also when many polls were under way."""
    one = lane()
    filled(one, 4)
    while one.take(0):
        pass
    flips = [refuse(one, http_status, now_s=second / 10) for second in range(4)]
    assert flips == [AccountChange.PAUSED, None, None, None]
    assert one.refused == http_status


def test_probes_of_a_refused_key_grow_rarer() -> None:
    """One at a time, from five seconds up to five minutes."""
    one, now_s, pauses = lane(), 0.0, []
    filled(one, 50)
    one.take(now_s)
    for _ in range(9):
        refuse(one, 401, now_s=now_s)
        next_wakeup_s = one.next_wakeup_s(now_s)
        assert one.take(math.nextafter(next_wakeup_s, 0)) is None
        assert one.take(next_wakeup_s) is not None
        assert one.take(next_wakeup_s + 10 * PROBE_MAX_S) is None  # not before the probe is answered
        assert one.next_wakeup_s(next_wakeup_s) is None
        pauses.append(next_wakeup_s - now_s)
        now_s = next_wakeup_s
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert (pauses[0], pauses[-1]) == (PROBE_MIN_S, PROBE_MAX_S)


def test_a_probe_without_an_answer_is_a_probe() -> None:
    """An outage is no reason to try a refused key more often."""
    one, now_s, pauses = lane(), 0.0, []
    filled(one, 50)
    one.take(now_s)
    refuse(one, 401, now_s=now_s)
    for _ in range(4):
        next_wakeup_s = one.next_wakeup_s(now_s)
        one.take(next_wakeup_s)
        one.poll_failed("timeout")
        pauses.append(next_wakeup_s - now_s)
        now_s = next_wakeup_s
    assert pauses == [5, 10, 20, 40]
    assert one.refused == 401


def test_refusals_that_were_under_way_do_not_make_probes_rarer() -> None:
    """However late they come."""
    one = lane()
    filled(one, 20)
    for _ in range(10):
        one.take(0)
    for second in range(10):
        refuse(one, 401, now_s=second)
    assert one.next_wakeup_s(9) == 9 + PROBE_MIN_S


def test_the_first_good_answer_resumes_the_account() -> None:
    """At once, and the next refusal begins with short pauses again."""
    one = lane()
    filled(one, 10)
    one.take(0)
    refuse(one, 401, now_s=0)
    one.take(5)
    refuse(one, 401, now_s=5)
    one.take(15)
    assert good(one) is AccountChange.RESUMED
    assert one.refused is None
    assert one.next_wakeup_s(15) == 15
    assert one.take(15) is not None
    assert refuse(one, 403, now_s=15) is AccountChange.PAUSED
    assert one.next_wakeup_s(15) == 15 + PROBE_MIN_S


def test_camb_may_ask_for_silence() -> None:
    """The longest wish counts, for polls and results."""
    one = lane()
    filled(one, 10)
    for _ in range(2):
        one.take(0)
    one.poll_failed("HTTP 429", paused_until_s=60)
    one.poll_failed("HTTP 429", paused_until_s=30)
    assert one.take(59.9) is None
    assert one.next_wakeup_s(0) == 60
    assert one.reserve(20) == 40
    assert one.take(60) is not None


def test_silence_asked_for_elsewhere_holds_the_polls_too() -> None:
    """As in the answer to a result; a shorter wish does not cut a longer one."""
    one = lane()
    filled(one, 2)
    assert one.paused_s(0) == 0
    one.pause_until(60)
    one.pause_until(30)
    assert one.paused_s(0) == 60
    assert one.take(59.9) is None
    assert one.next_wakeup_s(0) == 60
    assert one.paused_s(61) == 0
    assert one.take(61) is not None


def test_a_refused_key_is_silence_until_the_next_probe() -> None:
    """For results as for polls."""
    one = lane()
    filled(one, 1)
    one.take(0)
    refuse(one, 401, now_s=0)
    assert one.paused_s(1) == PROBE_MIN_S - 1
    assert one.reserve(1) == PROBE_MIN_S - 1


def test_silence_is_kept_whatever_else_is_heard() -> None:
    """A good answer that was under way does not end it, nor does the end of a refusal."""
    one = lane()
    filled(one, 10)
    for _ in range(4):
        one.take(0)
    one.poll_failed("HTTP 429", paused_until_s=600)
    assert good(one) is None
    assert refuse(one, 401, now_s=1) is AccountChange.PAUSED
    assert good(one) is AccountChange.RESUMED
    assert one.take(599) is None
    assert one.next_wakeup_s(2) == 600


def test_trouble_is_said_after_a_few_answers_without_a_word() -> None:
    """Once, with the reason, and once when it is over."""
    one = lane()
    filled(one, 20)
    flips = []
    for number in range(UNREACHABLE_AFTER + 2):
        one.take(0)
        flips.append(one.poll_failed(f"reason {number}"))
    assert flips == [*[None] * (UNREACHABLE_AFTER - 1), AccountChange.UNREACHABLE, None, None]
    assert one.trouble == f"reason {UNREACHABLE_AFTER - 1}"
    one.take(0)
    assert good(one) is AccountChange.RECOVERED
    assert one.trouble is None
    one.take(0)
    assert good(one) is None


def test_trouble_is_counted_in_a_row() -> None:
    """One good answer in between begins anew; so does a refusal, which is an answer."""
    one = lane()
    filled(one, 40)
    for heard in (lambda: good(one), lambda: refuse(one, 401, now_s=0)):
        for _ in range(UNREACHABLE_AFTER - 1):
            one.take(0)
            assert one.poll_failed("timeout") is None
        one.take(0)
        heard()
    one.take(100)
    assert one.poll_failed("timeout") is None
    assert one.trouble is None


class Lane(RuleBasedStateMachine):
    """A lane under every sort of answer, beside a plain account of what was put in and taken out."""

    @initialize(per_second=st.floats(0.1, 1000), concurrency=st.integers(1, 5), start_s=st.floats(0, 1e6))
    def open(self, per_second: float, concurrency: int, start_s: float) -> None:
        self.lane = AccountQueue(per_second=per_second, concurrency=concurrency, now_s=start_s)
        self.per_second, self.concurrency, self.start_s = per_second, concurrency, start_s
        self.now_s = start_s
        self.due: dict[int, tuple[float, WatchedTask]] = {}
        self.in_flight: list[WatchedTask] = []
        self.taken = self.numbers = 0
        self.silent_until_s = -math.inf
        self.probe_at_s = -math.inf

    @rule(later_s=st.floats(-5, 100), tasks=st.integers(1, 3))
    def put_new(self, later_s: float, tasks: int) -> None:
        for _ in range(tasks):
            self.numbers += 1
            self.put(watch(self.numbers), self.now_s + later_s)

    @precondition(lambda self: self.due)
    @rule(data=st.data(), later_s=st.floats(-5, 100))
    def put_again(self, data: st.DataObject, later_s: float) -> None:
        _, known = self.due[data.draw(st.sampled_from(sorted(self.due)))]
        self.put(known, self.now_s + later_s)

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        _, known = self.due.pop(data.draw(st.sampled_from(sorted(self.due))))
        self.lane.drop(known)

    @rule(span_s=st.floats(0, 50))
    def wait(self, span_s: float) -> None:
        self.now_s += span_s

    @rule()
    def take(self) -> None:
        next_wakeup_s = self.lane.next_wakeup_s(self.now_s)
        self.took(self.lane.take(self.now_s), expected=next_wakeup_s is not None and next_wakeup_s <= self.now_s)

    @rule()
    def sleep_until_woken(self) -> None:
        next_wakeup_s = self.lane.next_wakeup_s(self.now_s)
        if next_wakeup_s is None:
            assert self.lane.take(self.now_s + 1e6) is None
            return
        assert next_wakeup_s >= self.now_s
        if next_wakeup_s > self.now_s:
            assert self.lane.take(math.nextafter(next_wakeup_s, -math.inf)) is None
        self.now_s = next_wakeup_s
        self.took(self.lane.take(next_wakeup_s), expected=True)

    @rule()
    def reserve(self) -> None:
        wait_s = self.lane.reserve(self.now_s)
        self.taken += 1
        assert wait_s >= 0
        assert self.now_s + wait_s >= self.silent_until_s

    @precondition(lambda self: self.in_flight)
    @rule(again_s=st.floats(0, 10))
    def hear_good(self, again_s: float) -> None:
        refused = self.lane.refused
        assert (good(self.lane, self.in_flight[0]) is AccountChange.RESUMED) == (refused is not None)
        self.probe_at_s = -math.inf
        self.put(self.in_flight.pop(0), self.now_s + again_s)

    @precondition(lambda self: self.in_flight)
    @rule(wish_s=st.none() | st.floats(0, 100))
    def hear_nothing(self, wish_s: float | None) -> None:
        paused_until_s = None if wish_s is None else self.now_s + wish_s
        self.lane.poll_failed("trouble", paused_until_s=paused_until_s)
        self.silent_until_s = max(self.silent_until_s, paused_until_s or -math.inf)
        self.put(self.in_flight.pop(0), self.now_s)

    @precondition(lambda self: self.in_flight)
    @rule()
    def hear_refusal(self) -> None:
        refused = self.lane.refused
        assert (refuse(self.lane, 401, now_s=self.now_s, whose=self.in_flight[0]) is AccountChange.PAUSED) == (
            refused is None
        )
        self.probe_at_s = self.now_s + PROBE_MIN_S
        self.put(self.in_flight.pop(0), self.now_s)

    def put(self, one: WatchedTask, due_s: float) -> None:
        self.due[one.task.id] = (due_s, one)
        self.lane.put(one, due_s=due_s)

    def took(self, one: WatchedTask | None, *, expected: bool) -> None:
        assert (one is not None) == expected
        if one is None:
            return
        due_s, known = self.due.pop(one.task.id)
        assert known is one
        assert due_s <= self.now_s
        if self.lane.refused is None:  # a probe takes the likeliest of those that are due
            assert all(due_s <= other_s for other_s, _ in self.due.values())
        assert self.now_s >= max(self.silent_until_s, self.probe_at_s)
        assert self.lane.refused is None or not self.in_flight
        self.in_flight.append(one)
        self.taken += 1
        burst = max(1.0, self.per_second / 10)
        rounding = 1e-6 + 4 * math.ulp(self.now_s) * self.per_second * (self.taken + 1)
        assert self.taken <= (self.now_s - self.start_s) * self.per_second + burst + rounding

    @invariant()
    def never_more_than_allowed_at_once(self) -> None:
        if hasattr(self, "lane"):
            assert len(self.in_flight) <= self.concurrency
            assert self.lane.is_idle == (not self.in_flight)


TestLane = Lane.TestCase
TestLane.settings = settings(max_examples=100, stateful_step_count=40)

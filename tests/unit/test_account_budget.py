"""Who is served where the budget of an account does not suffice, and how fast it is spent after a 429."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from task_samples import pending, unasked

from cambwatch.core.model import ForbiddenReply, PendingReply
from cambwatch.loops.polling.account_queue import LIMITED_AFTER_S, AccountQueue, WatchedTask

LONG_S = 4000.0


def lane(*, per_second: float = 10, concurrency: int = 1000, now_s: float = 0) -> AccountQueue:
    return AccountQueue(per_second=per_second, concurrency=concurrency, now_s=now_s)


def watch(number: int = 1) -> WatchedTask:
    return WatchedTask(pending(number=number), unasked())


def polls(one: AccountQueue, paces_s: list[float], *, until_s: float) -> list[list[float]]:
    """When each of some tasks is polled: due at once, and again after its pace, as long as all are pending."""
    watches = [watch(number) for number in range(len(paces_s))]
    number_of = {id(each): number for number, each in enumerate(watches)}
    found: list[list[float]] = [[] for _ in paces_s]
    for each, poll_interval_s in zip(watches, paces_s, strict=True):
        one.put(each, due_s=0, poll_interval_s=poll_interval_s)
    now_s = 0.0
    while (next_wakeup_s := one.next_wakeup_s(now_s)) is not None and next_wakeup_s <= until_s:
        now_s = next_wakeup_s
        taken = one.take(now_s)
        assert taken is not None
        number = number_of[id(taken)]
        found[number].append(now_s)
        one.record_reply(taken, PendingReply(), now_s=0)
        one.put(taken, due_s=now_s + paces_s[number], poll_interval_s=paces_s[number])
    return found


def mean_pause(times: list[float], *, after_s: float) -> float:
    later = [time for time in times if time > after_s]
    return (later[-1] - later[0]) / (len(later) - 1)


@pytest.mark.parametrize("overload", [2.0, 5.0])
def test_all_pauses_grow_by_the_same_factor(overload: float) -> None:
    """What matters little waits longer, in proportion, so that the sum of all delays is least."""
    paces_s = [2.0] * 20 + [8.0] * 40 + [32.0] * 80
    demand = sum(1 / poll_interval_s for poll_interval_s in paces_s)
    found = polls(lane(per_second=demand / overload), paces_s, until_s=LONG_S)
    for times, poll_interval_s in zip(found, paces_s, strict=True):
        assert mean_pause(times, after_s=LONG_S / 4) / poll_interval_s == pytest.approx(overload, rel=0.25)


def test_where_the_budget_suffices_nothing_is_late() -> None:
    """Whatever the paces."""
    paces_s = [1.0, 3.0, 10.0, 60.0]
    found = polls(lane(per_second=1000), paces_s, until_s=600)
    for times, poll_interval_s in zip(found, paces_s, strict=True):
        assert mean_pause(times, after_s=0) == pytest.approx(poll_interval_s, rel=0.01)


@settings(max_examples=30)
@given(
    paces_s=st.lists(st.floats(0.05, 120), min_size=2, max_size=30),
    overload=st.floats(1.5, 20),
)
def test_none_starves(paces_s: list[float], overload: float) -> None:
    """However much too small the budget is: nobody waits much longer than all pauses would be stretched."""
    demand = sum(1 / poll_interval_s for poll_interval_s in paces_s)
    per_second = demand / overload
    found = polls(lane(per_second=per_second), paces_s, until_s=40 * overload * max(paces_s))
    for times, poll_interval_s in zip(found, paces_s, strict=True):
        longest_s = max(later - earlier for earlier, later in pairwise(times))
        # A line holds paces that differ by up to 2 ** 0.5; one poll of each of the others may come between.
        assert longest_s <= 2.5 * overload * poll_interval_s + len(paces_s) / per_second


def test_somebody_who_waits_goes_first() -> None:
    """A wish is more urgent than whatever was late before it, soon."""
    one = lane(per_second=1)
    late = [watch(number) for number in range(1, 20)]
    for each in late:
        one.put(each, due_s=0, poll_interval_s=5)
    one.take(0)
    wished = late[-1]
    one.put(wished, due_s=100, poll_interval_s=0.1)
    assert one.take(103) is wished


@pytest.mark.parametrize("poll_interval_s", [0.0, -1.0, 1e-9, 1e12])
def test_any_pace_will_do(poll_interval_s: float) -> None:
    """A clock may have jumped, a configuration may be odd."""
    one, each = lane(), watch()
    one.put(each, due_s=0, poll_interval_s=poll_interval_s)
    assert one.take(0) is each
    assert one.next_wakeup_s(0) is None


def test_the_budget_is_said_to_be_the_limit_when_it_is() -> None:
    """Not while all that is due was asked for, nor for the first second."""
    one = lane(per_second=1)
    for number in range(5):
        one.put(watch(number), due_s=10)
    assert not one.limited(10)
    one.take(10)
    assert (one.budget_lag_s(10 + LIMITED_AFTER_S), one.limited(10 + LIMITED_AFTER_S)) == (LIMITED_AFTER_S, True)
    for second in range(11, 15):
        one.take(second)
    assert one.next_wakeup_s(20) is None
    assert not one.limited(20)


def test_what_else_keeps_polls_back_is_not_the_budget() -> None:
    """Silence that Camb asked for, a refused key, too few places at once."""
    silent, refused, full = lane(), lane(), lane(concurrency=1)
    for one in (silent, refused, full):
        for number in range(3):
            one.put(watch(number), due_s=0)
        one.take(0)
    silent.poll_failed("HTTP 429", paused_until_s=600)
    refused.record_reply(watch(9), ForbiddenReply(401), now_s=0)
    assert [one.limited(4) for one in (silent, refused, full)] == [False, False, False]
    assert silent.limited(602)


def test_a_429_slows_the_account_down() -> None:
    """By half at once, for results as for polls, and up again bit by bit."""
    one = lane(per_second=100)
    for number in range(2000):
        one.put(watch(number), due_s=0)
    while one.take(0):
        one.record_reply(watch(), PendingReply(), now_s=0)
    one.slow_down(0)
    assert one.share(0) == 0.5
    assert one.share(15) == 0.75
    assert one.share(30) == 1
    taken = 0
    for millisecond in range(1000):
        while (each := one.take(millisecond / 1000)) is not None:
            one.record_reply(each, PendingReply(), now_s=0)
            taken += 1
    assert 45 <= taken <= 55


def test_a_slow_account_does_not_look_stalled() -> None:
    """Systemd would start the daemon anew for that."""
    one = lane(per_second=1)
    for number in range(100):
        one.put(watch(number), due_s=0)
    first = one.take(0)
    assert first is not None
    one.record_reply(first, PendingReply(), now_s=0)
    for second in range(10):
        one.slow_down(second * 2)
    next_wakeup_s = one.next_wakeup_s(20)
    assert next_wakeup_s is not None
    assert next_wakeup_s > 30
    assert one.stalled_s(30) == 0
    assert one.overdue_s(30) == 30

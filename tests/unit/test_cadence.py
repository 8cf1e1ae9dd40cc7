"""When to ask Camb again, and how much may be asked at all."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.cadence import PollPolicy, TokenBucket
from cambwatch.core.retry import JITTER

chances = st.floats(0, 1, exclude_max=True)
spans = st.timedeltas(timedelta(milliseconds=100), timedelta(hours=1))
rates = st.floats(0.01, 10_000)
starts = st.floats(0, 1e7)  # a machine that has been up for four months
HAIR = 1e-6  # tokens; what rounding may add in all


def test_a_pending_task_is_asked_for_at_the_interval() -> None:
    """The same at every age."""
    assert PollPolicy(interval=timedelta(seconds=7)).pause() == timedelta(seconds=7)


def test_pauses_after_trouble_double_up_to_the_longest() -> None:
    """Beginning with the interval."""
    policy = PollPolicy(interval=timedelta(seconds=5), max_interval=timedelta(minutes=2))
    pauses = [policy.pause_after_trouble(failures, chance=0).total_seconds() for failures in range(1, 9)]
    assert pauses == [5, 10, 20, 40, 80, 120, 120, 120]


@given(spans, spans, st.integers(1, 10**6), chances)
def test_camb_in_trouble_is_not_asked_more_often(
    interval: timedelta, longest: timedelta, failures: int, chance: float
) -> None:
    """Not even where the longest interval is below the interval of this kind."""
    policy = PollPolicy(interval=interval, max_interval=longest)
    pause = policy.pause_after_trouble(failures, chance=chance)
    assert policy.pause() <= pause <= max(interval, longest) * (1 + JITTER) + timedelta(microseconds=1)


@pytest.mark.parametrize("burst", [1, 2, 2.5, 10])
def test_a_full_bucket_gives_its_burst_and_no_more(burst: float) -> None:
    """However long it waited."""
    bucket = TokenBucket(4, burst=burst, now_s=0)
    assert [bucket.take(1000) for _ in range(math.floor(burst) + 1)] == [True] * math.floor(burst) + [False]
    assert bucket.wait_s(1000) == pytest.approx((1 - burst % 1) / 4)


def test_take_takes_nothing_where_nothing_is() -> None:
    """Asking too early does not push the next token away."""
    bucket = TokenBucket(1, burst=1, now_s=0)
    assert bucket.take(0)
    for tenth in range(10):
        assert not bucket.take(tenth / 10)
    assert bucket.take(1)


def test_reserved_tokens_come_in_the_order_of_asking() -> None:
    """And before all who only take what is there."""
    bucket = TokenBucket(2, burst=1, now_s=0)
    assert [bucket.reserve(0) for _ in range(4)] == [0, 0.5, 1, 1.5]
    assert not bucket.take(1.5)
    assert bucket.reserve(1.5) == 0.5
    assert bucket.take(2.5)


def test_a_clock_that_goes_back_buys_nothing() -> None:
    """Nor does it when it comes forward again."""
    bucket = TokenBucket(1, burst=1, now_s=100)
    assert bucket.take(100)
    assert not bucket.take(50)
    assert not bucket.take(100)
    assert bucket.take(101)


asked = st.lists(st.tuples(st.one_of(st.just(0.0), st.floats(0, 5)), st.sampled_from(["take", "reserve"])), max_size=80)


@given(rates, st.floats(1, 50), starts, asked)
def test_never_more_than_rate_and_burst(per_second: float, burst: float, start_s: float, calls: list) -> None:
    """Over every stretch of time, counted at the instant at which each token may be used."""
    bucket = TokenBucket(per_second, burst=burst, now_s=start_s)
    now_s, used_s = start_s, []
    for later_s, call in calls:
        now_s += later_s
        if call == "reserve":
            used_s.append(now_s + bucket.reserve(now_s))
        elif bucket.take(now_s):
            used_s.append(now_s)
    used_s.sort()
    rounding = HAIR + 4 * math.ulp(now_s) * per_second * (len(used_s) + 1)
    for first, first_s in enumerate(used_s):
        for last in range(first, len(used_s)):
            assert last - first + 1 <= (used_s[last] - first_s) * per_second + burst + rounding


@given(rates, st.floats(1, 50), starts, asked)
def test_nobody_comes_before_who_reserved_earlier(per_second: float, burst: float, start_s: float, calls: list) -> None:
    """The instants given out never go back, whoever asks."""
    bucket = TokenBucket(per_second, burst=burst, now_s=start_s)
    now_s = latest_s = start_s
    for later_s, call in calls:
        now_s += later_s
        if call == "reserve":
            at_s = now_s + bucket.reserve(now_s)
        elif bucket.take(now_s):
            at_s = now_s
        else:
            continue
        assert at_s >= latest_s - math.ulp(now_s)
        latest_s = at_s


@given(rates, st.floats(1, 50), starts, asked, st.floats(0, 5))
def test_a_bucket_tells_when_it_gives(
    per_second: float, burst: float, start_s: float, calls: list, later_s: float
) -> None:
    """take() succeeds from ready_s on, to the last bit, and not before."""
    bucket = TokenBucket(per_second, burst=burst, now_s=start_s)
    now_s = start_s
    for pause_s, call in calls:
        now_s += pause_s
        getattr(bucket, call)(now_s)
    ready_s = bucket.ready_s
    assert bucket.wait_s(now_s) == max(ready_s - now_s, 0)
    assert not bucket.take(math.nextafter(ready_s, -math.inf))
    assert bucket.take(max(ready_s, now_s + later_s))


@given(st.floats(0, 1, exclude_max=True))
def test_tasks_registered_together_drift_apart(chance: float) -> None:
    """The first pause alone is drawn by lot, between the shortest interval allowed and the one that was asked for."""
    policy = PollPolicy(interval=timedelta(seconds=5), min_interval=timedelta(seconds=1))

    assert policy.min_interval <= policy.first_pause(chance=chance) <= policy.interval

"""When to ask Camb again, and how much may be asked at all."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.cadence.estimate import PollLimits, PollSchedule
from cambwatch.core.cadence.histogram import BINS
from cambwatch.core.cadence.policy import MIN_RATE_SHARE, SLOWDOWN_DEBOUNCE_S, PollPolicy, TokenBucket
from cambwatch.core.delivery.retry import JITTER

chances = st.floats(0, 1, exclude_max=True)
spans = st.timedeltas(timedelta(milliseconds=100), timedelta(hours=1))
rates = st.floats(0.01, 10_000)
starts = st.floats(0, 1e7)  # a machine that has been up for four months
HAIR = 1e-6  # tokens; what rounding may add in all


def test_a_pending_task_is_asked_for_at_the_interval() -> None:
    """The same at every age."""
    policy = PollPolicy(interval=timedelta(seconds=7))
    assert [policy.pause(age) for age in (timedelta(0), timedelta(hours=1))] == [timedelta(seconds=7)] * 2


def test_what_was_learned_takes_the_place_of_the_interval() -> None:
    """For every pause, the first one included, and until it is put aside."""
    schedule = PollSchedule([1 / 40] * BINS, shortest_s=1, longest_s=120)
    policy = PollPolicy(schedule=schedule)
    assert policy.pause(timedelta(seconds=3)) == timedelta(seconds=40)
    assert policy.first_pause(chance=0.5) == timedelta(seconds=40)
    assert policy.with_fixed_interval() == PollPolicy()
    assert PollPolicy().with_fixed_interval() == PollPolicy()


def test_a_schedule_keeps_to_what_is_configured() -> None:
    """In seconds."""
    assert PollPolicy().limits == PollLimits(5, 1, 120, 86400)


def test_pauses_after_trouble_double_up_to_the_longest() -> None:
    """Beginning with the interval."""
    policy = PollPolicy(interval=timedelta(seconds=5), max_interval=timedelta(minutes=2))
    pauses = [
        policy.pause_after_trouble(failures, age=timedelta(0), chance=0).total_seconds() for failures in range(1, 9)
    ]
    assert pauses == [5, 10, 20, 40, 80, 120, 120, 120]


@given(spans, spans, st.integers(1, 10**6), chances)
def test_camb_in_trouble_is_not_asked_more_often(
    interval: timedelta, longest: timedelta, failures: int, chance: float
) -> None:
    """Not even where the longest interval is below the interval of this kind."""
    policy = PollPolicy(interval=interval, max_interval=longest)
    pause = policy.pause_after_trouble(failures, age=timedelta(0), chance=chance)
    assert interval <= pause <= max(interval, longest) * (1 + JITTER) + timedelta(microseconds=1)


def test_trouble_does_not_shorten_a_learned_pause() -> None:
    """Nor is a task that would be asked for in a minute asked for in five seconds, because Camb did not answer."""
    policy = PollPolicy(schedule=PollSchedule([1 / 60] * BINS, shortest_s=1, longest_s=120))
    assert policy.pause_after_trouble(1, age=timedelta(0), chance=0) == timedelta(minutes=1)
    assert policy.pause_after_trouble(9, age=timedelta(0), chance=0) == timedelta(minutes=2)


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
    """The first pause alone is drawn by lot, up to half an interval shorter or longer, so that it costs no polls."""
    policy = PollPolicy(interval=timedelta(seconds=5))
    first, opposite = (policy.first_pause(chance=one).total_seconds() for one in (chance, 1 - chance))
    assert 2.5 <= first <= 7.5
    assert first + opposite == pytest.approx(10)


@pytest.mark.parametrize(
    ("interval_s", "shortest_s", "longest_s"), [(5, 4, 6), (0.2, 0.2, 0.3), (300, 150, 300), (1, 1, 1.5)]
)
def test_a_first_pause_keeps_to_the_limits(interval_s: float, shortest_s: float, longest_s: float) -> None:
    """An interval outside them is what somebody wants."""
    limits = {5: (4, 6), 0.2: (1, 120), 300: (1, 120), 1: (1, 120)}[interval_s]
    policy = PollPolicy(
        interval=timedelta(seconds=interval_s),
        min_interval=timedelta(seconds=limits[0]),
        max_interval=timedelta(seconds=limits[1]),
    )
    found = [policy.first_pause(chance=chance).total_seconds() for chance in (0, 1)]
    assert found == [longest_s, shortest_s]


RATE = 8.0


def rate_after(bucket: TokenBucket, now_s: float, span_s: float = 1.0) -> float:
    """Tokens a second in that span, after what was saved up is gone."""
    while bucket.take(now_s):
        pass
    tokens, until_s = 0, now_s + span_s
    while bucket.ready_s <= until_s:
        bucket.reserve(bucket.ready_s)
        tokens += 1
    return tokens / span_s


def test_a_bucket_that_is_slowed_down_gives_half() -> None:
    """Once a second at most, because a rate limit is heard of by many; several times down to a sixty-fourth."""
    bucket = TokenBucket(RATE, burst=4, now_s=0)
    for _ in range(5):
        bucket.slow_down(100)
    assert bucket.share(100) == 0.5
    assert not bucket.take(100)  # nor anything of what was saved up
    bucket.slow_down(100 + SLOWDOWN_DEBOUNCE_S)
    assert bucket.share(100 + SLOWDOWN_DEBOUNCE_S) == pytest.approx(0.25, abs=0.02)
    for second in range(20):
        bucket.slow_down(102 + SLOWDOWN_DEBOUNCE_S * second)
    assert bucket.share(121) == pytest.approx(MIN_RATE_SHARE, abs=0.02)
    assert bucket.share(121) >= MIN_RATE_SHARE


def test_a_slow_bucket_recovers_evenly() -> None:
    """From half within half a minute, to what it was and no further."""
    bucket = TokenBucket(RATE, burst=1, now_s=0)
    bucket.slow_down(10)
    shares = [bucket.share(10 + second) for second in (0, 6, 12, 30, 1000)]
    assert shares == pytest.approx([0.5, 0.6, 0.7, 1, 1])
    assert rate_after(bucket, 11) == pytest.approx(RATE * 0.52, abs=1)
    assert rate_after(bucket, 2000, 10) == pytest.approx(RATE, abs=0.2)

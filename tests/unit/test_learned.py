"""When to ask again, learned from durations: bounds, order, price and gain."""

import math
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cambwatch.core.cadence.estimate import PollLimits, PollSchedule, estimate
from cambwatch.core.cadence.histogram import BINS, EDGES_S, Completion, DurationHistogram

LIMITS = PollLimits(interval_s=5, min_s=1, max_s=120, deadline_s=86400)
HAIR_S = 2e-6  # two roundings to microseconds

ages = st.floats(0, 1e7)
chances = st.floats(0, 1, exclude_max=True)


def lognormal(median_s: float, sigma: float, count: int = 300, *, interval_s: float = 5) -> DurationHistogram:
    """A memory of durations of a lognormal distribution, as polls at an interval show them."""
    dice, durations = Random(f"{median_s} {sigma}"), DurationHistogram()
    for _ in range(count):
        duration_s, found_s = dice.lognormvariate(math.log(median_s), sigma), interval_s * dice.random()
        found_s += max(math.ceil((duration_s - found_s) / interval_s), 0) * interval_s
        durations.record(Completion(max(found_s - interval_s, 0), found_s))
    return durations


def seconds(span: timedelta) -> float:
    return span.total_seconds()


def pause_s(schedule: PollSchedule, age_s: float) -> float:
    return schedule.pause(timedelta(seconds=age_s)).total_seconds()


@st.composite
def schedules(draw: st.DrawFn) -> PollSchedule:
    """Any that keep their promise about the densities."""
    shortest_s = draw(st.floats(0.05, 60))
    longest_s = shortest_s * draw(st.floats(1, 1000))
    dice = Random(draw(st.integers(0, 2**32)))
    densities = [1 / math.exp(dice.uniform(math.log(shortest_s), math.log(longest_s))) for _ in range(BINS)]
    return PollSchedule(densities, shortest_s=shortest_s, longest_s=longest_s)


@given(schedules(), ages)
def test_pauses_stay_within_the_limits(schedule: PollSchedule, age_s: float) -> None:
    """At every age, those beyond all bins included."""
    assert schedule.shortest_s - HAIR_S <= pause_s(schedule, age_s) <= schedule.longest_s + HAIR_S


@given(schedules(), chances)
def test_first_pauses_stay_within_the_limits(schedule: PollSchedule, chance: float) -> None:
    """Whatever chance says."""
    assert schedule.shortest_s - HAIR_S <= seconds(schedule.first_pause(chance=chance)) <= schedule.longest_s + HAIR_S


@given(schedules(), ages, ages)
def test_who_asks_later_is_told_no_earlier_instant(schedule: PollSchedule, one_s: float, other_s: float) -> None:
    """So a poll that comes late never makes the next one come early."""
    earlier_s, later_s = sorted((one_s, other_s))
    # Instants beyond the last bin are large: a hair there is what a float can tell apart.
    assert earlier_s + pause_s(schedule, earlier_s) <= later_s + pause_s(schedule, later_s) + HAIR_S + later_s * 1e-12


@given(schedules(), ages, ages)
def test_expected_checks_grow_with_age(schedule: PollSchedule, one_s: float, other_s: float) -> None:
    """From none at the registration."""
    earlier_s, later_s = sorted((one_s, other_s))
    assert schedule.expected_checks(0) == 0 <= schedule.expected_checks(earlier_s) <= schedule.expected_checks(later_s)


@given(schedules())
def test_an_age_before_the_registration_is_none(schedule: PollSchedule) -> None:
    """A clock that was set back makes no pause longer or shorter."""
    assert schedule.pause(timedelta(seconds=-3600)) == schedule.pause(timedelta(0))


@pytest.mark.parametrize("duration_s", [1.0, 30.0, 100.0, 180.0, 400.0, 5000.0])
def test_expected_polls_and_delay_are_those_of_polling(duration_s: float) -> None:
    """In the mean over the first pause, whether a task ends before, amid or behind the others."""
    schedule = estimate(lognormal(180, 0.25), LIMITS).schedule
    tries, polls, delay_s = 400, 0, 0.0
    for index in range(tries):
        age_s = seconds(schedule.first_pause(chance=(index + 0.5) / tries))
        polls += 1
        while age_s < duration_s:
            age_s += pause_s(schedule, age_s)
            polls += 1
        delay_s += age_s - duration_s
    assert polls / tries == pytest.approx(schedule.polls(duration_s), abs=0.02)
    assert delay_s / tries == pytest.approx(schedule.delay_s(duration_s), rel=0.02)


@pytest.mark.parametrize(
    ("median_s", "sigma", "gain"),
    [(180, 0.25, 2.0), (45, 0.5, 1.3), (60, 0.1, 2.0)],
)
def test_what_is_predictable_is_worth_learning(median_s: float, sigma: float, gain: float) -> None:
    """The gain is about what theory says, and more than the threshold."""
    found = estimate(lognormal(median_s, sigma), LIMITS)
    assert found.gain > gain * 0.93
    assert found.fixed_polls / found.learned_polls >= found.gain


def test_two_humps_are_told_apart() -> None:
    """Short pauses in each, long ones between: how far they lie apart blurs neither."""
    dice, durations = Random(5), DurationHistogram()
    for number in range(400):
        duration_s = dice.lognormvariate(math.log(20 if number % 5 < 3 else 600), 0.15)
        durations.record(Completion(duration_s, duration_s))
    found = estimate(durations, LIMITS)
    assert pause_s(found.schedule, 20) < 6
    assert pause_s(found.schedule, 120) > 60
    assert pause_s(found.schedule, 600) < 8
    assert found.gain > 2.5


def test_what_is_unpredictable_is_not() -> None:
    """An exponential distribution has no better moments than others."""
    dice, durations = Random(7), DurationHistogram()
    for _ in range(500):
        duration_s = dice.expovariate(1 / 60)
        durations.record(Completion(duration_s, duration_s))
    assert estimate(durations, LIMITS).gain < 1.05


@pytest.mark.parametrize("interval_s", [2.0, 5.0, 20.0])
@pytest.mark.parametrize(("median_s", "sigma"), [(180, 0.25), (45, 0.5), (60, 1.2)])
def test_the_mean_delay_is_that_of_the_interval(interval_s: float, median_s: float, sigma: float) -> None:
    """On tasks that nobody has learned from: half the interval, give or take a tenth."""
    limits = PollLimits(interval_s, min_s=0.1, max_s=600, deadline_s=86400)
    schedule = estimate(lognormal(median_s, sigma, 600, interval_s=interval_s), limits).schedule
    dice, delays = Random(11), []
    for _ in range(3000):
        duration_s = dice.lognormvariate(math.log(median_s), sigma)
        age_s = seconds(schedule.first_pause(chance=dice.random()))
        while age_s < duration_s:
            age_s += pause_s(schedule, age_s)
        delays.append(age_s - duration_s)
    assert sum(delays) / len(delays) == pytest.approx(interval_s / 2, rel=0.1)


def test_pauses_are_long_before_tasks_end_short_when_they_do_and_longer_behind() -> None:
    """Behind all that was seen with the root of the age, at most."""
    schedule = estimate(lognormal(180, 0.25), LIMITS).schedule
    assert pause_s(schedule, 0) > 40
    assert pause_s(schedule, 200) < 5
    assert pause_s(schedule, 200) < pause_s(schedule, 1000) < pause_s(schedule, 4000) < 120
    assert pause_s(schedule, 4000) / pause_s(schedule, 1000) == pytest.approx(2, rel=0.25)


def test_narrow_limits_leave_no_choice() -> None:
    """Where both are the interval, so is every pause."""
    schedule = estimate(lognormal(45, 0.5), PollLimits(5, 5, 5, 3600)).schedule
    assert {round(pause_s(schedule, age_s), 6) for age_s in (0, 3, 45, 300, 10**6)} == {5}


@pytest.mark.parametrize("interval_s", [0.2, 300.0])
def test_an_interval_outside_the_limits_widens_them(interval_s: float) -> None:
    """Somebody wrote it into the configuration, so they want it."""
    limits = PollLimits(interval_s, min_s=1, max_s=120, deadline_s=86400)
    schedule = estimate(lognormal(3600, 0.3), limits).schedule
    assert min(1, interval_s) == schedule.shortest_s
    assert max(120, interval_s) == schedule.longest_s


@pytest.mark.parametrize("duration_s", [0.0, 0.01, 1.0, 3600.0, 1e9])
def test_tasks_that_all_take_the_same_can_be_learned(duration_s: float) -> None:
    """No time at all, or longer than any deadline, included."""
    durations = DurationHistogram()
    for _ in range(40):
        durations.record(Completion(duration_s, duration_s))
    found = estimate(durations, LIMITS)
    assert math.isfinite(found.gain)
    assert all(1 <= pause_s(found.schedule, age_s) <= 120 for age_s in (*EDGES_S, 1e7))


@pytest.mark.parametrize("expired", [1, 10, 100_000])
def test_endless_tasks_make_the_late_pauses_longer(expired: int) -> None:
    """What has not ended long after the others probably never will."""
    durations = lognormal(45, 0.5)
    before = estimate(durations, LIMITS)
    for _ in range(expired):
        durations.record_expired()
    after = estimate(durations, LIMITS)
    assert pause_s(after.schedule, 300) >= pause_s(before.schedule, 300)
    assert after.gain > before.gain
    assert math.isfinite(after.learned_polls)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e4)), min_size=1, max_size=50),
    st.integers(0, 5),
    st.floats(0.05, 600),
    st.floats(0.05, 60),
    st.floats(1, 100),
)
def test_every_memory_gives_a_schedule(
    seen: list[tuple[float, float]], expired: int, interval_s: float, min_s: float, stretch: float
) -> None:
    """With finite figures and pauses within the limits, whatever was seen."""
    durations = DurationHistogram()
    for pending_s, more_s in seen:
        durations.record(Completion(pending_s, pending_s + more_s))
    for _ in range(expired):
        durations.record_expired()
    limits = PollLimits(interval_s, min_s, min_s * stretch, deadline_s=86400)
    found = estimate(durations, limits)
    assert 1 < found.learned_polls < math.inf
    assert 1 < found.fixed_polls < math.inf
    for age_s in (0.0, 1.0, seen[0][0], 1e5, 1e7):
        assert limits.shortest_s - HAIR_S <= pause_s(found.schedule, age_s) <= limits.longest_s + HAIR_S

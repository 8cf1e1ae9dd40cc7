"""Policies that know the durations: equal probability for each check, and the optimum; and what they know."""

import math
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from random import Random
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cadence_evaluation.equal_probability import checks_s, equal_probability
from cadence_evaluation.lifetimes import Lifetimes
from cadence_evaluation.optimum import Programme, optimum
from cadence_evaluation.policies import SHIPPED, growing, in_step
from cadence_evaluation.replay import SimulatedLearner, in_step_at_same_mean, replay
from cambwatch.core.cadence.estimate import PollLimits
from cambwatch.core.cadence.histogram import BINS, EDGES_S
from cambwatch.core.cadence.policy import PollPolicy

LIMITS = PollLimits(interval_s=5, min_s=1, max_s=120, deadline_s=86400)
FREE = PollLimits(interval_s=5, min_s=0.001, max_s=1e5, deadline_s=1e6)
MEAN_S = 2.5
HAIR_S = 1e-6

Ended = Callable[[float], float]


def lognormal(median_s: float, sigma: float) -> Ended:
    return lambda age_s: NormalDist().cdf(math.log(age_s / median_s) / sigma) if age_s else 0.0


def shifted_gamma(age_s: float) -> float:
    over = max(age_s - 20, 0) / 15
    return 1 - (1 + over) * math.exp(-over)


FAMILIES: dict[str, Ended] = {
    "exponential": lambda age_s: 1 - math.exp(-age_s / 60),
    "lognormal 1.2": lognormal(60, 1.2),
    "lognormal 0.5": lognormal(45, 0.5),
    "lognormal 0.25": lognormal(180, 0.25),
    "shifted gamma": shifted_gamma,
    "bimodal": lambda age_s: 0.6 * lognormal(6, 0.3)(age_s) + 0.4 * lognormal(240, 0.15)(age_s),
    "Pareto 1.5": lambda age_s: 1 - (10 / max(age_s, 10)) ** 1.5,
}
families = pytest.mark.parametrize("family", FAMILIES)


def known(family: str) -> Lifetimes:
    ended = FAMILIES[family]
    return Lifetimes([ended(high_s) - ended(low_s) for low_s, high_s in pairwise(EDGES_S)])


def costs(lifetimes: Lifetimes, ages: Iterator[float]) -> tuple[float, float]:
    return lifetimes.costs(ages, deadline_s=LIMITS.deadline_s)


@st.composite
def any_lifetimes(draw: st.DrawFn) -> Lifetimes:
    """Of a few bins, near each other or far apart, or of all."""
    dice, ends = Random(draw(st.integers(0, 2**32))), [0.0] * BINS
    for _ in range(draw(st.integers(1, 300))):
        ends[dice.randrange(100, 260)] += dice.random() + 1e-6
    return Lifetimes(ends)


@families
def test_lifetimes_are_those_of_the_family(family: str) -> None:
    """To a hundredth, but right beside a sudden onset; ages and shares are each other's inverse."""
    lifetimes = known(family)
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        age_s = lifetimes.age_s(share)
        assert lifetimes.ended(age_s) == pytest.approx(share, rel=1e-9)
        assert FAMILIES[family](age_s) == pytest.approx(share, abs=0.012)


@given(any_lifetimes(), st.floats(0, 1e7), st.floats(0, 1e7))
def test_ever_more_have_ended(lifetimes: Lifetimes, one_s: float, other_s: float) -> None:
    """From none at first to all; the area below grows by no less than that share of the time, and no more."""
    low_s, high_s = sorted((one_s, other_s))
    low, high = lifetimes.ended(low_s), lifetimes.ended(high_s)
    assert lifetimes.ended(0) == 0 <= low <= high <= 1
    grown_s, hair_s = lifetimes.area_s(high_s) - lifetimes.area_s(low_s), HAIR_S + high_s * 1e-9
    assert low * (high_s - low_s) - hair_s <= grown_s <= high * (high_s - low_s) + hair_s


@given(any_lifetimes(), st.floats(0, 1))
def test_an_age_by_which_so_many_have_ended(lifetimes: Lifetimes, share: float) -> None:
    """Is found, whatever the share."""
    assert lifetimes.ended(lifetimes.age_s(share)) == pytest.approx(share, abs=1e-6)


@families
def test_costs_are_those_of_asking(family: str) -> None:
    """Of many tasks that end as the family has it, but for the request at the registration."""
    lifetimes, dice = known(family), Random(family)
    tasks = [(lifetimes.age_s(dice.random()), 0.5) for _ in range(20_000)]
    found = replay(in_step(7), tasks, deadline_s=LIMITS.deadline_s)
    requests, delay_s = costs(lifetimes, in_step(7)(0.5))
    assert found.requests - 1 == pytest.approx(requests, rel=0.04)
    assert found.mean_s == pytest.approx(delay_s, rel=0.02)


@settings(max_examples=15, deadline=None)
@given(any_lifetimes(), st.floats(2, 60), st.floats(0.1, 1), st.floats(1, 30), st.sampled_from([900, 86400]))
def test_pauses_stay_within_the_limits(
    lifetimes: Lifetimes, interval_s: float, shorter: float, longer: float, deadline_s: float
) -> None:
    """For ever, whatever the durations."""
    limits = PollLimits(interval_s, interval_s * shorter, interval_s * longer, deadline_s)
    for policy in (equal_probability, optimum):
        ages = policy(lifetimes, limits, mean_s=interval_s / 2)(0.3)
        for before_s, after_s in pairwise([0.0, *islice(ages, 1000)]):
            assert limits.shortest_s - HAIR_S <= after_s - before_s <= limits.longest_s + HAIR_S


@pytest.mark.parametrize(
    ("family", "equal", "best"),
    [
        ("exponential", 12.8, 12.7),
        ("lognormal 0.5", 7.6, 7.5),
        ("lognormal 0.25", 17.6, 16.0),
        ("lognormal 1.2", 25.1, 23.6),
        ("shifted gamma", 6.0, 6.0),
        ("Pareto 1.5", 4.5, 3.8),
    ],
)
def test_costs_at_the_same_mean_delay_are_known(family: str, equal: float, best: float) -> None:
    """Checks per task at a mean delay of 2.5 s: computed apart from this, on a plain grid or from drawn tasks."""
    lifetimes = known(family)
    for policy, checks in ((equal_probability, equal), (optimum, best)):
        found, delay_s = costs(lifetimes, policy(lifetimes, LIMITS, mean_s=MEAN_S)(0.5))
        assert delay_s == pytest.approx(MEAN_S, rel=0.01)
        assert found == pytest.approx(checks, rel=0.02)


@pytest.mark.parametrize("probability", [0.5, 0.1, 0.03])
@families
def test_equal_probabilities_need_one_check_by_their_number(family: str, probability: float) -> None:
    """In the mean, where no limit is in the way: each finds an end with that probability."""
    lifetimes = known(family)
    requests, _ = lifetimes.costs(checks_s(lifetimes, FREE, probability), deadline_s=FREE.deadline_s)
    assert requests == pytest.approx(1 / probability, rel=0.005)


@pytest.mark.parametrize("policy", [equal_probability, optimum])
def test_where_ends_come_at_any_time_alike_all_pauses_are_the_same(policy) -> None:
    """But far behind, where hardly a task is left."""
    ages = policy(known("exponential"), LIMITS, mean_s=MEAN_S)(0.5)
    pauses = [after_s - before_s for before_s, after_s in pairwise([0.0, *islice(ages, 40)])]
    assert min(pauses) > 4.8
    assert max(pauses) < 5.1


@families
@pytest.mark.parametrize("price_s", [0.02, 0.2, 2.0])
def test_nothing_is_cheaper_than_the_optimum(family: str, price_s: float) -> None:
    """At its price: neither a fixed interval of any length, nor pauses that grow, nor equal probabilities."""
    lifetimes = known(family)
    requests, delay_s = costs(lifetimes, iter(Programme(lifetimes, LIMITS, price_s=price_s).checks_s(price_s)))
    spans_s = [1.1**power for power in range(1, 50)]
    others = [
        *(in_step(span_s)(0) for span_s in spans_s),
        *(growing(0.5, span_s / 5, shortest_s=1, longest_s=120)(0) for span_s in spans_s),
        *(checks_s(lifetimes, LIMITS, 1 / (1 + span_s)) for span_s in spans_s),
    ]
    for other in others:
        more, later_s = costs(lifetimes, other)
        assert requests * price_s + delay_s <= (more * price_s + later_s) * 1.002


@pytest.mark.parametrize("family", ["lognormal 0.5", "bimodal"])
@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_no_checks_of_it_can_be_moved_for_the_better(family: str, seed: int) -> None:
    """Neither one of them nor several together."""
    lifetimes, dice = known(family), Random(seed)
    best = Programme(lifetimes, LIMITS, price_s=0.2).checks_s(0.2)
    requests, delay_s = costs(lifetimes, iter(best))
    moved, before_s = [], 0.0
    for age_s in best:
        wish_s = age_s + dice.choice([0, 0, 0, dice.gauss(0, 2)])
        before_s = min(max(wish_s, before_s + LIMITS.shortest_s), before_s + LIMITS.longest_s)
        moved.append(before_s)
    more, later_s = costs(lifetimes, iter(moved))
    assert requests * 0.2 + delay_s <= (more * 0.2 + later_s) * 1.0005


@pytest.mark.parametrize(("median_s", "sigma"), [(180, 0.25), (45, 0.5), (60, 1.2)])
def test_no_policy_saves_more_on_tasks_that_none_has_seen(median_s: float, sigma: float) -> None:
    """Beyond what chance makes of it: each against a fixed interval with the same mean delay."""
    dice = Random(f"{median_s} {sigma}")
    past, unseen = (
        [(dice.lognormvariate(math.log(median_s), sigma), index % 64 / 64) for index in range(count)]
        for count in (2000, 8000)
    )
    lifetimes, learner = Lifetimes.of([duration_s for duration_s, _ in past]), SimulatedLearner(PollPolicy())
    learner.learn(past[:400])
    policies = {
        "optimum": optimum(lifetimes, LIMITS, mean_s=MEAN_S),
        "equal probability": equal_probability(lifetimes, LIMITS, mean_s=MEAN_S),
        "learned": learner.ages,
        **SHIPPED,
    }
    saved = {}
    for label, ages in policies.items():
        cost = replay(ages, unseen, deadline_s=LIMITS.deadline_s)
        fixed = in_step_at_same_mean(cost.mean_s, unseen, deadline_s=LIMITS.deadline_s)
        saved[label] = 1 - cost.requests / fixed.requests
    assert max(saved.values()) <= saved["optimum"] + 0.01
    assert saved["equal probability"] > max(saved[label] for label in SHIPPED)


@pytest.mark.parametrize("durations_s", [[0.0], [60.0] * 50, [1e9] * 3, [1.0, 1e6]])
@pytest.mark.parametrize("policy", [equal_probability, optimum])
def test_odd_durations_have_a_policy_too(policy, durations_s: list[float]) -> None:
    """No time at all, all the same, or longer than any deadline."""
    ages = policy(Lifetimes.of(durations_s), LIMITS, mean_s=MEAN_S)(0.5)
    assert all(1 - HAIR_S <= after_s - before_s <= 120 + HAIR_S for before_s, after_s in pairwise(islice(ages, 2000)))

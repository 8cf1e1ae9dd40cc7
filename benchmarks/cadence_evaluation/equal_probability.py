"""
Every check finds an end with the same probability: polls at quantiles of the durations.

A. G. Munford and A. K. Shahani 1972, "A Nearly Optimal Inspection Policy": checks at
F⁻¹(1 - (1 - p)^i). Good where few checks are made; where many are, they are denser than
they should be where tasks end, and rarer elsewhere.
"""

from collections.abc import Iterator

from cadence_evaluation.lifetimes import Lifetimes
from cadence_evaluation.policies import Ages
from cambwatch.core.cadence.estimate import PollLimits, solve_for_delay

LARGEST, SMALLEST = 0.999, 0.0001  # of the probabilities that are tried
FEW = 0.02  # above it checks are so few that it matters where the first one behind a gap lies
STEP = 1.04


def checks_s(lifetimes: Lifetimes, limits: PollLimits, probability: float) -> Iterator[float]:
    """The ages at which a check finds an end with *probability* in (0, 1), as far as the limits allow; for ever."""
    age_s = 0.0
    while True:
        next_s = lifetimes.age_s(1 - (1 - probability) * (1 - lifetimes.ended(age_s)))
        age_s += min(max(next_s - age_s, limits.shortest_s), limits.longest_s)
        yield age_s


def equal_probability(lifetimes: Lifetimes, limits: PollLimits, *, mean_s: float) -> Ages:
    """The one of these policies whose mean delay on tasks like those of *lifetimes* is *mean_s*, or near it."""

    def delay_s(probability: float) -> float:
        return lifetimes.costs(checks_s(lifetimes, limits, probability), deadline_s=limits.deadline_s)[1]

    # Where durations leave gaps the delay jumps up and down with p: the largest p that will do needs the fewest checks.
    high = LARGEST
    while high > FEW and delay_s(high / STEP) > mean_s:
        high /= STEP
    probability = solve_for_delay(delay_s, mean_s, low=high / STEP if high > FEW else SMALLEST, high=high)
    return lambda _: checks_s(lifetimes, limits, probability)

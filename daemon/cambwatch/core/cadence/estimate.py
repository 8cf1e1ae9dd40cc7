"""From observed durations to a poll schedule: density of completions, its price, and the mean delay it gives."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import accumulate, pairwise
from operator import mul

from cambwatch.core.cadence.histogram import (
    BIN_WIDTH,
    BINS,
    EDGES_S,
    MIDDLES_S,
    WIDTHS_S,
    DurationHistogram,
    bin_of,
    quantile_s,
)

SMOOTHING = 1.25  # by which the kernel is wider than for a density: in a hazard its errors are magnified


def smoothed(weights: Sequence[float], *, expired: float, effective_completions: float) -> tuple[list[float], float]:
    """
    The share of tasks that end in each bin, and of those that do not end.

    *weights* say how many did, and are not all 0; *expired* how many did not; *effective_completions*
    as how many equally fresh ones they count. A kernel estimate of the density of the
    logarithm, its width by the rule of thumb of B. W. Silverman 1986 ("Density
    Estimation", 3.31), but for one more measure of the spread: where there are two
    humps, neither is blurred by how far they lie apart.
    """
    total = sum(weights)
    mean = sum(index * weight for index, weight in enumerate(weights)) / total
    variance = sum((index - mean) ** 2 * weight for index, weight in enumerate(weights)) / total
    quartiles = [quantile_s(weights, share) for share in (0.25, 0.75)]
    # Each is one standard deviation, in bins, of a normal distribution.
    spread = min(
        math.sqrt(variance), math.log(quartiles[1] / quartiles[0]) / BIN_WIDTH / 1.349, _shortest_half(weights) / 1.349
    )
    width = max(SMOOTHING * 0.9 * spread * effective_completions**-0.2, 0.5)
    reach = math.ceil(4 * width)
    steps = [math.erf((step + 0.5) / width / math.sqrt(2)) / 2 for step in range(-reach - 1, reach + 1)]
    kernel = [high - low for low, high in pairwise(steps)]
    smooth = [0.0] * (BINS + 2 * reach)
    share = 1 / (total + expired)
    for index, weight in enumerate(weights):
        if weight:
            for step, part in enumerate(kernel, index):
                smooth[step] += weight * share * part
    return smooth[reach : reach + BINS], expired * share


def with_outliers(ended: Sequence[float], outliers: float, *, median_s: float) -> list[float]:
    """
    The share of tasks that end in each bin where the share *outliers* of them has nothing to do with those of *ended*.

    Strays have a tail that goes on for ever like 1 / t on both sides of the median,
    so that it is nowhere zero.
    """
    middle = math.log(median_s)
    tails = [math.exp(-abs(math.log(middle_s) - middle)) for middle_s in MIDDLES_S]
    scale = outliers / sum(tails)
    return [(1 - outliers) * share + scale * tail for share, tail in zip(ended, tails, strict=True)]


def hazards(ended: Sequence[float]) -> list[float]:
    """The chance per second that a task ends in each bin, given that it has not before."""
    left = 1.0
    found = []
    for share, width_s in zip(ended, WIDTHS_S, strict=True):
        found.append(share / width_s / max(left - share / 2, 1e-12))
        left -= share
    return found


def _shortest_half(weights: Sequence[float]) -> float:
    """The width, in bins, of the narrowest range that begins with a bin and holds half of all *weights*."""
    sums = [0.0, *accumulate(weights)]
    half = sums[-1] / 2
    shortest = float(BINS)
    for low, before in enumerate(sums[:-1]):
        high = bisect_left(sums, before + half, low + 1)
        if high > BINS:
            break
        beyond = (sums[high] - before - half) / weights[high - 1]  # of the last bin
        shortest = min(shortest, high - low - beyond)
    return shortest


RELATIVE_TOLERANCE = 0.002  # relatively: near enough
MAX_ITERATIONS = 16


def solve_for_delay(delay_s: Callable[[float], float], wanted_s: float, *, low: float, high: float) -> float:
    """
    The number between *low* and *high* (both > 0) at which *delay_s* is *wanted_s*, or as near as it comes.

    The delay grows with the number, perhaps in steps.
    """

    def excess(number: float) -> float:
        return math.log(max(delay_s(math.exp(number)), 1e-9) / wanted_s)

    least, most = math.log(low), math.log(high)
    below, above = excess(least), excess(most)
    if below >= 0 or above <= 0:
        return low if below >= 0 else high
    nearest = min((abs(below), least), (abs(above), most))
    for _ in range(MAX_ITERATIONS):
        # False position in logarithms, where a power is a line; an end that stays counts half (Illinois).
        number = (least * above - most * below) / (above - below)
        off = excess(number)
        nearest = min(nearest, (abs(off), number))
        if nearest[0] < RELATIVE_TOLERANCE:
            break
        if off < 0:
            least, below, above = number, off, above / 2
        else:
            most, above, below = number, off, below / 2
    return math.exp(nearest[1])


MIN_GAIN = 1.1
"""The gain below which the fixed interval stays: less could be an error of the estimate."""

OUTLIER_SHARE = 0.01  # the share of tasks of which we assume that they have nothing to do with those remembered
# The power of the hazard: 1/2 is best for the mean delay, 1/3 for that of its square. Measured after 200 completions,
# against 0.45: one to four requests in a hundred more, and a 95th percentile within about 1.2 times that of a fixed
# interval, whichever completions these were, instead of 1.26 times (lognormal 0.25 of benchmarks/cadence.py).
HAZARD_EXPONENT = 0.39
HAZARD_LAG = 0.5  # of the interval, by which checks come behind the hazard: the mean delay
DETECTION_LAG = 0.125  # of the interval, by which durations look longer than they are: completions are noticed late

# An estimate that is judged by the few completions that it was made from looks better than it is, by about one part
# in so many completions: measured, on families of durations, with 30 to 1000 completions.
DELAY_OPTIMISM = 1.5
GAIN_OPTIMISM = 4.0
MIN_EFFECTIVE_COMPLETIONS = 10.0  # below which neither says anything

_NEGLIGIBLE = 1e-9  # a share of the completions
_AREAS: tuple[float, ...] = tuple(map(mul, WIDTHS_S, MIDDLES_S))


class Strategy(StrEnum):
    """How the next check is found."""

    FIXED = "fixed"
    LEARNED = "learned"


@dataclass(frozen=True, slots=True)
class PollLimits:
    """What the configuration says, in seconds, all > 0: the interval to be as good as, and what pauses lie within."""

    interval_s: float
    min_s: float
    max_s: float
    deadline_s: float

    @property
    def shortest_s(self) -> float:
        """The shortest pause; an interval below *min_s* is what somebody wants."""
        return min(self.min_s, self.interval_s)

    @property
    def longest_s(self) -> float:
        """The longest pause; an interval above *max_s* is what somebody wants."""
        return max(self.max_s, self.interval_s)


class PollSchedule:
    """
    The checks of a task, by its age: a density that is constant within each bin.

    The next check is one expected check away, whatever the age at which it is asked
    for, so a task may come back late, or after a restart, and just goes on.
    """

    __slots__ = ("_densities", "_expected_checks", "_moments", "longest_s", "shortest_s")

    def __init__(self, densities: Sequence[float], *, shortest_s: float, longest_s: float) -> None:
        """*densities*: checks per second within each bin, each between 1 / *longest_s* and 1 / *shortest_s*."""
        self._densities = densities
        self.shortest_s, self.longest_s = shortest_s, longest_s
        # Expected by the age of each edge, and the integral of the age over those.
        self._expected_checks: list[float] = list(accumulate(map(mul, densities, WIDTHS_S), initial=0.0))
        self._moments: list[float] = list(accumulate(map(mul, densities, _AREAS), initial=0.0))

    def pause(self, age: timedelta) -> timedelta:
        """
        The pause at *age*: between the shortest and the longest, and found in O(log n).

        A later call never returns an earlier instant.
        """
        age_s = max(age.total_seconds(), 0.0)
        return self._pause(age_s, self.expected_checks(age_s) + 1)

    def first_pause(self, *, chance: float) -> timedelta:
        """
        The pause at the age zero; *chance* in [0, 1) shifts all checks by up to half a pause to either side.

        Tasks that were registered together would else be asked for together ever after.
        """
        return self._pause(0.0, 1.5 - chance)

    def expected_checks(self, age_s: float) -> float:
        """How many checks are expected to have been made by the age *age_s* (>= 0)."""
        index = min(bisect_right(EDGES_S, age_s), BINS) - 1
        return self._expected_checks[index] + self._densities[index] * (age_s - EDGES_S[index])

    def polls(self, age_s: float) -> float:
        """How many polls a task that ends at *age_s* costs in the mean over *chance*, without that at registration."""
        return max(self.expected_checks(age_s), 0.5) + 0.5

    def delay_s(self, age_s: float) -> float:
        """How long after its end at *age_s* a task is found, in the mean over *chance*."""
        expected_checks = max(
            self.expected_checks(age_s), 0.5
        )  # the first is made between half a check and one and a half
        return self._moment(expected_checks + 1) - self._moment(expected_checks) - age_s

    def _pause(self, age_s: float, expected_checks: float) -> timedelta:
        pause_s = self._age_s(expected_checks) - age_s
        return timedelta(seconds=min(max(pause_s, self.shortest_s), self.longest_s))

    def _age_s(self, expected_checks: float) -> float:
        """The age by which *expected_checks* (>= 0) are expected."""
        index = min(bisect_left(self._expected_checks, expected_checks, 1), BINS) - 1
        return EDGES_S[index] + (expected_checks - self._expected_checks[index]) / self._densities[index]

    def _moment(self, expected_checks: float) -> float:
        index = min(bisect_left(self._expected_checks, expected_checks, 1), BINS) - 1
        low_s, more = EDGES_S[index], expected_checks - self._expected_checks[index]
        return self._moments[index] + more * (low_s + more / self._densities[index] / 2)


@dataclass(frozen=True, slots=True)
class CadenceEstimate:
    """
    What durations say about polls: as many as a task needs, the one at its registration included.

    *gain* is how many times fewer are made by *schedule* than at the fixed interval,
    at the same mean delay; less what such an estimate flatters itself by.
    """

    schedule: PollSchedule
    fixed_polls: float
    learned_polls: float
    gain: float


def estimate(durations: DurationHistogram, limits: PollLimits) -> CadenceEstimate:
    """The best schedule for tasks like those of *durations*, which remember at least one."""
    ended, expired = smoothed(
        durations.weights, expired=durations.expired, effective_completions=durations.effective_completions
    )
    completions = max(durations.effective_completions, MIN_EFFECTIVE_COMPLETIONS)
    # Behind all that was seen pauses grow, as the strays' tail has it, with the square root of the age.
    chances = hazards(with_outliers(ended, OUTLIER_SHARE, median_s=durations.quantile_s(0.5) or 1.0))
    # A check finds what ended before it: where the hazard begins to rise, checks are worth their price a little later.
    weights_by_hazard = [
        chances[bin_of(middle_s - HAZARD_LAG * limits.interval_s)] ** HAZARD_EXPONENT for middle_s in MIDDLES_S
    ]
    outcomes = [
        (max(min(middle_s, limits.deadline_s) - DETECTION_LAG * limits.interval_s, 0.0), share)
        for middle_s, share in zip(MIDDLES_S, ended, strict=True)
        if share > _NEGLIGIBLE * (1 - expired)
    ]
    schedule = _schedule_for_delay(
        weights_by_hazard, outcomes, limits, delay_s=limits.interval_s / 2 * (1 - DELAY_OPTIMISM / completions)
    )
    outcomes.append((limits.deadline_s, expired))
    fixed = 1 + sum(share * (max(age_s / limits.interval_s, 0.5) + 0.5) for age_s, share in outcomes)
    learned = 1 + sum(share * schedule.polls(age_s) for age_s, share in outcomes)
    return CadenceEstimate(schedule, fixed, learned, gain=fixed / learned * (1 - GAIN_OPTIMISM / completions))


def _schedule_for_delay(
    weights_by_hazard: Sequence[float], outcomes: Sequence[tuple[float, float]], limits: PollLimits, *, delay_s: float
) -> PollSchedule:
    """
    The schedule along *weights_by_hazard* whose mean delay over *outcomes* is *delay_s*, or as near as
    the limits allow.
    """
    least, most = 1 / limits.longest_s, 1 / limits.shortest_s
    total = sum(share for _, share in outcomes)

    def at_price(price: float) -> PollSchedule:
        densities = [min(max(root / price, least), most) for root in weights_by_hazard]
        return PollSchedule(densities, shortest_s=limits.shortest_s, longest_s=limits.longest_s)

    def mean_s(price: float) -> float:
        schedule = at_price(price)
        return sum(share * schedule.delay_s(age_s) for age_s, share in outcomes) / total

    # From where every pause is the shortest to where every one is the longest.
    return at_price(
        solve_for_delay(mean_s, delay_s, low=min(weights_by_hazard) / most, high=max(weights_by_hazard) / least)
    )

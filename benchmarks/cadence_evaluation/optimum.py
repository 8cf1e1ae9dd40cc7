"""
The fewest requests that are possible at a mean delay, by dynamic programming.

R. E. Barlow, L. C. Hunter and F. Proschan 1963, "Optimum Checking Procedures": with a
price for a check and one for a second of delay, what is best from an age on is the best
next check, and what is best from there on. Ages are those of a grid. It knows the
distribution of durations, and no daemon does: it is the bound for the others.
"""

import math
from bisect import bisect_left, bisect_right
from itertools import chain, count

from cadence_evaluation.lifetimes import LEFT, Lifetimes
from cadence_evaluation.policies import Ages
from cambwatch.core.cadence.estimate import PollLimits, solve_for_delay
from cambwatch.core.cadence.histogram import EDGES_S, MIDDLES_S, WIDTHS_S

FINE = 10  # steps of the grid in a pause, about
COARSE = 40  # in the longest pause
MOST = 15_000  # steps in all, about: where tasks need thousands of checks the grid is less fine
RANGE = 1000  # how far from a first guess the price is looked for


class Programme:
    """The best checks at prices near *price_s*, for tasks like those of *lifetimes*."""

    def __init__(self, lifetimes: Lifetimes, limits: PollLimits, *, price_s: float) -> None:
        self._lifetimes, self._limits = lifetimes, limits
        self._ages_s = ages_s = _grid(lifetimes, limits, price_s)
        self._ended = [lifetimes.ended(age_s) for age_s in ages_s]
        self._areas_s = [lifetimes.area_s(age_s) for age_s in ages_s]
        last = len(ages_s) - 1
        self._nearest = [min(bisect_left(ages_s, age_s + limits.shortest_s), last) for age_s in ages_s]
        self._farthest = [max(bisect_right(ages_s, age_s + limits.longest_s) - 1, 0) for age_s in ages_s]

    def checks_s(self, price_s: float) -> list[float]:
        """The ages of the best checks, to the end of the grid, where one is worth *price_s* (> 0) of a task's delay."""
        ages_s, limits, pauses_s = self._ages_s, self._limits, self._pauses_s(price_s)
        checks_s, age_s = [], 0.0
        while age_s < ages_s[-1]:
            pause_s = pauses_s[bisect_right(ages_s, age_s) - 1]
            age_s += min(max(pause_s, limits.shortest_s), limits.longest_s)
            checks_s.append(age_s)
        return checks_s

    def delay_s(self, price_s: float) -> float:
        """The mean delay at that price."""
        return self._lifetimes.costs(self.checks_s(price_s), deadline_s=self._limits.deadline_s)[1]

    def _pauses_s(self, price_s: float) -> list[float]:
        """
        The best pause at each age of the grid but the last.

        From the last to the first: what a check at age x costs after one at age t is
        price * S(t), and the delay of those that end in between, which is the integral
        of (x - u) f(u) = G(x) - G(t) - (x - t) F(t), with G the integral of F.
        """
        ages_s, ended, areas_s = self._ages_s, self._ended, self._areas_s
        last = len(ages_s) - 1
        pauses_s = [0.0] * last
        effective_completions = [0.0] * (last + 1)  # what is lost from an age on, and G there
        effective_completions[last] = areas_s[last]
        best = last
        for index in range(last - 1, -1, -1):
            share, age_s, first = ended[index], ages_s[index], self._nearest[index]
            # The later a task was polled, the later it is next: the mixed derivative of a step's cost is -f(t) <= 0
            # (G. Monge 1781). So the best of the next age is the last that is to be looked at.
            best = max(min(best, self._farthest[index]), first)
            lost = [
                after - share * next_s
                for after, next_s in zip(effective_completions[first : best + 2], ages_s[first : best + 2], strict=True)
            ]
            least = min(lost[: best + 1 - first])
            place = lost.index(least)
            best = first + place
            pauses_s[index] = ages_s[best] - age_s
            if 0 < place < len(lost) - 1:
                # Between those of the grid lies the vertex of the parabola through three of them.
                before, after = lost[place - 1] - least, lost[place + 1] - least
                if after > 0:
                    pauses_s[index] += (before - after) / (before + after) / 2 * (ages_s[best + 1] - ages_s[best])
            effective_completions[index] = price_s * (1 - share) + age_s * share + least
        return pauses_s


def optimum(lifetimes: Lifetimes, limits: PollLimits, *, mean_s: float) -> Ages:
    """The policy with the fewest requests of all whose mean delay on tasks like those of *lifetimes* is *mean_s*."""
    usual_s = _usual_price_s(lifetimes, limits, mean_s=mean_s)
    programme = Programme(lifetimes, limits, price_s=usual_s)
    price_s = solve_for_delay(programme.delay_s, mean_s, low=usual_s / RANGE, high=usual_s * RANGE)
    checks_s = programme.checks_s(price_s)
    return lambda _: chain(checks_s, count(checks_s[-1] + limits.longest_s, limits.longest_s))


def _usual_price_s(lifetimes: Lifetimes, limits: PollLimits, *, mean_s: float) -> float:
    """The price at which the mean delay would be *mean_s*, were pauses short beside all that changes (Keller 1974)."""
    root_s = sum(
        math.sqrt(lifetimes.density(age_s) * (1 - lifetimes.ended(age_s))) * width_s
        for age_s, width_s in zip(MIDDLES_S, WIDTHS_S, strict=True)
        if age_s < limits.deadline_s
    )
    return 2 * (mean_s / (root_s or 1.0)) ** 2  # where none ends before the deadline any price will do


def _grid(lifetimes: Lifetimes, limits: PollLimits, price_s: float) -> list[float]:
    """Ages from 0 until hardly a task is left, or the deadline; denser where checks at *price_s* would be."""
    end_s = min(lifetimes.age_s(1 - LEFT), limits.deadline_s)
    coarsest_s = max(limits.longest_s * FINE / COARSE, limits.shortest_s)
    steps = []  # in each bin
    for age_s, width_s in zip(MIDDLES_S, WIDTHS_S, strict=True):
        density, left = lifetimes.density(age_s), 1 - lifetimes.ended(age_s)
        pause_s = math.sqrt(2 * price_s * left / density) if density else math.inf
        steps.append(FINE * width_s / min(max(pause_s, limits.shortest_s), coarsest_s))
    last = bisect_left(EDGES_S, end_s, 1)
    coarser = max(sum(steps[:last]) / MOST, 1.0)
    ages_s, made, wanted = [0.0], 0.0, coarser
    for index, count_here in enumerate(steps[:last]):
        while wanted <= made + count_here:
            ages_s.append(EDGES_S[index] + (wanted - made) / count_here * WIDTHS_S[index])
            wanted += coarser
        made += count_here
    return [*ages_s, max(EDGES_S[last], ages_s[-1] + limits.shortest_s)]

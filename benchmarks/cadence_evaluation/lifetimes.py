"""The distribution of durations, and what checks at given ages cost in the mean over it."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Self

from cambwatch.core.cadence.estimate import smoothed, with_outliers
from cambwatch.core.cadence.histogram import BINS, EDGES_S, MIDDLES_S, WIDTHS_S, bin_of, quantile_s

LEFT = 1e-5  # the share of tasks below which it does not matter what becomes of them


class Lifetimes:
    """The distribution of durations: the density is a line between the middles of the bins of a DurationHistogram."""

    __slots__ = ("_areas", "_densities", "_ended", "_knots_s")

    def __init__(self, ends: Sequence[float]) -> None:
        """*ends*: how many tasks end within each bin, in proportion."""
        # Were it the same all over a bin, the best checks would jump from edge to edge.
        densities = [share / width_s for share, width_s in zip(ends, WIDTHS_S, strict=True)]
        self._knots_s = [0.0, *MIDDLES_S, EDGES_S[-1]]
        densities = [densities[0], *densities, 0.0]
        steps_s = [high_s - low_s for low_s, high_s in pairwise(self._knots_s)]
        parts = [(low + high) / 2 * step_s for (low, high), step_s in zip(pairwise(densities), steps_s, strict=True)]
        total = sum(parts)
        self._densities = [density / total for density in densities]
        self._ended = [min(share / total, 1.0) for share in accumulate(parts, initial=0.0)]  # by each knot
        self._areas = [0.0]  # integral of that
        for index, step_s in enumerate(steps_s):
            self._areas.append(self._areas[-1] + self._more(index, step_s)[1])

    @classmethod
    def smoothed(cls, weights: Sequence[float], *, count: int) -> Self:
        """
        As *weights* of the bins, not all 0, suggest: the more of *count* durations, the less smoothing.

        No task ends elsewhere: this is for a distribution that judges others.
        """
        ended, _ = smoothed(weights, expired=0, effective_completions=count)
        return cls(ended)

    @classmethod
    def of(cls, durations_s: Sequence[float]) -> Self:
        """
        As *durations_s*, one at least, suggest.

        Smoothed as cambwatch smooths what it learns, but each weighs the same. One more,
        unlike all others, is added, so that at no age it is certain that no task ends.
        """
        weights, count = counted(durations_s), len(durations_s)
        ended, _ = smoothed(weights, expired=0, effective_completions=count)
        return cls(with_outliers(ended, 1 / (count + 1), median_s=quantile_s(weights, 0.5)))

    def ended(self, age_s: float) -> float:
        """The share of tasks that have ended by *age_s* (>= 0)."""
        index = self._knot_before(age_s)
        return min(self._ended[index] + self._more(index, age_s - self._knots_s[index])[0], self._ended[index + 1])

    def area_s(self, age_s: float) -> float:
        """The integral of ended() until *age_s* (>= 0)."""
        index = self._knot_before(age_s)
        return self._areas[index] + self._more(index, age_s - self._knots_s[index])[1]

    def density(self, age_s: float) -> float:
        """The share of tasks that end per second, at *age_s* (>= 0)."""
        index = self._knot_before(age_s)
        low_s, high_s = self._knots_s[index : index + 2]
        low, high = self._densities[index : index + 2]
        return low + (high - low) * min((age_s - low_s) / (high_s - low_s), 1.0)

    def age_s(self, share: float) -> float:
        """By which age *share* in [0, 1] of the tasks have ended."""
        index = min(bisect_left(self._ended, share, 1), len(self._ended) - 1) - 1
        low, more = self._densities[index], share - self._ended[index]
        span_s = self._knots_s[index + 1] - self._knots_s[index]
        slope = (self._densities[index + 1] - low) / span_s
        # The root of low x + slope x² / 2 = more, in the form that does not mind a slope of 0.
        divisor = low + math.sqrt(max(low * low + 2 * slope * more, 0.0))
        return self._knots_s[index] + (min(2 * more / divisor, span_s) if divisor else 0.0)

    def _knot_before(self, age_s: float) -> int:
        return min(bisect_right(self._knots_s, age_s), len(self._knots_s) - 1) - 1

    def _more(self, index: int, span_s: float) -> tuple[float, float]:
        """What ended() grows by, *span_s* behind the knot *index*, and its integral from there."""
        low = self._densities[index]
        slope = (self._densities[index + 1] - low) / (self._knots_s[index + 1] - self._knots_s[index])
        share = span_s * (low + slope * span_s / 2)
        return share, span_s * (self._ended[index] + span_s * (low / 2 + slope * span_s / 6))

    def costs(self, checks_s: Iterable[float], *, deadline_s: float) -> tuple[float, float]:
        """
        Checks per task and mean delay in seconds, where tasks are polled at the ages *checks_s*.

        These grow for ever. A task that has not ended by the deadline delays nobody. The
        request at the registration is not among the checks.
        """
        age_s, ended, area_s, requests, delay_s = 0.0, 0.0, 0.0, 0.0, 0.0
        for next_s in checks_s:
            requests += 1 - ended
            next_area_s = self.area_s(next_s)
            # The integral of what each waits that ends in between, by parts.
            delay_s += next_area_s - area_s - (next_s - age_s) * ended
            age_s, ended, area_s = next_s, self.ended(next_s), next_area_s
            if age_s >= deadline_s or 1 - ended < LEFT:
                break
        return requests, delay_s


def counted(durations_s: Iterable[float]) -> list[float]:
    """How many of *durations_s* lie in each bin of core/cadence/histogram.py."""
    weights = [0.0] * BINS
    for duration_s in durations_s:
        weights[bin_of(duration_s)] += 1
    return weights

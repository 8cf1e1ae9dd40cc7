"""How likely it is that a task ends at which age: smoothed out of how long others took."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from cambwatch.core.cadence.histogram import BIN_WIDTH, BINS, MIDDLES_S, WIDTHS_S, quantile_s

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

"""The width of the kernel that smooths observed durations follows their spread around their own mean."""

import pytest

from cambwatch.core.cadence.estimate import SMOOTHING, smoothed
from cambwatch.core.cadence.histogram import BINS


def spread(weights: list[float]) -> float:
    """The variance, in bins."""
    total = sum(weights)
    mean = sum(index * weight for index, weight in enumerate(weights)) / total
    return sum((index - mean) ** 2 * weight for index, weight in enumerate(weights)) / total


@pytest.mark.parametrize("first", [40, 150, 300])
def test_durations_spread_evenly_are_widened_by_their_standard_deviation(first: int) -> None:
    """Of an even spread the standard deviation is the least of the three measures."""
    even = [1.0 if first <= index < first + 40 else 0.0 for index in range(BINS)]
    shares, _ = smoothed(even, expired=0, effective_completions=40)
    width = SMOOTHING * 0.9 * spread(even) ** 0.5 * 40**-0.2
    assert spread(shares) == pytest.approx(spread(even) + width**2, rel=0.02)

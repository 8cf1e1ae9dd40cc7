"""The one number of a way of polling, so that its mean delay is the wanted one."""

import math
from collections.abc import Callable

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

"""
When the result of a task that has ended is asked for, and for how long.

    when                          tries
    before the task is concluded  at once, then after pauses of 0.5, 1, 2, 4 s ...; RESULT_TIME_S in all
    after that, in the background after pauses of 15, 30, 60, 120, 240, 300, 300 s ...; LATE_FOR from the end on

A pause is never shorter than the Retry-After of the answer before it. A try before the
conclusion may take half of the time that is left, so that one which hangs leaves time for
another. A POST, which may be billed, is made MOST_POSTS times at most, and never in the background.
"""

from datetime import timedelta

RESULT_TIME_S = 20.0  # for all tries together: a result makes a notification better, never later than this
PAUSE_S = 0.5
LEAST_TRY_S = 0.5  # with less time than that no try is begun
MOST_POSTS = 3

LATE_FOR = timedelta(hours=1)
LATE_PAUSE_S = 15.0
LONGEST_LATE_PAUSE_S = 300.0
LATE_TRY_S = 60.0  # for one try in the background: half of it for the request, the rest to wait for the budget
LATE_PART = 4  # of what the account may ask, one in so many goes to the background at most
MOST_LATE = 1000  # results that one process has in mind; the others wait in the database for their turn


def pause_s(tries: int, *, left_s: float, retry_after: timedelta | None) -> float | None:
    """Seconds to wait after *tries* (>= 1) in vain, with *left_s* left for all; None: there is no time for another."""
    wait_s = max(PAUSE_S * 2.0 ** min(tries - 1, 16), _seconds(retry_after))
    return None if wait_s + LEAST_TRY_S > left_s else wait_s


def try_limit_s(left_s: float) -> float:
    """Seconds that one try may take, with *left_s* left for all of them."""
    return left_s if left_s <= 2 * LEAST_TRY_S else left_s / 2


def late_pause_s(tries: int, *, retry_after: timedelta | None, chance: float) -> float:
    """
    Seconds to wait in the background after *tries* (>= 0) there; *chance* in [0, 1).

    Up to a quarter less by chance, so that what was missed together is not asked for together.
    """
    wait_s = min(LATE_PAUSE_S * 2.0 ** min(tries, 16), LONGEST_LATE_PAUSE_S)
    return max(wait_s * (1 - chance / 4), _seconds(retry_after))


def _seconds(span: timedelta | None) -> float:
    return 0.0 if span is None else span.total_seconds()

"""
When cambwatch requests the result of a finished task, and for how long.

    when                     requests
    before the notification  at once, then after pauses of 0.5, 1, 2, 4, 8 s; RESULT_TIME_S in all
    in the background        after pauses of 15, 30, 60, 120, 240, 300, 300 s ...; until LATE_FOR after the end

A pause is never shorter than the Retry-After before it. Before the notification, one request
takes at most half of the remaining time, so that a hanging one leaves time for another. A POST
may be billed: cambwatch makes it MOST_POSTS times at most, and never in the background.
"""

from datetime import timedelta

RESULT_TIME_S = 20.0  # by which a result may delay the notification
PAUSE_S = 0.5
MIN_REQUEST_S = 0.5  # with less time left, no request starts
MOST_POSTS = 3

LATE_FOR = timedelta(hours=1)
LATE_PAUSE_S = 15.0
LONGEST_LATE_PAUSE_S = 300.0
LATE_REQUEST_S = 60.0  # for one request in the background: half of it to wait for the budget
LATE_BUDGET_SHARE = 4  # the background spends one of so many requests of the account's budget
MOST_LATE_RESULTS = 1000  # missed results in memory; further ones wait in the database


def pause_s(tries: int, *, left_s: float, retry_after: timedelta | None) -> float | None:
    """Seconds to wait after *tries* (>= 1) requests without a result; None where *left_s* allows no further one."""
    wait_s = max(PAUSE_S * 2.0 ** min(tries - 1, 16), _seconds(retry_after))
    return None if wait_s + MIN_REQUEST_S > left_s else wait_s


def request_timeout_s(left_s: float) -> float:
    """Seconds that one request may take when *left_s* remain for all of them."""
    return left_s if left_s <= 2 * MIN_REQUEST_S else left_s / 2


def late_pause_s(tries: int, *, retry_after: timedelta | None, chance: float) -> float:
    """
    Seconds to wait in the background after *tries* (>= 0) requests there; *chance* in [0, 1).

    Jitter shortens the pause by up to a quarter, so that an outage does not end in a burst.
    """
    wait_s = min(LATE_PAUSE_S * 2.0 ** min(tries, 16), LONGEST_LATE_PAUSE_S)
    return max(wait_s * (1 - chance / 4), _seconds(retry_after))


def _seconds(span: timedelta | None) -> float:
    return 0.0 if span is None else span.total_seconds()

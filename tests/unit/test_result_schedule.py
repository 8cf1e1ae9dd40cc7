"""When a result is asked for again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.result_requests import (
    LATE_FOR,
    LATE_PAUSE_S,
    LONGEST_LATE_PAUSE_S,
    MIN_REQUEST_S,
    RESULT_TIME_S,
    late_pause_s,
    pause_s,
    request_timeout_s,
)

spans = st.none() | st.timedeltas(timedelta(0), timedelta(days=1))
lefts = st.floats(0, RESULT_TIME_S)


def tries(*, each_s: float) -> list[float]:
    """When the tries begin, in seconds after the end, if each brings nothing and would take *each_s*."""
    at_s, begun_s = 0.0, []
    while True:
        begun_s.append(at_s)
        at_s += min(each_s, request_timeout_s(RESULT_TIME_S - at_s))
        wait_s = pause_s(len(begun_s), left_s=RESULT_TIME_S - at_s, retry_after=None)
        if wait_s is None:
            return begun_s
        at_s += wait_s


@pytest.mark.parametrize(
    ("each_s", "begun_s"),
    [
        (0, [0, 0.5, 1.5, 3.5, 7.5, 15.5]),  # refused at once
        (1, [0, 1.5, 3.5, 6.5, 11.5]),
        (3, [0, 3.5, 7.5, 12.5, 19.5]),
        (60, [0, 10.5, 16.25]),  # hanging: each try has half of the rest
    ],
)
def test_the_time_is_used(each_s: float, begun_s: list[float]) -> None:
    """Three tries within 1.5 s left most of it unused."""
    assert tries(each_s=each_s) == begun_s


@given(st.floats(0, 100))
def test_neither_a_pause_nor_a_try_goes_beyond_the_time(each_s: float) -> None:
    assert max(tries(each_s=each_s)) <= RESULT_TIME_S - MIN_REQUEST_S


@given(st.integers(1, 10_000), lefts, spans)
def test_a_pause_keeps_the_retry_after_or_there_is_none(
    number: int, left_s: float, retry_after: timedelta | None
) -> None:
    wait_s = pause_s(number, left_s=left_s, retry_after=retry_after)
    if wait_s is not None:
        assert (retry_after or timedelta(0)).total_seconds() <= wait_s <= left_s - MIN_REQUEST_S


@given(lefts)
def test_a_try_leaves_time_for_another(left_s: float) -> None:
    assert 0 <= request_timeout_s(left_s) <= left_s
    assert left_s - request_timeout_s(left_s) >= MIN_REQUEST_S or left_s <= 2 * MIN_REQUEST_S


def test_the_pauses_in_the_background_grow_to_five_minutes() -> None:
    pauses = [late_pause_s(number, retry_after=None, chance=0) for number in range(7)]
    assert pauses == [15, 30, 60, 120, 240, 300, 300]


@given(st.integers(0, 10_000), spans, st.floats(0, 1, exclude_max=True))
def test_the_pauses_in_the_background_are_bounded(number: int, retry_after: timedelta | None, chance: float) -> None:
    """And never shorter than what Camb asks for."""
    wish_s = (retry_after or timedelta(0)).total_seconds()
    wait_s = late_pause_s(number, retry_after=retry_after, chance=chance)
    assert wait_s >= max(LATE_PAUSE_S * 0.75, wish_s)
    assert wait_s <= max(LONGEST_LATE_PAUSE_S, wish_s)
    assert LATE_FOR.total_seconds() / wait_s < 400

"""Concurrent requests after a rate limit."""

from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.delivery.retry import ConcurrencyRamp


def test_all_go_at_once_until_a_rate_limit() -> None:
    ramp = ConcurrencyRamp(4)
    assert ramp.limit == 4
    ramp.succeeded(ramp.epoch)
    assert ramp.limit == 4


def test_after_a_rate_limit_one_goes_and_one_more_with_each_success() -> None:
    """Another rate limit starts over."""
    ramp = ConcurrencyRamp(4)
    ramp.rate_limited()
    limits = [ramp.limit]
    for _ in range(5):
        ramp.succeeded(ramp.epoch)
        limits.append(ramp.limit)
    assert limits == [1, 2, 3, 4, 4, 4]
    ramp.rate_limited()
    assert ramp.limit == 1


def test_a_success_from_before_the_rate_limit_does_not_count() -> None:
    """Of four requests in flight one is limited. That the others succeed proves nothing about the time after."""
    ramp = ConcurrencyRamp(4)
    under_way = [ramp.epoch] * 4
    ramp.rate_limited()
    for epoch in under_way:
        ramp.succeeded(epoch)
    assert ramp.limit == 1


def test_one_at_a_time_stays_one() -> None:
    ramp = ConcurrencyRamp(1)
    ramp.rate_limited()
    ramp.succeeded(ramp.epoch)
    assert ramp.limit == 1


@given(st.integers(1, 100), st.lists(st.booleans()))
def test_the_limit_is_the_number_of_successes_since_the_last_rate_limit(full: int, answers: list[bool]) -> None:
    """And the one that went first, up to all."""
    ramp, expected = ConcurrencyRamp(full), full
    for success in answers:
        if success:
            ramp.succeeded(ramp.epoch)
            expected = min(expected + 1, full)
        else:
            ramp.rate_limited()
            expected = 1
        assert ramp.limit == expected

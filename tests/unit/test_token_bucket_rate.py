"""A token bucket keeps what it has when its rate changes."""

import pytest

from cambwatch.core.cadence.policy import TokenBucket


@pytest.mark.parametrize(
    ("taken", "now_s", "left"),
    [(0, 0.0, 5.0), (3, 0.0, 2.0), (3, 0.05, 2.5), (3, 60.0, 5.0), (0, 60.0, 5.0)],
    ids=["full", "some taken", "refilling", "full again", "full for long"],
)
def test_tokens_stay_when_rate_and_burst_grow(taken: int, now_s: float, left: float) -> None:
    bucket = TokenBucket(10, burst=5, now_s=0)
    for _ in range(taken):
        assert bucket.take(0)
    bucket.change_rate(20, burst=10, now_s=now_s)
    assert bucket.tokens_left(now_s) == pytest.approx(left)
    assert bucket.tokens_left(now_s + 0.1) == pytest.approx(left + 2)


def test_a_smaller_burst_takes_what_is_beyond_it() -> None:
    bucket = TokenBucket(10, burst=5, now_s=0)
    bucket.change_rate(10, burst=2, now_s=0)
    assert bucket.tokens_left(0) == pytest.approx(2)

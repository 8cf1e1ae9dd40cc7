"""What a budget has left is what take() gives, and lateness counts from when a task was due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_samples import pending, unasked

from cambwatch.core.cadence.policy import TokenBucket
from cambwatch.core.model import ForbiddenReply
from cambwatch.loops.polling.account_queue import AccountQueue, WatchedTask

rates = st.floats(0.1, 1000)
pauses = st.floats(0, 100)


@given(rates, st.floats(1, 100), st.lists(st.tuples(pauses, st.booleans()), max_size=20), pauses)
def test_so_many_can_be_taken_as_are_left(
    per_second: float, burst: float, moves: list[tuple[float, bool]], idle_s: float
) -> None:
    """Whatever was taken, reserved and slowed down before; never more than the burst."""
    bucket, now_s = TokenBucket(per_second, burst=burst, now_s=0), 0.0
    for pause_s, slows in moves:
        now_s += pause_s
        bucket.reserve(now_s)
        if slows:
            bucket.slow_down(now_s)
    now_s += idle_s
    tokens_left = bucket.tokens_left(now_s)
    assert 0 <= tokens_left <= burst
    taken = 0
    while bucket.take(now_s):
        taken += 1
    assert taken - 1e-3 <= tokens_left < taken + 1 + 1e-3  # sums of fractions are not exact


def test_what_is_owed_is_not_less_than_nothing() -> None:
    bucket = TokenBucket(1, burst=1, now_s=0)
    for _ in range(5):
        bucket.reserve(0)
    assert bucket.tokens_left(0) == 0
    assert bucket.tokens_left(4.5) == pytest.approx(0.5)


@pytest.mark.parametrize("refused", [False, True])
def test_a_task_that_is_taken_says_when_it_was_due(*, refused: bool) -> None:
    """By then it is not due any more; also of one that goes out to see whether the key is good again."""
    lane = AccountQueue(per_second=10, concurrency=2, now_s=0)
    watch = WatchedTask(pending(), unasked())
    if refused:
        lane.put(watch, due_s=0)
        assert lane.take(0) is watch
        lane.record_reply(watch, ForbiddenReply(401), now_s=0)
    lane.put(watch, due_s=3)
    assert lane.tokens_left(0) == pytest.approx(0 if refused else 1)
    assert lane.take(100) is watch
    assert (watch.was_due_s, watch.due_s) == (3, None)

"""Of what the watchdog keeps silent, and of what it does not: only of what a restart can cure."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_samples import pending, unasked

from cambwatch.core.model import ForbiddenReply, PendingReply
from cambwatch.loops.polling.account_queue import AccountChange, AccountQueue, WatchedTask
from cambwatch.loops.watchdog import (
    DATABASE_S,
    HUNG_S,
    LAG_S,
    STALLED_S,
    UNRESPONSIVE_S,
    HealthReadings,
    unhealthy_reason,
)

LIMITS = {
    "lag_s": LAG_S,
    "unresponsive_s": UNRESPONSIVE_S,
    "stalled_s": STALLED_S,
    "hung_s": HUNG_S,
    "database_s": DATABASE_S,
}
WORDS = {
    "lag_s": "event loop",
    "unresponsive_s": "that one does not come round",
    "stalled_s": "that one has polls to send",
    "hung_s": "that one has requests that outlive",
    "database_s": "database has not answered",
}


def signs(name: str, seconds: float) -> HealthReadings:
    """All well but for the sign *name*."""
    value = {"another": 0.0, "that one": seconds} if isinstance(getattr(HealthReadings(), name), dict) else seconds
    return replace(HealthReadings(), **{name: value})


def test_all_well_is_told() -> None:
    """Also where there is nothing at all to watch over."""
    assert unhealthy_reason(HealthReadings()) is None


@pytest.mark.parametrize("name", LIMITS)
def test_each_sign_alone_is_reason_enough_beyond_its_limit(name: str) -> None:
    """And up to it none; the reason names who is the matter."""
    assert unhealthy_reason(signs(name, LIMITS[name])) is None
    why = unhealthy_reason(signs(name, LIMITS[name] + 1))
    assert why is not None
    assert WORDS[name] in why


def lane(*, per_second: float = 1000, concurrency: int = 100) -> AccountQueue:
    return AccountQueue(per_second=per_second, concurrency=concurrency, now_s=0)


def put(one: AccountQueue, tasks: int, *, due_s: float = 0) -> None:
    for number in range(tasks):
        one.put(WatchedTask(pending(number=number), unasked()), due_s=due_s)


def test_a_poll_that_may_go_out_and_does_not_is_stalled_since_it_may() -> None:
    one = lane()
    put(one, 1, due_s=10)
    assert (one.stalled_s(9), one.overdue_s(9)) == (0, 0)
    assert (one.stalled_s(40), one.overdue_s(40)) == (30, 30)
    one.take(40)
    assert (one.stalled_s(50), one.overdue_s(50)) == (0, 0)


@given(st.integers(1, 300), st.floats(0.1, 50), st.integers(1, 50))
def test_a_lane_that_is_served_never_looks_stalled(tasks: int, per_second: float, concurrency: int) -> None:
    """However many tasks wait for how small a budget: that they are late is then as it was asked for."""
    one = lane(per_second=per_second, concurrency=concurrency)
    put(one, tasks)
    for now_s in range(0, 600, 5):
        while (watch := one.take(now_s)) is not None:
            one.record_reply(watch, PendingReply(), now_s=now_s)
            one.put(watch, due_s=now_s + 5)
        assert one.stalled_s(now_s) == 0
        assert one.full_s(now_s) == 0


def test_silence_that_camb_asked_for_is_no_stall() -> None:
    """Once it is over, the stall counts from its end."""
    one = lane()
    put(one, 2)
    first = one.take(0)
    assert first is not None
    one.poll_failed("429", paused_until_s=3600)
    assert one.stalled_s(3599) == 0
    assert one.overdue_s(3599) == 3599
    assert one.stalled_s(3620) == 20


def test_a_refused_key_is_no_stall() -> None:
    """A probe goes out now and then, and between them nothing may."""
    one = lane()
    put(one, 2)
    first = one.take(0)
    assert first is not None
    assert one.record_reply(first, ForbiddenReply(401), now_s=0) is AccountChange.PAUSED
    for now_s in range(0, 2000, 3):
        probe = one.take(now_s)
        if probe is not None:
            one.record_reply(probe, ForbiddenReply(401), now_s=now_s)
            one.put(probe, due_s=now_s)
        assert one.stalled_s(now_s) == 0


def test_requests_that_never_end_show_when_every_place_is_taken() -> None:
    """Counted from the last that went out; an answer ends it."""
    one = lane(concurrency=2)
    put(one, 3)
    first = one.take(1)
    assert first is not None
    assert one.full_s(50) == 0
    assert one.take(2) is not None
    assert one.full_s(50) == 48
    assert one.stalled_s(50) == 0
    one.record_reply(first, PendingReply(), now_s=50)
    assert one.full_s(50) == 0

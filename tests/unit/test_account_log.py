"""When the log says that the budget of an account is the limit."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from task_samples import pending, unasked

from cambwatch.core.delivery.retry import PauseReading, ReadAs
from cambwatch.core.model import Fault, PendingReply, UnavailableReply
from cambwatch.loops.polling.account_log import LIMITED_HOLD_S, AccountLog
from cambwatch.loops.polling.account_queue import LIMITED_AFTER_S, AccountQueue, WatchedTask
from cambwatch.loops.watchdog import DebouncedCondition

HOLD_S = 10.0


def test_a_change_counts_once_it_has_lasted() -> None:
    """Both ways, and says when it is worth a look."""
    limit = DebouncedCondition(HOLD_S)
    assert limit.next_check_s is None
    assert not limit.update(found=True, now_s=100)
    assert limit.next_check_s == 100 + HOLD_S
    assert not limit.update(found=True, now_s=109)
    assert limit.update(found=True, now_s=110)
    assert (limit.active, limit.next_check_s) == (True, None)
    assert not limit.update(found=False, now_s=120)
    assert limit.update(found=False, now_s=130)
    assert not limit.active


def test_a_moment_is_no_change() -> None:
    """The time counts from the last look at which it was as it counts."""
    limit = DebouncedCondition(HOLD_S)
    for now_s in range(0, 1000, 9):
        assert not limit.update(found=True, now_s=now_s)
        assert not limit.update(found=False, now_s=now_s + 1)
        assert limit.next_check_s is None


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 30)), max_size=100))
def test_it_never_flaps(looks: list[tuple[bool, float]]) -> None:
    """Two changes lie apart by as long as a change must last, however it goes up and down."""
    limit, now_s, changes = DebouncedCondition(HOLD_S), 0.0, [float("-inf")]
    for found, later_s in looks:
        now_s += later_s
        if limit.update(found, now_s):
            assert limit.active == found
            assert now_s - changes[-1] >= HOLD_S
            changes.append(now_s)


def test_the_log_tells_of_a_budget_that_is_the_limit() -> None:
    """Once when it has been for a while, once when it is no more."""
    lane = AccountQueue(per_second=1, concurrency=10, now_s=0)
    account = AccountLog("default", lane)
    watches = [WatchedTask(pending(number=number), unasked()) for number in range(60)]
    for watch in watches:
        lane.put(watch, due_s=0)
    said: list[tuple[float, str]] = []
    for now_s in range(200):
        while (watch := lane.take(now_s)) is not None:
            lane.record_reply(watch, PendingReply(), now_s=0)
        with capture_logs() as logs:
            account.check_budget(now_s)
        said += [(now_s, line["event"]) for line in logs]
        assert all(line["account"] == "default" for line in logs)
    begun_s, ended_s = LIMITED_AFTER_S, len(watches) - 1
    assert said == [
        (pytest.approx(begun_s + LIMITED_HOLD_S, abs=2), "account.over_budget"),
        (pytest.approx(ended_s + LIMITED_HOLD_S, abs=2), "account.within_budget"),
    ]


def test_a_burst_is_no_news() -> None:
    """What a budget works off in half a minute is not worth a line."""
    lane = AccountQueue(per_second=1, concurrency=10, now_s=0)
    account = AccountLog("default", lane)
    for number in range(20):
        lane.put(WatchedTask(pending(number=number), unasked()), due_s=0)
    with capture_logs() as logs:
        for now_s in range(200):
            while (watch := lane.take(now_s)) is not None:
                lane.record_reply(watch, PendingReply(), now_s=0)
            account.check_budget(now_s)
    assert logs == []


@pytest.mark.parametrize(
    ("reading", "level"),
    [
        (PauseReading("1795327290", 90, ReadAs.UNIX_SECONDS), "info"),
        (PauseReading("1795327000000", 0, ReadAs.UNIX_MILLISECONDS), "info"),
        (PauseReading("100000", 86_400, ReadAs.CAPPED), "warning"),
    ],
)
@pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.SERVER_ERROR])
def test_the_log_says_how_a_pause_of_camb_was_understood(fault: Fault, reading: PauseReading, level: str) -> None:
    """Whose answer it was, what it said, and for how long nothing is asked."""
    account = AccountLog("studio", AccountQueue(per_second=1, concurrency=1, now_s=0))
    pause = timedelta(seconds=reading.seconds) if reading.seconds else None
    with capture_logs() as logs:
        account.log_reply(UnavailableReply(fault, pause, "HTTP 429", reading), None)
    assert [line for line in logs if line["event"] == "pause.interpreted"] == [
        {
            "event": "pause.interpreted",
            "log_level": level,
            "account": "studio",
            "raw": reading.raw,
            "seconds": reading.seconds,
            "read_as": reading.read_as,
        }
    ]


def test_a_pause_that_is_meant_as_it_is_written_needs_no_line() -> None:
    account = AccountLog("studio", AccountQueue(per_second=1, concurrency=1, now_s=0))
    with capture_logs() as logs:
        account.log_reply(UnavailableReply(Fault.RATE_LIMITED, timedelta(seconds=1)), None)
    assert logs == []

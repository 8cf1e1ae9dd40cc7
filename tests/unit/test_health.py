"""How the destination of a lane fares: for how long nothing is posted, and what is written down and told."""

from dataclasses import replace
from datetime import timedelta

import pytest
from books import Clock, chat
from structlog.testing import capture_logs
from task_samples import START

from cambwatch.core.delivery.attempts import BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert
from cambwatch.core.model import Attempt, Outcome
from cambwatch.loops.delivery.health import DestinationHealth

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DOWN = Breaker(
    open=True,
    failures=9,
    probes=5,
    failing_since=START - HOUR,
    outcome=Outcome.TRANSIENT,
    http_status=503,
    probe_at=START + MINUTE,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def health_of(breaker: Breaker, clock: Clock, **destination: object) -> DestinationHealth:
    return DestinationHealth(chat(**{"fallback": "pager", **destination}), breaker, clock=clock)


def answer(health: DestinationHealth, clock: Clock, outcome: Outcome, *, probe: bool = False) -> BreakerChange | None:
    return health.record_attempt(Attempt(1, outcome, 12, 599), probe=probe, now=clock.now(), chance=0)


@pytest.mark.parametrize(
    ("breaker", "pause_s"),
    [
        (Breaker(), 0),
        (DOWN, 60),
        (replace(DOWN, probe_at=START - HOUR), 0),
        (Breaker(paused_until=START + HOUR), 3600),
        (replace(DOWN, paused_until=START + HOUR), 3600),
    ],
)
def test_a_new_process_goes_on_as_the_last_one_left_it(breaker: Breaker, pause_s: float, clock: Clock) -> None:
    """With what is left of the pause."""
    health = health_of(breaker, clock)
    assert health.pause_s == pause_s
    assert health.paused_until == (START + timedelta(seconds=pause_s) if pause_s else None)
    clock.forward(timedelta(seconds=pause_s) / 2)
    assert health.pause_s == pause_s / 2
    clock.forward(timedelta(seconds=pause_s))
    assert health.pause_s == 0
    assert health.paused_until is None


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_is_set_changes_no_pause(jump: timedelta, clock: Clock) -> None:
    """It is waited for by the clock that only grows."""
    health = health_of(DOWN, clock)
    clock.at += jump
    assert health.pause_s == 60
    assert health.paused_until == START + jump + MINUTE


def test_nothing_is_written_where_nothing_changes(clock: Clock) -> None:
    """A destination that fares well costs no write for each message."""
    assert answer(health_of(Breaker(), clock), clock, Outcome.ACCEPTED) is None


def test_a_breaker_that_stays_closed_is_not_worth_a_word(clock: Clock) -> None:
    """Its counts are written down, and nothing is released by them."""
    health = health_of(Breaker(), clock)
    with capture_logs() as logs:
        for outcome in (Outcome.TRANSIENT, Outcome.RATE_LIMITED, Outcome.PAYLOAD_REJECTED, Outcome.ACCEPTED):
            assert answer(health, clock, outcome) == BreakerChange("team", health.breaker, alert_destination="pager")
    assert logs == []


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.PAYLOAD_REJECTED, Outcome.RATE_LIMITED])
def test_what_waits_is_released_when_the_breaker_closes(outcome: Outcome, clock: Clock) -> None:
    """Once."""
    health = health_of(DOWN, clock)
    with capture_logs() as logs:
        breaker_change = answer(health, clock, outcome, probe=True)
    assert breaker_change == BreakerChange("team", health.breaker, alert_destination="pager", retries_due_now=True)
    assert not health.breaker.open
    assert logs == [{"event": "breaker.closed", "log_level": "info", "destination": "team", "outcome": outcome}]
    again = answer(health, clock, outcome)
    assert again is None or not again.retries_due_now


def test_the_opening_is_logged_once(clock: Clock) -> None:
    """And pauses the lane from then on."""
    health = health_of(Breaker(), clock)
    with capture_logs() as logs:
        breaker_change = answer(health, clock, Outcome.AUTH)
        answer(health, clock, Outcome.AUTH)
    assert breaker_change is not None
    assert (breaker_change.breaker.open, breaker_change.alert, breaker_change.retries_due_now) == (True, None, False)
    assert health.pause_s == 5
    probe_at = (START + 5 * SECOND).isoformat()
    [line] = logs
    assert line == {
        "event": "breaker.opened",
        "log_level": "warning",
        "destination": "team",
        "outcome": Outcome.AUTH,
        "http_status": 599,
        "probe_at": probe_at,
    }


def test_a_destination_that_stays_down_is_told_of_once(clock: Clock) -> None:
    """After its time, by what is known then; that it was said is written in the same turn."""
    health = health_of(DOWN, clock, alert_after=HOUR + MINUTE)
    assert health.alert_in_s == 60
    clock.forward(MINUTE - SECOND)
    assert health.mark_down() is None
    clock.forward(SECOND)
    assert health.alert_in_s == 0
    with capture_logs() as logs:
        breaker_change = health.mark_down()
    alert = DestinationAlert("team", START - HOUR, START + MINUTE, False, 0, Outcome.TRANSIENT, 503)
    assert breaker_change == BreakerChange("team", replace(DOWN, alerted=True), alert=alert, alert_destination="pager")
    assert [line["event"] for line in logs] == ["destination.down"]
    assert health.alert_in_s is None
    assert health.mark_down() is None


def test_what_could_not_be_written_is_said_again(clock: Clock) -> None:
    """Else nobody would hear of it."""
    health = health_of(DOWN, clock)
    first = health.mark_down()
    health.alert_not_written()
    assert first is not None
    assert health.mark_down() == first


def test_a_recovery_is_told_where_the_trouble_was(clock: Clock) -> None:
    """By what was the matter, and once; also where its telling is still being written."""
    health = health_of(DOWN, clock)
    assert health.mark_down() is not None
    clock.forward(MINUTE)
    with capture_logs() as logs:
        breaker_change = answer(health, clock, Outcome.ACCEPTED, probe=True)
    alert = DestinationAlert("team", START - HOUR, START + MINUTE, True, 0, Outcome.TRANSIENT, 503)
    assert breaker_change == BreakerChange(
        "team", Breaker(), alert=alert, alert_destination="pager", retries_due_now=True
    )
    assert [line["event"] for line in logs] == ["breaker.closed", "destination.recovered"]
    assert answer(health, clock, Outcome.ACCEPTED) is None


@pytest.mark.parametrize("outcome", [Outcome.RATE_LIMITED, Outcome.PAYLOAD_REJECTED])
def test_an_answer_alone_is_no_recovery(outcome: Outcome, clock: Clock) -> None:
    """The destination has taken nothing yet."""
    health = health_of(replace(DOWN, alerted=True), clock)
    breaker_change = answer(health, clock, outcome, probe=True)
    assert breaker_change is not None
    assert breaker_change.alert is None
    assert health.breaker.alerted


def test_a_recovery_from_what_nobody_heard_of_is_not_told(clock: Clock) -> None:
    """A short trouble is nobody's business."""
    breaker_change = answer(health_of(DOWN, clock), clock, Outcome.ACCEPTED, probe=True)
    assert breaker_change is not None
    assert breaker_change.alert is None


def test_a_destination_without_a_fallback_is_only_logged(clock: Clock) -> None:
    """And written down, so that it is logged once."""
    health = health_of(DOWN, clock, fallback=None)
    breaker_change = health.mark_down()
    assert breaker_change is not None
    assert breaker_change.alert_destination is None
    assert breaker_change.breaker.alerted

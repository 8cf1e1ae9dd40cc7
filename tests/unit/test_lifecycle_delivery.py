"""What becomes of a delivery after one attempt: each outcome by itself."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from delivery_samples import (
    ACCEPTED,
    DAY,
    HOUR,
    MICROSECOND,
    MINUTE,
    NOTHING,
    PASSING,
    REFUSED,
    SECOND,
    SPARED,
    chances,
    http_statuses,
    kinds,
    outcomes,
    owed,
    receiver,
    retries,
    wishes,
)
from hypothesis import given
from hypothesis import strategies as st
from task_samples import START

from cambwatch.core.delivery.breaker import SHORTEST_HOLD
from cambwatch.core.delivery.retry import JITTER, RetryPolicy
from cambwatch.core.lifecycle import LATE, LONGEST_SPARED, SHORT_BUDGET, in_plain_words, is_late, verdict
from cambwatch.core.model import Attempt, Delivered, GiveUp, Outcome, RetryAt, Verdict


def after(
    outcome: Outcome,
    *,
    kind: str = "webhook",
    age: timedelta = NOTHING,
    line: timedelta = NOTHING,
    took_ms: int = 0,
    http_status: int | None = None,
    wish: timedelta | None = None,
    number: int = 1,
    before: Outcome | None = None,
    spared: timedelta = NOTHING,
    chance: float = 0,
) -> Verdict:
    """What follows at *age* from an attempt that took *took_ms*, after it had been due for *line*."""
    now = START + age
    due = now - timedelta(milliseconds=took_ms) - line
    delivery = owed(attempts=number - 1, outcome=before, due=due, spared=spared)
    attempt = Attempt(number, outcome, took_ms, http_status, wish)
    return verdict(delivery, attempt, receiver(kind), now=now, chance=chance)


def pause_after(outcome: Outcome, *, age: timedelta = NOTHING, **fields: object) -> timedelta | None:
    """How long after such an attempt the next is due; None: never."""
    decided = after(outcome, age=age, **fields)
    return decided.at - START - age if isinstance(decided, RetryAt) else None


def test_every_outcome_is_in_one_of_these_groups() -> None:
    """So that the tables below leave none out."""
    assert set(Outcome) == ACCEPTED | REFUSED | PASSING


@pytest.mark.parametrize("kind", ["webhook", "slack"])
@pytest.mark.parametrize("outcome", sorted(ACCEPTED))
def test_what_was_taken_is_delivered(kind: str, outcome: Outcome) -> None:
    """However late."""
    assert after(outcome, kind=kind, age=100 * DAY, number=99, before=Outcome.AUTH) == Delivered()


@pytest.mark.parametrize("kind", ["webhook", "slack"])
def test_trouble_that_passes_is_tried_again_until_the_budget_ends(kind: str) -> None:
    """By the age of the event, not by the number of attempts."""
    outcome = Outcome.TRANSIENT
    assert after(outcome, kind=kind) == RetryAt(START + 5 * SECOND)
    assert after(outcome, kind=kind, number=99, age=2 * DAY) == RetryAt(START + 2 * DAY + HOUR)
    assert after(outcome, kind=kind, age=3 * DAY - MICROSECOND) != GiveUp()
    assert after(outcome, kind=kind, age=3 * DAY) == GiveUp()


@pytest.mark.parametrize("kind", ["webhook", "slack"])
@pytest.mark.parametrize("outcome", sorted(SPARED))
def test_what_is_no_failure_of_the_receiver_is_not_charged(kind: str, outcome: Outcome) -> None:
    """Its pauses grow like others, and all of them are spared."""
    assert after(outcome, kind=kind) == RetryAt(START + 5 * SECOND, spared=5 * SECOND)
    assert after(outcome, kind=kind, number=3, spared=MINUTE) == RetryAt(
        START + 20 * SECOND, spared=MINUTE + 20 * SECOND
    )


@pytest.mark.parametrize("outcome", sorted(SPARED))
@pytest.mark.parametrize("wish", [None, MICROSECOND, SECOND, DAY])
@pytest.mark.parametrize("over", [NOTHING, MICROSECOND, HOUR, LONGEST_SPARED - MICROSECOND])
def test_what_is_no_failure_of_the_receiver_ends_nothing(
    outcome: Outcome, wish: timedelta | None, over: timedelta
) -> None:
    """Even at the end of the budget, and whether the receiver asks for a short pause or for a long one."""
    assert isinstance(after(outcome, wish=wish, age=3 * DAY + over), RetryAt)
    assert after(outcome, wish=wish, age=3 * DAY + LONGEST_SPARED) == GiveUp()


@pytest.mark.parametrize("outcome", sorted(SPARED))
def test_no_more_is_spared_than_a_week(outcome: Outcome) -> None:
    """So that a receiver that says 429 for ever is not asked for ever."""
    nearly = after(outcome, number=99, age=9 * DAY, spared=LONGEST_SPARED - SECOND)
    assert nearly == RetryAt(START + 9 * DAY + HOUR, spared=LONGEST_SPARED)
    last = after(outcome, number=99, age=10 * DAY - MINUTE, spared=LONGEST_SPARED)
    assert last == RetryAt(START + 10 * DAY, spared=LONGEST_SPARED)
    assert after(Outcome.TRANSIENT, age=10 * DAY, line=9 * DAY) == GiveUp()
    assert after(Outcome.TRANSIENT, age=10 * DAY - SECOND, line=9 * DAY) != GiveUp()


@pytest.mark.parametrize("outcome", sorted(PASSING | REFUSED))
@pytest.mark.parametrize("took_ms", [0, 15_000])
def test_the_time_in_line_is_not_charged(outcome: Outcome, took_ms: int) -> None:
    """From when it was due until the attempt began; the attempt itself is."""
    decided = after(outcome, age=DAY, line=20 * HOUR, took_ms=took_ms, number=2, spared=HOUR)
    assert isinstance(decided, RetryAt)
    assert decided.spared == 21 * HOUR + (10 * SECOND if outcome in SPARED else NOTHING)


def test_a_clock_that_was_set_back_takes_nothing_from_the_budget() -> None:
    """An attempt before it was due has waited for no time, not for less."""
    assert after(Outcome.TRANSIENT, line=-HOUR) == RetryAt(START + 5 * SECOND)


def test_a_delivery_that_is_due_at_no_instant_was_in_no_line() -> None:
    """One that was cancelled while its attempt was under way."""
    attempt = Attempt(1, Outcome.TRANSIENT, took_ms=0)
    delivery = replace(owed(), next_attempt_at=None)
    decided = verdict(delivery, attempt, receiver("webhook"), now=START + DAY, chance=0)
    assert decided == RetryAt(START + DAY + 5 * SECOND)


def test_a_budget_that_was_spared_ends_later_by_as_much() -> None:
    """To the microsecond."""
    assert after(Outcome.TRANSIENT, age=3 * DAY + HOUR - MICROSECOND, spared=HOUR) != GiveUp()
    assert after(Outcome.TRANSIENT, age=3 * DAY + HOUR, spared=HOUR) == GiveUp()


@pytest.mark.parametrize(("outcome", "budget"), [(Outcome.TRANSIENT, 3 * DAY), (Outcome.AUTH, SHORT_BUDGET)])
def test_another_try_has_a_budget_of_its_own(outcome: Outcome, budget: timedelta) -> None:
    """From when it was wished for, however old the event."""
    wished_at = START + 30 * DAY
    attempt = Attempt(2, outcome, took_ms=0, http_status=403)

    def at(now: datetime) -> Verdict:
        delivery = replace(owed(attempts=1, outcome=outcome, due=now), budget_from=wished_at)
        return verdict(delivery, attempt, receiver("webhook"), now=now, chance=0)

    assert at(wished_at) == RetryAt(wished_at + 10 * SECOND)
    assert at(wished_at + budget - MICROSECOND) != GiveUp()
    assert at(wished_at + budget) == GiveUp()


@pytest.mark.parametrize("outcome", [Outcome.DESTINATION_GONE, Outcome.AUTH])
def test_a_chat_service_means_its_refusals(outcome: Outcome) -> None:
    """The same message again would be refused again."""
    assert after(outcome, kind="slack") == GiveUp()


def test_a_chat_message_that_was_refused_for_its_form_is_said_plainly_once() -> None:
    """A message without ornaments is better than none; refused again, it is dead."""
    assert after(Outcome.PAYLOAD_REJECTED, kind="slack") == RetryAt(START + 5 * SECOND)
    assert in_plain_words(owed(attempts=1, outcome=Outcome.PAYLOAD_REJECTED))
    assert not in_plain_words(owed(attempts=1, outcome=Outcome.TRANSIENT))
    assert after(Outcome.PAYLOAD_REJECTED, kind="slack", number=2, before=Outcome.PAYLOAD_REJECTED) == GiveUp()


@pytest.mark.parametrize("kind", ["webhook", "slack"])
def test_410_is_the_end(kind: str) -> None:
    """Standard Webhooks has it so."""
    assert after(Outcome.DESTINATION_GONE, kind=kind, http_status=410) == GiveUp()


@pytest.mark.parametrize(
    ("kind", "outcome", "http_status"),
    [
        ("webhook", Outcome.DESTINATION_GONE, 404),
        ("webhook", Outcome.AUTH, 401),
        ("webhook", Outcome.AUTH, 403),
        ("webhook", Outcome.PAYLOAD_REJECTED, 400),
        ("webhook", Outcome.POLICY, 302),
        ("webhook", Outcome.POLICY, None),
        ("slack", Outcome.POLICY, 403),
    ],
)
def test_other_refusals_get_a_short_budget(kind: str, outcome: Outcome, http_status: int | None) -> None:
    """A deploy, or a slip of the configuration, may have caused them; what waits meanwhile is not charged."""
    assert after(outcome, kind=kind, http_status=http_status) == RetryAt(START + 5 * SECOND)
    short = {"kind": kind, "http_status": http_status, "before": outcome}
    assert isinstance(after(outcome, age=SHORT_BUDGET - SECOND, **short), RetryAt)
    assert after(outcome, age=SHORT_BUDGET, **short) == GiveUp()
    assert isinstance(after(outcome, age=SHORT_BUDGET, line=SECOND, **short), RetryAt)


def test_the_first_refusal_after_other_trouble_gets_one_more_try() -> None:
    """A receiver that comes back from a long outage may refuse for a moment."""
    assert isinstance(after(Outcome.AUTH, age=DAY, before=Outcome.TRANSIENT), RetryAt)
    assert after(Outcome.AUTH, age=DAY, before=Outcome.POLICY) == GiveUp()
    assert after(Outcome.AUTH, age=3 * DAY, before=Outcome.TRANSIENT) == GiveUp()


@pytest.mark.parametrize(
    ("age", "wish", "next_age"),
    [
        (3 * DAY - 10 * SECOND, None, 3 * DAY),
        (3 * DAY - 2 * SECOND, None, 3 * DAY + 3 * SECOND),
        (3 * DAY - HOUR, 2 * HOUR, 3 * DAY + HOUR),
        (3 * DAY - 2 * HOUR, HOUR, 3 * DAY - HOUR),
    ],
)
def test_the_last_attempt_falls_on_the_end_of_the_budget(
    age: timedelta, wish: timedelta | None, next_age: timedelta
) -> None:
    """Or as soon after it as the first pause or the Retry-After lets it be."""
    decided = after(Outcome.TRANSIENT, age=age, wish=wish, number=20)
    assert isinstance(decided, RetryAt)
    assert decided.at == START + next_age


@pytest.mark.parametrize("outcome", sorted((PASSING | REFUSED) - {Outcome.RATE_LIMITED}))
@pytest.mark.parametrize("wish", [SECOND, 10 * SECOND, HOUR, DAY])
def test_a_retry_after_brings_no_attempt_closer(outcome: Outcome, wish: timedelta) -> None:
    """Nor is it undercut: the later of the two counts, and nobody may come before the wish."""
    decided = after(outcome, wish=wish)
    assert isinstance(decided, RetryAt)
    assert decided.at == START + max(5 * SECOND, wish)
    assert decided.not_before == START + wish


@pytest.mark.parametrize(
    ("wish", "pause"),
    [
        (MICROSECOND, SHORTEST_HOLD),
        (SHORTEST_HOLD / 2, SHORTEST_HOLD),
        (SHORTEST_HOLD, SHORTEST_HOLD),
        (SHORTEST_HOLD + MICROSECOND, SHORTEST_HOLD + MICROSECOND),
        (3 * SECOND, 3 * SECOND),
        (DAY, DAY),
    ],
)
def test_a_receiver_that_limits_us_is_taken_at_its_word(wish: timedelta, pause: timedelta) -> None:
    """Exactly, without jitter, however often it has said so; but not in a circle."""
    for number in (1, 7, 1000):
        decided = after(Outcome.RATE_LIMITED, wish=wish, number=number, chance=0.999)
        assert decided == RetryAt(START + pause, not_before=START + wish, spared=pause)


@pytest.mark.parametrize("wish", [None, NOTHING])
def test_a_limit_without_a_wish_has_pauses_that_grow(wish: timedelta | None) -> None:
    """A wish of no time is none: who says so at every attempt would be asked every second for a week."""
    pauses = [pause_after(Outcome.RATE_LIMITED, wish=wish, number=number) for number in (1, 2, 3, 99)]
    assert pauses == [5 * SECOND, 10 * SECOND, 20 * SECOND, HOUR]
    assert pause_after(Outcome.RATE_LIMITED, wish=wish, chance=0.5) == 5.5 * SECOND


def test_what_is_owed_for_ten_minutes_is_late() -> None:
    """From the event on, however long the delivery was spared."""
    assert timedelta(minutes=10) == LATE
    assert not is_late(owed(), START + LATE - MICROSECOND)
    assert is_late(owed(spared=HOUR, due=START + LATE), START + LATE)


@given(kinds, retries, st.integers(1, 1000), outcomes, http_statuses, wishes, chances, st.timedeltas(NOTHING, 20 * DAY))
def test_pauses_lie_within_their_bounds(
    kind: str,
    retry: RetryPolicy,
    number: int,
    outcome: Outcome,
    http_status: int | None,
    wish: timedelta | None,
    chance: float,
    age: timedelta,
) -> None:
    """Never before the Retry-After; jitter only adds; at most the longest pause, its jitter, or the wish."""
    now = START + age
    delivery = owed(attempts=number - 1, due=now)

    def at(wish: timedelta | None, chance: float) -> datetime | None:
        attempt = Attempt(number, outcome, 12, http_status, wish)
        decided = verdict(delivery, attempt, receiver(kind, retry), now=now, chance=chance)
        return decided.at if isinstance(decided, RetryAt) else None

    decided_at, plain_at = at(wish, chance), at(wish, 0)
    assert (decided_at is None) == (plain_at is None)
    if decided_at is None or plain_at is None:
        return
    pause = decided_at - now
    floor = SHORTEST_HOLD if outcome is Outcome.RATE_LIMITED and wish else min(retry.first, retry.max)
    assert pause >= max(floor - MICROSECOND, wish or NOTHING)
    assert pause <= max(retry.max * (1 + JITTER) + MICROSECOND, wish or NOTHING)
    assert plain_at <= decided_at
    unwished_at = at(None, chance)
    if outcome is Outcome.RATE_LIMITED and wish:
        assert pause == max(wish, SHORTEST_HOLD)
    elif unwished_at is not None:
        assert unwished_at <= decided_at

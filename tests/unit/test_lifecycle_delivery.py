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

from cambwatch.core.delivery.breaker import SHORTEST_RATE_LIMIT_PAUSE
from cambwatch.core.delivery.retry import JITTER, RetryPolicy
from cambwatch.core.lifecycle import (
    LATE_AFTER,
    LONGEST_UNCHARGED,
    SHORT_BUDGET,
    decide_after_attempt,
    is_late,
    needs_plain_format,
)
from cambwatch.core.model import Attempt, Delivered, DeliveryDecision, GiveUp, Outcome, RetryAt


def after(
    outcome: Outcome,
    *,
    kind: str = "webhook",
    age: timedelta = NOTHING,
    line: timedelta = NOTHING,
    took_ms: int = 0,
    http_status: int | None = None,
    retry_after: timedelta | None = None,
    number: int = 1,
    before: Outcome | None = None,
    uncharged: timedelta = NOTHING,
    chance: float = 0,
) -> DeliveryDecision:
    """What follows at *age* from an attempt that took *took_ms*, after it had been due for *line*."""
    now = START + age
    due = now - timedelta(milliseconds=took_ms) - line
    delivery = owed(attempts=number - 1, outcome=before, due=due, uncharged=uncharged)
    attempt = Attempt(number, outcome, took_ms, http_status, retry_after)
    return decide_after_attempt(delivery, attempt, receiver(kind), now=now, chance=chance)


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
    assert after(outcome, kind=kind) == RetryAt(START + 5 * SECOND, uncharged=5 * SECOND)
    assert after(outcome, kind=kind, number=3, uncharged=MINUTE) == RetryAt(
        START + 20 * SECOND, uncharged=MINUTE + 20 * SECOND
    )


@pytest.mark.parametrize("outcome", sorted(SPARED))
@pytest.mark.parametrize("retry_after", [None, MICROSECOND, SECOND, DAY])
@pytest.mark.parametrize("over", [NOTHING, MICROSECOND, HOUR, LONGEST_UNCHARGED - MICROSECOND])
def test_what_is_no_failure_of_the_receiver_ends_nothing(
    outcome: Outcome, retry_after: timedelta | None, over: timedelta
) -> None:
    """Even at the end of the budget, and whether the receiver asks for a short pause or for a long one."""
    assert isinstance(after(outcome, retry_after=retry_after, age=3 * DAY + over), RetryAt)
    assert after(outcome, retry_after=retry_after, age=3 * DAY + LONGEST_UNCHARGED) == GiveUp()


@pytest.mark.parametrize("outcome", sorted(SPARED))
def test_no_more_is_spared_than_a_week(outcome: Outcome) -> None:
    """So that a receiver that says 429 for ever is not asked for ever."""
    nearly = after(outcome, number=99, age=9 * DAY, uncharged=LONGEST_UNCHARGED - SECOND)
    assert nearly == RetryAt(START + 9 * DAY + HOUR, uncharged=LONGEST_UNCHARGED)
    last = after(outcome, number=99, age=10 * DAY - MINUTE, uncharged=LONGEST_UNCHARGED)
    assert last == RetryAt(START + 10 * DAY, uncharged=LONGEST_UNCHARGED)
    assert after(Outcome.TRANSIENT, age=10 * DAY, line=9 * DAY) == GiveUp()
    assert after(Outcome.TRANSIENT, age=10 * DAY - SECOND, line=9 * DAY) != GiveUp()


@pytest.mark.parametrize("outcome", sorted(PASSING | REFUSED))
@pytest.mark.parametrize("took_ms", [0, 15_000])
def test_the_time_in_line_is_not_charged(outcome: Outcome, took_ms: int) -> None:
    """From when it was due until the attempt began; the attempt itself is."""
    decided = after(outcome, age=DAY, line=20 * HOUR, took_ms=took_ms, number=2, uncharged=HOUR)
    assert isinstance(decided, RetryAt)
    assert decided.uncharged == 21 * HOUR + (10 * SECOND if outcome in SPARED else NOTHING)


def test_a_clock_that_was_set_back_takes_nothing_from_the_budget() -> None:
    """An attempt before it was due has waited for no time, not for less."""
    assert after(Outcome.TRANSIENT, line=-HOUR) == RetryAt(START + 5 * SECOND)


def test_a_delivery_that_is_due_at_no_instant_was_in_no_line() -> None:
    """One that was cancelled while its attempt was under way."""
    attempt = Attempt(1, Outcome.TRANSIENT, took_ms=0)
    delivery = replace(owed(), next_attempt_at=None)
    decided = decide_after_attempt(delivery, attempt, receiver("webhook"), now=START + DAY, chance=0)
    assert decided == RetryAt(START + DAY + 5 * SECOND)


def test_a_budget_that_was_spared_ends_later_by_as_much() -> None:
    """To the microsecond."""
    assert after(Outcome.TRANSIENT, age=3 * DAY + HOUR - MICROSECOND, uncharged=HOUR) != GiveUp()
    assert after(Outcome.TRANSIENT, age=3 * DAY + HOUR, uncharged=HOUR) == GiveUp()


@pytest.mark.parametrize(("outcome", "budget"), [(Outcome.TRANSIENT, 3 * DAY), (Outcome.AUTH, SHORT_BUDGET)])
def test_another_try_has_a_budget_of_its_own(outcome: Outcome, budget: timedelta) -> None:
    """From when it was wished for, however old the event."""
    wished_at = START + 30 * DAY
    attempt = Attempt(2, outcome, took_ms=0, http_status=403)

    def at(now: datetime) -> DeliveryDecision:
        delivery = replace(owed(attempts=1, outcome=outcome, due=now), budget_from=wished_at)
        return decide_after_attempt(delivery, attempt, receiver("webhook"), now=now, chance=0)

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
    assert needs_plain_format(owed(attempts=1, outcome=Outcome.PAYLOAD_REJECTED))
    assert not needs_plain_format(owed(attempts=1, outcome=Outcome.TRANSIENT))
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
    ("age", "retry_after", "next_age"),
    [
        (3 * DAY - 10 * SECOND, None, 3 * DAY),
        (3 * DAY - 2 * SECOND, None, 3 * DAY + 3 * SECOND),
        (3 * DAY - HOUR, 2 * HOUR, 3 * DAY + HOUR),
        (3 * DAY - 2 * HOUR, HOUR, 3 * DAY - HOUR),
    ],
)
def test_the_last_attempt_falls_on_the_end_of_the_budget(
    age: timedelta, retry_after: timedelta | None, next_age: timedelta
) -> None:
    """Or as soon after it as the first pause or the Retry-After lets it be."""
    decided = after(Outcome.TRANSIENT, age=age, retry_after=retry_after, number=20)
    assert isinstance(decided, RetryAt)
    assert decided.at == START + next_age


@pytest.mark.parametrize("outcome", sorted((PASSING | REFUSED) - {Outcome.RATE_LIMITED}))
@pytest.mark.parametrize("retry_after", [SECOND, 10 * SECOND, HOUR, DAY])
def test_a_retry_after_brings_no_attempt_closer(outcome: Outcome, retry_after: timedelta) -> None:
    """Nor is it undercut: the later of the two counts, and nobody may come before the wish."""
    decided = after(outcome, retry_after=retry_after)
    assert isinstance(decided, RetryAt)
    assert decided.at == START + max(5 * SECOND, retry_after)
    assert decided.not_before == START + retry_after


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [
        (MICROSECOND, SHORTEST_RATE_LIMIT_PAUSE),
        (SHORTEST_RATE_LIMIT_PAUSE / 2, SHORTEST_RATE_LIMIT_PAUSE),
        (SHORTEST_RATE_LIMIT_PAUSE, SHORTEST_RATE_LIMIT_PAUSE),
        (SHORTEST_RATE_LIMIT_PAUSE + MICROSECOND, SHORTEST_RATE_LIMIT_PAUSE + MICROSECOND),
        (3 * SECOND, 3 * SECOND),
        (DAY, DAY),
    ],
)
def test_a_receiver_that_limits_us_is_taken_at_its_word(retry_after: timedelta, pause: timedelta) -> None:
    """Exactly, without jitter, however often it has said so; but not in a circle."""
    for number in (1, 7, 1000):
        decided = after(Outcome.RATE_LIMITED, retry_after=retry_after, number=number, chance=0.999)
        assert decided == RetryAt(START + pause, not_before=START + retry_after, uncharged=pause)


@pytest.mark.parametrize("retry_after", [None, NOTHING])
def test_a_limit_without_a_wish_has_pauses_that_grow(retry_after: timedelta | None) -> None:
    """A wish of no time is none: who says so at every attempt would be asked every second for a week."""
    pauses = [pause_after(Outcome.RATE_LIMITED, retry_after=retry_after, number=number) for number in (1, 2, 3, 99)]
    assert pauses == [5 * SECOND, 10 * SECOND, 20 * SECOND, HOUR]
    assert pause_after(Outcome.RATE_LIMITED, retry_after=retry_after, chance=0.5) == 5.5 * SECOND


def test_what_is_owed_for_ten_minutes_is_late() -> None:
    """From the event on, however long the delivery was spared."""
    assert timedelta(minutes=10) == LATE_AFTER
    assert not is_late(owed(), START + LATE_AFTER - MICROSECOND)
    assert is_late(owed(uncharged=HOUR, due=START + LATE_AFTER), START + LATE_AFTER)


@given(kinds, retries, st.integers(1, 1000), outcomes, http_statuses, wishes, chances, st.timedeltas(NOTHING, 20 * DAY))
def test_pauses_lie_within_their_bounds(
    kind: str,
    retry: RetryPolicy,
    number: int,
    outcome: Outcome,
    http_status: int | None,
    retry_after: timedelta | None,
    chance: float,
    age: timedelta,
) -> None:
    """Never before the Retry-After; jitter only adds; at most the longest pause, its jitter, or the wish."""
    now = START + age
    delivery = owed(attempts=number - 1, due=now)

    def at(retry_after: timedelta | None, chance: float) -> datetime | None:
        attempt = Attempt(number, outcome, 12, http_status, retry_after)
        decided = decide_after_attempt(delivery, attempt, receiver(kind, retry), now=now, chance=chance)
        return decided.at if isinstance(decided, RetryAt) else None

    decided_at, plain_at = at(retry_after, chance), at(retry_after, 0)
    assert (decided_at is None) == (plain_at is None)
    if decided_at is None or plain_at is None:
        return
    pause = decided_at - now
    floor = (
        SHORTEST_RATE_LIMIT_PAUSE if outcome is Outcome.RATE_LIMITED and retry_after else min(retry.first, retry.max)
    )
    assert pause >= max(floor - MICROSECOND, retry_after or NOTHING)
    assert pause <= max(retry.max * (1 + JITTER) + MICROSECOND, retry_after or NOTHING)
    assert plain_at <= decided_at
    unwished_at = at(None, chance)
    if outcome is Outcome.RATE_LIMITED and retry_after:
        assert pause == max(retry_after, SHORTEST_RATE_LIMIT_PAUSE)
    elif unwished_at is not None:
        assert unwished_at <= decided_at

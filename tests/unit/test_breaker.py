"""The breaker of a destination: what closes it, what opens it, and how long it keeps anything back."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import cycle

import pytest
from delivery_samples import ACCEPTED, DAY, HOUR, MICROSECOND, MINUTE, NOTHING, REFUSED, SECOND, chances, owed, receiver
from hypothesis import given
from hypothesis import strategies as st
from task_samples import START

from cambwatch.core.delivery.breaker import (
    FAILURES_TO_OPEN,
    LONGEST_PROBE_PAUSE,
    SHORTEST_RATE_LIMIT_PAUSE,
    Breaker,
    probe_backoff,
    rate_limit_pause,
)
from cambwatch.core.delivery.retry import JITTER, RetryPolicy
from cambwatch.core.lifecycle import decide_after_attempt
from cambwatch.core.model import Attempt, Outcome, RetryAt

NOW = START + HOUR
RETRY = RetryPolicy()
LIVING = ACCEPTED | {Outcome.RATE_LIMITED, Outcome.PAYLOAD_REJECTED}
FAILING = {Outcome.TRANSIENT, Outcome.OURS}
REFUSING = {Outcome.AUTH, Outcome.DESTINATION_GONE, Outcome.POLICY}
WORN = Breaker(failures=3, rate_limits=2, failing_since=START, outcome=Outcome.POLICY, http_status=302, alerted=True)
OPEN = replace(WORN, open=True, failures=7, probes=2, probe_at=NOW - SECOND)

some_wishes = st.none() | st.timedeltas(NOTHING, DAY)
retries = st.builds(
    RetryPolicy,
    first=st.timedeltas(SECOND, HOUR),
    factor=st.floats(1, 10),
    max=st.timedeltas(SECOND, 6 * HOUR),
    give_up_after=st.just(3650 * DAY),
)
attempts = st.builds(
    Attempt,
    number=st.integers(1, 100),
    outcome=st.sampled_from(list(Outcome)),
    took_ms=st.just(0),
    http_status=st.none() | st.integers(100, 599),
    retry_after=some_wishes,
    accepts_again_after=some_wishes,
)
steps = st.lists(
    st.tuples(attempts, st.booleans(), st.timedeltas(NOTHING, HOUR) | st.just(NOTHING), chances),
    min_size=1,
    max_size=40,
)


def after(breaker: Breaker, outcome: Outcome, *, probe: bool = False, **fields: object) -> Breaker:
    """What *breaker* is after an answer of now, by the standard schedule and without jitter."""
    attempt = Attempt(1, outcome, 12, **{"http_status": 599, **fields})
    return breaker.after(attempt, RETRY, probe=probe, now=NOW, chance=0)


def failed(before: Breaker, outcome: Outcome, **fields: object) -> Breaker:
    """*before*, with the failure noted, and *fields* changed."""
    return replace(before, outcome=outcome, http_status=599, **fields)


def test_every_outcome_is_in_one_of_these_groups() -> None:
    """So that the tables below leave none out."""
    assert set(Outcome) == LIVING | FAILING | REFUSING
    assert REFUSED - {Outcome.PAYLOAD_REJECTED} == REFUSING


@pytest.mark.parametrize("before", [Breaker(), WORN, OPEN], ids=["well", "closed", "open"])
@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("outcome", sorted(ACCEPTED))
def test_a_message_that_was_taken_makes_all_well(outcome: Outcome, before: Breaker, *, probe: bool) -> None:
    """Whoever carried it."""
    assert after(before, outcome, probe=probe) == Breaker()


@pytest.mark.parametrize("before", [WORN, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("probe", [False, True])
def test_a_limit_closes_and_holds(before: Breaker, *, probe: bool) -> None:
    """The destination lives, and wants silence; that it took nothing is not forgotten."""
    closed = {"open": False, "failures": 0, "probes": 0, "probe_at": None}
    expected = failed(before, Outcome.RATE_LIMITED, **closed, rate_limits=3, paused_until=NOW + 20 * SECOND)
    assert after(before, Outcome.RATE_LIMITED, probe=probe) == expected
    wished = after(before, Outcome.RATE_LIMITED, probe=probe, retry_after=7 * SECOND)
    assert wished == replace(expected, paused_until=NOW + 7 * SECOND)


@pytest.mark.parametrize("before", [WORN, OPEN], ids=["closed", "open"])
@pytest.mark.parametrize("probe", [False, True])
def test_a_message_that_was_read_and_refused_closes(before: Breaker, *, probe: bool) -> None:
    """Others may do better; that it took nothing is not forgotten."""
    closed = {"open": False, "failures": 0, "probes": 0, "probe_at": None}
    assert after(before, Outcome.PAYLOAD_REJECTED, probe=probe) == failed(
        before, Outcome.PAYLOAD_REJECTED, **closed, rate_limits=0
    )


@pytest.mark.parametrize("outcome", sorted(FAILING))
def test_the_fifth_failure_in_a_row_opens(outcome: Outcome) -> None:
    """Then it waits for the first pause of the schedule."""
    assert FAILURES_TO_OPEN == 5
    assert after(WORN, outcome) == failed(WORN, outcome, failures=4, rate_limits=0)
    fourth = replace(WORN, failures=4)
    opened = {"open": True, "failures": 5, "rate_limits": 0, "probes": 1, "probe_at": NOW + 5 * SECOND}
    assert after(fourth, outcome) == failed(fourth, outcome, **opened)


@pytest.mark.parametrize("outcome", sorted(REFUSING))
def test_one_refusal_opens(outcome: Outcome) -> None:
    """What is refused to us is refused to all that wait."""
    opened = {"open": True, "rate_limits": 0, "probes": 1, "probe_at": NOW + 5 * SECOND}
    assert after(WORN, outcome) == failed(WORN, outcome, **opened, failures=4)
    assert after(Breaker(), outcome) == failed(Breaker(), outcome, **opened, failures=1, failing_since=NOW)


@pytest.mark.parametrize("outcome", sorted(FAILING | REFUSING))
def test_a_probe_that_fails_waits_longer(outcome: Outcome) -> None:
    """By the factor of the schedule."""
    longer = {"failures": 8, "rate_limits": 0, "probes": 3, "probe_at": NOW + 20 * SECOND}
    assert after(OPEN, outcome, probe=True) == failed(OPEN, outcome, **longer)


@pytest.mark.parametrize("outcome", sorted(FAILING | REFUSING))
def test_a_straggler_that_fails_moves_no_probe(outcome: Outcome) -> None:
    """It was under way when the breaker opened, and says nothing new."""
    assert after(OPEN, outcome) == failed(OPEN, outcome, failures=8, rate_limits=0)


@pytest.mark.parametrize("outcome", sorted(FAILING))
def test_a_probe_that_was_overtaken_counts_as_any_other(outcome: Outcome) -> None:
    """A straggler's answer has closed the breaker meanwhile."""
    assert after(Breaker(), outcome, probe=True) == failed(Breaker(), outcome, failures=1, failing_since=NOW)


@pytest.mark.parametrize(
    ("held_for", "accepts_again_after", "left"),
    [
        (None, None, None),
        (None, NOTHING, None),
        (None, MINUTE, MINUTE),
        (MINUTE, None, MINUTE),
        (MINUTE, SECOND, MINUTE),
        (SECOND, MINUTE, MINUTE),
        (-SECOND, None, None),
        (NOTHING, None, None),
        (-SECOND, MINUTE, MINUTE),
    ],
)
def test_a_silence_outlasts_an_acceptance(
    held_for: timedelta | None, accepts_again_after: timedelta | None, left: timedelta | None
) -> None:
    """Another post may have been told to wait meanwhile, or this one that it was the last for now."""
    held = Breaker(failures=1, paused_until=None if held_for is None else NOW + held_for)
    assert after(held, Outcome.ACCEPTED, accepts_again_after=accepts_again_after) == Breaker(
        paused_until=None if left is None else NOW + left
    )


@pytest.mark.parametrize(
    ("probe_at", "paused_until", "blocked_until"),
    [(None, None, None), (NOW, None, NOW), (None, NOW, NOW), (NOW, START, NOW), (START, NOW, NOW)],
)
def test_nothing_is_posted_before_both_instants(
    probe_at: datetime | None, paused_until: datetime | None, blocked_until: datetime | None
) -> None:
    """Neither may undercut the other."""
    assert Breaker(probe_at=probe_at, paused_until=paused_until).blocked_until == blocked_until


def test_somebody_is_told_once_after_a_time() -> None:
    """From the first failure on."""
    assert Breaker().alert_at(HOUR) is None
    assert Breaker(paused_until=NOW).alert_at(HOUR) is None
    assert WORN.alert_at(HOUR) is None
    assert replace(WORN, alerted=False).alert_at(20 * MINUTE) == START + 20 * MINUTE


@pytest.mark.parametrize(
    ("retry_after", "rate_limits", "pause"),
    [
        (None, 1, 5 * SECOND),
        (None, 2, 10 * SECOND),
        (None, 99, HOUR),
        (NOTHING, 1, 5 * SECOND),
        (MICROSECOND, 9, SHORTEST_RATE_LIMIT_PAUSE),
        (SECOND, 9, SECOND),
        (DAY, 1, DAY),
    ],
)
def test_a_limit_is_waited_out(retry_after: timedelta | None, rate_limits: int, pause: timedelta) -> None:
    """For as long as the receiver says, exactly; where it says nothing, ever longer."""
    attempt = Attempt(1, Outcome.RATE_LIMITED, 12, 429, retry_after)
    assert rate_limit_pause(attempt, RETRY, rate_limits=rate_limits, chance=0) == pause
    with_jitter = pause * (1 if retry_after else 1 + JITTER / 2)
    assert rate_limit_pause(attempt, RETRY, rate_limits=rate_limits, chance=0.5) == with_jitter


@pytest.mark.parametrize(
    ("first", "longest", "pauses"),
    [
        (5 * SECOND, HOUR, [5 * SECOND, 10 * SECOND, LONGEST_PROBE_PAUSE]),
        (5 * SECOND, MINUTE, [5 * SECOND, 10 * SECOND, MINUTE]),
        (10 * MINUTE, HOUR, [10 * MINUTE, 10 * MINUTE, 10 * MINUTE]),
        (HOUR, MINUTE, [MINUTE, MINUTE, MINUTE]),
    ],
)
def test_probes_go_by_the_schedule_up_to_five_minutes(
    first: timedelta, longest: timedelta, pauses: list[timedelta]
) -> None:
    """Or up to the first pause, where that is longer: whoever configured it wants to be asked no sooner."""
    backoff = probe_backoff(RetryPolicy(first=first, max=longest))
    assert [backoff.pause(number, chance=0) for number in (1, 2, 60)] == pauses


@given(retries, steps)
def test_what_holds_after_every_answer(retry: RetryPolicy, said: list[tuple[Attempt, bool, timedelta, float]]) -> None:
    """Whatever is answered in turn, to probes and to others."""
    now, breaker = START, Breaker()
    for attempt, probe, pause, chance in said:
        now += pause
        before, breaker = breaker, breaker.after(attempt, retry, probe=probe, now=now, chance=chance)
        outcome = attempt.outcome

        # Exactly a sign of life closes it, exactly the fifth failure or the first refusal opens it.
        if outcome in LIVING:
            assert not breaker.open
        elif before.open or outcome in REFUSING:
            assert breaker.open
        else:
            assert breaker.open == (before.failures + 1 >= FAILURES_TO_OPEN)

        # It is probed exactly while it is open, within the bounds of the pauses; no straggler changes when.
        assert breaker.open == (breaker.probe_at is not None) == (breaker.probes > 0)
        if breaker.open and before.open and not probe:
            assert (breaker.probe_at, breaker.probes) == (before.probe_at, before.probes)
        elif breaker.open:
            longest = max(LONGEST_PROBE_PAUSE, retry.first)
            assert breaker.probes == before.probes + 1
            assert breaker.probe_at - now >= min(retry.first, retry.max) - MICROSECOND
            assert breaker.probe_at - now <= min(retry.max, longest) * (1 + JITTER) + MICROSECOND

        # A silence that somebody asked for is kept; only what lies behind us is forgotten.
        if before.paused_until is not None and before.paused_until > now:
            assert breaker.paused_until >= before.paused_until
        if outcome is Outcome.RATE_LIMITED:
            assert breaker.paused_until >= now + max(
                attempt.retry_after or SHORTEST_RATE_LIMIT_PAUSE, SHORTEST_RATE_LIMIT_PAUSE
            )

        # What is known of the trouble goes by acceptance, and by nothing else.
        if outcome in ACCEPTED:
            assert breaker == Breaker(paused_until=breaker.paused_until)
        else:
            assert breaker.failing_since == (before.failing_since or now)
            assert (breaker.outcome, breaker.http_status, breaker.alerted) == (
                outcome,
                attempt.http_status,
                before.alerted,
            )
        breaker = replace(breaker, alerted=breaker.failing_since is not None and now > breaker.failing_since)


@given(retries, chances, st.sampled_from(sorted(FAILING | REFUSING)))
def test_the_pauses_of_probes_only_grow(retry: RetryPolicy, chance: float, outcome: Outcome) -> None:
    """Until they are the longest."""
    breaker, pause = Breaker(failures=FAILURES_TO_OPEN), NOTHING
    for number in range(1, 100):
        breaker = breaker.after(Attempt(number, outcome, 12), retry, probe=number > 1, now=NOW, chance=chance)
        assert breaker.probe_at is not None
        before, pause = pause, breaker.probe_at - NOW
        assert pause >= before
    if retry.factor >= 1.2:
        assert pause >= min(retry.max, LONGEST_PROBE_PAUSE) - MICROSECOND


lone_outcomes = st.sampled_from(sorted(set(Outcome) - ACCEPTED))


@given(retries, st.lists(st.tuples(lone_outcomes, some_wishes, chances), min_size=1, max_size=12))
def test_a_lone_delivery_is_not_kept_back_by_its_breaker(
    retry: RetryPolicy, said: list[tuple[Outcome, timedelta | None, float]]
) -> None:
    """
    Its own schedule is never shorter than what the breaker makes of the same answers, by the same chance.

    But for the last attempt, which is drawn near to the end of the budget: here that is always new.
    """
    destination = receiver("webhook", retry)
    delivery, breaker, now = owed(), Breaker(), START
    for number, (outcome, retry_after, chance) in zip(range(1, 60), cycle(said), strict=False):
        attempt = Attempt(number, outcome, 0, None, retry_after)
        delivery = replace(delivery, attempts=number - 1, next_attempt_at=now, budget_from=now)
        decided = decide_after_attempt(delivery, attempt, destination, now=now, chance=chance)
        breaker = breaker.after(attempt, retry, probe=breaker.open, now=now, chance=chance)
        assert isinstance(decided, RetryAt)
        assert breaker.blocked_until is None or breaker.blocked_until <= decided.at
        delivery, now = replace(delivery, outcome=outcome), decided.at

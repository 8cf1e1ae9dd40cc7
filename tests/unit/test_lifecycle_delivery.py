"""What becomes of a delivery: each outcome by itself, and all of them over a whole life."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from task_samples import START

from cambwatch.core.destinations import Destination
from cambwatch.core.lifecycle import SHORT_BUDGET, in_plain_words, verdict
from cambwatch.core.model import Attempt, Delivered, Delivery, DeliveryState, GiveUp, Outcome, RetryAt, Verdict
from cambwatch.core.retry import JITTER, RetryPolicy
from cambwatch.core.secret import Secret

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOTHING = timedelta(0)
MICROSECOND = timedelta(microseconds=1)  # pauses are rounded to it
ACCEPTED = {Outcome.ACCEPTED, Outcome.ACCEPTED_UNVERIFIED}
REFUSED = {Outcome.PAYLOAD_REJECTED, Outcome.DESTINATION_GONE, Outcome.AUTH, Outcome.POLICY}
PASSING = {Outcome.RATE_LIMITED, Outcome.TRANSIENT, Outcome.OURS}


def receiver(kind: str, retry: RetryPolicy | None = None) -> Destination:
    return Destination("receiver", kind, Secret("https://hooks.example/x"), retry=retry or RetryPolicy())


def owed(*, attempts: int = 0, outcome: Outcome | None = None) -> Delivery:
    """A delivery of an event at START, after *attempts* of which the last ended with *outcome*."""
    return Delivery("msg_1", 1, "receiver", DeliveryState.PENDING, attempts, START, START, outcome=outcome)


def after(
    outcome: Outcome,
    *,
    kind: str = "webhook",
    age: timedelta = NOTHING,
    http_status: int | None = None,
    wish: timedelta | None = None,
    number: int = 1,
    before: Outcome | None = None,
) -> Verdict:
    attempt = Attempt(number, outcome, 12, http_status, wish)
    delivery = owed(attempts=number - 1, outcome=before)
    return verdict(delivery, attempt, receiver(kind), now=START + age, chance=0)


def test_every_outcome_is_in_one_of_these_groups() -> None:
    """So that the tables below leave none out."""
    assert set(Outcome) == ACCEPTED | REFUSED | PASSING


@pytest.mark.parametrize("kind", ["webhook", "slack"])
@pytest.mark.parametrize("outcome", sorted(ACCEPTED))
def test_what_was_taken_is_delivered(kind: str, outcome: Outcome) -> None:
    """However late."""
    assert after(outcome, kind=kind, age=100 * DAY, number=99, before=Outcome.AUTH) == Delivered()


@pytest.mark.parametrize("kind", ["webhook", "slack"])
@pytest.mark.parametrize("outcome", sorted(PASSING))
def test_trouble_that_passes_is_tried_again_until_the_budget_ends(kind: str, outcome: Outcome) -> None:
    """By the age of the event, not by the number of attempts."""
    assert after(outcome, kind=kind) == RetryAt(START + 5 * SECOND)
    assert after(outcome, kind=kind, number=99, age=2 * DAY) == RetryAt(START + 2 * DAY + HOUR)
    assert after(outcome, kind=kind, age=3 * DAY) == GiveUp()


@pytest.mark.parametrize(
    ("outcome", "budget"), [(Outcome.TRANSIENT, 3 * DAY), (Outcome.RATE_LIMITED, 3 * DAY), (Outcome.AUTH, SHORT_BUDGET)]
)
def test_another_try_has_a_budget_of_its_own(outcome: Outcome, budget: timedelta) -> None:
    """From when it was wished for, however old the event."""
    wished_at = START + 30 * DAY
    delivery = replace(owed(attempts=1, outcome=outcome), budget_from=wished_at)
    attempt = Attempt(2, outcome, took_ms=1, http_status=403)

    def at(now: datetime) -> Verdict:
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
    """A deploy, or a slip of the configuration, may have caused them."""
    assert after(outcome, kind=kind, http_status=http_status) == RetryAt(START + 5 * SECOND)
    short = {"kind": kind, "http_status": http_status, "before": outcome}
    assert isinstance(after(outcome, age=SHORT_BUDGET - SECOND, **short), RetryAt)
    assert after(outcome, age=SHORT_BUDGET, **short) == GiveUp()


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
    assert after(Outcome.TRANSIENT, age=age, wish=wish, number=20) == RetryAt(START + next_age)


@pytest.mark.parametrize("outcome", sorted(PASSING | REFUSED))
@pytest.mark.parametrize("wish", [SECOND, 10 * SECOND, HOUR, DAY])
def test_a_retry_after_brings_no_attempt_closer(outcome: Outcome, wish: timedelta) -> None:
    """Nor is it undercut: the later of the two counts."""
    assert after(outcome, wish=wish) == RetryAt(START + max(5 * SECOND, wish))


chances = st.floats(0, 1, exclude_max=True)
wishes = st.none() | st.timedeltas(NOTHING, DAY)
retries = st.builds(
    RetryPolicy,
    first=st.timedeltas(SECOND, HOUR),
    factor=st.floats(1, 10),
    max=st.timedeltas(SECOND, 6 * HOUR),
    give_up_after=st.timedeltas(SECOND, timedelta(days=10)),
)
kinds = st.sampled_from(["webhook", "slack"])
outcomes = st.sampled_from(list(Outcome))
http_statuses = st.none() | st.sampled_from([400, 401, 403, 404, 410, 429, 500, 503])


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
    """Never shorter than the first, nor longer than the most with its jitter or the wish; jitter only adds."""
    now = START + age
    attempt = Attempt(number, outcome, 12, http_status, wish)
    decided = verdict(owed(attempts=number - 1), attempt, receiver(kind, retry), now=now, chance=chance)
    if not isinstance(decided, RetryAt):
        return
    pause = decided.at - now
    assert pause >= max(min(retry.first, retry.max) - MICROSECOND, wish or NOTHING)
    assert pause <= max(retry.max * (1 + JITTER) + MICROSECOND, wish or NOTHING)
    plain = verdict(owed(attempts=number - 1), attempt, receiver(kind, retry), now=now, chance=0)
    assert isinstance(plain, RetryAt)
    assert plain.at <= decided.at
    unwished = Attempt(number, outcome, 12, http_status)
    without = verdict(owed(attempts=number - 1), unwished, receiver(kind, retry), now=now, chance=chance)
    assert isinstance(without, RetryAt)
    assert without.at <= decided.at


class OwedDelivery(RuleBasedStateMachine):
    """One delivery, attempted when the verdicts say so, with outcomes of every sort."""

    @initialize(kind=kinds, retry=retries)
    def owe(self, kind: str, retry: RetryPolicy) -> None:
        self.destination = receiver(kind, retry)
        self.state = DeliveryState.PENDING
        self.due = START
        self.outcomes: list[Outcome] = []

    @precondition(lambda self: self.state is DeliveryState.PENDING)
    @rule(
        outcome=outcomes | st.sampled_from(sorted(PASSING)),
        http_status=http_statuses,
        wish=wishes,
        chance=chances,
        late=st.timedeltas(NOTHING, timedelta(minutes=1)),
    )
    def attempt(
        self, outcome: Outcome, http_status: int | None, wish: timedelta | None, chance: float, late: timedelta
    ) -> None:
        now = self.due + late
        before = self.outcomes[-1] if self.outcomes else None
        delivery = owed(attempts=len(self.outcomes), outcome=before)
        attempt = Attempt(len(self.outcomes) + 1, outcome, 12, http_status, wish)
        decided = verdict(delivery, attempt, self.destination, now=now, chance=chance)
        self.outcomes.append(outcome)
        ends_at = START + self.destination.retry.give_up_after
        match decided:
            case Delivered():
                self.state = DeliveryState.DELIVERED
            case GiveUp():
                self.state = DeliveryState.DEAD
                assert outcome in REFUSED or now >= ends_at
            case RetryAt(at):
                assert now < ends_at
                assert at >= now + (wish or NOTHING)
                assert at <= max(ends_at, now + self.destination.retry.first, now + (wish or NOTHING))
                self.due = at
        assert (outcome in ACCEPTED) == isinstance(decided, Delivered)

    @precondition(lambda self: self.state is not DeliveryState.PENDING)
    @rule()
    def rest(self) -> None:
        """Nobody posts it any more."""

    @invariant()
    def one_success_and_it_is_the_last(self) -> None:
        if not hasattr(self, "outcomes"):
            return
        taken = [outcome for outcome in self.outcomes if outcome in ACCEPTED]
        assert len(taken) == (self.state is DeliveryState.DELIVERED)
        assert taken == [] or self.outcomes[-1] in ACCEPTED


TestOwedDelivery = OwedDelivery.TestCase
TestOwedDelivery.settings = settings(max_examples=100, stateful_step_count=30)

small_retries = st.builds(
    RetryPolicy,
    first=st.timedeltas(timedelta(minutes=1), HOUR),
    factor=st.floats(1, 10),
    max=st.timedeltas(timedelta(minutes=1), HOUR),
    give_up_after=st.timedeltas(SECOND, DAY),
)


@given(
    kinds, small_retries, st.lists(st.sampled_from(sorted(PASSING | REFUSED)), min_size=1, max_size=5), wishes, chances
)
def test_every_delivery_ends(
    kind: str, retry: RetryPolicy, said: list[Outcome], wish: timedelta | None, chance: float
) -> None:
    """After as many attempts as shortest pauses fit into the budget, and two more, whatever is said in turn."""
    most = retry.give_up_after / (min(retry.first, retry.max) - MICROSECOND) + 2
    now, number, before = START, 0, None
    while True:
        outcome = said[number % len(said)]
        number += 1
        assert number <= most
        attempt = Attempt(number, outcome, 12, None, wish)
        delivery = owed(attempts=number - 1, outcome=before)
        decided = verdict(delivery, attempt, receiver(kind, retry), now=now, chance=chance)
        if isinstance(decided, GiveUp):
            return
        assert isinstance(decided, RetryAt)
        now, before = decided.at, outcome

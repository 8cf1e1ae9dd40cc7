"""The whole life of a delivery: what its budget is charged with, and that it ends, whatever is said in turn."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import cycle

from delivery_samples import (
    ACCEPTED,
    DAY,
    HOUR,
    MICROSECOND,
    MINUTE,
    NOTHING,
    PASSING,
    REFUSED,
    SPARED,
    chances,
    http_statuses,
    kinds,
    outcomes,
    owed,
    receiver,
    retries,
    slow_retries,
    wishes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from task_samples import START

from cambwatch.core.delivery.breaker import SHORTEST_RATE_LIMIT_PAUSE
from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.lifecycle import LONGEST_UNCHARGED, SHORT_BUDGET, decide_after_attempt
from cambwatch.core.model import Attempt, Delivered, Delivery, DeliveryDecision, DeliveryState, GiveUp, Outcome, RetryAt
from cambwatch.core.routing import Destination


@dataclass(frozen=True, slots=True)
class Try:
    """An attempt that begins after so long in *line* and takes *took_ms*."""

    outcome: Outcome
    retry_after: timedelta | None = None
    line: timedelta = NOTHING
    took_ms: int = 0
    chance: float = 0


@dataclass(frozen=True, slots=True)
class Lived:
    """A verdict at *now*, and what the delivery had *waited* by then that nobody can blame on the receiver."""

    tried: Try
    now: datetime
    waited: timedelta
    before: Outcome | None
    decision: DeliveryDecision


def live(destination: Destination, tries: Iterable[Try]) -> list[Lived]:
    """The life of a delivery that fares as *tries* say, to its end or theirs; *waited* is added up by other ways."""
    delivery, waited, life = owed(), NOTHING, []
    for number, tried in enumerate(tries, start=1):
        assert delivery.next_attempt_at is not None
        now = delivery.next_attempt_at + tried.line + timedelta(milliseconds=tried.took_ms)
        waited += tried.line
        attempt = Attempt(number, tried.outcome, tried.took_ms, None, tried.retry_after)
        decided = decide_after_attempt(delivery, attempt, destination, now=now, chance=tried.chance)
        life.append(Lived(tried, now, waited, delivery.outcome, decided))
        if not isinstance(decided, RetryAt):
            return life
        assert decided.uncharged >= delivery.uncharged
        if tried.outcome in SPARED:
            waited += decided.at - now
        delivery = after(delivery, tried.outcome, decided)
    return life


def after(delivery: Delivery, outcome: Outcome, decided: RetryAt) -> Delivery:
    """The delivery as the store has it then."""
    return replace(
        delivery,
        attempts=delivery.attempts + 1,
        next_attempt_at=decided.at,
        outcome=outcome,
        uncharged=decided.uncharged,
    )


def tries_of(said: st.SearchStrategy[Outcome], longest_line: timedelta = 5 * DAY) -> st.SearchStrategy[Try]:
    lines = st.just(NOTHING) | st.timedeltas(NOTHING, MINUTE) | st.timedeltas(NOTHING, longest_line)
    slow_wishes = st.none() | st.timedeltas(20 * MINUTE, DAY)
    return st.builds(
        Try, outcome=said, retry_after=slow_wishes, line=lines, took_ms=st.integers(0, 60_000), chance=chances
    )


trouble = st.lists(tries_of(st.sampled_from(sorted(PASSING | REFUSED))), min_size=1, max_size=8)
spared_trouble = st.lists(tries_of(st.sampled_from(sorted(SPARED)), HOUR), max_size=6)


@given(kinds, slow_retries, trouble)
def test_a_delivery_that_dies_by_its_budget_has_used_it_up(kind: str, retry: RetryPolicy, said: list[Try]) -> None:
    """With what it did not wait out for others, a rate limit or trouble of ours, or more of that than a week."""
    *_, end = live(receiver(kind, retry), cycle(said))
    assert end.decision == GiveUp()
    if end.tried.outcome in REFUSED and kind != "webhook":
        return  # it may be meant
    charged = end.now - START - min(end.waited, LONGEST_UNCHARGED)
    twice_refused = end.tried.outcome in REFUSED and end.before in REFUSED
    assert charged >= (min(retry.give_up_after, SHORT_BUDGET) if twice_refused else retry.give_up_after)


@given(kinds, slow_retries, trouble)
def test_every_delivery_ends(kind: str, retry: RetryPolicy, said: list[Try]) -> None:
    """A week after its budget at the latest, but for one pause; and with as many attempts as pauses fit in there."""
    latest = START + retry.give_up_after + LONGEST_UNCHARGED
    *life, end = live(receiver(kind, retry), cycle(said))
    assert end.decision == GiveUp()
    wishes = [
        max(tried.retry_after, SHORTEST_RATE_LIMIT_PAUSE) for tried in said if tried.retry_after
    ]  # which may be shorter than our pauses
    assert len(life) <= (latest - START) / (min(retry.first, retry.max, *wishes) - MICROSECOND) + 1
    for lived in life:
        assert isinstance(lived.decision, RetryAt)
        assert lived.now < latest
        assert lived.decision.at <= max(latest, lived.now + max(retry.first, lived.tried.retry_after or NOTHING))
        assert lived.decision.at >= lived.now + (lived.tried.retry_after or NOTHING)


@given(kinds, slow_retries, spared_trouble, chances)
def test_rate_limits_and_our_own_trouble_leave_the_budget_whole(
    kind: str, retry: RetryPolicy, said: list[Try], chance: float
) -> None:
    """What comes after them has all the time that it would have had at once, but for the attempts themselves."""
    instant = [replace(tried, took_ms=0) for tried in said]
    life = live(receiver(kind, retry), [*instant, *[Try(Outcome.TRANSIENT, chance=chance)] * 1000])
    assert life[-1].decision == GiveUp()
    left = life[-1].now - life[len(said)].now
    if life[-1].waited <= LONGEST_UNCHARGED:
        assert retry.give_up_after <= left <= retry.give_up_after + retry.first
        assert len(life) > len(said) + 1


@given(
    kinds,
    slow_retries,
    st.lists(tries_of(st.sampled_from([Outcome.TRANSIENT, Outcome.POLICY])), min_size=1, max_size=8),
)
def test_nothing_is_spared_but_the_time_in_line(kind: str, retry: RetryPolicy, said: list[Try]) -> None:
    """The pauses after failures are charged, and so are the attempts."""
    for lived in live(receiver(kind, retry), cycle(said)):
        if isinstance(lived.decision, RetryAt):
            assert lived.decision.uncharged == min(lived.waited, LONGEST_UNCHARGED)


class OwedDelivery(RuleBasedStateMachine):
    """One delivery, attempted when the verdicts say so, with outcomes of every sort; tried again when it is wished."""

    @initialize(kind=kinds, retry=retries)
    def owe(self, kind: str, retry: RetryPolicy) -> None:
        self.destination = receiver(kind, retry)
        self.delivery = owed()
        self.now = START
        self.since = START
        self.outcomes: list[Outcome] = []

    @precondition(lambda self: self.delivery.state is DeliveryState.PENDING)
    @rule(
        outcome=outcomes | st.sampled_from(sorted(PASSING)),
        http_status=http_statuses,
        retry_after=wishes,
        chance=chances,
        line=st.timedeltas(NOTHING, MINUTE) | st.timedeltas(NOTHING, 2 * DAY),
        took_ms=st.integers(0, 60_000),
    )
    def attempt(
        self,
        outcome: Outcome,
        http_status: int | None,
        retry_after: timedelta | None,
        chance: float,
        line: timedelta,
        took_ms: int,
    ) -> None:
        assert self.delivery.next_attempt_at is not None
        now = self.delivery.next_attempt_at + line + timedelta(milliseconds=took_ms)
        attempt = Attempt(self.delivery.attempts + 1, outcome, took_ms, http_status, retry_after)
        decided = decide_after_attempt(self.delivery, attempt, self.destination, now=now, chance=chance)
        retry = self.destination.retry
        latest = self.since + retry.give_up_after + LONGEST_UNCHARGED
        match decided:
            case Delivered():
                self.close(DeliveryState.DELIVERED, outcome)
            case GiveUp():
                self.close(DeliveryState.DEAD, outcome)
                assert outcome in REFUSED or now >= self.since + retry.give_up_after
                assert outcome not in SPARED or now >= latest
            case RetryAt(at, not_before, uncharged):
                assert now < latest
                assert at >= now + (retry_after or NOTHING)
                assert at <= max(latest, now + max(retry.first, retry_after or NOTHING))
                assert not_before == (now + retry_after if retry_after else None)
                assert self.delivery.uncharged <= uncharged <= LONGEST_UNCHARGED
                self.delivery = after(self.delivery, outcome, decided)
        self.now = now
        self.outcomes.append(outcome)
        assert (outcome in ACCEPTED) == isinstance(decided, Delivered)

    def close(self, state: DeliveryState, outcome: Outcome) -> None:
        attempts = self.delivery.attempts + 1
        self.delivery = replace(
            self.delivery, state=state, attempts=attempts, outcome=outcome, next_attempt_at=None, uncharged=NOTHING
        )

    @precondition(lambda self: self.delivery.state is DeliveryState.DEAD)
    @rule(later=st.timedeltas(NOTHING, 30 * DAY))
    def wish_for_another_try(self, later: timedelta) -> None:
        """The only way out of death; it has a budget of its own, and forgets how it was refused."""
        self.since = self.now + later
        self.delivery = replace(
            self.delivery,
            state=DeliveryState.PENDING,
            next_attempt_at=self.since,
            budget_from=self.since,
            outcome=None,
        )

    @precondition(lambda self: self.delivery.state is DeliveryState.DELIVERED)
    @rule()
    def rest(self) -> None:
        """Nobody posts it any more."""

    @invariant()
    def one_success_and_it_is_the_last(self) -> None:
        if not hasattr(self, "outcomes"):
            return
        taken = [outcome for outcome in self.outcomes if outcome in ACCEPTED]
        assert len(taken) == (self.delivery.state is DeliveryState.DELIVERED)
        assert taken == [] or self.outcomes[-1] in ACCEPTED


TestOwedDelivery = OwedDelivery.TestCase
TestOwedDelivery.settings = settings(max_examples=100, stateful_step_count=30)

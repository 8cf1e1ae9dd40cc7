"""All rules of a poll together, over the whole life of a task."""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from task_samples import START, pending, unasked

from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.camb.evidence import NO_EVIDENCE, Evidence, shows_status
from cambwatch.core.lifecycle import DEADLINE_STRETCH, INVALID_TRIES, decide_after_poll, decide_unconfirmed
from cambwatch.core.model import (
    Conclusion,
    Confirm,
    Fault,
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    PauseAccount,
    PendingReply,
    PollAgain,
    PollDecision,
    PollReply,
    Status,
    UnavailableReply,
    UnconfirmedReply,
    UnknownTaskReply,
)

POLICY = PollPolicy()
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
CAMB_ENDS = [Status.SUCCESS, Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED]
SILENCE = UnavailableReply(Fault.SERVER_ERROR, detail="HTTP 503")

chances = st.floats(0, 1, exclude_max=True)
wishes = st.none() | st.timedeltas(timedelta(0), timedelta(hours=24))
reports = st.one_of(
    st.builds(PendingReply, st.sampled_from([None, "PROCESSING"])),
    st.builds(UnknownTaskReply),
    st.builds(InvalidTaskIdReply),
    st.builds(ForbiddenReply, st.sampled_from([401, 403])),
    st.builds(UnavailableReply, st.sampled_from(list(Fault)), wishes),
    st.builds(UnavailableReply, st.sampled_from(list(Fault)), wishes),
)


class WatchedTask(RuleBasedStateMachine):
    """One task from its registration on, polled when the steps say so, with answers of every sort."""

    @initialize(
        deadline=st.timedeltas(timedelta(seconds=10), timedelta(days=3)),
        interval=st.timedeltas(timedelta(seconds=1), timedelta(minutes=5)),
        grace=st.timedeltas(timedelta(0), timedelta(hours=1)),
    )
    def register(self, deadline: timedelta, interval: timedelta, grace: timedelta) -> None:
        self.task = pending(deadline=deadline)
        self.policy = PollPolicy(interval=interval, not_found_grace=grace)
        self.progress = unasked()
        self.last_call = self.task.deadline_at + deadline * DEADLINE_STRETCH
        self.now = self.due = self.known_at = START
        self.refusals = 0
        self.known = False
        self.evidence = NO_EVIDENCE
        self.conclusions: list[Conclusion] = []

    def ask(self, reply: PollReply, took: timedelta, chance: float) -> PollDecision:
        polled_at, self.now = self.due, self.due + took
        self.progress.note(reply, polled_at=polled_at, age_s=(polled_at - START).total_seconds(), now=self.now)
        return decide_after_poll(
            self.task,
            self.progress,
            reply,
            policy=self.policy,
            now=self.now,
            chance=chance,
            evidence=self.evidence,
        )

    @rule(key_refused=st.booleans(), only_this_forbidden=st.booleans(), gone=st.booleans())
    def prove(self, *, key_refused: bool, only_this_forbidden: bool, gone: bool) -> None:
        """What the answers for other tasks say by now."""
        self.evidence = Evidence(key_refused, only_this_forbidden, gone)

    def go_on(self, step: PollDecision) -> None:
        if isinstance(step, Conclusion):
            self.conclusions.append(step)
            return
        assert isinstance(step, PollAgain | PauseAccount)
        assert step.pause > timedelta(0)
        self.due = self.now + step.pause

    @property
    def watched(self) -> bool:
        return not self.conclusions

    @precondition(lambda self: self.watched)
    @rule(reply=reports, took=st.timedeltas(timedelta(0), timedelta(minutes=2)), chance=chances)
    def hear(self, reply: PollReply, took: timedelta, chance: float) -> None:
        step = self.ask(reply, took, chance)
        overdue = self.now >= self.task.deadline_at
        retry_after = None
        match reply:
            case PendingReply(word):
                self.known_at, self.refusals, self.known = self.now, 0, self.known or word is None
                ends = Status.EXPIRED if overdue else None
            case UnknownTaskReply():
                self.refusals = 0
                graced = self.now - self.known_at >= self.policy.not_found_grace
                believed = self.evidence.gone if self.known else graced
                ends = Status.NOT_FOUND if believed else Status.EXPIRED if overdue else None
            case InvalidTaskIdReply():
                self.refusals += 1
                believed = self.evidence.gone if self.known else self.refusals >= INVALID_TRIES
                ends = Status.NOT_FOUND if believed else Status.EXPIRED if overdue else None
            case ForbiddenReply():
                assert isinstance(step, PauseAccount) == self.evidence.key_refused
                alone = self.evidence.only_this_forbidden and not self.evidence.key_refused
                ends = Status.EXPIRED if overdue and alone else None
            case UnavailableReply(_, retry_after):
                ends = Status.EXPIRED if self.now >= self.last_call else None
        waits = self.evidence.key_refused and not shows_status(reply)
        ends = None if waits else ends
        assert (step.status if isinstance(step, Conclusion) else None) == ends
        if isinstance(step, PollAgain) and not waits:
            asked_next = self.now + step.pause
            assert step.pause >= (retry_after or timedelta(0))
            # No poll passes over the deadline, nor over the last call, unless Camb wished it.
            limit = self.last_call if overdue else self.task.deadline_at
            # Behind the last call only a forbidden task is polled: other answers may yet prove that the key is refused.
            past_all = isinstance(reply, ForbiddenReply) and self.now >= limit
            assert past_all or asked_next <= max(limit, self.now + (retry_after or timedelta(0)))
            drawn = self.progress.polls == 1 and isinstance(reply, PendingReply | UnknownTaskReply | InvalidTaskIdReply)
            shortest = min(self.policy.min_interval, self.policy.interval) if drawn else self.policy.interval
            shortest = max(shortest, self.policy.interval / 2)
            assert past_all or step.pause >= min(shortest, limit - self.now)
        self.go_on(step)

    @precondition(lambda self: self.watched and self.progress.polls > 3)
    @rule(confirmed=st.booleans(), chance=chances)
    def hear_of_a_run(self, *, confirmed: bool, chance: float) -> None:
        step = self.ask(UnconfirmedReply(7), SECOND, chance)
        assert step == Confirm(7)
        self.known_at, self.refusals, self.known = self.now, 0, True
        if confirmed:
            self.go_on(Conclusion(Status.SUCCESS, 7))
        else:
            step = decide_unconfirmed(self.task, policy=self.policy, now=self.now)
            assert isinstance(step, Conclusion) == (self.now >= self.task.deadline_at)
            self.go_on(step)

    @precondition(lambda self: self.watched and self.progress.polls > 6)
    @rule(status=st.sampled_from(CAMB_ENDS), chance=chances)
    def hear_of_the_end(self, status: Status, chance: float) -> None:
        step = self.ask(FinishedReply(status, 7), SECOND, chance)
        assert step == Conclusion(status, 7)
        self.go_on(step)

    @precondition(lambda self: self.watched)
    @rule(share=st.floats(0, 1.2))
    def sleep(self, share: float) -> None:
        """The daemon was down, or the account's budget was spent."""
        later = START + (self.task.deadline_at - START) * share
        self.due = max(self.due, later)

    @precondition(lambda self: not self.watched)
    @rule()
    def rest(self) -> None:
        """Nobody asks for it any more."""

    @invariant()
    def one_end_at_most(self) -> None:
        assert len(self.conclusions) <= 1
        for end in self.conclusions:
            assert end.status not in {Status.PENDING, Status.REMOVED}
            assert end.status is not Status.EXPIRED or self.now >= self.task.deadline_at

    def teardown(self) -> None:
        """However its life went, one answer after the deadline ends it."""
        if not hasattr(self, "task") or not self.watched:
            return
        self.due = max(self.due, self.task.deadline_at)
        assert isinstance(self.ask(PendingReply(), SECOND, 0), Conclusion)


TestWatchedTask = WatchedTask.TestCase
TestWatchedTask.settings = settings(max_examples=100, stateful_step_count=30)


@pytest.mark.parametrize(
    "reply",
    [PendingReply(), UnknownTaskReply(), InvalidTaskIdReply(), SILENCE, UnavailableReply(Fault.RATE_LIMITED, HOUR)],
)
@pytest.mark.parametrize("deadline", [timedelta(seconds=10), timedelta(hours=1), timedelta(days=3)])
def test_every_watch_ends(reply: PollReply, deadline: timedelta) -> None:
    """Whatever Camb keeps saying: at the last call and one Retry-After at the latest."""
    task, progress, now = pending(deadline=deadline), unasked(), START
    polls = 0
    while True:
        polls += 1
        progress.note(reply, polled_at=now, age_s=(now - START).total_seconds(), now=now)
        step = decide_after_poll(task, progress, reply, policy=POLICY, now=now, chance=0)
        if isinstance(step, Conclusion):
            break
        now += step.pause
    assert now <= START + deadline * (1 + DEADLINE_STRETCH) + HOUR
    assert polls <= deadline * (1 + DEADLINE_STRETCH) / POLICY.interval + 10

"""What follows from a poll: each rule by itself, and all of them over a whole life."""

from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from task_samples import START, pending, unasked

from cambwatch.core.cadence import PollPolicy
from cambwatch.core.durations import BINS
from cambwatch.core.learned import Schedule
from cambwatch.core.lifecycle import DEADLINE_STRETCH, INVALID_TRIES, Progress, next_step, unconfirmed
from cambwatch.core.model import (
    Conclude,
    Confirm,
    Ended,
    Fault,
    Forbidden,
    Invalid,
    PauseAccount,
    Pending,
    PollAgain,
    Report,
    Status,
    Step,
    Unavailable,
    Unconfirmed,
    Unknown,
)

POLICY = PollPolicy()
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DEADLINE = timedelta(hours=24)
LAST_CALL = START + DEADLINE * (1 + DEADLINE_STRETCH)
CAMB_ENDS = [Status.SUCCESS, Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED]
SILENCE = Unavailable(Fault.SERVER_ERROR, detail="HTTP 503")


def after(report: Report, *, at: datetime, progress: Progress | None = None, policy: PollPolicy = POLICY) -> Step:
    """The step after a poll, not the first, of a task of 24 hours that is answered *at* that instant."""
    progress = progress or unasked()
    progress.polls += 1
    progress.note(report, asked_at=at, age_s=(at - START).total_seconds(), now=at)
    return next_step(pending(), progress, report, policy=policy, now=at, chance=0)


@pytest.mark.parametrize("status", CAMB_ENDS)
@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 10 * DEADLINE])
def test_the_end_is_told_as_camb_told_it(status: Status, at: datetime) -> None:
    """Also when it comes late: a task that Camb has finished has not expired."""
    report = Ended(status, 123, "SOURCE_TOO_LONG", "Too long")
    assert after(report, at=at) == Conclude(status, 123, "SOURCE_TOO_LONG", "Too long")


def test_a_pending_task_is_asked_for_again_after_its_interval() -> None:
    """With a word that nobody knows, too."""
    assert after(Pending(), at=START) == PollAgain(POLICY.interval)
    assert after(Pending("PROCESSING"), at=START) == PollAgain(POLICY.interval)


LEARNED = PollPolicy(schedule=Schedule([1 / 40] * BINS, shortest_s=1, longest_s=120))


@pytest.mark.parametrize(("report", "pause_s"), [(Pending(), 40), (Unknown(), 5), (Invalid(), 5), (SILENCE, 40)])
@pytest.mark.parametrize("at", [START, START + 60 * SECOND])
def test_a_learned_pause_is_for_tasks_that_are_there(report: Report, pause_s: float, at: datetime) -> None:
    """One that Camb does not know is no task like those that were learned from: a wrong task_id is told soon."""
    step = after(report, at=at, policy=LEARNED)
    assert isinstance(step, PollAgain)
    assert step.pause == timedelta(seconds=pause_s)


@pytest.mark.parametrize(
    ("polls", "age_s", "drawn"), [(0, 0, True), (0, 4.9, True), (0, 5, False), (1, 0, False), (7, 100, False)]
)
def test_only_the_first_pause_is_drawn(polls: int, age_s: float, drawn: bool) -> None:  # noqa: FBT001
    """And only for a task that is new: who asks late for the first time is beyond the first pause."""
    progress, at = unasked(), START + age_s * SECOND
    progress.polls = polls
    progress.note(Pending(), asked_at=at, age_s=(at - START).total_seconds(), now=at)
    step = next_step(pending(), progress, Pending(), policy=POLICY, now=at, chance=0)
    assert step == PollAgain(POLICY.interval * (1.5 if drawn else 1))


def test_a_run_that_is_not_confirmed_is_asked_for_by_what_was_learned() -> None:
    """It is pending as any other."""
    assert unconfirmed(pending(), policy=LEARNED, now=START) == PollAgain(40 * SECOND)


def test_when_a_task_was_last_seen_pending_is_when_it_was_asked_for() -> None:
    """Not when the answer came; an answer that does not say so changes nothing of it."""
    progress = unasked()
    for report in (Unknown(), SILENCE):
        progress.note(report, asked_at=START, age_s=1, now=START)
    assert progress.pending_at_s is None
    progress.note(Pending(), asked_at=START, age_s=7, now=START + 9 * SECOND)
    for report in (Unknown(), SILENCE, Forbidden(401), Invalid(), Ended(Status.SUCCESS)):
        progress.note(report, asked_at=START, age_s=60, now=START)
    assert progress.pending_at_s == 7


@pytest.mark.parametrize("report", [Pending(), Unknown("gone?"), Invalid(), SILENCE])
def test_one_poll_falls_on_the_deadline(report: Report) -> None:
    """Whatever the answer before it was."""
    policy = PollPolicy(not_found_grace=2 * DEADLINE)
    assert after(report, at=START + DEADLINE - SECOND, policy=policy) == PollAgain(SECOND)


@pytest.mark.parametrize("late", [timedelta(0), SECOND, 10 * DEADLINE])
def test_a_task_that_is_pending_at_its_deadline_has_expired(late: timedelta) -> None:
    """And not a moment before."""
    assert after(Pending(), at=START + DEADLINE + late) == Conclude(Status.EXPIRED)
    word = Conclude(Status.EXPIRED, message="The last status was PROCESSING")
    assert after(Pending("PROCESSING"), at=START + DEADLINE + late) == word


@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 10 * DEADLINE])
def test_a_run_without_a_status_is_confirmed_first(at: datetime) -> None:
    """Also after the deadline: it may well have ended."""
    assert after(Unconfirmed(123), at=at) == Confirm(123)


def test_a_run_that_is_not_confirmed_is_pending() -> None:
    """Until the deadline, on which one poll falls."""
    task = pending()
    assert unconfirmed(task, policy=POLICY, now=START) == PollAgain(POLICY.interval)
    assert unconfirmed(task, policy=POLICY, now=START + DEADLINE - SECOND) == PollAgain(SECOND)
    assert unconfirmed(task, policy=POLICY, now=START + DEADLINE) == Conclude(Status.EXPIRED)


@pytest.mark.parametrize(
    ("at", "step"),
    [
        (START, PollAgain(POLICY.interval)),
        (START + POLICY.not_found_grace - SECOND, PollAgain(POLICY.interval)),
        (START + POLICY.not_found_grace, Conclude(Status.NOT_FOUND, message="no such task")),
        (START + HOUR, Conclude(Status.NOT_FOUND, message="no such task")),
    ],
)
def test_a_task_may_be_unknown_for_a_while(at: datetime, step: Step) -> None:
    """Camb may answer 404 right after it was created, but not for longer than the grace."""
    assert after(Unknown("no such task"), at=at) == step


@pytest.mark.parametrize("known_by", [Pending(), Pending("PROCESSING"), Unconfirmed(7)])
def test_grace_counts_from_when_camb_last_knew_the_task(known_by: Report) -> None:
    """A slip of Camb in the middle of a long task does not end it."""
    progress = unasked()
    after(known_by, at=START + HOUR, progress=progress)
    for late in (SECOND, MINUTE, POLICY.not_found_grace - SECOND):
        assert after(Unknown(), at=START + HOUR + late, progress=progress) == PollAgain(POLICY.interval)
    assert after(Unknown(), at=START + HOUR + POLICY.not_found_grace, progress=progress) == Conclude(Status.NOT_FOUND)


@pytest.mark.parametrize("unsaid", [SILENCE, Forbidden(401), Invalid(), Unknown()])
def test_grace_is_not_renewed_by_answers_that_do_not_know_the_task(unsaid: Report) -> None:
    """An outage is no sign that the task is there."""
    progress = unasked()
    after(unsaid, at=START + MINUTE, progress=progress)
    at = START + POLICY.not_found_grace
    assert after(Unknown("gone"), at=at, progress=progress) == Conclude(Status.NOT_FOUND, message="gone")


def test_without_grace_the_first_404_is_believed() -> None:
    """Where the configuration says so."""
    policy = PollPolicy(not_found_grace=timedelta(0))
    assert after(Unknown(), at=START, policy=policy) == Conclude(Status.NOT_FOUND)


def test_a_refused_task_id_gets_a_few_tries() -> None:
    """However fast they come."""
    progress = unasked()
    for _ in range(INVALID_TRIES - 1):
        assert after(Invalid("not a UUID"), at=START, progress=progress) == PollAgain(POLICY.interval)
    assert after(Invalid("not a UUID"), at=START, progress=progress) == Conclude(Status.NOT_FOUND, message="not a UUID")


@pytest.mark.parametrize(
    ("between", "step"),
    [
        (Pending(), PollAgain(POLICY.interval)),
        (Unknown(), PollAgain(POLICY.interval)),
        (SILENCE, Conclude(Status.NOT_FOUND)),
        (Forbidden(403), Conclude(Status.NOT_FOUND)),
    ],
)
def test_tries_of_a_refused_task_id_are_counted_in_a_row(between: Report, step: Step) -> None:
    """Another answer about the task begins anew; one that says nothing about it does not."""
    progress = unasked()
    for report in (*[Invalid()] * (INVALID_TRIES - 1), between):
        after(report, at=START, progress=progress)
    assert after(Invalid(), at=START, progress=progress) == step


@pytest.mark.parametrize("report", [Unknown("gone"), Invalid("gone")])
def test_what_camb_does_not_know_yet_at_the_deadline_has_expired(report: Report) -> None:
    """Within the grace such an answer is as good as PENDING, and its words go into the message."""
    progress = unasked()
    after(Pending(), at=START + DEADLINE - SECOND, progress=progress)
    assert after(report, at=START + DEADLINE, progress=progress) == Conclude(
        Status.EXPIRED, message="The last answer was: gone"
    )


@pytest.mark.parametrize("http_status", [401, 403])
@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 100 * DEADLINE])
def test_a_refused_key_ends_nothing(http_status: int, at: datetime) -> None:
    """It pauses the account; the task has done nothing wrong."""
    assert after(Forbidden(http_status), at=at) == PauseAccount(http_status, POLICY.interval)


def test_pauses_grow_while_there_is_trouble() -> None:
    """Refused keys and outages together, and begin anew after an answer."""
    progress = unasked()
    seconds = [
        after(report, at=START, progress=progress).pause.total_seconds()
        for report in (SILENCE, SILENCE, Forbidden(401), SILENCE, SILENCE, SILENCE, SILENCE, Pending(), SILENCE)
    ]
    assert seconds == [5, 10, 20, 40, 80, 120, 120, 5, 5]


@pytest.mark.parametrize("at", [START, START + DEADLINE - SECOND, START + DEADLINE, LAST_CALL - SECOND])
@pytest.mark.parametrize("wish", [7 * SECOND, 10 * MINUTE, 24 * HOUR])
def test_a_retry_after_is_never_undercut(at: datetime, wish: timedelta) -> None:
    """Not even for the deadline."""
    step = after(Unavailable(Fault.RATE_LIMITED, wish), at=at)
    assert isinstance(step, PollAgain)
    assert step.pause >= wish


def test_a_retry_after_of_nothing_is_our_own_pause() -> None:
    """So a Camb that says 0 all the time is not asked all the time."""
    assert after(Unavailable(Fault.RATE_LIMITED, timedelta(0)), at=START) == PollAgain(POLICY.interval)


def test_an_outage_at_the_deadline_stretches_it() -> None:
    """By a tenth; "expired" would be wrong for what ended meanwhile."""
    assert after(SILENCE, at=START + DEADLINE) == PollAgain(POLICY.interval)
    assert after(SILENCE, at=LAST_CALL - SECOND) == PollAgain(SECOND)
    expired = Conclude(Status.EXPIRED, message="Camb could not be asked at the deadline (HTTP 503)")
    assert after(SILENCE, at=LAST_CALL) == expired
    unsaid = Conclude(Status.EXPIRED, message="Camb could not be asked at the deadline (dns)")
    assert after(Unavailable(Fault.DNS), at=LAST_CALL) == unsaid


def test_progress_counts_polls_and_keeps_the_first() -> None:
    """By the instant at which it was sent, not at which it was answered."""
    progress = unasked()
    for second in (1, 6, 11):
        at = START + second * SECOND
        progress.note(Pending(), asked_at=at, age_s=(at - START).total_seconds(), now=at + SECOND)
    assert (progress.polls, progress.first_polled_at) == (3, START + SECOND)
    assert progress.known_at == START + 12 * SECOND


chances = st.floats(0, 1, exclude_max=True)
wishes = st.none() | st.timedeltas(timedelta(0), timedelta(hours=24))
reports = st.one_of(
    st.builds(Pending, st.sampled_from([None, "PROCESSING"])),
    st.builds(Unknown),
    st.builds(Invalid),
    st.builds(Forbidden, st.sampled_from([401, 403])),
    st.builds(Unavailable, st.sampled_from(list(Fault)), wishes),
    st.builds(Unavailable, st.sampled_from(list(Fault)), wishes),
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
        self.conclusions: list[Conclude] = []

    def ask(self, report: Report, took: timedelta, chance: float) -> Step:
        asked_at, self.now = self.due, self.due + took
        self.progress.note(report, asked_at=asked_at, age_s=(asked_at - START).total_seconds(), now=self.now)
        return next_step(self.task, self.progress, report, policy=self.policy, now=self.now, chance=chance)

    def go_on(self, step: Step) -> None:
        if isinstance(step, Conclude):
            self.conclusions.append(step)
            return
        assert isinstance(step, PollAgain | PauseAccount)
        assert step.pause > timedelta(0)
        self.due = self.now + step.pause

    @property
    def watched(self) -> bool:
        return not self.conclusions

    @precondition(lambda self: self.watched)
    @rule(report=reports, took=st.timedeltas(timedelta(0), timedelta(minutes=2)), chance=chances)
    def hear(self, report: Report, took: timedelta, chance: float) -> None:
        step = self.ask(report, took, chance)
        overdue = self.now >= self.task.deadline_at
        wish = None
        match report:
            case Pending():
                self.known_at, self.refusals = self.now, 0
                ends = Status.EXPIRED if overdue else None
            case Unknown():
                self.refusals = 0
                graced = self.now - self.known_at < self.policy.not_found_grace
                ends = (Status.EXPIRED if overdue else None) if graced else Status.NOT_FOUND
            case Invalid():
                self.refusals += 1
                believed = self.refusals >= INVALID_TRIES
                ends = Status.NOT_FOUND if believed else Status.EXPIRED if overdue else None
            case Forbidden():
                assert isinstance(step, PauseAccount)
                ends = None
            case Unavailable(_, wish):
                ends = Status.EXPIRED if self.now >= self.last_call else None
        assert (step.status if isinstance(step, Conclude) else None) == ends
        if isinstance(step, PollAgain):
            asked_next = self.now + step.pause
            assert step.pause >= (wish or timedelta(0))
            # No poll passes over the deadline, nor over the last call, unless Camb wished it.
            limit = self.last_call if overdue else self.task.deadline_at
            assert asked_next <= max(limit, self.now + (wish or timedelta(0)))
            drawn = self.progress.polls == 1 and isinstance(report, Pending | Unknown | Invalid)
            shortest = min(self.policy.min_interval, self.policy.interval) if drawn else self.policy.interval
            shortest = max(shortest, self.policy.interval / 2)
            assert step.pause >= min(shortest, limit - self.now)
        self.go_on(step)

    @precondition(lambda self: self.watched and self.progress.polls > 3)
    @rule(confirmed=st.booleans(), chance=chances)
    def hear_of_a_run(self, *, confirmed: bool, chance: float) -> None:
        step = self.ask(Unconfirmed(7), SECOND, chance)
        assert step == Confirm(7)
        self.known_at, self.refusals = self.now, 0
        if confirmed:
            self.go_on(Conclude(Status.SUCCESS, 7))
        else:
            step = unconfirmed(self.task, policy=self.policy, now=self.now)
            assert isinstance(step, Conclude) == (self.now >= self.task.deadline_at)
            self.go_on(step)

    @precondition(lambda self: self.watched and self.progress.polls > 6)
    @rule(status=st.sampled_from(CAMB_ENDS), chance=chances)
    def hear_of_the_end(self, status: Status, chance: float) -> None:
        step = self.ask(Ended(status, 7), SECOND, chance)
        assert step == Conclude(status, 7)
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
        assert isinstance(self.ask(Pending(), SECOND, 0), Conclude)


TestWatchedTask = WatchedTask.TestCase
TestWatchedTask.settings = settings(max_examples=100, stateful_step_count=30)


@pytest.mark.parametrize("report", [Pending(), Unknown(), Invalid(), SILENCE, Unavailable(Fault.RATE_LIMITED, HOUR)])
@pytest.mark.parametrize("deadline", [timedelta(seconds=10), timedelta(hours=1), timedelta(days=3)])
def test_every_watch_ends(report: Report, deadline: timedelta) -> None:
    """Whatever Camb keeps saying: at the last call and one Retry-After at the latest."""
    task, progress, now = pending(deadline=deadline), unasked(), START
    polls = 0
    while True:
        polls += 1
        progress.note(report, asked_at=now, age_s=(now - START).total_seconds(), now=now)
        step = next_step(task, progress, report, policy=POLICY, now=now, chance=0)
        if isinstance(step, Conclude):
            break
        now += step.pause
    assert now <= START + deadline * (1 + DEADLINE_STRETCH) + HOUR
    assert polls <= deadline * (1 + DEADLINE_STRETCH) / POLICY.interval + 10

"""What follows from a poll: each rule by itself."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from task_samples import START, pending, unasked

from cambwatch.core.cadence.estimate import Schedule
from cambwatch.core.cadence.histogram import BINS
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.camb.evidence import NOTHING_PROVEN, Evidence
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


def after(
    report: Report,
    *,
    at: datetime,
    progress: Progress | None = None,
    policy: PollPolicy = POLICY,
    evidence: Evidence = NOTHING_PROVEN,
) -> Step:
    """The step after a poll, not the first, of a task of 24 hours that is answered *at* that instant."""
    progress = progress or unasked()
    progress.polls += 1
    progress.note(report, asked_at=at, age_s=(at - START).total_seconds(), now=at)
    return next_step(pending(), progress, report, policy=policy, now=at, chance=0, evidence=evidence)


def known() -> Progress:
    """Of a task that Camb has answered for."""
    return Progress(known_at=START, known=True)


@pytest.mark.parametrize("status", CAMB_ENDS)
@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 10 * DEADLINE])
def test_the_end_is_told_as_camb_told_it(status: Status, at: datetime) -> None:
    """Also when it comes late: a task that Camb has finished has not expired."""
    report = Ended(status, 123, "SOURCE_TOO_LONG", "Too long")
    assert after(report, at=at) == Conclude(status, 123, "SOURCE_TOO_LONG", "Too long")


DOUBTED = Ended(Status.ERROR, 7, "PROCESSING_ERROR", "Bad", certain=False)


@pytest.mark.parametrize("status", CAMB_ENDS)
def test_a_status_that_is_not_certain_ends_a_task_once_two_polls_in_a_row_say_it(status: Status) -> None:
    progress, doubted = unasked(), replace(DOUBTED, status=status)
    assert after(doubted, at=START, progress=progress) == PollAgain(POLICY.interval)
    assert after(doubted, at=START, progress=progress) == Conclude(status, 7, "PROCESSING_ERROR", "Bad")


@pytest.mark.parametrize(
    "between",
    [
        Pending(),
        Pending("REFRACTING"),
        Unknown(),
        Invalid(),
        Ended(Status.SUCCESS, certain=False),
        SILENCE,
        Unavailable(Fault.FOREIGN),
        Forbidden(403),
    ],
)
def test_a_different_answer_resets_an_uncertain_status(between: Report) -> None:
    progress = unasked()
    for report in (DOUBTED, between, DOUBTED):
        assert isinstance(after(report, at=START, progress=progress), PollAgain)
    assert isinstance(after(DOUBTED, at=START, progress=progress), Conclude)


def test_a_status_that_is_not_certain_is_polled_beyond_the_deadline() -> None:
    """As an outage is: the second poll may well say the same."""
    progress = unasked()
    assert after(DOUBTED, at=START + DEADLINE, progress=progress) == PollAgain(POLICY.interval)
    assert after(DOUBTED, at=START + DEADLINE + SECOND, progress=progress).status is Status.ERROR
    words = "The last answer was ERROR, in a form that is not Camb's"
    assert after(DOUBTED, at=LAST_CALL) == Conclude(Status.EXPIRED, message=words)


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


def test_grace_counts_from_the_last_answer_with_a_status_word() -> None:
    """A word that is not Camb's does not make it known, and does not use up its grace."""
    progress = unasked()
    after(Pending("PROCESSING"), at=START + HOUR, progress=progress)
    for late in (SECOND, MINUTE, POLICY.not_found_grace - SECOND):
        assert after(Unknown(), at=START + HOUR + late, progress=progress) == PollAgain(POLICY.interval)
    assert after(Unknown(), at=START + HOUR + POLICY.not_found_grace, progress=progress) == Conclude(Status.NOT_FOUND)


@pytest.mark.parametrize("known_by", [Pending(), Unconfirmed(7)])
@pytest.mark.parametrize("refusal", [Unknown("gone"), Invalid("gone")])
def test_a_task_that_camb_has_known_is_not_found_only_where_that_is_proven(known_by: Report, refusal: Report) -> None:
    """However long the 404 lasts, and however many 422 come in a row."""
    progress = unasked()
    after(known_by, at=START, progress=progress)
    for hours in range(1, 24):
        assert isinstance(after(refusal, at=START + hours * HOUR, progress=progress), PollAgain)
    step = after(refusal, at=START + HOUR, progress=progress, evidence=Evidence(gone=True))
    assert step == Conclude(Status.NOT_FOUND, message="gone")


@pytest.mark.parametrize("refusal", [Unknown("gone"), Invalid("gone")])
def test_a_known_task_that_answers_404_at_its_deadline_has_expired(refusal: Report) -> None:
    step = after(refusal, at=START + DEADLINE, progress=known())
    assert step == Conclude(Status.EXPIRED, message="The last answer was: gone")


def test_pauses_grow_while_a_known_task_answers_404() -> None:
    progress = known()
    seconds = [after(Unknown(), at=START, progress=progress).pause.total_seconds() for _ in range(7)]
    assert seconds == [5, 10, 20, 40, 80, 120, 120]


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
    after(Pending("PROCESSING"), at=START + DEADLINE - SECOND, progress=progress)
    assert after(report, at=START + DEADLINE, progress=progress) == Conclude(
        Status.EXPIRED, message="The last answer was: gone"
    )


@pytest.mark.parametrize("http_status", [401, 403])
@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 100 * DEADLINE])
def test_a_refused_key_ends_nothing(http_status: int, at: datetime) -> None:
    """It pauses the account; the task has done nothing wrong."""
    step = after(Forbidden(http_status), at=at, evidence=Evidence(key_refused=True))
    assert step == PauseAccount(http_status, POLICY.interval)


@pytest.mark.parametrize("at", [START + HOUR, START + DEADLINE, LAST_CALL, START + 100 * DEADLINE])
@pytest.mark.parametrize("report", [SILENCE, Unknown(), Invalid(), Pending("ok"), DOUBTED])
def test_while_the_key_is_refused_only_a_status_ends_a_task(report: Report, at: datetime) -> None:
    """A probe that meets a gateway past the deadline would else end one task after the other."""
    progress, refused = unasked(), Evidence(key_refused=True)
    for _ in range(INVALID_TRIES):
        assert isinstance(after(report, at=at, progress=progress, evidence=refused), PollAgain)
    assert after(Pending(), at=START + DEADLINE, progress=progress, evidence=refused) == Conclude(Status.EXPIRED)


def test_a_task_that_is_forbidden_alone_expires_at_its_deadline_with_the_reason() -> None:
    evidence, report = Evidence(forbidden_alone=True), Forbidden(403, "not your run")
    assert after(report, at=START, evidence=evidence) == PollAgain(POLICY.interval)
    assert after(report, at=START + DEADLINE - SECOND, evidence=evidence) == PollAgain(SECOND)
    words = "Camb refuses to show this task with this API key (HTTP 403)"
    expired = Conclude(Status.EXPIRED, message=f"{words}: not your run")
    assert after(report, at=START + DEADLINE, evidence=evidence) == expired
    assert after(Forbidden(403), at=START + DEADLINE, evidence=evidence) == Conclude(Status.EXPIRED, message=words)


def test_a_forbidden_task_does_not_expire_while_the_key_may_be_the_reason() -> None:
    assert after(Forbidden(403), at=START + DEADLINE) == PollAgain(POLICY.interval)


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

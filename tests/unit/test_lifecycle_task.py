"""What follows from a poll: each rule by itself."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from task_samples import START, pending, unasked

from cambwatch.core.cadence.estimate import PollSchedule
from cambwatch.core.cadence.histogram import BINS
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.camb.evidence import NO_EVIDENCE, Evidence
from cambwatch.core.lifecycle import DEADLINE_STRETCH, INVALID_TRIES, Progress, decide_after_poll, decide_unconfirmed
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
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DEADLINE = timedelta(hours=24)
LAST_CALL = START + DEADLINE * (1 + DEADLINE_STRETCH)
CAMB_ENDS = [Status.SUCCESS, Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED]
SILENCE = UnavailableReply(Fault.SERVER_ERROR, detail="HTTP 503")


def after(
    reply: PollReply,
    *,
    at: datetime,
    progress: Progress | None = None,
    policy: PollPolicy = POLICY,
    evidence: Evidence = NO_EVIDENCE,
) -> PollDecision:
    """The step after a poll, not the first, of a task of 24 hours that is answered *at* that instant."""
    progress = progress or unasked()
    progress.polls += 1
    progress.note(reply, polled_at=at, age_s=(at - START).total_seconds(), now=at)
    return decide_after_poll(pending(), progress, reply, policy=policy, now=at, chance=0, evidence=evidence)


def known() -> Progress:
    """Of a task that Camb has answered for."""
    return Progress(known_at=START, known=True)


@pytest.mark.parametrize("status", CAMB_ENDS)
@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 10 * DEADLINE])
def test_the_end_is_told_as_camb_told_it(status: Status, at: datetime) -> None:
    """Also when it comes late: a task that Camb has finished has not expired."""
    reply = FinishedReply(status, 123, "SOURCE_TOO_LONG", "Too long")
    assert after(reply, at=at) == Conclusion(status, 123, "SOURCE_TOO_LONG", "Too long")


DOUBTED = FinishedReply(Status.ERROR, 7, "PROCESSING_ERROR", "Bad", certain=False)


@pytest.mark.parametrize("status", CAMB_ENDS)
def test_a_status_that_is_not_certain_ends_a_task_once_two_polls_in_a_row_say_it(status: Status) -> None:
    progress, doubted = unasked(), replace(DOUBTED, status=status)
    assert after(doubted, at=START, progress=progress) == PollAgain(POLICY.interval)
    assert after(doubted, at=START, progress=progress) == Conclusion(status, 7, "PROCESSING_ERROR", "Bad")


@pytest.mark.parametrize(
    "between",
    [
        PendingReply(),
        PendingReply("REFRACTING"),
        UnknownTaskReply(),
        InvalidTaskIdReply(),
        FinishedReply(Status.SUCCESS, certain=False),
        SILENCE,
        UnavailableReply(Fault.FOREIGN),
        ForbiddenReply(403),
    ],
)
def test_a_different_answer_resets_an_uncertain_status(between: PollReply) -> None:
    progress = unasked()
    for reply in (DOUBTED, between, DOUBTED):
        assert isinstance(after(reply, at=START, progress=progress), PollAgain)
    assert isinstance(after(DOUBTED, at=START, progress=progress), Conclusion)


def test_a_status_that_is_not_certain_is_polled_beyond_the_deadline() -> None:
    """As an outage is: the second poll may well say the same."""
    progress = unasked()
    assert after(DOUBTED, at=START + DEADLINE, progress=progress) == PollAgain(POLICY.interval)
    assert after(DOUBTED, at=START + DEADLINE + SECOND, progress=progress).status is Status.ERROR
    words = "The last answer was ERROR, in a form that is not Camb's"
    assert after(DOUBTED, at=LAST_CALL) == Conclusion(Status.EXPIRED, message=words)


def test_a_pending_task_is_asked_for_again_after_its_interval() -> None:
    """With a word that nobody knows, too."""
    assert after(PendingReply(), at=START) == PollAgain(POLICY.interval)
    assert after(PendingReply("PROCESSING"), at=START) == PollAgain(POLICY.interval)


LEARNED = PollPolicy(schedule=PollSchedule([1 / 40] * BINS, shortest_s=1, longest_s=120))


@pytest.mark.parametrize(
    ("reply", "pause_s"), [(PendingReply(), 40), (UnknownTaskReply(), 5), (InvalidTaskIdReply(), 5), (SILENCE, 40)]
)
@pytest.mark.parametrize("at", [START, START + 60 * SECOND])
def test_a_learned_pause_is_for_tasks_that_are_there(reply: PollReply, pause_s: float, at: datetime) -> None:
    """One that Camb does not know is no task like those that were learned from: a wrong task_id is told soon."""
    step = after(reply, at=at, policy=LEARNED)
    assert isinstance(step, PollAgain)
    assert step.pause == timedelta(seconds=pause_s)


@pytest.mark.parametrize(
    ("polls", "age_s", "drawn"), [(0, 0, True), (0, 4.9, True), (0, 5, False), (1, 0, False), (7, 100, False)]
)
def test_only_the_first_pause_is_drawn(polls: int, age_s: float, drawn: bool) -> None:  # noqa: FBT001
    """And only for a task that is new: who asks late for the first time is beyond the first pause."""
    progress, at = unasked(), START + age_s * SECOND
    progress.polls = polls
    progress.note(PendingReply(), polled_at=at, age_s=(at - START).total_seconds(), now=at)
    step = decide_after_poll(pending(), progress, PendingReply(), policy=POLICY, now=at, chance=0)
    assert step == PollAgain(POLICY.interval * (1.5 if drawn else 1))


def test_a_run_that_is_not_confirmed_is_asked_for_by_what_was_learned() -> None:
    """It is pending as any other."""
    assert decide_unconfirmed(pending(), policy=LEARNED, now=START) == PollAgain(40 * SECOND)


def test_when_a_task_was_last_seen_pending_is_when_it_was_asked_for() -> None:
    """Not when the answer came; an answer that does not say so changes nothing of it."""
    progress = unasked()
    for reply in (UnknownTaskReply(), SILENCE):
        progress.note(reply, polled_at=START, age_s=1, now=START)
    assert progress.pending_at_s is None
    progress.note(PendingReply(), polled_at=START, age_s=7, now=START + 9 * SECOND)
    for reply in (
        UnknownTaskReply(),
        SILENCE,
        ForbiddenReply(401),
        InvalidTaskIdReply(),
        FinishedReply(Status.SUCCESS),
    ):
        progress.note(reply, polled_at=START, age_s=60, now=START)
    assert progress.pending_at_s == 7


@pytest.mark.parametrize("reply", [PendingReply(), UnknownTaskReply("gone?"), InvalidTaskIdReply(), SILENCE])
def test_one_poll_falls_on_the_deadline(reply: PollReply) -> None:
    """Whatever the answer before it was."""
    policy = PollPolicy(not_found_grace=2 * DEADLINE)
    assert after(reply, at=START + DEADLINE - SECOND, policy=policy) == PollAgain(SECOND)


@pytest.mark.parametrize("late", [timedelta(0), SECOND, 10 * DEADLINE])
def test_a_task_that_is_pending_at_its_deadline_has_expired(late: timedelta) -> None:
    """And not a moment before."""
    assert after(PendingReply(), at=START + DEADLINE + late) == Conclusion(Status.EXPIRED)
    word = Conclusion(Status.EXPIRED, message="The last status was PROCESSING")
    assert after(PendingReply("PROCESSING"), at=START + DEADLINE + late) == word


@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 10 * DEADLINE])
def test_a_run_without_a_status_is_confirmed_first(at: datetime) -> None:
    """Also after the deadline: it may well have ended."""
    assert after(UnconfirmedReply(123), at=at) == Confirm(123)


def test_a_run_that_is_not_confirmed_is_pending() -> None:
    """Until the deadline, on which one poll falls."""
    task = pending()
    assert decide_unconfirmed(task, policy=POLICY, now=START) == PollAgain(POLICY.interval)
    assert decide_unconfirmed(task, policy=POLICY, now=START + DEADLINE - SECOND) == PollAgain(SECOND)
    assert decide_unconfirmed(task, policy=POLICY, now=START + DEADLINE) == Conclusion(Status.EXPIRED)


@pytest.mark.parametrize(
    ("at", "step"),
    [
        (START, PollAgain(POLICY.interval)),
        (START + POLICY.not_found_grace - SECOND, PollAgain(POLICY.interval)),
        (START + POLICY.not_found_grace, Conclusion(Status.NOT_FOUND, message="no such task")),
        (START + HOUR, Conclusion(Status.NOT_FOUND, message="no such task")),
    ],
)
def test_a_task_may_be_unknown_for_a_while(at: datetime, step: PollDecision) -> None:
    """Camb may answer 404 right after it was created, but not for longer than the grace."""
    assert after(UnknownTaskReply("no such task"), at=at) == step


def test_grace_counts_from_the_last_answer_with_a_status_word() -> None:
    """A word that is not Camb's does not make it known, and does not use up its grace."""
    progress = unasked()
    after(PendingReply("PROCESSING"), at=START + HOUR, progress=progress)
    for late in (SECOND, MINUTE, POLICY.not_found_grace - SECOND):
        assert after(UnknownTaskReply(), at=START + HOUR + late, progress=progress) == PollAgain(POLICY.interval)
    assert after(UnknownTaskReply(), at=START + HOUR + POLICY.not_found_grace, progress=progress) == Conclusion(
        Status.NOT_FOUND
    )


@pytest.mark.parametrize("known_by", [PendingReply(), UnconfirmedReply(7)])
@pytest.mark.parametrize("refusal", [UnknownTaskReply("gone"), InvalidTaskIdReply("gone")])
def test_a_task_that_camb_has_known_is_not_found_only_where_that_is_proven(
    known_by: PollReply, refusal: PollReply
) -> None:
    """However long the 404 lasts, and however many 422 come in a row."""
    progress = unasked()
    after(known_by, at=START, progress=progress)
    for hours in range(1, 24):
        assert isinstance(after(refusal, at=START + hours * HOUR, progress=progress), PollAgain)
    step = after(refusal, at=START + HOUR, progress=progress, evidence=Evidence(gone=True))
    assert step == Conclusion(Status.NOT_FOUND, message="gone")


@pytest.mark.parametrize("refusal", [UnknownTaskReply("gone"), InvalidTaskIdReply("gone")])
def test_a_known_task_that_answers_404_at_its_deadline_has_expired(refusal: PollReply) -> None:
    step = after(refusal, at=START + DEADLINE, progress=known())
    assert step == Conclusion(Status.EXPIRED, message="The last answer was: gone")


def test_pauses_grow_while_a_known_task_answers_404() -> None:
    progress = known()
    seconds = [after(UnknownTaskReply(), at=START, progress=progress).pause.total_seconds() for _ in range(7)]
    assert seconds == [5, 10, 20, 40, 80, 120, 120]


@pytest.mark.parametrize("unsaid", [SILENCE, ForbiddenReply(401), InvalidTaskIdReply(), UnknownTaskReply()])
def test_grace_is_not_renewed_by_answers_that_do_not_know_the_task(unsaid: PollReply) -> None:
    """An outage is no sign that the task is there."""
    progress = unasked()
    after(unsaid, at=START + MINUTE, progress=progress)
    at = START + POLICY.not_found_grace
    assert after(UnknownTaskReply("gone"), at=at, progress=progress) == Conclusion(Status.NOT_FOUND, message="gone")


def test_without_grace_the_first_404_is_believed() -> None:
    """Where the configuration says so."""
    policy = PollPolicy(not_found_grace=timedelta(0))
    assert after(UnknownTaskReply(), at=START, policy=policy) == Conclusion(Status.NOT_FOUND)


def test_a_refused_task_id_gets_a_few_tries() -> None:
    """However fast they come."""
    progress = unasked()
    for _ in range(INVALID_TRIES - 1):
        assert after(InvalidTaskIdReply("not a UUID"), at=START, progress=progress) == PollAgain(POLICY.interval)
    assert after(InvalidTaskIdReply("not a UUID"), at=START, progress=progress) == Conclusion(
        Status.NOT_FOUND, message="not a UUID"
    )


@pytest.mark.parametrize(
    ("between", "step"),
    [
        (PendingReply(), PollAgain(POLICY.interval)),
        (UnknownTaskReply(), PollAgain(POLICY.interval)),
        (SILENCE, Conclusion(Status.NOT_FOUND)),
        (ForbiddenReply(403), Conclusion(Status.NOT_FOUND)),
    ],
)
def test_tries_of_a_refused_task_id_are_counted_in_a_row(between: PollReply, step: PollDecision) -> None:
    """Another answer about the task begins anew; one that says nothing about it does not."""
    progress = unasked()
    for reply in (*[InvalidTaskIdReply()] * (INVALID_TRIES - 1), between):
        after(reply, at=START, progress=progress)
    assert after(InvalidTaskIdReply(), at=START, progress=progress) == step


@pytest.mark.parametrize("reply", [UnknownTaskReply("gone"), InvalidTaskIdReply("gone")])
def test_what_camb_does_not_know_yet_at_the_deadline_has_expired(reply: PollReply) -> None:
    """Within the grace such an answer is as good as PENDING, and its words go into the message."""
    progress = unasked()
    after(PendingReply("PROCESSING"), at=START + DEADLINE - SECOND, progress=progress)
    assert after(reply, at=START + DEADLINE, progress=progress) == Conclusion(
        Status.EXPIRED, message="The last answer was: gone"
    )


@pytest.mark.parametrize("http_status", [401, 403])
@pytest.mark.parametrize("at", [START, START + DEADLINE, START + 100 * DEADLINE])
def test_a_refused_key_ends_nothing(http_status: int, at: datetime) -> None:
    """It pauses the account; the task has done nothing wrong."""
    step = after(ForbiddenReply(http_status), at=at, evidence=Evidence(key_refused=True))
    assert step == PauseAccount(http_status, POLICY.interval)


@pytest.mark.parametrize("at", [START + HOUR, START + DEADLINE, LAST_CALL, START + 100 * DEADLINE])
@pytest.mark.parametrize("reply", [SILENCE, UnknownTaskReply(), InvalidTaskIdReply(), PendingReply("ok"), DOUBTED])
def test_while_the_key_is_refused_only_a_status_ends_a_task(reply: PollReply, at: datetime) -> None:
    """A probe that meets a gateway past the deadline would else end one task after the other."""
    progress, refused = unasked(), Evidence(key_refused=True)
    for _ in range(INVALID_TRIES):
        assert isinstance(after(reply, at=at, progress=progress, evidence=refused), PollAgain)
    assert after(PendingReply(), at=START + DEADLINE, progress=progress, evidence=refused) == Conclusion(Status.EXPIRED)


def test_a_task_that_is_forbidden_alone_expires_at_its_deadline_with_the_reason() -> None:
    evidence, reply = Evidence(only_this_forbidden=True), ForbiddenReply(403, "not your run")
    assert after(reply, at=START, evidence=evidence) == PollAgain(POLICY.interval)
    assert after(reply, at=START + DEADLINE - SECOND, evidence=evidence) == PollAgain(SECOND)
    words = "Camb refuses to show this task with this API key (HTTP 403)"
    expired = Conclusion(Status.EXPIRED, message=f"{words}: not your run")
    assert after(reply, at=START + DEADLINE, evidence=evidence) == expired
    assert after(ForbiddenReply(403), at=START + DEADLINE, evidence=evidence) == Conclusion(
        Status.EXPIRED, message=words
    )


def test_a_forbidden_task_does_not_expire_while_the_key_may_be_the_reason() -> None:
    assert after(ForbiddenReply(403), at=START + DEADLINE) == PollAgain(POLICY.interval)


def test_pauses_grow_while_there_is_trouble() -> None:
    """Refused keys and outages together, and begin anew after an answer."""
    progress = unasked()
    seconds = [
        after(reply, at=START, progress=progress).pause.total_seconds()
        for reply in (
            SILENCE,
            SILENCE,
            ForbiddenReply(401),
            SILENCE,
            SILENCE,
            SILENCE,
            SILENCE,
            PendingReply(),
            SILENCE,
        )
    ]
    assert seconds == [5, 10, 20, 40, 80, 120, 120, 5, 5]


@pytest.mark.parametrize("at", [START, START + DEADLINE - SECOND, START + DEADLINE, LAST_CALL - SECOND])
@pytest.mark.parametrize("retry_after", [7 * SECOND, 10 * MINUTE, 24 * HOUR])
def test_a_retry_after_is_never_undercut(at: datetime, retry_after: timedelta) -> None:
    """Not even for the deadline."""
    step = after(UnavailableReply(Fault.RATE_LIMITED, retry_after), at=at)
    assert isinstance(step, PollAgain)
    assert step.pause >= retry_after


def test_a_retry_after_of_nothing_is_our_own_pause() -> None:
    """So a Camb that says 0 all the time is not asked all the time."""
    assert after(UnavailableReply(Fault.RATE_LIMITED, timedelta(0)), at=START) == PollAgain(POLICY.interval)


def test_an_outage_at_the_deadline_stretches_it() -> None:
    """By a tenth; "expired" would be wrong for what ended meanwhile."""
    assert after(SILENCE, at=START + DEADLINE) == PollAgain(POLICY.interval)
    assert after(SILENCE, at=LAST_CALL - SECOND) == PollAgain(SECOND)
    expired = Conclusion(Status.EXPIRED, message="Camb could not be asked at the deadline (HTTP 503)")
    assert after(SILENCE, at=LAST_CALL) == expired
    unsaid = Conclusion(Status.EXPIRED, message="Camb could not be asked at the deadline (dns)")
    assert after(UnavailableReply(Fault.DNS), at=LAST_CALL) == unsaid


def test_progress_counts_polls_and_keeps_the_first() -> None:
    """By the instant at which it was sent, not at which it was answered."""
    progress = unasked()
    for second in (1, 6, 11):
        at = START + second * SECOND
        progress.note(PendingReply(), polled_at=at, age_s=(at - START).total_seconds(), now=at + SECOND)
    assert (progress.polls, progress.first_polled_at) == (3, START + SECOND)
    assert progress.known_at == START + 12 * SECOND

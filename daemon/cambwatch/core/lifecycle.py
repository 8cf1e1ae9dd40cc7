"""
Every transition of a task and of a delivery.

| task | when | becomes |
|---|---|---|
| PENDING | a certain terminal status of Camb; an uncertain one twice in a row | that status |
| PENDING | 404 and 422 as refusals of Camb, with the proof that docs/answers.md asks for | NOT_FOUND |
| PENDING | the deadline, and one more poll that finds it pending | EXPIRED |
| PENDING | a client deletes it (the store's transition, not decided here) | REMOVED |
| PENDING | anything else | PENDING, polled again; an account may be paused |
| any other | | never changes; EXPIRED, NOT_FOUND and REMOVED start again when the task is registered again |

| delivery | when | becomes |
|---|---|---|
| pending | the receiver accepts | delivered |
| pending | a failure within its budget | pending, with a later next_attempt_at |
| pending | a refusal that no retry heals; a second refusal past the short budget; the end of the budget | dead |
| pending | its task is removed (the store's transition) | cancelled |
| dead | an operator retries it (the store's transition) | pending, with a fresh budget |

Nothing here waits, asks or writes: the loops carry out what is decided here.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.camb.evidence import NO_EVIDENCE, Evidence, shows_status
from cambwatch.core.delivery.breaker import rate_limit_pause
from cambwatch.core.model import (
    Attempt,
    Conclusion,
    Confirm,
    Delivered,
    Delivery,
    DeliveryDecision,
    FinishedReply,
    ForbiddenReply,
    GiveUp,
    InvalidTaskIdReply,
    Outcome,
    PauseAccount,
    PendingReply,
    PollAgain,
    PollDecision,
    PollReply,
    RetryAt,
    Status,
    Task,
    UnavailableReply,
    UnconfirmedReply,
    UnknownTaskReply,
)
from cambwatch.core.routing import Destination

INVALID_TRIES = 3  # 422 answers in a row that conclude NOT_FOUND for a task that was never known
CLAIMS_TO_CONCLUDE = 2  # polls in a row that must return the same terminal status if it is not certain
DEADLINE_STRETCH = 0.1  # of the deadline's span: how much longer we try when Camb gives no answer at the deadline
SHORT_BUDGET = timedelta(hours=6)  # for refusals that a deploy or a slip of the configuration may have caused
LONGEST_UNCHARGED = timedelta(days=7)  # of waiting that no budget is charged with: even 429 does not go on for ever
LATE_AFTER = timedelta(minutes=10)  # behind which messages come as digests, not as a burst

_REFUSALS = frozenset({Outcome.DESTINATION_GONE, Outcome.PAYLOAD_REJECTED, Outcome.AUTH, Outcome.POLICY})


@dataclass(slots=True)
class Progress:
    """
    What the polls of one task have shown so far; lives in memory only.

    *known*: Camb has returned a status for the task. *known_at* is when Camb last answered
    with any status word, or else when cambwatch started to watch the task. *failures*,
    *refusals* and *unknown* count answers in a row: without information, refusing the
    task_id, and not knowing the task. *unknown_status* is the last unknown status word.
    *claimed* is a terminal status that is not certain, *claims* how many polls in a row
    have returned it. *pending_at_s* is the age of the task, in seconds since its
    registration, when the last poll that found it pending was sent; None: not yet by
    this process.
    """

    known_at: datetime
    known: bool = False
    polls: int = 0
    first_polled_at: datetime | None = None
    failures: int = 0
    refusals: int = 0
    unknown: int = 0
    unknown_status: str | None = None
    claimed: Status | None = None
    claims: int = 0
    pending_at_s: float | None = None

    def note(self, reply: PollReply, *, polled_at: datetime, age_s: float, now: datetime) -> None:
        """Take in the answer to a poll that was sent at *polled_at*, *age_s* seconds after the registration."""
        self.polls += 1
        self.first_polled_at = self.first_polled_at or polled_at
        match reply:
            case PendingReply(word):
                self.pending_at_s = age_s
                self._record_known(now, certain=word is None)
            case FinishedReply(status, certain=False):
                self.failures = self.refusals = self.unknown = 0
                self.claims = self.claims + 1 if self.claimed is status else 1
                self.claimed = status
            case FinishedReply() | UnconfirmedReply():
                self._record_known(now, certain=True)
            case UnknownTaskReply():
                self._record_refusal(refusals=0)
            case InvalidTaskIdReply():
                self._record_refusal(refusals=self.refusals + 1)
            case ForbiddenReply() | UnavailableReply():
                self.failures += 1
                self.claimed = None  # a gateway that breaks down says such things between its errors
            case _:
                assert_never(reply)

    def _record_known(self, now: datetime, *, certain: bool) -> None:
        self.known_at = now
        self.known |= certain
        self.failures = self.refusals = self.unknown = 0
        self.claimed = None

    def _record_refusal(self, *, refusals: int) -> None:
        self.refusals = refusals
        self.failures = 0
        self.claimed = None
        self.unknown += 1


def decide_after_poll(
    task: Task,
    progress: Progress,
    reply: PollReply,
    *,
    policy: PollPolicy,
    now: datetime,
    chance: float,
    evidence: Evidence = NO_EVIDENCE,
) -> PollDecision:
    """
    Decide what to do with *task* after *reply*. *progress* and *evidence* already include it.

    *now* is the task's own time: its registration and what went by since, by a clock
    that nobody sets. Neither its pauses nor its deadline care for the machine's.

    report                        final when
    Ended, certain                at once
    Ended, not certain            CLAIMS polls in a row return the same status
    Unknown, never known          policy.not_found_grace is over: NOT_FOUND
    Unknown or Invalid, known     *evidence* proves that the task is gone: NOT_FOUND
    Invalid, never known          INVALID_TRIES in a row: NOT_FOUND
    Forbidden                     at the deadline, if only this task is forbidden: EXPIRED
    Pending, Unknown, Invalid     at the deadline: EXPIRED
    Unavailable, Ended uncertain  a tenth of the deadline's span after the deadline: EXPIRED

    A late answer beats the deadline: a task that Camb has finished is reported as
    finished even when its deadline has passed meanwhile. Where Camb gives no answer at
    the deadline, it is polled for a tenth of the deadline's span longer, because
    "expired" would be wrong for what ended in an outage.

    While Camb refuses the key, only a status ends a task. Otherwise each probe of the paused
    account could end one.
    """
    overdue = now >= task.deadline_at
    age = now - task.registered_at
    if evidence.key_refused and not shows_status(reply) and not isinstance(reply, ForbiddenReply):
        trouble = max(progress.failures, progress.unknown, 1)
        retry_after = reply.retry_after if isinstance(reply, UnavailableReply) else None
        pause = policy.pause_after_trouble(trouble, age=age, chance=chance)
        return PollAgain(max(pause, retry_after or timedelta(0)))
    match reply:
        case PendingReply(word) if overdue:
            return Conclusion(Status.EXPIRED, message=None if word is None else f"The last status was {word}")
        case PendingReply():
            return PollAgain(_capped_at_deadline(task, _pause(progress, policy, age, chance), now))
        case FinishedReply(status, run_id, reason, message, certain) if (
            certain or progress.claims >= CLAIMS_TO_CONCLUDE
        ):
            return Conclusion(status, run_id, reason, message)
        case FinishedReply(status):
            if now >= _final_poll_at(task):
                return Conclusion(Status.EXPIRED, message=f"The last answer was {status}, in a form that is not Camb's")
            return PollAgain(_capped_at_deadline(task, _pause(progress, policy, age, chance), now))
        case UnconfirmedReply(run_id):
            return Confirm(run_id)
        case ForbiddenReply():
            return _after_forbidden(task, progress, reply, policy=policy, now=now, chance=chance, evidence=evidence)
        case UnknownTaskReply() | InvalidTaskIdReply():
            return _after_unknown(task, progress, reply, policy=policy, now=now, chance=chance, gone=evidence.gone)
        case UnavailableReply(fault, retry_after, detail):
            if now >= _final_poll_at(task):
                return Conclusion(
                    Status.EXPIRED, message=f"Camb could not be asked at the deadline ({detail or fault})"
                )
            pause = policy.pause_after_trouble(progress.failures, age=age, chance=chance)
            return PollAgain(max(_capped_at_deadline(task, pause, now), retry_after or timedelta(0)))
        case _:
            assert_never(reply)


def _after_forbidden(
    task: Task,
    progress: Progress,
    reply: ForbiddenReply,
    *,
    policy: PollPolicy,
    now: datetime,
    chance: float,
    evidence: Evidence,
) -> PollDecision:
    """The step after a 401 or 403: Camb refuses the key, or this task for this key."""
    pause = policy.pause_after_trouble(progress.failures, age=now - task.registered_at, chance=chance)
    if evidence.key_refused:
        return PauseAccount(reply.http_status, pause)
    if now >= task.deadline_at and evidence.only_this_forbidden:
        words = f"Camb refuses to show this task with this API key (HTTP {reply.http_status})"
        return Conclusion(Status.EXPIRED, message=f"{words}: {reply.detail}" if reply.detail else words)
    return PollAgain(_capped_at_deadline(task, pause, now))


def _after_unknown(
    task: Task,
    progress: Progress,
    reply: UnknownTaskReply | InvalidTaskIdReply,
    *,
    policy: PollPolicy,
    now: datetime,
    chance: float,
    gone: bool,
) -> PollDecision:
    """The step after a 404, 410 or 422: Camb does not know the task, or refuses its task_id."""
    if progress.known:
        is_proven = gone
    elif isinstance(reply, UnknownTaskReply):
        is_proven = now - progress.known_at >= policy.not_found_grace
    else:
        is_proven = progress.refusals >= INVALID_TRIES
    if is_proven:
        return Conclusion(Status.NOT_FOUND, message=reply.detail)
    if now >= task.deadline_at:
        return Conclusion(Status.EXPIRED, message=f"The last answer was: {reply.detail or 'unknown task'}")
    policy = policy.with_fixed_interval()  # what was learned is true of tasks that are there
    age = now - task.registered_at
    if progress.known:
        pause = policy.pause_after_trouble(progress.unknown, age=age, chance=chance)
    else:
        pause = _pause(progress, policy, age, chance)
    return PollAgain(_capped_at_deadline(task, pause, now))


def decide_unconfirmed(task: Task, *, policy: PollPolicy, now: datetime) -> PollDecision:
    """Decide what to do with *task* after its result could not be fetched: that it is still pending."""
    if now >= task.deadline_at:
        return Conclusion(Status.EXPIRED)
    return PollAgain(_capped_at_deadline(task, policy.pause(now - task.registered_at), now))


def _pause(progress: Progress, policy: PollPolicy, age: timedelta, chance: float) -> timedelta:
    first = progress.polls == 1 and age < policy.interval  # later it is past what a first pause would be
    return policy.first_pause(chance=chance) if first else policy.pause(age)


def _final_poll_at(task: Task) -> datetime:
    """Until when we ask for a task that Camb gives no answer about."""
    return task.deadline_at + (task.deadline_at - task.registered_at) * DEADLINE_STRETCH


def _capped_at_deadline(task: Task, pause: timedelta, now: datetime) -> timedelta:
    """*pause*, cut so that one poll falls on the deadline, and one on the end of what lies behind it."""
    left = (task.deadline_at if now < task.deadline_at else _final_poll_at(task)) - now
    return min(pause, left) if left > timedelta(0) else pause


def needs_plain_format(delivery: Delivery) -> bool:
    """Whether the next attempt is to say it plainly, because the service refused the form of the last."""
    return delivery.outcome is Outcome.PAYLOAD_REJECTED


def is_late(delivery: Delivery, now: datetime) -> bool:
    """Whether *delivery* has been owed for so long that people are better told of it together with others."""
    return now - delivery.created_at >= LATE_AFTER


def decide_after_attempt(
    delivery: Delivery, attempt: Attempt, destination: Destination, *, now: datetime, chance: float
) -> DeliveryDecision:
    """
    Decide what becomes of *delivery* after *attempt*.

    The next attempt is never earlier than the receiver's Retry-After. The last one
    is made at the end of the budget, or when the Retry-After allows it. The budget
    counts from the event, or from the operator's retry. It is charged
    with the pauses after failures alone: neither with the time that the delivery stood
    in line (behind others, an open breaker, a restart), nor with the pauses that a rate
    limit or our own trouble costs; all of that together up to LONGEST_UNCHARGED. Neither of
    those two ends it either, before that is used up.
    """
    custom = destination.type == "webhook"
    since = delivery.budget_from or delivery.created_at
    retry_after = attempt.retry_after or timedelta(0)
    uncharged = delivery.uncharged + _time_in_queue(delivery, attempt, now)
    match attempt.outcome:
        case Outcome.ACCEPTED | Outcome.ACCEPTED_UNVERIFIED:
            return Delivered()
        case Outcome.DESTINATION_GONE if not custom or attempt.http_status == 410:
            return GiveUp()
        case Outcome.AUTH if not custom:
            return GiveUp()
        case Outcome.PAYLOAD_REJECTED if not custom and needs_plain_format(delivery):
            return GiveUp()  # the same would be refused again
        case Outcome.DESTINATION_GONE | Outcome.PAYLOAD_REJECTED | Outcome.AUTH | Outcome.POLICY:
            # The first refusal after other trouble always gets one more try, however old the event.
            refused_before = delivery.outcome in _REFUSALS
            budget = min(destination.retry.give_up_after, SHORT_BUDGET if refused_before else timedelta.max)
            pause = destination.retry.backoff.pause(attempt.number, chance=chance)
        case Outcome.TRANSIENT:
            budget = destination.retry.give_up_after
            pause = destination.retry.backoff.pause(attempt.number, chance=chance)
        case Outcome.RATE_LIMITED | Outcome.OURS:
            budget = destination.retry.give_up_after
            pause = destination.retry.backoff.pause(attempt.number, chance=chance)
            if attempt.outcome is Outcome.RATE_LIMITED:
                pause = rate_limit_pause(attempt, destination.retry, rate_limits=attempt.number, chance=chance)
            # An attempt at the very end of the budget is made up for, however short the pause that is asked for.
            uncharged = max(uncharged, now - since - budget) + max(pause, retry_after)
        case _:
            assert_never(attempt.outcome)
    uncharged = min(uncharged, LONGEST_UNCHARGED)
    ends_at = since + budget + uncharged
    if now >= ends_at:
        return GiveUp()
    at = now + max(pause, retry_after)
    # One attempt falls on the end of the budget, unless a Retry-After lies beyond it.
    at = min(at, max(ends_at, now + destination.retry.first, now + retry_after))
    return RetryAt(at, not_before=now + retry_after if retry_after else None, uncharged=uncharged)


def _time_in_queue(delivery: Delivery, attempt: Attempt, now: datetime) -> timedelta:
    """How long *delivery* has waited since it was due, before *attempt*, known at *now*, was begun."""
    if delivery.next_attempt_at is None:
        return timedelta(0)
    begun_at = now - timedelta(milliseconds=attempt.took_ms)
    return max(begun_at - delivery.next_attempt_at, timedelta(0))

"""
What the answers to all polls of one account prove together about its key and about a refused task.

One refusal proves little. These rules define the proof:

    claim                              proof
    the key works                      a status in Camb's own words (is_status), for any task
    the key is refused                 a 401; or 403 for FORBIDDEN_TASKS tasks or for all that are left,
                                       without a status for any task since the first 403
    only this task is forbidden        a status for another task since the task's first 403
    a known task is gone               nothing but 404 for GONE_AFTER_S, a status for another task in the last
                                       RECENT_STATUS_S, and fewer than TOGETHER known tasks that turned 404 within
                                       GONE_AT_ONCE_S

A task is known once Camb has returned a status for it. For an unknown task,
polling.not_found_grace decides.
"""

from dataclasses import dataclass
from math import inf

from cambwatch.core.model import (
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    PendingReply,
    PollReply,
    UnconfirmedReply,
    UnknownTaskReply,
)

FORBIDDEN_TASKS = 10
GONE_AFTER_S = 3600.0
RECENT_STATUS_S = 600.0
GONE_AT_ONCE = 3
GONE_AT_ONCE_S = 900.0
REMEMBERED_S = 2 * 86400.0  # how long a task that turned 404 counts towards TOGETHER without another answer


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the other answers of the account prove about a refusal."""

    key_refused: bool = False
    only_this_forbidden: bool = False
    gone: bool = False


NO_EVIDENCE = Evidence()


@dataclass(slots=True)
class _Gone:
    """
    A known task that turned 404 at *first_404_s*. *only_404_since_s*: since when each answer is 404;
    inf: the last was not.
    """

    first_404_s: float
    only_404_since_s: float


def shows_status(reply: PollReply) -> bool:
    """Whether *reply* is a status in Camb's own words: then the key works, and Camb knows the task."""
    match reply:
        case PendingReply(word):
            return word is None
        case FinishedReply():
            return reply.certain
        case UnconfirmedReply():
            return True
    return False


class AccountEvidence:
    """
    The answers of one account. Tasks are identified by their row id.

    Times are seconds of a monotonic clock. The evidence is in memory and starts empty
    after a restart.
    """

    def __init__(self) -> None:
        self.key_refused = False
        """Whether Camb refuses the key, by the answers so far."""
        self._watched = 0
        self._statuses = 0
        self._status_at_s = -inf
        self._forbidden: dict[int, int] = {}  # task whose last answer was 403: statuses before its first 403
        self._forbidden_since_status = 0  # tasks in _forbidden whose first 403 came after the last status
        self._gone: dict[int, _Gone] = {}  # known tasks that turned 404 and have had no status since

    def watch(self, tasks: int) -> None:
        """Add *tasks* to the number of watched tasks."""
        self._watched += tasks

    def unwatch(self, task: int) -> None:
        """Stop counting *task* as watched. Its 404 still counts towards TOGETHER."""
        self._watched -= 1
        if self._forbidden.pop(task, None) == self._statuses:
            self._forbidden_since_status -= 1

    def note(self, task: int, reply: PollReply, *, known: bool, now_s: float) -> None:
        """Record the *reply* of a poll for *task*; *known*: Camb has returned a status for it before."""
        if shows_status(reply):
            self.key_refused = False
            self._statuses += 1
            self._status_at_s = now_s
            self._forbidden_since_status = 0
            self._forbidden.pop(task, None)
            self._gone.pop(task, None)
            return
        gone = self._gone.get(task)
        match reply:
            case UnknownTaskReply() | InvalidTaskIdReply() if gone is not None:
                gone.only_404_since_s = min(gone.only_404_since_s, now_s)
            case UnknownTaskReply() | InvalidTaskIdReply() if known:
                self._prune_gone(now_s)
                self._gone[task] = _Gone(now_s, now_s)
            case _ if gone is not None:
                gone.only_404_since_s = inf
        match reply:
            case ForbiddenReply(403):
                if task not in self._forbidden:
                    self._forbidden[task] = self._statuses
                    self._forbidden_since_status += 1
                others = self._watched - (len(self._forbidden) - self._forbidden_since_status)
                self.key_refused |= 0 < self._forbidden_since_status >= min(FORBIDDEN_TASKS, others)
            case ForbiddenReply():
                self.key_refused = True

    def evidence_for(self, task: int, *, now_s: float) -> Evidence:
        """The evidence about the last refusal of *task*."""
        return Evidence(
            key_refused=self.key_refused,
            only_this_forbidden=self._forbidden.get(task, self._statuses) < self._statuses,
            gone=self._is_gone(task, now_s),
        )

    def _is_gone(self, task: int, now_s: float) -> bool:
        gone = self._gone.get(task)
        if gone is None or now_s - gone.only_404_since_s < GONE_AFTER_S or now_s - self._status_at_s > RECENT_STATUS_S:
            return False
        return (
            sum(abs(other.first_404_s - gone.first_404_s) <= GONE_AT_ONCE_S for other in self._gone.values())
            < GONE_AT_ONCE
        )

    def _prune_gone(self, now_s: float) -> None:
        old = [task for task, gone in self._gone.items() if now_s - gone.first_404_s > REMEMBERED_S]
        for task in old:
            del self._gone[task]

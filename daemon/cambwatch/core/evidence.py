"""
What the answers to all polls of one account prove together: of its key, and of a task that is refused.

One refusal proves little. These rules say when several do:

    claim                              proof
    the key works                      a status in Camb's own words (is_status), for any task
    the key is refused                 a 401; or 403 for FORBIDDEN_TASKS tasks, or for all that are left, without
                                       a status for any task since the first of them
    403 is about the task alone        a status for another task since the task's first 403
    a task is gone that was known      404 for GONE_AFTER_S, a status for another task in the last RECENT_S,
                                       and fewer than TOGETHER known tasks that turned 404 within TOGETHER_S

Tasks that nobody has known yet need no such proof of 404: polling.not_found_grace decides.
"""

from dataclasses import dataclass
from math import inf

from cambwatch.core.model import Ended, Forbidden, Invalid, Pending, Report, Unconfirmed, Unknown

FORBIDDEN_TASKS = 10
GONE_AFTER_S = 3600.0
RECENT_S = 600.0
TOGETHER = 3
TOGETHER_S = 900.0
REMEMBERED_S = 2 * 86400.0  # how long a task that turned 404 counts as one of several, if nothing else is heard of it


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the other answers of the account prove of a refusal; nothing, where there are none."""

    key_refused: bool = False
    forbidden_alone: bool = False
    gone: bool = False


NOTHING_PROVEN = Evidence()


def is_status(report: Report) -> bool:
    """Whether *report* is a status in Camb's own words: then the key works, and Camb knows the task."""
    match report:
        case Pending(word):
            return word is None
        case Ended():
            return report.certain
        case Unconfirmed():
            return True
    return False


class AccountEvidence:
    """
    The answers of one account; tasks are named by their row's id.

    Time is an argument, in seconds of a clock that only grows. Lives in memory: after a
    restart everything has to be proven again.
    """

    def __init__(self) -> None:
        self.key_refused = False
        """Whether Camb refuses the key, as far as is known."""
        self._watched = 0
        self._statuses = 0
        self._status_at_s = -inf
        self._forbidden: dict[int, int] = {}  # tasks whose last answer was 403: how many statuses had come before it
        self._unproven = 0  # of those, since the last status
        self._gone_since_s: dict[int, float] = {}  # known tasks whose last answer refused their task_id

    def watch(self, tasks: int) -> None:
        """So many tasks more are watched."""
        self._watched += tasks

    def leave(self, task: int) -> None:
        """A task is no longer watched. That it turned 404 together with others stays true."""
        self._watched -= 1
        if self._forbidden.pop(task, None) == self._statuses:
            self._unproven -= 1

    def note(self, task: int, report: Report, *, known: bool, now_s: float) -> None:
        """Take in the answer to a poll for *task*, which Camb had answered for before where it is *known*."""
        if is_status(report):
            self.key_refused = False
            self._statuses += 1
            self._status_at_s = now_s
            self._unproven = 0
            self._forbidden.pop(task, None)
            self._gone_since_s.pop(task, None)
            return
        match report:
            case Forbidden(403):
                if task not in self._forbidden:
                    self._forbidden[task] = self._statuses
                    self._unproven += 1
                others = self._watched - (len(self._forbidden) - self._unproven)
                self.key_refused |= 0 < self._unproven >= min(FORBIDDEN_TASKS, others)
            case Forbidden():
                self.key_refused = True
            case Unknown() | Invalid() if known and task not in self._gone_since_s:
                self._forget_old(now_s)
                self._gone_since_s[task] = now_s

    def of(self, task: int, *, now_s: float) -> Evidence:
        """What is proven of the refusal that *task* met last."""
        return Evidence(
            key_refused=self.key_refused,
            forbidden_alone=self._forbidden.get(task, self._statuses) < self._statuses,
            gone=self._is_gone(task, now_s),
        )

    def _is_gone(self, task: int, now_s: float) -> bool:
        since_s = self._gone_since_s.get(task, inf)
        if now_s - since_s < GONE_AFTER_S or now_s - self._status_at_s > RECENT_S:
            return False
        return sum(abs(other_s - since_s) <= TOGETHER_S for other_s in self._gone_since_s.values()) < TOGETHER

    def _forget_old(self, now_s: float) -> None:
        old = [task for task, since_s in self._gone_since_s.items() if now_s - since_s > REMEMBERED_S]
        for task in old:
            del self._gone_since_s[task]

"""
The tasks of one account, and when the account lets us ask for the next.

Holds the due times, the budget, the pause of a refused key. Decides nothing about
tasks and asks nothing itself; time is an argument, in seconds of a clock that only
grows.

Where the budget does not suffice, delay is shared out: a task is served by how late
it is as a share of the pause that it has at its age. The pauses of all grow by the
same factor then, which is what makes the sum of their delays smallest
(J. B. Keller's density of checks, with one price for all), and none starves, because
each grows later and later. Tasks whose pauses are alike wait in one line, in the order
of what is due, so that the latest of a hundred thousand is found among a few dozen.
"""

import asyncio
import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import inf, log2

from cambwatch.core.cadence.policy import TokenBucket
from cambwatch.core.cadence.start_order import Turn
from cambwatch.core.camb.evidence import AccountEvidence, is_status
from cambwatch.core.delivery.ramp import ConcurrencyRamp
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Fault, Forbidden, Report, Task, Unavailable

PROBE_FIRST_S = 5.0  # after a refusal, until the key is tried again
PROBE_MAX_S = 300.0
TROUBLE_AFTER = 3  # answers in a row that say nothing, before we say so
ALIKE = 2  # lines of tasks to a doubling of their pauses
SHORTEST_PACE_S = 0.001
LIMITED_S = 1.0  # that the budget may be behind before it is said to be the limit

Entry = tuple[float, int, "Watch"]


@dataclass(slots=True, eq=False)
class Watch:
    """A task that is being watched, registered at *since_s*; *due_s* is None while it is asked for."""

    task: Task
    progress: Progress
    since_s: float = 0.0
    turn: Turn | None = None  # in which what is learned of it is told
    due_s: float | None = None
    was_due_s: float = 0.0  # when that was which is asked for now
    epoch: int = 0  # of the account's ramp, when the poll under way went out
    asked_again: bool = False  # somebody wants an answer newer than the one under way
    refused: bool = False  # its last answer refused the key, or proved nothing of it: others are probed first


class Flip(StrEnum):
    """What an answer changed about the account, worth one line in the log."""

    PAUSED = "paused"
    RESUMED = "resumed"
    UNREACHABLE = "unreachable"
    RECOVERED = "recovered"


class AccountLane:
    """Who of one account's tasks is asked for next, and when."""

    def __init__(self, *, per_second: float, concurrency: int, now_s: float) -> None:
        # A tenth of a second's worth at once: enough that a wake-up can serve several, too little for a burst.
        self._bucket = TokenBucket(per_second, burst=max(1.0, per_second / 10), now_s=now_s)
        self._per_second = per_second
        self._ramp = ConcurrencyRamp(concurrency)
        self._lines: dict[int, list[Entry]] = {}  # heaps, by the logarithm of the pace
        self._known_heads: list[tuple[int, Entry]] | None = None  # None: lines have changed since they were looked for
        self._entries = 0
        self._in_flight = 0
        self._silent_until_s = -inf  # Camb asked for that
        self._probe_at_s = -inf  # while the key is refused
        self._probes = 0  # since the key was refused
        self._unanswered = 0  # answers in a row, over all tasks, that say nothing
        self._good: Watch | None = None  # the last that had a good answer
        self._taken_s = now_s  # when the last poll went out
        self.evidence = AccountEvidence()
        """The evidence from the answers to all polls."""
        self.result_places = asyncio.Semaphore(max(1, concurrency // 4))
        """So many results are read at once, that some which hang leave connections to the polls."""
        self.refused: int | None = None
        """The HTTP status with which Camb refuses the key; None while it does not."""
        self.trouble: str | None = None
        """Why Camb does not answer this account; None while it does."""

    @property
    def idle(self) -> bool:
        """Whether nothing is being asked."""
        return self._in_flight == 0

    def put(self, watch: Watch, *, due_s: float, pace_s: float = 1.0) -> None:
        """
        Make *watch* due at *due_s*, whatever it was before.

        *pace_s* is the pause that is usual by then, which says how much a delay matters.
        """
        watch.due_s = due_s
        self._entries += 1
        self._known_heads = None
        heapq.heappush(self._lines.setdefault(_line(pace_s), []), (due_s, self._entries, watch))

    def put_all(self, watches: Iterable[tuple[Watch, float, float]]) -> None:
        """The same for many that were never due before: (watch, due_s, pace_s) of each."""
        self._known_heads = None
        for watch, due_s, pace_s in watches:
            watch.due_s = due_s
            self._entries += 1
            heapq.heappush(self._lines.setdefault(_line(pace_s), []), (due_s, self._entries, watch))

    def drop(self, watch: Watch) -> None:
        """Forget when *watch* was due; its entry is passed over when it comes up."""
        watch.due_s = None
        self._known_heads = None

    def take(self, now_s: float) -> Watch | None:
        """The watch to ask for now, out of its line and out of the budget; None if there is none or it may not be."""
        if self._full or self._silent_until_s > now_s or self._probe_at_s > now_s:
            return None
        due_s = self._due_s()
        if due_s is None or due_s > now_s or not self._bucket.take(now_s):
            return None
        if self.refused is None:
            watch = self._latest(now_s)
        else:
            watch = self._probe(now_s)
            # 403 may be about the task: the pause grows only once all that are due were refused.
            self._probes += self.refused != 403 or watch.refused
            self._pause(now_s)  # here too, because the probe may bring no answer at all
        watch.was_due_s, watch.due_s = now_s if watch.due_s is None else watch.due_s, None
        self._known_heads = None
        self._in_flight += 1
        self._taken_s, watch.epoch = now_s, self._ramp.epoch
        return watch

    def reserve(self, now_s: float, *, within_s: float = inf) -> float | None:
        """
        Spend the budget on a request besides the polls, before them; returns the seconds to wait first.

        None, and nothing spent, where that would be more than *within_s*.
        """
        if max(self._bucket.wait_s(now_s), self.silence_s(now_s)) > within_s:
            return None
        return max(self._bucket.reserve(now_s), self.silence_s(now_s))

    def silence_s(self, now_s: float) -> float:
        """For how long, as things stand, nothing may be asked at all; 0 when it may."""
        return max(self._not_before_s - now_s, 0.0)

    def hold(self, until_s: float) -> None:
        """Camb asked for silence until then, in an answer to something else than a poll."""
        self._silent_until_s = max(self._silent_until_s, until_s)
        self._ramp.rate_limited()

    def wake_s(self, now_s: float) -> float | None:
        """When take() can next give something, unless an answer comes in before; None: not without one."""
        if self._full:
            return None
        due_s = self._due_s()
        if due_s is None:
            return None
        return max(due_s, self._not_before_s, self._bucket.ready_s, now_s)

    def behind_s(self, now_s: float) -> float:
        """For how long a watch has been due that nothing but the budget keeps from being asked for; 0 if none is."""
        due_s = self._due_s()
        if due_s is None or self._full:
            return 0.0
        return max(now_s - max(due_s, self._not_before_s), 0.0)

    def limited(self, now_s: float) -> bool:
        """Whether the budget does not suffice to ask for all when they are due."""
        return self.behind_s(now_s) >= LIMITED_S

    def share_budget(self, parts: int, now_s: float) -> None:
        """Make do with one of *parts* (>= 1) equal parts of the budget from now on."""
        per_second = self._per_second / parts
        self._bucket.change_rate(per_second, burst=max(1.0, per_second / 10), now_s=now_s)

    def left(self, now_s: float) -> float:
        """How many requests the budget allows at this moment."""
        return self._bucket.left(now_s)

    def slow_down(self, now_s: float) -> None:
        """Camb says that it is asked too much: poll one task, then slowly more, at half the rate that recovers."""
        self._bucket.slow_down(now_s)
        self._ramp.rate_limited()

    def share(self, now_s: float) -> float:
        """How much of requests_per_second is made use of, in (0, 1]; less than 1 after a slow_down()."""
        return self._bucket.share(now_s)

    def overdue_s(self, now_s: float) -> float:
        """For how long the first watch has been due, whatever keeps it; 0 if none is."""
        due_s = self._due_s()
        return 0.0 if due_s is None else max(now_s - due_s, 0.0)

    def stalled_s(self, now_s: float) -> float:
        """For how long take() could have given a watch, and nobody has taken it; 0 if it gives none."""
        due_s = self._due_s()
        if due_s is None or self._full:
            return 0.0
        return max(now_s - max(due_s, self._not_before_s, self._bucket.ready_s), 0.0)

    def full_s(self, now_s: float) -> float:
        """For how long every place has waited for its answer; 0 while there is a free one."""
        return now_s - self._taken_s if self._full else 0.0

    def take_in(self, watch: Watch, report: Report, *, now_s: float) -> Flip | None:
        """
        Record *report* for *watch*; call this before Progress.note().

        Only a status resumes a paused account, because no other answer proves that the key
        works (core/camb/evidence.py).
        """
        self.evidence.note(watch.task.id, report, known=watch.progress.known, now_s=now_s)
        match report:
            case Forbidden(http_status):
                return self._forbidden(watch, http_status, now_s=now_s)
            case Unavailable(fault, wish, detail):
                # A rate limit is one of the key, so its Retry-After is for all that is asked with it.
                limited = fault is Fault.RATE_LIMITED
                if limited:
                    self.slow_down(now_s)
                hold_until_s = now_s + wish.total_seconds() if limited and wish is not None else None
                return self.unanswered(detail or fault, hold_until_s=hold_until_s)
        return self._answered(watch, proves_key=is_status(report))

    def _answered(self, watch: Watch, *, proves_key: bool) -> Flip | None:
        """Camb itself has answered."""
        self._in_flight -= 1
        self._ramp.succeeded(watch.epoch)
        watch.refused = self.refused is not None and not proves_key
        was_trouble = self.trouble is not None
        self.trouble, self._unanswered = None, 0
        if proves_key:
            self._good = watch
            was_refused = self.refused is not None
            self.refused, self._probes = None, 0
            if was_refused:
                self._probe_at_s = -inf
                return Flip.RESUMED
        return Flip.RECOVERED if was_trouble else None

    def unanswered(self, why: str, *, hold_until_s: float | None = None) -> Flip | None:
        """A poll brought nothing; with *hold_until_s* Camb asked for silence until then."""
        self._in_flight -= 1
        self._unanswered += 1
        if hold_until_s is not None:
            self.hold(hold_until_s)
        if self._unanswered >= TROUBLE_AFTER and self.trouble is None:
            self.trouble = why
            return Flip.UNREACHABLE
        return None

    def _forbidden(self, watch: Watch, http_status: int, *, now_s: float) -> Flip | None:
        """Camb refused to tell us of *watch*: where that is about the key, until the next status only probes go out."""
        self._in_flight -= 1
        watch.refused = True
        self.trouble, self._unanswered = None, 0
        if not self.evidence.key_refused:
            return None
        flip = Flip.PAUSED if self.refused is None else None
        self.refused = http_status
        self._pause(now_s)
        return flip

    @property
    def _full(self) -> bool:
        return self._in_flight >= (1 if self.refused is not None else self._ramp.limit)

    @property
    def _not_before_s(self) -> float:
        return max(self._silent_until_s, self._probe_at_s)

    def _latest(self, now_s: float) -> Watch:
        """Takes, of those that are due, of which there is one, the latest for its pace."""
        heads = self._heads()
        line, _ = heads[0]
        if len(heads) > 1:
            line, _ = min(heads, key=lambda head: ((head[1][0] - now_s) / 2 ** (head[0] / ALIKE), head[1][:2]))
        _, _, watch = heapq.heappop(self._lines[line])
        return watch

    def _probe(self, now_s: float) -> Watch:
        """Of those that are due, of which there is one, the likeliest to have a good answer."""
        if self._good is not None and self._good.due_s is not None and self._good.due_s <= now_s:
            return self._good
        due = [entry for line in self._lines.values() for entry in line if entry[2].due_s == entry[0] <= now_s]
        _, _, watch = min(due, key=lambda entry: (entry[2].refused, entry[0], entry[1]))
        return watch

    def _pause(self, now_s: float) -> None:
        """Hold the next probe back, the longer the more there were; answers that come in late only shift it."""
        self._probe_at_s = now_s + min(PROBE_FIRST_S * 2 ** min(self._probes, 16), PROBE_MAX_S)

    def _due_s(self) -> float | None:
        """When the first watch is due."""
        heads = self._heads()
        if len(heads) == 1:  # as where all tasks are of one pace
            return heads[0][1][0]
        return min((entry[0] for _, entry in heads), default=None)

    def _heads(self) -> list[tuple[int, Entry]]:
        """The first of each line that has one; clears what was dropped or made due anew."""
        if self._known_heads is None:
            self._known_heads = []
            for number, line in self._lines.items():
                while line and line[0][2].due_s != line[0][0]:
                    heapq.heappop(line)
                if line:
                    self._known_heads.append((number, line[0]))
        return self._known_heads


def _line(pace_s: float) -> int:
    """Which line those of that pace wait in."""
    return round(ALIKE * log2(max(pace_s, SHORTEST_PACE_S)))

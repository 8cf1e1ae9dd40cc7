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
from cambwatch.core.cadence.start_order import StartEntry
from cambwatch.core.camb.evidence import AccountEvidence, shows_status
from cambwatch.core.delivery.retry import ConcurrencyRamp
from cambwatch.core.lifecycle import Progress
from cambwatch.core.model import Fault, ForbiddenReply, PollReply, Task, UnavailableReply

PROBE_MIN_S = 5.0  # after a refusal, until the key is tried again
PROBE_MAX_S = 300.0
UNREACHABLE_AFTER = 3  # answers in a row that say nothing, before we say so
SUBQUEUES_PER_DOUBLING = 2  # lines of tasks to a doubling of their pauses
MIN_POLL_INTERVAL_S = 0.001
LIMITED_AFTER_S = 1.0  # that the budget may be behind before it is said to be the limit

QueueEntry = tuple[float, int, "WatchedTask"]


@dataclass(slots=True, eq=False)
class WatchedTask:
    """A task that is being watched, registered at *since_s*; *due_s* is None while it is asked for."""

    task: Task
    progress: Progress
    since_s: float = 0.0
    start_entry: StartEntry | None = None  # where its completion is recorded
    due_s: float | None = None
    was_due_s: float = 0.0  # when that was which is asked for now
    epoch: int = 0  # of the account's ramp, when the poll under way went out
    poll_again: bool = False  # somebody wants an answer newer than the one under way
    refused: bool = False  # its last answer refused the key, or proved nothing of it: others are probed first


class AccountChange(StrEnum):
    """What an answer changed about the account, worth one line in the log."""

    PAUSED = "paused"
    RESUMED = "resumed"
    UNREACHABLE = "unreachable"
    RECOVERED = "recovered"


class AccountQueue:
    """Who of one account's tasks is asked for next, and when."""

    def __init__(self, *, per_second: float, concurrency: int, now_s: float) -> None:
        # A tenth of a second's worth at once: enough that a wake-up can serve several, too little for a burst.
        self._bucket = TokenBucket(per_second, burst=max(1.0, per_second / 10), now_s=now_s)
        self._per_second = per_second
        self._ramp = ConcurrencyRamp(concurrency)
        self._subqueues: dict[int, list[QueueEntry]] = {}  # heaps, by the logarithm of the pace
        self._cached_heads: list[tuple[int, QueueEntry]] | None = (
            None  # None: lines have changed since they were looked for
        )
        self._entry_count = 0
        self._in_flight = 0
        self._paused_until_s = -inf  # Camb asked for that
        self._probe_at_s = -inf  # while the key is refused
        self._probe_count = 0  # since the key was refused
        self._failures = 0  # answers in a row, over all tasks, that say nothing
        self._last_answered: WatchedTask | None = None  # the last that had a good answer
        self._last_poll_s = now_s  # when the last poll went out
        self.evidence = AccountEvidence()
        """The evidence from the answers to all polls."""
        self.result_slots = asyncio.Semaphore(max(1, concurrency // 4))
        """So many results are read at once, that some which hang leave connections to the polls."""
        self.refused: int | None = None
        """The HTTP status with which Camb refuses the key; None while it does not."""
        self.trouble: str | None = None
        """Why Camb does not answer this account; None while it does."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being asked."""
        return self._in_flight == 0

    def put(self, watch: WatchedTask, *, due_s: float, poll_interval_s: float = 1.0) -> None:
        """
        Make *watch* due at *due_s*, whatever it was before.

        *poll_interval_s* is the pause that is usual by then, which says how much a delay matters.
        """
        watch.due_s = due_s
        self._entry_count += 1
        self._cached_heads = None
        heapq.heappush(self._subqueues.setdefault(_subqueue_of(poll_interval_s), []), (due_s, self._entry_count, watch))

    def put_many(self, watches: Iterable[tuple[WatchedTask, float, float]]) -> None:
        """The same for many that were never due before: (watch, due_s, pace_s) of each."""
        self._cached_heads = None
        for watch, due_s, poll_interval_s in watches:
            watch.due_s = due_s
            self._entry_count += 1
            heapq.heappush(
                self._subqueues.setdefault(_subqueue_of(poll_interval_s), []), (due_s, self._entry_count, watch)
            )

    def drop(self, watch: WatchedTask) -> None:
        """Forget when *watch* was due; its entry is passed over when it comes up."""
        watch.due_s = None
        self._cached_heads = None

    def take(self, now_s: float) -> WatchedTask | None:
        """The watch to ask for now, out of its line and out of the budget; None if there is none or it may not be."""
        if self._is_full or self._paused_until_s > now_s or self._probe_at_s > now_s:
            return None
        due_s = self._due_s()
        if due_s is None or due_s > now_s or not self._bucket.take(now_s):
            return None
        if self.refused is None:
            watch = self._pop_most_overdue(now_s)
        else:
            watch = self._pick_probe(now_s)
            # 403 may be about the task: the pause grows only once all that are due were refused.
            self._probe_count += self.refused != 403 or watch.refused
            self._delay_probe(now_s)  # here too, because the probe may bring no answer at all
        watch.was_due_s, watch.due_s = now_s if watch.due_s is None else watch.due_s, None
        self._cached_heads = None
        self._in_flight += 1
        self._last_poll_s, watch.epoch = now_s, self._ramp.epoch
        return watch

    def reserve(self, now_s: float, *, within_s: float = inf) -> float | None:
        """
        Spend the budget on a request besides the polls, before them; returns the seconds to wait first.

        None, and nothing spent, where that would be more than *within_s*.
        """
        if max(self._bucket.wait_s(now_s), self.paused_s(now_s)) > within_s:
            return None
        return max(self._bucket.reserve(now_s), self.paused_s(now_s))

    def paused_s(self, now_s: float) -> float:
        """For how long, as things stand, nothing may be asked at all; 0 when it may."""
        return max(self._not_before_s - now_s, 0.0)

    def pause_until(self, until_s: float) -> None:
        """Camb asked for a pause until then, in an answer to something else than a poll."""
        self._paused_until_s = max(self._paused_until_s, until_s)
        self._ramp.rate_limited()

    def next_wakeup_s(self, now_s: float) -> float | None:
        """When take() can next give something, unless an answer comes in before; None: not without one."""
        if self._is_full:
            return None
        due_s = self._due_s()
        if due_s is None:
            return None
        return max(due_s, self._not_before_s, self._bucket.ready_s, now_s)

    def budget_lag_s(self, now_s: float) -> float:
        """For how long a watch has been due that nothing but the budget keeps from being asked for; 0 if none is."""
        due_s = self._due_s()
        if due_s is None or self._is_full:
            return 0.0
        return max(now_s - max(due_s, self._not_before_s), 0.0)

    def limited(self, now_s: float) -> bool:
        """Whether the budget does not suffice to ask for all when they are due."""
        return self.budget_lag_s(now_s) >= LIMITED_AFTER_S

    def divide_budget(self, parts: int, now_s: float) -> None:
        """Make do with one of *parts* (>= 1) equal parts of the budget from now on."""
        per_second = self._per_second / parts
        self._bucket.change_rate(per_second, burst=max(1.0, per_second / 10), now_s=now_s)

    def tokens_left(self, now_s: float) -> float:
        """How many requests the budget allows at this moment."""
        return self._bucket.tokens_left(now_s)

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
        if due_s is None or self._is_full:
            return 0.0
        return max(now_s - max(due_s, self._not_before_s, self._bucket.ready_s), 0.0)

    def full_s(self, now_s: float) -> float:
        """For how long every place has waited for its answer; 0 while there is a free one."""
        return now_s - self._last_poll_s if self._is_full else 0.0

    def record_reply(self, watch: WatchedTask, reply: PollReply, *, now_s: float) -> AccountChange | None:
        """
        Record *reply* for *watch*; call this before Progress.note().

        Only a status resumes a paused account, because no other answer proves that the key
        works (core/camb/evidence.py).
        """
        self.evidence.note(watch.task.id, reply, known=watch.progress.known, now_s=now_s)
        match reply:
            case ForbiddenReply(http_status):
                return self._record_refusal(watch, http_status, now_s=now_s)
            case UnavailableReply(fault, retry_after, detail):
                # A rate limit is one of the key, so its Retry-After is for all that is asked with it.
                limited = fault is Fault.RATE_LIMITED
                if limited:
                    self.slow_down(now_s)
                paused_until_s = now_s + retry_after.total_seconds() if limited and retry_after is not None else None
                return self.poll_failed(detail or fault, paused_until_s=paused_until_s)
        return self._record_answer(watch, key_works=shows_status(reply))

    def _record_answer(self, watch: WatchedTask, *, key_works: bool) -> AccountChange | None:
        """Camb itself has answered."""
        self._in_flight -= 1
        self._ramp.succeeded(watch.epoch)
        watch.refused = self.refused is not None and not key_works
        was_trouble = self.trouble is not None
        self.trouble, self._failures = None, 0
        if key_works:
            self._last_answered = watch
            was_refused = self.refused is not None
            self.refused, self._probe_count = None, 0
            if was_refused:
                self._probe_at_s = -inf
                return AccountChange.RESUMED
        return AccountChange.RECOVERED if was_trouble else None

    def poll_failed(self, why: str, *, paused_until_s: float | None = None) -> AccountChange | None:
        """A poll brought nothing; with *paused_until_s* Camb asked for a pause until then."""
        self._in_flight -= 1
        self._failures += 1
        if paused_until_s is not None:
            self.pause_until(paused_until_s)
        if self._failures >= UNREACHABLE_AFTER and self.trouble is None:
            self.trouble = why
            return AccountChange.UNREACHABLE
        return None

    def _record_refusal(self, watch: WatchedTask, http_status: int, *, now_s: float) -> AccountChange | None:
        """Camb refused to tell us of *watch*: where that is about the key, until the next status only probes go out."""
        self._in_flight -= 1
        watch.refused = True
        self.trouble, self._failures = None, 0
        if not self.evidence.key_refused:
            return None
        flip = AccountChange.PAUSED if self.refused is None else None
        self.refused = http_status
        self._delay_probe(now_s)
        return flip

    @property
    def _is_full(self) -> bool:
        return self._in_flight >= (1 if self.refused is not None else self._ramp.limit)

    @property
    def _not_before_s(self) -> float:
        return max(self._paused_until_s, self._probe_at_s)

    def _pop_most_overdue(self, now_s: float) -> WatchedTask:
        """Takes, of those that are due, of which there is one, the latest for its pace."""
        heads = self._heads()
        subqueue, _ = heads[0]
        if len(heads) > 1:
            subqueue, _ = min(
                heads, key=lambda head: ((head[1][0] - now_s) / 2 ** (head[0] / SUBQUEUES_PER_DOUBLING), head[1][:2])
            )
        _, _, watch = heapq.heappop(self._subqueues[subqueue])
        return watch

    def _pick_probe(self, now_s: float) -> WatchedTask:
        """Of those that are due, of which there is one, the likeliest to have a good answer."""
        if (
            self._last_answered is not None
            and self._last_answered.due_s is not None
            and self._last_answered.due_s <= now_s
        ):
            return self._last_answered
        due = [
            entry for subqueue in self._subqueues.values() for entry in subqueue if entry[2].due_s == entry[0] <= now_s
        ]
        _, _, watch = min(due, key=lambda entry: (entry[2].refused, entry[0], entry[1]))
        return watch

    def _delay_probe(self, now_s: float) -> None:
        """Hold the next probe back, the longer the more there were; answers that come in late only shift it."""
        self._probe_at_s = now_s + min(PROBE_MIN_S * 2 ** min(self._probe_count, 16), PROBE_MAX_S)

    def _due_s(self) -> float | None:
        """When the first watch is due."""
        heads = self._heads()
        if len(heads) == 1:  # as where all tasks are of one pace
            return heads[0][1][0]
        return min((entry[0] for _, entry in heads), default=None)

    def _heads(self) -> list[tuple[int, QueueEntry]]:
        """The first of each line that has one; clears what was dropped or made due anew."""
        if self._cached_heads is None:
            self._cached_heads = []
            for number, subqueue in self._subqueues.items():
                while subqueue and subqueue[0][2].due_s != subqueue[0][0]:
                    heapq.heappop(subqueue)
                if subqueue:
                    self._cached_heads.append((number, subqueue[0]))
        return self._cached_heads


def _subqueue_of(poll_interval_s: float) -> int:
    """Which line those of that pace wait in."""
    return round(SUBQUEUES_PER_DOUBLING * log2(max(poll_interval_s, MIN_POLL_INTERVAL_S)))

"""
Durations in the order in which tasks began, whatever the order in which they end.

Of tasks that begin together the quick ones end first: in the order of their ends,
any batch would look like tasks that take longer and longer. So what is learned waits
for its turn, which is that of the registration. A task that takes very long is
passed over, so that it holds up no others for ever.

What waits for its turn when the process ends is not learned: it is of the quick ones of
its batch. So the slow ones, which the next process watches to their end, are not learned
either: alone they look like tasks that take twice as long, with 50 under way and a
restart after every 50 ends. The same holds for what one node takes over from another.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from cambwatch.core.cadence.histogram import MIN_COMPLETIONS, Completion

PASS_OVER_FACTOR = 2.0  # times the duration that nine of ten tasks do not exceed, until one is passed over
USUAL_QUANTILE = 0.9
MAX_START_AGE_S = 5.0  # how old a task may be when its watch begins: it is registered, written down, then watched
MAX_INSPECTED = 200  # tasks at the head of the line, as long as nothing is known of those before them


class PollProgress(Protocol):
    """What polls have shown of a task."""

    @property
    def pending_at_s(self) -> float | None: ...


@dataclass(slots=True, eq=False)
class StartEntry:
    """A task in the line; *passed_over_at* is how many completions had come before, where it was passed over."""

    size: str | None
    since_s: float
    progress: PollProgress
    completion: Completion | None = None
    closed: bool = False
    passed_over_at: int | None = None


@dataclass(frozen=True, slots=True)
class OrderedCompletion:
    """A completion whose turn it is."""

    size: str | None
    completion: Completion


@dataclass(frozen=True, slots=True)
class LateCompletion:
    """A completion whose turn was so many ago."""

    size: str | None
    completion: Completion
    behind: int


@dataclass(frozen=True, slots=True)
class StillPending:
    """A task whose turn it is, pending still at this age."""

    size: str | None
    age_s: float


DurationObservation = OrderedCompletion | LateCompletion | StillPending
"""What can be learned of one task."""


class StartOrder:
    """The tasks of one kind as they began; time is an argument, in seconds of a clock that only grows."""

    def __init__(self) -> None:
        self._entries: deque[StartEntry] = deque()
        self._completions = 0

    def add(self, size: str | None, since_s: float, progress: PollProgress, *, now_s: float) -> StartEntry:
        """
        A task that began at *since_s* and is watched from *now_s* on, after all that are in the line.

        It is no part of it where it had begun long before: of those that began with it, some may have ended unseen.
        """
        start_entry = StartEntry(size, since_s, progress, closed=now_s - since_s > MAX_START_AGE_S)
        if not start_entry.closed:
            self._entries.append(start_entry)
        return start_entry

    def close(
        self, start_entry: StartEntry, completion: Completion | None, *, now_s: float, usual_s: float | None
    ) -> Iterator[DurationObservation]:
        """
        A task has ended, or is no longer watched (None); gives what can be learned by that, in its order.

        *usual_s* is the duration that USUAL of the tasks known so far did not exceed. Who
        settles a turn again changes nothing.
        """
        if start_entry.closed:
            return
        start_entry.closed, start_entry.completion = True, completion
        if start_entry.passed_over_at is not None:
            if completion is not None:
                yield LateCompletion(start_entry.size, completion, self._completions - start_entry.passed_over_at)
            return
        while self._entries:
            first = self._entries[0]
            if first.closed:
                self._entries.popleft()
                if first.completion is not None:
                    self._completions += 1
                    yield OrderedCompletion(first.size, first.completion)
                continue
            pass_over_age_s = self._pass_over_age_s(usual_s)
            if pass_over_age_s is None or now_s - first.since_s <= pass_over_age_s:
                return
            self._entries.popleft()
            first.passed_over_at = self._completions
            pending_s = first.progress.pending_at_s
            if (
                pending_s is not None and pending_s > pass_over_age_s
            ):  # else Camb gave no answer lately: it may have ended
                yield StillPending(first.size, pass_over_age_s)

    def _pass_over_age_s(self, usual_s: float | None) -> float | None:
        """How old a task may become before it is passed over; None: as old as it likes."""
        if usual_s is None:
            closed = (start_entry.completion for start_entry in islice(self._entries, MAX_INSPECTED))
            durations_s = sorted(completion.ended_s for completion in closed if completion is not None)
            if len(durations_s) < MIN_COMPLETIONS:
                return None
            usual_s = durations_s[int(USUAL_QUANTILE * len(durations_s))]
        return PASS_OVER_FACTOR * usual_s

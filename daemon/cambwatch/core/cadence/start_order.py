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

from cambwatch.core.cadence.histogram import ENOUGH, Completion

PATIENCE = 2.0  # times the duration that nine of ten tasks do not exceed, until one is passed over
USUAL = 0.9
UNSEEN_S = 5.0  # how old a task may be when its watch begins: it is registered, written down, then watched
LOOKED_AT = 200  # tasks at the head of the line, as long as nothing is known of those before them


class Seen(Protocol):
    """What polls have shown of a task."""

    @property
    def pending_at_s(self) -> float | None: ...


@dataclass(slots=True, eq=False)
class Turn:
    """A task in the line; *passed* is how many completions had come before, where it was passed over."""

    size: str | None
    since_s: float
    seen: Seen
    completion: Completion | None = None
    settled: bool = False
    passed: int | None = None


@dataclass(frozen=True, slots=True)
class InTurn:
    """A completion whose turn it is."""

    size: str | None
    completion: Completion


@dataclass(frozen=True, slots=True)
class Late:
    """A completion whose turn was so many ago."""

    size: str | None
    completion: Completion
    behind: int


@dataclass(frozen=True, slots=True)
class Outlasting:
    """A task whose turn it is, pending still at this age."""

    size: str | None
    age_s: float


Fact = InTurn | Late | Outlasting
"""What can be learned of one task."""


class Turns:
    """The tasks of one kind as they began; time is an argument, in seconds of a clock that only grows."""

    def __init__(self) -> None:
        self._line: deque[Turn] = deque()
        self._completions = 0

    def begin(self, size: str | None, since_s: float, seen: Seen, *, now_s: float) -> Turn:
        """
        A task that began at *since_s* and is watched from *now_s* on, after all that are in the line.

        It is no part of it where it had begun long before: of those that began with it, some may have ended unseen.
        """
        turn = Turn(size, since_s, seen, settled=now_s - since_s > UNSEEN_S)
        if not turn.settled:
            self._line.append(turn)
        return turn

    def settle(
        self, turn: Turn, completion: Completion | None, *, now_s: float, usual_s: float | None
    ) -> Iterator[Fact]:
        """
        A task has ended, or is no longer watched (None); gives what can be learned by that, in its order.

        *usual_s* is the duration that USUAL of the tasks known so far did not exceed. Who
        settles a turn again changes nothing.
        """
        if turn.settled:
            return
        turn.settled, turn.completion = True, completion
        if turn.passed is not None:
            if completion is not None:
                yield Late(turn.size, completion, self._completions - turn.passed)
            return
        while self._line:
            first = self._line[0]
            if first.settled:
                self._line.popleft()
                if first.completion is not None:
                    self._completions += 1
                    yield InTurn(first.size, first.completion)
                continue
            patience_s = self._patience_s(usual_s)
            if patience_s is None or now_s - first.since_s <= patience_s:
                return
            self._line.popleft()
            first.passed = self._completions
            pending_s = first.seen.pending_at_s
            if pending_s is not None and pending_s > patience_s:  # else Camb gave no answer lately: it may have ended
                yield Outlasting(first.size, patience_s)

    def _patience_s(self, usual_s: float | None) -> float | None:
        """How old a task may become before it is passed over; None: as old as it likes."""
        if usual_s is None:
            settled = (turn.completion for turn in islice(self._line, LOOKED_AT))
            held_s = sorted(completion.ended_s for completion in settled if completion is not None)
            if len(held_s) < ENOUGH:
                return None
            usual_s = held_s[int(USUAL * len(held_s))]
        return PATIENCE * usual_s

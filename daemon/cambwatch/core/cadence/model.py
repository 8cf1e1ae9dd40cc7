"""What was learned about every kind of task, and about the sizes within a kind that users tell apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self, assert_never

from cambwatch.core.cadence.estimate import WORTH_IT, Estimate, Limits, Schedule, Strategy, estimate
from cambwatch.core.cadence.histogram import Durations
from cambwatch.core.cadence.start_order import Fact, InTurn, Late, Outlasting
from cambwatch.core.model import Json

MOST_SIZES = 16
"""Sizes of one kind that are told apart, those that come first; tasks of others are as those of the kind."""

FRESH = 0.05  # the share of new completions that makes a new estimate worth its milliseconds
LARGEST_SAMPLE = 500  # of which that share is taken at most, because older completions have faded

Key = tuple[str, str | None]
"""A kind, and a size or None: all tasks of the kind, whatever their size."""


@dataclass(frozen=True, slots=True)
class Insight:
    """
    What is known about the tasks of a kind, or of one of its sizes.

    *polls* is how many a task is expected to need under *strategy*, the one at its
    registration included; *fixed_polls* with the fixed interval. *gain* is how many
    times fewer polls the learned strategy would need. Each is None as long as too
    little is known; median and 95th percentile, in seconds, as long as nothing is.
    """

    kind: str
    size: str | None
    completions: int
    median_s: float | None
    p95_s: float | None
    strategy: Strategy
    polls: float | None
    fixed_polls: float | None
    gain: float | None

    @classmethod
    def of_nothing(cls, kind: str) -> Self:
        """Of a kind of which nothing is known."""
        return cls(
            kind,
            None,
            completions=0,
            median_s=None,
            p95_s=None,
            strategy=Strategy.FIXED,
            polls=None,
            fixed_polls=None,
            gain=None,
        )

    def unused(self) -> "Insight":
        """The same where nothing is to be made of it, because somebody wants the fixed interval."""
        return replace(self, strategy=Strategy.FIXED, polls=self.fixed_polls)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is written down of the tasks of a kind, or of one of its sizes: what Durations.as_json() gives."""

    kind: str
    size: str | None
    durations: Json


class Experience:
    """
    Says when to ask again for tasks of a kind and size, and learns from those that end.

    A size that is known too little is treated as its kind, and a kind that is known
    too little at the fixed interval, as is one where learning does not pay.
    """

    def __init__(self, limits: Callable[[str], Limits]) -> None:
        """*limits* says what the configuration wants for a kind; it is asked at every new estimate."""
        self._limits = limits
        self._lessons: dict[Key, _Lesson] = {}
        self._unsaved: set[Key] = set()

    def schedule(self, kind: str, size: str | None = None) -> Schedule | None:
        """When to ask for tasks of *kind* and *size*, the same object until that changes; None: at the interval."""
        for key in self._keys_from(kind, size):
            lesson = self._lessons.get(key)
            if lesson is not None and lesson.durations.known:
                return lesson.schedule
        return None

    def learn(self, kind: str, fact: Fact) -> list[Key]:
        """Learn from a task of *kind*; returns those whose past was dropped, because their newest no longer fit it."""
        changed = []
        for key in self._keys(kind, fact.size):
            if self._lesson(key).learn(fact):
                changed.append(key)
            self._unsaved.add(key)
        return changed

    def quantile_s(self, kind: str, share: float) -> float | None:
        """The duration that *share* of the tasks of *kind* did not exceed; None as long as too little is known."""
        lesson = self._lessons.get((kind, None))
        return lesson.durations.quantile_s(share) if lesson is not None and lesson.durations.known else None

    def note_endless(self, kind: str, size: str | None) -> None:
        """Learn from a task that was pending still at its deadline."""
        for key in self._keys(kind, size):
            self._lesson(key).durations.note_endless()
            self._unsaved.add(key)

    def insights(self) -> Iterator[Insight]:
        """What is known, by kind, and within a kind by size after the kind as a whole."""
        for kind, size in self._in_order():
            yield self._lessons[kind, size].insight(kind, size)

    def unsaved(self) -> list[Memory]:
        """What is to be written down: all that changed since the last call."""
        keys, self._unsaved = self._unsaved, set()
        return [Memory(*key, self._lessons[key].durations.as_json()) for key in keys]

    def durations(self) -> list[tuple[str, str | None, Durations]]:
        """All that is known, by kind and size, in the order of insights()."""
        return [(*key, self._lessons[key].durations) for key in self._in_order()]

    def remember(self, memory: Memory) -> None:
        """Take back what unsaved() gave; ValueError, and nothing taken, where it is something else."""
        self._lessons[memory.kind, memory.size] = self._new(memory.kind, Durations.from_json(memory.durations))

    def _in_order(self) -> list[Key]:
        return sorted(self._lessons, key=lambda key: (key[0], key[1] is not None, key[1] or ""))

    def _keys_from(self, kind: str, size: str | None) -> tuple[Key, ...]:
        """Whose lesson holds for a task, the closest first."""
        return ((kind, None),) if size is None else ((kind, size), (kind, None))

    def _keys(self, kind: str, size: str | None) -> list[Key]:
        """Who learns from a task."""
        whole, part = (kind, None), (kind, size)
        if size is None:
            return [whole]
        sizes = sum(known_kind == kind and known is not None for known_kind, known in self._lessons)
        return [whole, part] if part in self._lessons or sizes < MOST_SIZES else [whole]

    def _lesson(self, key: Key) -> "_Lesson":
        if key not in self._lessons:
            self._lessons[key] = self._new(key[0], Durations())
        return self._lessons[key]

    def _new(self, kind: str, durations: Durations) -> "_Lesson":
        return _Lesson(durations, lambda: self._limits(kind))


class _Lesson:
    """
    A memory, and what is concluded from it.

    That takes some milliseconds, so it is done when somebody asks, and not for every
    single completion.
    """

    __slots__ = ("_considered", "_estimate", "_limits", "durations")

    def __init__(self, durations: Durations, limits: Callable[[], Limits]) -> None:
        self.durations = durations
        self._limits = limits
        self._estimate: Estimate | None = None
        self._considered = 0  # completions when the estimate was made; 0: it is to be made anew

    def learn(self, fact: Fact) -> bool:
        """Whether all that was known before is dropped."""
        match fact:
            case InTurn(_, completion):
                dropped = self.durations.note(completion)
                known = self.durations.completions
                stale = known - self._considered >= FRESH * min(known, LARGEST_SAMPLE)
            case Outlasting(_, age_s):
                dropped, stale = self.durations.note_outlasting(age_s), False
            case Late(_, completion, behind):
                self.durations.note_late(completion, behind=behind)
                dropped = stale = False
            case _:
                assert_never(fact)
        if dropped or stale:
            self._considered = 0
        return dropped

    @property
    def estimate(self) -> Estimate | None:
        """None as long as too little is known."""
        if not self._considered:
            self._estimate = estimate(self.durations, self._limits()) if self.durations.known else None
            self._considered = self.durations.completions
        return self._estimate

    @property
    def schedule(self) -> Schedule | None:
        found = self.estimate
        return found.schedule if found is not None and found.gain >= WORTH_IT else None

    def insight(self, kind: str, size: str | None) -> Insight:
        found, learned = self.estimate, self.schedule is not None
        return Insight(
            kind,
            size,
            completions=self.durations.completions,
            median_s=self.durations.quantile_s(0.5),
            p95_s=self.durations.quantile_s(0.95),
            strategy=Strategy.LEARNED if learned else Strategy.FIXED,
            polls=None if found is None else found.learned_polls if learned else found.fixed_polls,
            fixed_polls=None if found is None else found.fixed_polls,
            gain=None if found is None else found.gain,
        )

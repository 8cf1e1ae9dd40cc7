"""What was learned about every kind of task, and about the sizes within a kind that users tell apart."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self, assert_never

from cambwatch.core.cadence.estimate import MIN_GAIN, CadenceEstimate, PollLimits, PollSchedule, Strategy, estimate
from cambwatch.core.cadence.histogram import DurationHistogram
from cambwatch.core.cadence.start_order import DurationObservation, LateCompletion, OrderedCompletion, StillPending
from cambwatch.core.model import Json

MAX_SIZES = 16
"""Sizes of one kind that are told apart, those that come first; tasks of others are as those of the kind."""

REESTIMATE_SHARE = 0.05  # the share of new completions that makes a new estimate worth its milliseconds
MAX_COUNTED_COMPLETIONS = 500  # of which that share is taken at most, because older completions have faded

KindAndSize = tuple[str, str | None]
"""A kind, and a size or None: all tasks of the kind, whatever their size."""


@dataclass(frozen=True, slots=True)
class CadenceSummary:
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
    def empty(cls, kind: str) -> Self:
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

    def with_fixed_interval(self) -> "CadenceSummary":
        """The same where nothing is to be made of it, because somebody wants the fixed interval."""
        return replace(self, strategy=Strategy.FIXED, polls=self.fixed_polls)


@dataclass(frozen=True, slots=True)
class SavedDurations:
    """What is written down of the tasks of a kind, or of one of its sizes: what Durations.as_json() gives."""

    kind: str
    size: str | None
    durations: Json


class CadenceModel:
    """
    Says when to ask again for tasks of a kind and size, and learns from those that end.

    A size that is known too little is treated as its kind, and a kind that is known
    too little at the fixed interval, as is one where learning does not pay.
    """

    def __init__(self, limits: Callable[[str], PollLimits]) -> None:
        """*limits* says what the configuration wants for a kind; it is asked at every new estimate."""
        self._limits = limits
        self._learned: dict[KindAndSize, _LearnedDurations] = {}
        self._unsaved: set[KindAndSize] = set()

    def schedule(self, kind: str, size: str | None = None) -> PollSchedule | None:
        """When to ask for tasks of *kind* and *size*, the same object until that changes; None: at the interval."""
        for key in self._lookup_keys(kind, size):
            learned_durations = self._learned.get(key)
            if learned_durations is not None and learned_durations.durations.is_sufficient:
                return learned_durations.schedule
        return None

    def learn(self, kind: str, observation: DurationObservation) -> list[KindAndSize]:
        """Learn from a task of *kind*; returns those whose past was dropped, because their newest no longer fit it."""
        changed = []
        for key in self._updated_keys(kind, observation.size):
            if self._learned_for(key).learn(observation):
                changed.append(key)
            self._unsaved.add(key)
        return changed

    def quantile_s(self, kind: str, share: float) -> float | None:
        """The duration that *share* of the tasks of *kind* did not exceed; None as long as too little is known."""
        learned_durations = self._learned.get((kind, None))
        return (
            learned_durations.durations.quantile_s(share)
            if learned_durations is not None and learned_durations.durations.is_sufficient
            else None
        )

    def record_expired(self, kind: str, size: str | None) -> None:
        """Learn from a task that was pending still at its deadline."""
        for key in self._updated_keys(kind, size):
            self._learned_for(key).durations.record_expired()
            self._unsaved.add(key)

    def summaries(self) -> Iterator[CadenceSummary]:
        """What is known, by kind, and within a kind by size after the kind as a whole."""
        for kind, size in self._in_order():
            yield self._learned[kind, size].summary(kind, size)

    def unsaved(self) -> list[SavedDurations]:
        """What is to be written down: all that changed since the last call."""
        keys, self._unsaved = self._unsaved, set()
        return [SavedDurations(*key, self._learned[key].durations.as_json()) for key in keys]

    def durations(self) -> list[tuple[str, str | None, DurationHistogram]]:
        """All that is known, by kind and size, in the order of summaries()."""
        return [(*key, self._learned[key].durations) for key in self._in_order()]

    def restore(self, saved: SavedDurations) -> None:
        """Take back what unsaved() gave; ValueError, and nothing taken, where it is something else."""
        self._learned[saved.kind, saved.size] = self._create(saved.kind, DurationHistogram.from_json(saved.durations))

    def _in_order(self) -> list[KindAndSize]:
        return sorted(self._learned, key=lambda key: (key[0], key[1] is not None, key[1] or ""))

    def _lookup_keys(self, kind: str, size: str | None) -> tuple[KindAndSize, ...]:
        """Whose lesson holds for a task, the closest first."""
        return ((kind, None),) if size is None else ((kind, size), (kind, None))

    def _updated_keys(self, kind: str, size: str | None) -> list[KindAndSize]:
        """Who learns from a task."""
        whole, part = (kind, None), (kind, size)
        if size is None:
            return [whole]
        sizes = sum(known_kind == kind and known is not None for known_kind, known in self._learned)
        return [whole, part] if part in self._learned or sizes < MAX_SIZES else [whole]

    def _learned_for(self, key: KindAndSize) -> "_LearnedDurations":
        if key not in self._learned:
            self._learned[key] = self._create(key[0], DurationHistogram())
        return self._learned[key]

    def _create(self, kind: str, durations: DurationHistogram) -> "_LearnedDurations":
        return _LearnedDurations(durations, lambda: self._limits(kind))


class _LearnedDurations:
    """
    A memory, and what is concluded from it.

    That takes some milliseconds, so it is done when somebody asks, and not for every
    single completion.
    """

    __slots__ = ("_estimate", "_estimated_completions", "_limits", "durations")

    def __init__(self, durations: DurationHistogram, limits: Callable[[], PollLimits]) -> None:
        self.durations = durations
        self._limits = limits
        self._estimate: CadenceEstimate | None = None
        self._estimated_completions = 0  # completions when the estimate was made; 0: it must be computed again

    def learn(self, observation: DurationObservation) -> bool:
        """Whether all that was known before is dropped."""
        match observation:
            case OrderedCompletion(_, completion):
                dropped = self.durations.record(completion)
                known = self.durations.completions
                stale = known - self._estimated_completions >= REESTIMATE_SHARE * min(known, MAX_COUNTED_COMPLETIONS)
            case StillPending(_, age_s):
                dropped, stale = self.durations.record_still_pending(age_s), False
            case LateCompletion(_, completion, behind):
                self.durations.record_late(completion, behind=behind)
                dropped = stale = False
            case _:
                assert_never(observation)
        if dropped or stale:
            self._estimated_completions = 0
        return dropped

    @property
    def estimate(self) -> CadenceEstimate | None:
        """None as long as too little is known."""
        if not self._estimated_completions:
            self._estimate = estimate(self.durations, self._limits()) if self.durations.is_sufficient else None
            self._estimated_completions = self.durations.completions
        return self._estimate

    @property
    def schedule(self) -> PollSchedule | None:
        found = self.estimate
        return found.schedule if found is not None and found.gain >= MIN_GAIN else None

    def summary(self, kind: str, size: str | None) -> CadenceSummary:
        found, learned = self.estimate, self.schedule is not None
        return CadenceSummary(
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

"""
How long tasks took, as far as our own polls could tell.

A task that was pending at one poll and had ended at the next took something in
between (an interval-censored duration). What is remembered of it is bounded: a
histogram over fixed bins of the logarithm, in which old completions fade, and the
newest few as they came. A detector says when those no longer fit the rest.
"""

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Self

from cambwatch.core.model import Json

MIN_DURATION_S = 0.01
BIN_WIDTH = 0.05  # of the natural logarithm: a bin is 5 % wide
BINS = 400
EDGES_S = (0.0, *(MIN_DURATION_S * math.exp(BIN_WIDTH * index) for index in range(1, BINS + 1)))
"""Bounds of the bins, the lower one not within; the last is 56 days, and whatever takes longer counts as that."""

MIDDLES_S = tuple((low_s + high_s) / 2 for low_s, high_s in pairwise(EDGES_S))
WIDTHS_S = tuple(high_s - low_s for low_s, high_s in pairwise(EDGES_S))

HALF_LIFE = 200
"""Completions after which an older one counts half."""

KEPT_COMPLETIONS = 32  # completions that are kept as they came
MIN_COMPLETIONS = 30
"""Completions from which on a memory says something."""

# The detector: two cumulative sums of scores, one for longer and one for shorter than remembered (E. S. Page 1954,
# "Continuous Inspection Schemes"). A completion's score is its place among the remembered ones, in standard
# deviations of a place that is picked evenly: within ±1.73, so no single completion raises an alarm. Changes of a mean
# score by less than SLACK are left to forgetting. One completion in
# 100,000 raises a false alarm at a fixed interval (benchmarks/cadence.py measures it); durations that double raise a
# true one after about 10 completions where they vary little, after 50 to 100 where they are exponential.
CHANGE_SLACK = 0.35
CHANGE_THRESHOLD = 12.0

# Where tasks queue for a few workers each takes longer than the one before: whatever is learned holds for a few more.
MAX_RELAPSES = 4
"""
At most so many alarms in a row make MIN_COMPLETIONS twice as many each: those that come soon after it was reached.
"""

_DECAY: float = 0.5 ** (1 / HALF_LIFE)
_WINDOW = 1 / (1 - _DECAY)  # what a bin weighs into which all fall, for ever: 289
_MAX_WEIGHT = 1e12  # of a completion, until all are scaled down again
_FORMAT = [MIN_DURATION_S, BIN_WIDTH, BINS]


@dataclass(frozen=True, slots=True)
class Completion:
    """A task that was pending at the age *pending_s* and had ended at the age *ended_s*; both finite."""

    pending_s: float
    ended_s: float

    def clamped(self) -> "Completion":
        """Both ages where the bins are, the second never before the first: a clock may have been set back."""
        longest = EDGES_S[-1]
        pending_s = min(max(self.pending_s, 0.0), longest)
        return Completion(pending_s, min(max(self.ended_s, pending_s, MIN_DURATION_S), longest))


class DurationHistogram:
    """
    What is remembered of the tasks of one sort.

    A task that had ended at the first look is none of them: it may have been
    registered at any time after its end. Nor is one that a user removed, because
    people lose patience with the slow ones first. One that was pending still at
    its deadline counts as endless, and fades as completions come in.
    """

    __slots__ = ("_expired", "_longer", "_newest", "_newest_weight", "_relapses", "_shorter", "_weights", "completions")

    def __init__(self) -> None:
        self.completions = 0
        """How many are remembered, faded or not."""
        self._weights = [0.0] * BINS  # in a currency of which the newest completion is worth _unit
        self._newest_weight = 1.0
        self._expired = 0.0
        self._newest: deque[Completion | None] = deque(maxlen=KEPT_COMPLETIONS)  # None: it outlasted its turn
        self._longer = _CumulativeSum()
        self._shorter = _CumulativeSum()
        self._relapses = 0

    @property
    def is_sufficient(self) -> bool:
        """Whether it says something about tasks to come; if what it said did not hold for long, it takes more."""
        return self.completions >= self._min_completions

    def record(self, completion: Completion) -> bool:
        """
        Take in a completion, of the task whose turn it is: see start_order.py.

        True where it is the one by which the newest no longer fit the rest; then
        only those since the change remain, at most NEWEST.
        """
        completion = completion.clamped()
        if self._detect_change(completion.pending_s, completion.ended_s, completion):
            return True
        self._decay()
        self._add(completion, self._newest_weight)
        return False

    def record_still_pending(self, age_s: float) -> bool:
        """
        Take in that the task whose turn it is was pending still at *age_s*.

        Returns the same. record_late() adds how long it takes in the end.
        """
        return self._detect_change(age_s, EDGES_S[-1], None)

    def record_late(self, completion: Completion, *, behind: int) -> None:
        """Take in a completion of a task whose turn was so many completions ago."""
        self._add(completion.clamped(), self._newest_weight * _DECAY**behind)

    def record_expired(self) -> None:
        """Take in a task that was pending still at its deadline; completions fade by completions alone."""
        self._expired = min(self._expired + self._newest_weight, _WINDOW * self._newest_weight)

    @property
    def weights(self) -> Sequence[float]:
        """How many completions each bin holds, faded ones as fractions."""
        return [weight / self._newest_weight for weight in self._weights]

    def histogram(self) -> list[tuple[float, float, float]]:
        """The bins that hold something, as bounds in seconds, the lower one not within, and weight."""
        bins = zip(pairwise(EDGES_S), self.weights, strict=True)
        return [(low_s, high_s, weight) for (low_s, high_s), weight in bins if weight > 0]

    @property
    def newest(self) -> Sequence[Completion]:
        """The newest NEWEST completions at most, oldest first."""
        return tuple(each for each in self._newest if each is not None)

    @property
    def expired(self) -> float:
        """How many tasks had not ended at their deadline, faded ones as fractions."""
        return self._expired / self._newest_weight

    @property
    def effective_completions(self) -> float:
        """As how many equally fresh completions the faded ones are good for, in an estimate: at most 577."""
        faded: float = _DECAY**self.completions
        return (1 + _DECAY) * _WINDOW * (1 - faded) / (1 + faded)

    def quantile_s(self, share: float) -> float | None:
        """The duration that *share* in (0, 1) of the completions did not exceed, to a bin's width; None without any."""
        return quantile_s(self._weights, share) if self.completions else None

    def as_json(self) -> Json:
        """Everything, as plain values of JSON; at most BINS + NEWEST pairs of numbers."""
        return {
            "form": _FORMAT,
            "completions": self.completions,
            "weights": [[index, weight] for index, weight in enumerate(self.weights) if weight > 0],
            "endless": self.expired,
            "newest": [None if each is None else [each.pending_s, each.ended_s] for each in self._newest],
            "longer": [self._longer.total, self._longer.terms],
            "shorter": [self._shorter.total, self._shorter.terms],
            "relapses": self._relapses,
        }

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """The memory that as_json() gave; ValueError for anything else, other bins than ours included."""
        durations = cls()
        try:
            if value["form"] != _FORMAT:
                raise ValueError("not a memory of durations: its bins are not ours")
            durations.completions = _read_count(value["completions"])
            for index, weight in value["weights"]:
                durations._weights[_read_count(index)] = _read_amount(weight)
            durations._expired = _read_amount(value["endless"])
            durations._newest.extend(
                None if each is None else Completion(*map(_read_amount, each)) for each in value["newest"]
            )
            durations._longer = _CumulativeSum(_read_amount(value["longer"][0]), _read_count(value["longer"][1]))
            durations._shorter = _CumulativeSum(_read_amount(value["shorter"][0]), _read_count(value["shorter"][1]))
            durations._relapses = min(_read_count(value.get("relapses", 0)), MAX_RELAPSES)  # older versions had none
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError(f"not a memory of durations: {error!r}") from error
        if bool(durations.completions) != any(durations._weights):
            raise ValueError("not a memory of durations: completions and weights contradict each other")
        return durations

    def _detect_change(self, pending_s: float, ended_s: float, newest: Completion | None) -> bool:
        """Whether, with what ended in between, the newest no longer fit the rest; then only they remain."""
        self._newest.append(newest)
        if self.completions < MIN_COMPLETIONS:
            return False
        score = self._score(pending_s, ended_s)
        self._longer.add(score - CHANGE_SLACK)
        self._shorter.add(-score - CHANGE_SLACK)
        since = max((each.terms for each in (self._longer, self._shorter) if each.total > CHANGE_THRESHOLD), default=0)
        if since:
            soon = self.completions < 2 * self._min_completions
            self._relapses = min(self._relapses + 1, MAX_RELAPSES) if soon else 0
            self._restart([each for each in list(self._newest)[-since:] if each is not None])
        return bool(since)

    @property
    def _min_completions(self) -> int:
        return MIN_COMPLETIONS << self._relapses

    def _score(self, pending_s: float, ended_s: float) -> float:
        """Where a duration between the two lies among the remembered: of mean 0 and deviation 1 if it is like them."""
        # By whole bins: tasks that all end in one of them lie in its middle, wherever in it that is.
        below, within = bin_of(pending_s), bin_of(ended_s) + 1
        place = (sum(self._weights[:below]) + sum(self._weights[:within])) / 2 / sum(self._weights)
        return math.sqrt(12) * (place - 0.5)

    def _add(self, completion: Completion, unit: float) -> None:
        """
        Share one completion, worth *unit*, out among the bins that it may belong to.

        As those that are remembered are shared out there, as far as any are (a step
        of the EM algorithm for such data, B. W. Turnbull 1976), and as if there were
        one more that ended just before it was found: spread over all of the time in
        question it would blur the very onset that is to be learned.
        """
        self.completions += 1
        pending_s, ended_s = completion.pending_s, completion.ended_s
        first, last = bin_of(pending_s), bin_of(ended_s)
        shares = []
        for index in range(first, last + 1):
            low_s, high_s = EDGES_S[index], EDGES_S[index + 1]
            inside_s = min(high_s, ended_s) - max(low_s, pending_s)
            shares.append(self._weights[index] * inside_s / (high_s - low_s))
        shares[-1] += unit
        scale = unit / sum(shares)
        for index, share in enumerate(shares, first):
            self._weights[index] += share * scale

    def _decay(self) -> None:
        # Instead of all that is there getting lighter, what comes gets heavier.
        self._newest_weight /= _DECAY
        if self._newest_weight > _MAX_WEIGHT:
            self._weights = [weight / self._newest_weight for weight in self._weights]
            self._expired /= self._newest_weight
            self._newest_weight = 1.0

    def _restart(self, newest: Sequence[Completion]) -> None:
        self.completions = 0
        self._weights = [0.0] * BINS
        self._newest_weight, self._expired = 1.0, 0.0
        self._longer, self._shorter = _CumulativeSum(), _CumulativeSum()
        self._newest.clear()
        self._newest.extend(newest)
        for completion in newest:
            self._decay()
            self._add(completion, self._newest_weight)


@dataclass(slots=True)
class _CumulativeSum:
    """A sum that starts again whenever it falls below zero; *terms* counts those since."""

    total: float = 0.0
    terms: int = 0

    def add(self, term: float) -> None:
        self.total += term
        self.terms += 1
        if self.total <= 0:
            self.total, self.terms = 0.0, 0


def bin_of(age_s: float) -> int:
    """The number of the bin that *age_s* belongs to, from 0; what lies outside belongs to the nearest."""
    return min(max(bisect_left(EDGES_S, age_s) - 1, 0), BINS - 1)


def quantile_s(weights: Sequence[float], share: float) -> float:
    """The duration that *share* in (0, 1) of those in the bins, which hold one at least, did not exceed."""
    sums = list(accumulate(weights))
    index = min(bisect_left(sums, share * sums[-1]), BINS - 1)
    return EDGES_S[index + 1] * math.exp(-BIN_WIDTH / 2)


def _read_count(value: Json) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"not a count: {value!r}")
    return value


def _read_amount(value: Json) -> float:
    if not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"not an amount: {value!r}")
    return float(value)

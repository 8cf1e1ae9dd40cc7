"""
The counts of polls, of which there are thousands a second.

The client's own counters take a lock for each step, which costs three times as much
as is done here. Polls are counted and shown by one thread, and need none.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cambwatch.core.model import (
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    PendingReply,
    PollReply,
    UnavailableReply,
    UnconfirmedReply,
    UnknownTaskReply,
)

# Upper bounds in seconds; the promised lateness, 50 ms, is one.
LATENESS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_OUTCOME_OF_REPLY: dict[type[PollReply], str] = {
    PendingReply: "pending",
    FinishedReply: "finished",
    UnconfirmedReply: "unconfirmed",
    UnknownTaskReply: "unknown",
    InvalidTaskIdReply: "invalid",
    ForbiddenReply: "forbidden",
}
"""The outcome of a poll that Camb answered; that of any other is its fault."""


class _Histogram:
    """A histogram without labels and locks."""

    __slots__ = ("_bounds_s", "_counts", "_sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def observe(self, value_s: float) -> None:
        self._counts[bisect_left(self._bounds_s, value_s)] += 1
        self._sum_s += value_s

    def add_to(self, family: HistogramMetricFamily, label: str) -> None:
        """Add all of it to *family*, whose only label has that value."""
        so_far, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds_s), "+Inf"), self._counts, strict=True):
            so_far += count
            buckets.append((bound, float(so_far)))
        family.add_metric([label], buckets, self._sum_s)


class _AccountHistograms:
    __slots__ = ("duration", "lateness")

    def __init__(self) -> None:
        self.lateness = _Histogram(LATENESS_S)
        self.duration = _Histogram(REQUEST_S)


class PollCounters(Collector):
    """How many polls there were, how late they went out, and how long they took."""

    def __init__(self, accounts: Iterable[str]) -> None:
        self._outcomes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._accounts: defaultdict[str, _AccountHistograms] = defaultdict(_AccountHistograms)
        self.initialize_labels(accounts)

    def initialize_labels(self, accounts: Iterable[str]) -> None:
        """Show *accounts* also before anything is asked with them; what was counted stays."""
        for name in accounts:  # a look makes it
            self._accounts[name]

    def observe(self, account: str, kind: str, reply: PollReply, lateness_s: float, took_s: float) -> None:
        """A poll went out *lateness_s* after it was due, and brought *reply* after *took_s*."""
        outcome = reply.fault if isinstance(reply, UnavailableReply) else _OUTCOME_OF_REPLY[type(reply)]
        self._outcomes[kind, outcome] += 1
        counts = self._accounts[account]
        counts.lateness.observe(lateness_s)
        counts.duration.observe(took_s)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        polls = CounterMetricFamily("cambwatch_polls", "Polls, by what came of them.", labels=("kind", "outcome"))
        for labels, count in self._outcomes.items():
            polls.add_metric(labels, count)
        lateness = HistogramMetricFamily(
            "cambwatch_poll_lateness_seconds", "From when a poll was due until it was sent.", labels=("account",)
        )
        duration = HistogramMetricFamily(
            "cambwatch_poll_duration_seconds",
            "From when a poll was sent until its answer was read.",
            labels=("account",),
        )
        for name, counts in self._accounts.items():
            counts.lateness.add_to(lateness, name)
            counts.duration.add_to(duration, name)
        yield from (polls, lateness, duration)

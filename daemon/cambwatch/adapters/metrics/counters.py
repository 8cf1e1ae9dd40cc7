"""Prometheus counters and histograms, updated as things happen; polls are counted in plain integers first."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from cambwatch.core.delivery.attempts import AttemptRecord
from cambwatch.core.model import (
    Delivered,
    FinishedReply,
    ForbiddenReply,
    GiveUp,
    InvalidTaskIdReply,
    PendingReply,
    PollReply,
    Status,
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


CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4  # what every Prometheus reads

LabelsT = TypeVar("LabelsT")
ChildT = TypeVar("ChildT")
Add = Callable[[], None]
Observe = Callable[[float], None]

# Upper bounds in seconds. What is promised is among them: a commit in 5 ms, a notification in 100 ms.
_DETECTION_S = (0.5, 1, 2.5, 5, 10, 15, 30, 60, 120, 300, 900)
_NOTIFICATION_S = (0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 900, 3600, 14400, 86400)
_DATABASE_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


class _LabelCache(dict[LabelsT, ChildT]):
    """What a family has for its labels: made when it is first asked for, from then on as quick as a dict."""

    def __init__(self, make: Callable[[LabelsT], ChildT]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, labels: LabelsT) -> ChildT:
        made = self[labels] = self._make(labels)
        return made


@dataclass(frozen=True, slots=True)
class _Exposition(Collector):
    """Without the instants at which each count began: in the text format they would be as many gauges again."""

    counted: CollectorRegistry
    snapshot: Iterable[Metric]

    def collect(self) -> Iterator[Metric]:
        for family in self.counted.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
        yield from self.snapshot


class Metrics:
    """Counts what happens, and renders the page."""

    def __init__(self, *, destinations: Iterable[str] = (), accounts: Iterable[str] = ()) -> None:
        """*destinations* and *accounts* as in expect()."""
        self._registry = CollectorRegistry()
        self._polls = PollCounters(accounts)
        self._registry.register(self._polls)
        self._conclusions = self._counters("tasks_concluded_total", "Tasks that have ended.", "kind", "status")
        self._detection = self._histograms(
            "detection_delay_seconds",
            "From the last poll that found a task pending to the one that saw its end: the longest that it can have "
            "waited to be seen.",
            _DETECTION_S,
            "kind",
        )
        self._attempts = self._counters(
            "delivery_attempts_total",
            "Attempts of deliveries, by what came of them. A digest is one attempt of each delivery in it.",
            "destination",
            "outcome",
        )
        self._finished = self._counters(
            "deliveries_total", "Deliveries that are delivered, or dead (given up).", "destination", "outcome"
        )
        self._post_duration = self._histograms(
            "delivery_duration_seconds", "From when a message was posted until its answer.", REQUEST_S, "destination"
        )
        self._delivery_delay = self._histograms(
            "delivery_delay_seconds",
            "From the event until the receiver accepted its delivery.",
            _NOTIFICATION_S,
            "destination",
        )
        self._write_duration = self._histogram(
            "database_write_duration_seconds", "Of a transaction that writes, commit included.", _DATABASE_S
        )
        self._read_duration = self._histogram(
            "database_read_duration_seconds", "Of a transaction that reads.", _DATABASE_S
        )
        self._loop_lag = self._histogram(
            "loop_lag_seconds", "How late the event loop comes to a timer, every two seconds.", _LAG_S
        )
        self.initialize_labels(destinations=destinations, accounts=accounts)

    def initialize_labels(self, *, destinations: Iterable[str], accounts: Iterable[str]) -> None:
        """
        Show *destinations* and *accounts*, as 0, before anything happens to them.

        Counts of removed destinations stay: a counter restarts only with the process.
        """
        self._polls.initialize_labels(accounts)
        for name in destinations:  # a look makes it
            for family in (self._post_duration, self._delivery_delay):
                family[name]
            for outcome in ("delivered", "dead"):
                self._finished[name, outcome]

    def polled(self, account: str, kind: str, reply: PollReply, lateness_s: float, took_s: float) -> None:
        """A poll went out *lateness_s* after it was due, and brought *reply* after *took_s*."""
        self._polls.observe(account, kind, reply, lateness_s, took_s)

    def concluded(self, kind: str, status: Status, detection_s: float | None) -> None:
        """A task ended, which was pending *detection_s* before; None: it is not known when it was."""
        self._conclusions[kind, status]()
        if detection_s is not None:
            self._detection[kind](detection_s)

    def attempted(
        self, destination: str, attempt_records: Sequence[AttemptRecord], *, posted: bool, now: datetime
    ) -> None:
        """Count one attempt for each of *attempt_records*; unless *posted*, the request did not leave the daemon."""
        if posted:
            self._post_duration[destination](attempt_records[0].attempt.took_ms / 1000)
        for record in attempt_records:
            self._attempts[destination, record.attempt.outcome]()
            match record.decision:
                case Delivered():
                    self._finished[destination, "delivered"]()
                    delay = now - record.delivery.created_at
                    self._delivery_delay[destination](
                        max(delay.total_seconds(), 0.0)
                    )  # somebody may have set the clock
                case GiveUp():
                    self._finished[destination, "dead"]()

    def observe_write(self, took_s: float) -> None:
        """A transaction that writes; called by any thread."""
        self._write_duration(took_s)

    def read(self, took_s: float) -> None:
        """A transaction that reads; called by any thread."""
        self._read_duration(took_s)

    def lagged(self, lag_s: float) -> None:
        """The event loop came to a timer so late."""
        self._loop_lag(lag_s)

    def page(self, snapshot: Iterable[Metric]) -> bytes:
        """All that was counted, and *snapshot*, in the text format of CONTENT_TYPE."""
        return generate_latest(_Exposition(self._registry, snapshot))

    def _counters(self, name: str, documentation: str, *labels: str) -> _LabelCache[tuple[str, str], Add]:
        family = Counter(f"cambwatch_{name}", documentation, labels, registry=self._registry)
        return _LabelCache(lambda values: family.labels(*values).inc)

    def _histograms(
        self, name: str, documentation: str, bounds: Sequence[float], label: str
    ) -> _LabelCache[str, Observe]:
        family = Histogram(f"cambwatch_{name}", documentation, [label], buckets=bounds, registry=self._registry)
        return _LabelCache(lambda value: family.labels(value).observe)

    def _histogram(self, name: str, documentation: str, bounds: Sequence[float]) -> Observe:
        return Histogram(f"cambwatch_{name}", documentation, buckets=bounds, registry=self._registry).observe

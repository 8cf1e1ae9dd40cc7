"""What stands as it stands when somebody asks for the metrics: queues, budgets, breakers, room, the process."""

import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from cambwatch.core.delivery.breaker import BreakerState
from cambwatch.core.model import Status
from cambwatch.core.store_stats import DiskSpace, StoreStats

LabeledValue = tuple[tuple[str, ...], float]
"""The values of the labels, and the value."""


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """
    How an account stands.

    *tokens_left* is how many requests its budget has for this moment, *share* how much of the
    configured rate is made use of, in (0, 1], *limited* whether the budget does not
    suffice. *overdue_s*: since when the first poll has been due; *paused_for_s*: for how long nothing may be asked.
    """

    refused: bool
    limited: bool
    tokens_left: float
    share: float
    overdue_s: float
    paused_for_s: float


@dataclass(frozen=True, slots=True)
class MetricsSnapshot:
    """Everything together; of *store_stats* and *disk_space* None: they could not be found out."""

    version: str
    started_at: datetime
    watching: int
    accounts: Mapping[str, AccountSnapshot]
    breakers: Mapping[str, BreakerState]
    trouble: bool  # the database cannot be read, or did not take the last write
    store_stats: StoreStats | None
    disk_space: DiskSpace | None
    log_lines_dropped: int


_ACCOUNT_GAUGES: Sequence[tuple[str, str, Callable[[AccountSnapshot], float]]] = (
    ("account_paused", "1 while Camb refuses the API key.", lambda one: one.refused),
    (
        "account_budget_limited",
        "1 while requests_per_second is less than what is due, and tasks are asked for late.",
        lambda one: one.limited,
    ),
    (
        "account_budget_left_requests",
        "Requests that requests_per_second allows at this moment.",
        lambda one: one.tokens_left,
    ),
    (
        "account_budget_ratio",
        "How much of requests_per_second is made use of; less than 1 after a 429.",
        lambda one: one.share,
    ),
    (
        "account_overdue_seconds",
        "Since when the first poll has been due, whatever keeps it.",
        lambda one: one.overdue_s,
    ),
    (
        "account_retry_after_seconds",
        "For how long nothing may be asked: Camb's Retry-After, or a refused key.",
        lambda one: one.paused_for_s,
    ),
)


def snapshot_families(snapshot: MetricsSnapshot, *, now: datetime) -> Iterator[Metric]:
    """*snapshot* as Prometheus has it, for Metrics.page()."""
    yield InfoMetricFamily(
        "cambwatch_build",
        "What runs.",
        value={"version": snapshot.version, "python": platform.python_version()},
    )
    yield _gauge("tasks_watched", "Tasks that this process asks Camb for.", snapshot.watching)
    yield from _account_families(snapshot.accounts)
    yield _gauges(
        "breaker_state",
        "1 for the state that the breaker of a destination is in.",
        ("destination", "state"),
        [((name, one), one is state) for name, state in snapshot.breakers.items() for one in BreakerState],
    )
    yield _gauge(
        "database_trouble", "1 while the database cannot be read, or did not take the last write.", snapshot.trouble
    )
    if snapshot.store_stats is not None:
        yield from _store_families(snapshot.store_stats, snapshot.breakers, now)
    if snapshot.disk_space is not None:
        yield _gauge("database_size_bytes", "The database and its log.", snapshot.disk_space.database)
        yield _gauge("filesystem_size_bytes", "The file system of the database.", snapshot.disk_space.size)
        yield _gauge("filesystem_free_bytes", "What is left of that for us.", snapshot.disk_space.free)
    yield CounterMetricFamily(
        "cambwatch_log_lines_dropped", "Log lines that were dropped.", value=snapshot.log_lines_dropped
    )
    yield from _process_families(snapshot.started_at)


def _account_families(accounts: Mapping[str, AccountSnapshot]) -> Iterator[Metric]:
    for name, documentation, value in _ACCOUNT_GAUGES:
        yield _gauges(
            name, documentation, ("account",), [((account,), value(one)) for account, one in accounts.items()]
        )


def _store_families(store_stats: StoreStats, destinations: Mapping[str, object], now: datetime) -> Iterator[Metric]:
    yield _gauges(
        "tasks",
        "Tasks in the database.",
        ("status",),
        [((status,), store_stats.tasks.get(status, 0)) for status in Status],
    )
    waiting: dict[str, tuple[int, float]] = dict.fromkeys(destinations, (0, 0.0))
    for name, backlog in store_stats.backlogs.items():
        waiting[name] = backlog.pending, max((now - backlog.oldest_pending_at).total_seconds(), 0.0)
    yield _gauges(
        "deliveries_pending",
        "Deliveries that are owed.",
        ("destination",),
        [((name,), count) for name, (count, _) in waiting.items()],
    )
    yield _gauges(
        "deliveries_oldest_pending_age_seconds",
        "Since when the oldest of them has been owed; 0: there is none.",
        ("destination",),
        [((name,), age_s) for name, (_, age_s) in waiting.items()],
    )


def _process_families(started_at: datetime) -> Iterator[Metric]:
    """
    Under the names that every Prometheus client has for them.

    The client's own collector needs /proc/stat, which the systemd unit hides (ProcSubset=pid).
    """
    yield CounterMetricFamily("process_cpu_seconds", "User and system CPU time.", value=time.process_time())
    yield GaugeMetricFamily("process_start_time_seconds", "When it started.", value=started_at.timestamp())
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield GaugeMetricFamily("process_max_fds", "How many files it may open.", value=limit)
    with suppress(OSError):  # there is no /proc where there is no Linux
        open_files = sum(1 for _ in Path("/proc/self/fd").iterdir())
        yield GaugeMetricFamily("process_open_fds", "Open files.", value=open_files)
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        resident = pages * resource.getpagesize()
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", value=resident)


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"cambwatch_{name}", documentation, value=value)


def _gauges(name: str, documentation: str, labels: tuple[str, ...], found: list[LabeledValue]) -> Metric:
    family = GaugeMetricFamily(f"cambwatch_{name}", documentation, labels=labels)
    for values, value in found:
        family.add_metric(values, value)
    return family

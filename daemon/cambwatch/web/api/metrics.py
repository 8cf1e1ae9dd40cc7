"""GET /metrics: what was counted, and how everything stands at this moment."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aiohttp import hdrs, web
from prometheus_client.metrics_core import Metric

import cambwatch
from cambwatch.adapters.metrics.counters import CONTENT_TYPE
from cambwatch.adapters.metrics.snapshot import AccountSnapshot, MetricsSnapshot, snapshot_families
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.delivery.breaker import BreakerState
from cambwatch.core.store_stats import DiskSpace, StoreStats

CACHE_TTL_S = 5.0  # for which what was read from the database and the disk is shown again, however many ask


class MetricsRenderer(Protocol):
    """What was counted as it happened."""

    def page(self, standing: Iterable[Metric]) -> bytes: ...


class AccountMetrics(Protocol):
    """How an account stands."""

    @property
    def refused(self) -> int | None: ...
    def limited(self, now_s: float) -> bool: ...
    def tokens_left(self, now_s: float) -> float: ...
    def share(self, now_s: float) -> float: ...
    def overdue_s(self, now_s: float) -> float: ...
    def paused_s(self, now_s: float) -> float: ...


class DestinationMetrics(Protocol):
    """How a destination fares."""

    @property
    def state(self) -> BreakerState: ...


class MetricsClock(Protocol):
    """The machine's clocks."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class MetricsSources:
    """Where it is looked: nothing of this changes what it looks at."""

    watching: Callable[[], int]
    accounts: Mapping[str, AccountMetrics]
    workers: Mapping[str, DestinationMetrics]
    trouble: Callable[[], str | None]
    store_stats: Callable[[], Awaitable[StoreStats]]
    disk_space: Callable[[], DiskSpace | None]  # called in a thread; None: that is another machine's
    log_lines_dropped: Callable[[], int] = lambda: 0


class MetricsEndpoint:
    """What Prometheus asks for."""

    def __init__(
        self, counted: MetricsRenderer, sources: MetricsSources, *, started_at: datetime, clock: MetricsClock
    ) -> None:
        """*started_at*: when the process started, whatever it reloads."""
        self._renderer = counted
        self._sources = sources
        self._clock = clock
        self._started_at = started_at
        self._store_stats: StoreStats | None = None
        self._disk_space: DiskSpace | None = None
        self._cached_until_s = clock.monotonic()
        self._read_lock = asyncio.Lock()

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Everything, in the text format; what cannot be read is not in it."""
        async with self._read_lock:
            if self._clock.monotonic() >= self._cached_until_s:
                await self._read()
                self._cached_until_s = self._clock.monotonic() + CACHE_TTL_S
        page = self._renderer.page(snapshot_families(self._snapshot(), now=self._clock.now()))
        return web.Response(body=page, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def _read(self) -> None:
        try:
            self._store_stats = await self._sources.store_stats()
        except StoreUnavailableError:  # what there was before is not what there is
            self._store_stats = None
        try:
            self._disk_space = await asyncio.to_thread(self._sources.disk_space)
        except OSError:
            self._disk_space = None

    def _snapshot(self) -> MetricsSnapshot:
        sources, now_s = self._sources, self._clock.monotonic()
        return MetricsSnapshot(
            version=cambwatch.__version__,
            started_at=self._started_at,
            watching=sources.watching(),
            accounts={
                name: AccountSnapshot(
                    refused=one.refused is not None,
                    limited=one.limited(now_s),
                    tokens_left=one.tokens_left(now_s),
                    share=one.share(now_s),
                    overdue_s=one.overdue_s(now_s),
                    paused_for_s=one.paused_s(now_s),
                )
                for name, one in sources.accounts.items()
            },
            breakers={name: worker.state for name, worker in sources.workers.items()},
            trouble=sources.trouble() is not None or self._store_stats is None,
            store_stats=self._store_stats,
            disk_space=self._disk_space,
            log_lines_dropped=sources.log_lines_dropped(),
        )

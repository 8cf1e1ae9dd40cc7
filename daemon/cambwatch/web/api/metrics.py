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
from cambwatch.adapters.metrics.snapshot import AccountStanding, Standing, families
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.delivery.breaker import BreakerState
from cambwatch.core.store_stats import Census, Room

FRESH_S = 5.0  # for which what was read from the database and the disk is shown again, however many ask


class Counted(Protocol):
    """What was counted as it happened."""

    def page(self, standing: Iterable[Metric]) -> bytes: ...


class AccountView(Protocol):
    """How an account stands."""

    @property
    def refused(self) -> int | None: ...
    def limited(self, now_s: float) -> bool: ...
    def left(self, now_s: float) -> float: ...
    def share(self, now_s: float) -> float: ...
    def overdue_s(self, now_s: float) -> float: ...
    def silence_s(self, now_s: float) -> float: ...


class LaneView(Protocol):
    """How a destination fares."""

    @property
    def state(self) -> BreakerState: ...


class Clock(Protocol):
    """The machine's clocks."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Subjects:
    """Where it is looked: nothing of this changes what it looks at."""

    watching: Callable[[], int]
    accounts: Mapping[str, AccountView]
    lanes: Mapping[str, LaneView]
    trouble: Callable[[], str | None]
    census: Callable[[], Awaitable[Census]]
    room: Callable[[], Room | None]  # called in a thread; None: that is another machine's
    log_lines_dropped: Callable[[], int] = lambda: 0


class MetricsEndpoint:
    """What Prometheus asks for."""

    def __init__(self, counted: Counted, subjects: Subjects, *, started_at: datetime, clock: Clock) -> None:
        """*started_at*: when the process was, whatever it reads anew."""
        self._counted = counted
        self._subjects = subjects
        self._clock = clock
        self._started_at = started_at
        self._census: Census | None = None
        self._room: Room | None = None
        self._fresh_until_s = clock.monotonic()
        self._reading = asyncio.Lock()

    async def metrics(self, _request: web.Request) -> web.StreamResponse:
        """Everything, in the text format; what cannot be read is not in it."""
        async with self._reading:
            if self._clock.monotonic() >= self._fresh_until_s:
                await self._read()
                self._fresh_until_s = self._clock.monotonic() + FRESH_S
        page = self._counted.page(families(self._standing(), now=self._clock.now()))
        return web.Response(body=page, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def _read(self) -> None:
        try:
            self._census = await self._subjects.census()
        except StoreUnavailableError:  # what there was before is not what there is
            self._census = None
        try:
            self._room = await asyncio.to_thread(self._subjects.room)
        except OSError:
            self._room = None

    def _standing(self) -> Standing:
        subjects, now_s = self._subjects, self._clock.monotonic()
        return Standing(
            version=cambwatch.__version__,
            started_at=self._started_at,
            watching=subjects.watching(),
            accounts={
                name: AccountStanding(
                    refused=one.refused is not None,
                    limited=one.limited(now_s),
                    left=one.left(now_s),
                    share=one.share(now_s),
                    overdue_s=one.overdue_s(now_s),
                    silent_s=one.silence_s(now_s),
                )
                for name, one in subjects.accounts.items()
            },
            breakers={name: lane.state for name, lane in subjects.lanes.items()},
            trouble=subjects.trouble() is not None or self._census is None,
            census=self._census,
            room=self._room,
            log_lines_dropped=subjects.log_lines_dropped(),
        )

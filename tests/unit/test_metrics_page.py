"""What stands as it stands: read when somebody asks, from the database seldom, and left out where it cannot be had."""

import asyncio
import platform
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

import cambwatch
from cambwatch.adapters.metrics.counters import Metrics
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.delivery.breaker import BreakerState
from cambwatch.core.model import Backlog, Status
from cambwatch.core.store_stats import DiskSpace, StoreStats
from cambwatch.web.api.metrics import CACHE_TTL_S, MetricsEndpoint, MetricsSources

START = datetime(2026, 11, 22, 6, tzinfo=UTC)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at_s - 1000)

    def monotonic(self) -> float:
        return self.at_s


@dataclass
class Account:
    """An account that stands as the test says."""

    refused: int | None = None
    is_limited: bool = False

    def limited(self, _now_s: float) -> bool:
        return self.is_limited

    def tokens_left(self, _now_s: float) -> float:
        return 1.5

    def share(self, _now_s: float) -> float:
        return 0.25

    def overdue_s(self, now_s: float) -> float:
        return now_s - 990

    def paused_s(self, _now_s: float) -> float:
        return 7.0


@dataclass
class Lane:
    """A destination whose breaker is in *state*."""

    state: BreakerState = BreakerState.CLOSED


@dataclass
class Subject:
    """Everything that is looked at, and how often."""

    clock: Clock = field(default_factory=Clock)
    accounts: dict[str, Account] = field(default_factory=lambda: {"default": Account()})
    workers: dict[str, Lane] = field(default_factory=lambda: {"team": Lane(), "pager": Lane(BreakerState.HALF_OPEN)})
    trouble: str | None = None
    found: StoreStats | StoreUnavailableError = field(
        default_factory=lambda: StoreStats({Status.SUCCESS: 3}, {"team": Backlog(2, START - timedelta(seconds=60))})
    )
    disk_space: DiskSpace | OSError = field(default_factory=lambda: DiskSpace(database=10, size=1000, free=300))
    censuses: int = 0
    rooms: int = 0

    def __post_init__(self) -> None:
        subjects = MetricsSources(
            watching=lambda: 5,
            accounts=self.accounts,
            workers=self.workers,
            trouble=lambda: self.trouble,
            store_stats=self.take,
            disk_space=self.look,
        )
        self.endpoint = MetricsEndpoint(Metrics(), subjects, started_at=self.clock.now(), clock=self.clock)

    async def take(self) -> StoreStats:
        self.censuses += 1
        await asyncio.sleep(0)
        if isinstance(self.found, StoreUnavailableError):
            raise self.found
        return self.found

    def look(self) -> DiskSpace:
        self.rooms += 1
        if isinstance(self.disk_space, OSError):
            raise self.disk_space
        return self.disk_space

    async def page(self) -> dict[str, dict[tuple[str, ...], float]]:
        """The samples of each name, by the values of their labels in the order of the page."""
        answer = await self.endpoint.metrics(None)
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(answer.body.decode()):
            for sample in family.samples:
                name = sample.name.removeprefix("cambwatch_")
                found.setdefault(name, {})[tuple(sample.labels.values())] = sample.value
        return found


@pytest.fixture
def subject() -> Subject:
    return Subject()


async def test_how_accounts_stand(subject: Subject) -> None:
    """Each by its name; what is refused, and whether the budget is the limit, as 1."""
    subject.accounts["b"] = Account(refused=401, is_limited=True)
    page = await subject.page()
    assert page["account_paused"] == {("default",): 0, ("b",): 1}
    assert page["account_budget_limited"] == {("default",): 0, ("b",): 1}
    assert page["account_budget_left_requests"]["b",] == 1.5
    assert page["account_budget_ratio"]["b",] == 0.25
    assert page["account_overdue_seconds"]["b",] == 10
    assert page["account_retry_after_seconds"]["b",] == 7


async def test_a_breaker_is_in_one_state(subject: Subject) -> None:
    assert (await subject.page())["breaker_state"] == {
        ("team", "closed"): 1,
        ("team", "open"): 0,
        ("team", "half_open"): 0,
        ("pager", "closed"): 0,
        ("pager", "open"): 0,
        ("pager", "half_open"): 1,
    }


async def test_tasks_are_there_with_every_status(subject: Subject) -> None:
    """Also with one that none has: a line that comes and goes is no graph."""
    page = await subject.page()
    assert page["tasks"] == {(status.value,): 3 if status is Status.SUCCESS else 0 for status in Status}
    assert page["tasks_watched"] == {(): 5}


async def test_queues_are_there_for_every_destination(subject: Subject) -> None:
    """Those that are owed nothing, as 0, and those that the configuration does not have any more."""
    subject.found = StoreStats({}, {"team": Backlog(2, START - timedelta(seconds=60)), "gone": Backlog(1, START)})
    page = await subject.page()
    assert page["deliveries_pending"] == {("team",): 2, ("pager",): 0, ("gone",): 1}
    assert page["deliveries_oldest_pending_age_seconds"] == {("team",): 60, ("pager",): 0, ("gone",): 0}


async def test_what_was_read_is_shown_again_for_a_while(subject: Subject) -> None:
    """Its age grows meanwhile; then it is read anew."""
    first = await subject.page()
    subject.clock.at_s += CACHE_TTL_S - 0.1
    again = await subject.page()
    assert (subject.censuses, subject.rooms) == (1, 1)
    assert again["deliveries_oldest_pending_age_seconds"]["team",] == pytest.approx(60 + CACHE_TTL_S - 0.1)
    assert again["tasks"] == first["tasks"]
    subject.clock.at_s += 0.1
    subject.found = StoreStats({Status.ERROR: 1}, {})
    assert (await subject.page())["tasks"]["ERROR",] == 1
    assert (subject.censuses, subject.rooms) == (2, 2)


async def test_many_that_ask_at_once_are_one_reading(subject: Subject) -> None:
    pages = await asyncio.gather(*(subject.page() for _ in range(20)))
    assert subject.censuses == 1
    assert all(page["tasks"] == pages[0]["tasks"] for page in pages)


async def test_a_database_that_cannot_be_read_leaves_the_rest(subject: Subject) -> None:
    """What was there before is not shown as if it were true still; that there is trouble is."""
    await subject.page()
    subject.clock.at_s += CACHE_TTL_S
    subject.found = StoreUnavailableError("disk I/O error", hint="look at the disk")
    page = await subject.page()
    assert page["database_trouble"] == {(): 1}
    assert not {"tasks", "deliveries_pending", "deliveries_oldest_pending_age_seconds"} & page.keys()
    assert {"tasks_watched", "breaker_state", "filesystem_free_bytes"} <= page.keys()
    subject.clock.at_s += CACHE_TTL_S
    subject.found = StoreStats({}, {})
    assert (await subject.page())["database_trouble"] == {(): 0}


async def test_a_write_that_failed_is_trouble(subject: Subject) -> None:
    subject.trouble = "database or disk is full"
    assert (await subject.page())["database_trouble"] == {(): 1}


async def test_a_file_system_that_does_not_answer_leaves_the_rest(subject: Subject) -> None:
    assert (await subject.page())["filesystem_free_bytes"] == {(): 300}
    subject.clock.at_s += CACHE_TTL_S
    subject.disk_space = OSError("stale file handle")
    page = await subject.page()
    assert not {"filesystem_free_bytes", "filesystem_size_bytes", "database_size_bytes"} & page.keys()
    assert page["database_trouble"] == {(): 0}


async def test_what_runs_is_said(subject: Subject) -> None:
    """The version, and what every process says of itself."""
    page = await subject.page()
    assert page["build_info"] == {(platform.python_version(), cambwatch.__version__): 1}
    assert page["process_start_time_seconds"] == {(): START.timestamp()}
    assert 1e6 < page["process_resident_memory_bytes"][()] < 1e10
    assert 0 < page["process_open_fds"][()] < page["process_max_fds"][()]
    assert page["process_cpu_seconds_total"][()] > 0

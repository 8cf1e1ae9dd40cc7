"""The listing of what waits: newest first over fresh and tried alike, page by page, whatever lies between."""

from datetime import timedelta

import pytest
from store_samples import NOW, all_due, conclude, record, watch

from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Attempt, Delivered, DeliveryFilter, DeliveryState, Outcome, RetryAt

WAITS = frozenset({DeliveryState.PENDING})
HOUR = timedelta(hours=1)


@pytest.fixture
async def waiting(tasks: TaskStore, deliveries: DeliveryStore) -> list[tuple[str, str]]:
    """Ends of thirty tasks, two at a time at one instant, to two destinations: fresh, tried or delivered."""
    made = await watch(tasks, *(f"t{n}" for n in range(30)))
    left = []
    for number, task in enumerate(made):
        await conclude(tasks, task, notify=("chat", "hook"), at=NOW + timedelta(seconds=number // 2))
    for name in ("chat", "hook"):
        for delivery, event in await all_due(deliveries, name, now=NOW + HOUR, limit=100):
            number = int(event.task_id[1:])
            if number % 3 == 0:  # is done with
                attempt = Attempt(1, Outcome.ACCEPTED, took_ms=1)
                assert await record(deliveries, delivery, attempt, Delivered(), now=NOW + HOUR)
                continue
            if number % 3 == 1:  # is due long after what is fresh
                attempt = Attempt(1, Outcome.TRANSIENT, took_ms=1)
                decision = RetryAt(NOW + timedelta(days=30 - number))
                assert await record(deliveries, delivery, attempt, decision, now=NOW + HOUR)
            left.append((delivery.created_at, delivery.id, name, event.task_id))
    return [(name, delivery_id) for _, delivery_id, name, _ in sorted(left, reverse=True)]


async def paged(delivery_admin: DeliveryAdmin, wanted: DeliveryFilter, limit: int) -> list[tuple[str, str]]:
    """All pages of *limit*, one behind the other."""
    found, before = [], None
    while page := await delivery_admin.page(wanted, limit=limit, before=before):
        assert len(page) <= limit
        found += [(delivery.destination, delivery.id) for delivery, _ in page]
        before = page[-1][0].created_at, page[-1][0].id
    return found


@pytest.mark.parametrize("limit", [1, 3, 7, 39, 40, 1000])
async def test_pages_of_any_size_hold_all_that_waits_in_its_order(delivery_admin, waiting, limit) -> None:
    assert len(waiting) == 40
    assert await paged(delivery_admin, DeliveryFilter(WAITS), limit) == waiting


async def test_of_one_destination_alone(delivery_admin, waiting) -> None:
    of_one = [one for one in waiting if one[0] == "hook"]
    assert await paged(delivery_admin, DeliveryFilter(WAITS, destination="hook"), 3) == of_one
    assert await paged(delivery_admin, DeliveryFilter(WAITS, destination="other"), 3) == []


async def test_of_one_task_though_it_is_not_among_the_newest(delivery_admin, waiting) -> None:
    """The limit counts what was asked for, and nothing else."""
    found = await delivery_admin.page(DeliveryFilter(WAITS, task_id="t1"), limit=2, before=None)
    assert [subject.task_id for _, subject in found] == ["t1", "t1"]
    assert await paged(delivery_admin, DeliveryFilter(WAITS, task_id="t0"), 2) == []


async def test_another_try_for_what_waits_begins_with_the_oldest(delivery_admin, waiting) -> None:
    """What is due already needs none."""
    now = NOW + 2 * HOUR
    assert (
        await delivery_admin.retry_some(DeliveryState.PENDING, destinations=["hook"], since=None, now=now, limit=4) == 4
    )
    found = await delivery_admin.page(DeliveryFilter(WAITS, destination="hook"), limit=100, before=None)
    anew = sorted(int(subject.task_id[1:]) for delivery, subject in found if delivery.budget_from == now)
    assert anew == [1, 4, 7, 10]

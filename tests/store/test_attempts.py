"""Every attempt is kept, up to a bound, together with what came of it or not at all."""

from datetime import timedelta

import pytest
from store_samples import NOW, all_due, conclude, count, nobody, owed, record, watch

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import KEPT_ATTEMPTS, LONGEST_DETAIL, DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Attempt, Delivered, Delivery, GiveUp, Outcome, PastAttempt, RetryAt, TaskKey

SECOND = timedelta(seconds=1)


@pytest.fixture
async def delivery(tasks: TaskStore) -> Delivery:
    """One that is owed to `hook`; another one is owed to `slack`."""
    (task,) = await watch(tasks, "one")
    await conclude(tasks, task, notify=("hook", "slack"), at=NOW)
    return (await owed(tasks, task))[0]


async def _kept(delivery_admin: DeliveryAdmin, delivery: Delivery) -> list[PastAttempt]:
    found = await delivery_admin.delivery(delivery.id)
    assert found is not None
    return found[2]


async def test_attempts_are_kept_in_their_order(
    deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, delivery: Delivery
) -> None:
    """With all that is known of each, how many went together too, and with no other delivery's."""
    made = [
        Attempt(1, Outcome.TRANSIENT, took_ms=15_000, detail="no complete answer within 15 s"),
        Attempt(2, Outcome.RATE_LIMITED, took_ms=12, http_status=429, detail="slow down 🐢"),
        Attempt(3, Outcome.ACCEPTED, took_ms=9, http_status=200, delivery_count=7),
    ]
    for attempt in made:
        decision = Delivered() if attempt.outcome is Outcome.ACCEPTED else RetryAt(NOW + SECOND)
        assert await record(deliveries, delivery, attempt, decision, now=NOW + attempt.number * SECOND)
    assert await _kept(delivery_admin, delivery) == [PastAttempt(NOW + one.number * SECOND, one) for one in made]
    ((other, _),) = await all_due(deliveries, "slack", now=NOW)
    assert await _kept(delivery_admin, other) == []


async def test_only_the_last_attempts_are_kept(
    deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, delivery: Delivery
) -> None:
    """A receiver that is down for days does not fill the disk."""
    last = KEPT_ATTEMPTS + 3
    for number in range(1, last + 1):
        await record(deliveries, delivery, Attempt(number, Outcome.TRANSIENT, took_ms=1), RetryAt(NOW), now=NOW)
    numbers = [past.attempt.number for past in await _kept(delivery_admin, delivery)]
    assert numbers == list(range(4, last + 1))
    assert len(numbers) == KEPT_ATTEMPTS == 50


@pytest.mark.parametrize("text", ["x" * 5000, "é" * 5000, "x" + "👩" * 5000])
async def test_an_answer_is_kept_up_to_its_bound(
    deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, delivery: Delivery, text: str
) -> None:
    """In bytes, and never half a character."""
    await record(deliveries, delivery, Attempt(1, Outcome.OURS, took_ms=1, detail=text), RetryAt(NOW), now=NOW)
    (past,) = await _kept(delivery_admin, delivery)
    kept = past.attempt.detail or ""
    assert text.startswith(kept)
    assert LONGEST_DETAIL - 4 < len(kept.encode()) <= LONGEST_DETAIL == 1024


async def test_what_is_not_recorded_is_not_kept(
    tasks: TaskStore, deliveries: DeliveryStore, database: Database, delivery: Delivery
) -> None:
    """A delivery that was closed or cancelled meanwhile stays as it is, with its attempts."""
    attempt = Attempt(1, Outcome.TRANSIENT, took_ms=1)
    assert await record(deliveries, delivery, attempt, GiveUp(), now=NOW)
    assert not await record(deliveries, delivery, Attempt(2, Outcome.ACCEPTED, took_ms=1), Delivered(), now=NOW)
    ((other, _),) = await all_due(deliveries, "slack", now=NOW)
    await tasks.remove(TaskKey("default", "dub", "one"), destinations_for_group=nobody, now=NOW)
    assert not await record(deliveries, other, attempt, Delivered(), now=NOW)
    assert await count(database, "attempts") == 1

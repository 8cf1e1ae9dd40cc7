"""What is old is forgotten in small steps, with all that goes with it; what waits for anything stays."""

from collections.abc import Collection
from datetime import timedelta

import pytest
import sqlalchemy as sa
from store_samples import NOW, all_due, conclude, count, owed, record, watch, wish

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.retention import ROWS_PER_BATCH, ROWS_PER_SCAN, PruneCursor, PruneResult, RetentionStore
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert, GroupComplete
from cambwatch.core.model import Attempt, Delivered, Delivery, GiveUp, Outcome, RetryAt, Status, TaskKey

DAY = timedelta(days=1)
KEEP = 30 * DAY
LATER = NOW + KEEP + timedelta(hours=1)  # when what ended at NOW is too old


@pytest.fixture
def retention(database: Database) -> RetentionStore:
    return RetentionStore(database)


async def prune(retention: RetentionStore, *, exclude: Collection[TaskKey] = (), now=LATER) -> tuple[int, int]:
    """All that is too old by *now*: how many tasks, and how many events without one."""
    tasks = events = 0
    since = PruneCursor()
    while since is not None:
        pruned = await retention.prune_tasks(since, before=now - KEEP, exclude=exclude)
        tasks, since = tasks + pruned.count, pruned.next
    since = PruneCursor()
    while since is not None:
        pruned = await retention.prune_events(since, before=now - KEEP)
        events, since = events + pruned.count, pruned.next
    return tasks, events


async def known(tasks: TaskStore, *task_ids: str) -> list[str]:
    """Those of *task_ids* that are known."""
    return [name for name in task_ids if await tasks.task(wish(name).key) is not None]


async def settle(deliveries: DeliveryStore, delivery: Delivery, decision, *, at=NOW) -> None:
    """One attempt, of which *decision* came."""
    attempt = Attempt(delivery.attempts + 1, Outcome.TRANSIENT, took_ms=1)
    assert await record(deliveries, delivery, attempt, decision, now=at)


async def deliver_all(deliveries: DeliveryStore, *destinations: str, at=NOW) -> None:
    """Everything that is due reaches its receiver."""
    for name in destinations:
        for delivery, _ in await all_due(deliveries, name, now=NOW + DAY, limit=10_000):
            await settle(deliveries, delivery, Delivered(), at=at)


@pytest.mark.parametrize("status", [status for status in Status if status not in {Status.PENDING, Status.REMOVED}])
async def test_what_ended_long_ago_is_forgotten_with_all_of_it(tasks, deliveries, retention, database, status) -> None:
    """The task, its event, its deliveries and their attempts; what ended a moment later stays."""
    old, young = await watch(tasks, "old", "young")
    await conclude(tasks, old, status, notify=("hook", "chat"), at=NOW)
    await deliver_all(deliveries, "hook", "chat")
    await conclude(tasks, young, status, at=LATER - KEEP)
    await deliver_all(deliveries, "hook", at=LATER - KEEP)
    assert await prune(retention) == (1, 0)
    assert await known(tasks, "old", "young") == ["young"]
    assert [await count(database, table) for table in ("tasks", "events", "deliveries", "attempts")] == [1, 1, 1, 1]


async def test_what_nobody_heard_of_is_forgotten_too(tasks, retention) -> None:
    """A task without destinations, and one that was removed."""
    quiet, removed = await watch(tasks, "quiet", "removed")
    await conclude(tasks, quiet, notify=(), at=NOW)
    await tasks.remove(removed.key, destinations_for_group=lambda _: (), now=NOW)
    assert await prune(retention) == (2, 0)


async def test_a_pending_task_is_never_forgotten(tasks, retention) -> None:
    """However old it is; nor one that is watched anew after an end long ago."""
    await watch(tasks, "waits", now=NOW - 9 * KEEP)
    (anew,) = await watch(tasks, "anew", now=NOW - 9 * KEEP)
    await conclude(tasks, anew, Status.EXPIRED, notify=(), at=NOW - 8 * KEEP)
    await watch(tasks, "anew", now=NOW - 7 * KEEP)
    assert await prune(retention) == (0, 0)
    assert await known(tasks, "waits", "anew") == ["waits", "anew"]


@pytest.mark.parametrize("tried", [False, True])
async def test_what_is_still_owed_keeps_its_task(tasks, deliveries, retention, *, tried) -> None:
    """Fresh or tried, also beside one that was delivered; as soon as it is settled, its own age counts."""
    (one,) = await watch(tasks, "one")
    await conclude(tasks, one, notify=("chat", "hook"), at=NOW)
    await deliver_all(deliveries, "chat")
    if tried:
        ((delivery, _),) = await all_due(deliveries, "hook", now=NOW)
        await settle(deliveries, delivery, RetryAt(NOW + DAY))
    assert await prune(retention, now=NOW + 9 * KEEP) == (0, 0)
    await deliver_all(deliveries, "hook", at=NOW + 9 * KEEP)
    assert await prune(retention, now=NOW + 10 * KEEP) == (0, 0)
    assert await prune(retention, now=NOW + 10 * KEEP + DAY) == (1, 0)


async def test_a_dead_delivery_can_be_tried_again_for_as_long_as_its_task_is_kept(tasks, retention, database) -> None:
    """Counted from its death, which comes days after the end; one that is given another try waits again."""
    deliveries, delivery_admin = DeliveryStore(database), DeliveryAdmin(database)
    died = NOW + 3 * DAY
    (one,) = await watch(tasks, "one")
    await conclude(tasks, one, at=NOW)
    ((delivery, _),) = await all_due(deliveries, "hook", now=NOW)
    await settle(deliveries, delivery, GiveUp(), at=died)
    assert await prune(retention, now=died + KEEP) == (0, 0)
    assert await delivery_admin.retry(delivery.id, now=died + KEEP)
    assert await prune(retention, now=died + 9 * KEEP) == (0, 0)
    ((delivery, _),) = await all_due(deliveries, "hook", now=died + 9 * KEEP)
    await settle(deliveries, delivery, GiveUp(), at=died + 9 * KEEP)
    assert await prune(retention, now=died + 10 * KEEP + DAY) == (1, 0)
    assert await count(database, "attempts") == 0


async def test_what_is_to_be_spared_is_spared(tasks, retention) -> None:
    """Tasks of the configuration: the next start would take them for new, and tell their ends again."""
    one, two = await watch(tasks, "one", "two")
    for task in (one, two):
        await conclude(tasks, task, notify=(), at=NOW)
    assert await prune(retention, exclude={one.key}) == (1, 0)
    assert await known(tasks, "one", "two") == ["one"]


async def test_a_group_counts_all_its_tasks_when_the_last_one_ends(tasks, deliveries, retention) -> None:
    """Those that ended long before stay until then."""
    told: list[GroupComplete] = []

    def hear(event: GroupComplete) -> list[str]:
        told.append(event)
        return ["hook"]

    first, last = await watch(tasks, "first", "last", group="g")
    (other,) = await watch(tasks, "other", group="h")
    await conclude(tasks, first, notify=(), destinations_for_group=hear, at=NOW)
    await conclude(tasks, other, notify=(), at=NOW)
    assert await prune(retention) == (1, 1)
    await conclude(tasks, last, Status.ERROR, notify=(), destinations_for_group=hear, at=LATER)
    assert [(event.tasks, event.counts) for event in told] == [(2, {"SUCCESS": 1, "ERROR": 1})]
    assert await prune(retention, now=LATER + DAY) == (1, 0)


async def test_a_group_is_told_once_for_as_long_as_anything_of_it_is_known(
    tasks, deliveries, retention, database
) -> None:
    """Afterwards its name is that of a new one, whose event has an id of its own."""
    ids = []

    async def complete(name: str, at) -> None:
        (task,) = await watch(tasks, name, group="g", now=at)
        await conclude(tasks, task, notify=(), destinations_for_group=lambda _: ["hook"], at=at)
        due = await all_due(deliveries, "hook", now=at)
        ids.append([delivery.id for delivery, _ in due])
        for delivery, _ in due:
            await settle(deliveries, delivery, Delivered(), at=at)

    await complete("one", NOW)
    await complete("two", NOW + 20 * DAY)
    assert await prune(retention, now=NOW + 40 * DAY) == (1, 0)  # of the group one task is left, and so is its event
    await complete("three", NOW + 41 * DAY)
    assert await prune(retention, now=NOW + 80 * DAY) == (2, 1)
    assert await count(database, "events") == 0
    await complete("four", NOW + 81 * DAY)
    (first,), none, nor_then, (again,) = ids
    assert (none, nor_then) == ([], [])
    assert again != first


async def test_a_group_whose_event_is_owed_keeps_it(tasks, deliveries, retention, database) -> None:
    """Its tasks are not needed for that."""
    (one,) = await watch(tasks, "one", group="g")
    await conclude(tasks, one, notify=(), destinations_for_group=lambda _: ["hook"], at=NOW)
    assert await prune(retention) == (1, 0)
    assert len(await all_due(deliveries, "hook", now=LATER)) == 1
    await deliver_all(deliveries, "hook", at=LATER)
    assert await prune(retention, now=LATER + KEEP) == (0, 0)
    assert await prune(retention, now=LATER + KEEP + DAY) == (0, 1)
    assert await count(database, "deliveries") == 0


async def test_what_was_told_of_destinations_is_forgotten(deliveries, retention, database) -> None:
    """As soon as it is delivered and old."""
    alert = DestinationAlert("hook", NOW, NOW, recovered=False, waiting=1, outcome=Outcome.AUTH)
    await deliveries.record_breaker_change(BreakerChange("hook", Breaker(), alert, alert_destination="chat"), now=NOW)
    assert await prune(retention) == (0, 0)
    await deliver_all(deliveries, "chat")
    assert await prune(retention) == (0, 1)
    assert await count(database, "events") == 0


async def test_a_task_that_is_registered_anew_is_told_under_a_new_id(tasks, deliveries, retention) -> None:
    """Receivers drop an id that they know, and this is another end."""
    ids = set()
    for at in (NOW, LATER):
        (task,) = await watch(tasks, "one", now=at)
        assert task.registrations == 1
        await conclude(tasks, task, at=at)
        (delivery,) = await owed(tasks, task)
        ids.add(delivery.id)
        await deliver_all(deliveries, "hook", at=at)
        await prune(retention, now=at + KEEP + DAY)
    assert len(ids) == 2


async def test_a_step_is_small(tasks, retention, database) -> None:
    """However many are old, and however much goes with each; the next one goes on behind it."""
    many = await watch(tasks, *(f"t{n}" for n in range(2 * ROWS_PER_SCAN)))
    for number, task in enumerate(many):
        await conclude(tasks, task, notify=[f"d{n}" for n in range(8)], at=NOW + timedelta(seconds=number))
    await _settle_all(database, attempts=3)
    rows, steps = await _rows(database), []
    since = PruneCursor()
    while since is not None:
        pruned = await retention.prune_tasks(since, before=LATER, exclude=())
        left = await _rows(database)
        steps.append(rows - left)
        rows, since = left, pruned.next
    assert rows == 0
    assert max(steps) <= ROWS_PER_BATCH


async def test_one_that_is_larger_than_a_step_goes_by_itself(tasks, retention, database) -> None:
    """Otherwise nothing behind it would ever be forgotten."""
    large, small = await watch(tasks, "large", "small")
    await conclude(tasks, large, notify=[f"d{n}" for n in range(2 * ROWS_PER_BATCH)], at=NOW)
    await conclude(tasks, small, at=NOW + timedelta(seconds=1))
    await _settle_all(database, attempts=0)
    first = await retention.prune_tasks(PruneCursor(), before=LATER, exclude=())
    assert first.count == 1
    assert await known(tasks, "large", "small") == ["small"]
    assert await retention.prune_tasks(first.next, before=LATER, exclude=()) == PruneResult(1, None)


async def test_what_is_kept_does_not_hide_what_is_behind_it(tasks, retention) -> None:
    """Nor is more of it looked at in one step; at the same instant they go by their number."""
    kept = await watch(tasks, *(f"kept{n}" for n in range(2 * ROWS_PER_SCAN)))
    (behind,) = await watch(tasks, "behind")
    for task in kept:
        await conclude(tasks, task, notify=["hook"], at=NOW)
    await conclude(tasks, behind, notify=(), at=NOW)
    since, counts = PruneCursor(), []
    while since is not None:
        pruned = await retention.prune_tasks(since, before=LATER, exclude=())
        counts.append(pruned.count)
        since = pruned.next
    assert counts == [0, 0, 1]


async def _settle_all(database: Database, *, attempts: int) -> None:
    """Every delivery was delivered at NOW, by so many attempts."""

    def work(connection: sa.Connection) -> None:
        connection.execute(
            sa.text(
                "UPDATE deliveries SET state = 'delivered', next_attempt_at = NULL, finished_at = created_at,"
                " attempts = :attempts"
            ),
            {"attempts": attempts},
        )
        for number in range(attempts):
            connection.execute(
                sa.text(
                    "INSERT INTO attempts (delivery_id, number, outcome, took_ms, at)"
                    " SELECT id, :number, 'transient', 1, 1 FROM deliveries"
                ),
                {"number": number + 1},
            )

    await database.write(work)


async def _rows(database: Database) -> int:
    return sum([await count(database, table) for table in ("tasks", "events", "deliveries", "attempts")])

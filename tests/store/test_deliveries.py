"""What is due to whom and when, and what came of it."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import pytest
from store_samples import NOW, all_due, conclude, nobody, owed, record, watch

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import PendingDelivery
from cambwatch.core.model import (
    Attempt,
    Delivered,
    Delivery,
    DeliveryDecision,
    DeliveryState,
    GiveUp,
    Outcome,
    RetryAt,
    Task,
)

LATER = NOW + timedelta(hours=1)
MOMENT = timedelta(microseconds=1)
REFUSED = Attempt(1, Outcome.TRANSIENT, took_ms=12, http_status=503, detail="busy")


async def _ended(tasks: TaskStore, minutes: Iterable[int], destination: str = "hook") -> list[Task]:
    """Tasks that ended so many minutes after NOW, each owed to *destination*."""
    found = await watch(tasks, *(f"{destination} {minute}" for minute in minutes))
    for task, minute in zip(found, minutes, strict=True):
        await conclude(tasks, task, notify=(destination,), at=NOW + timedelta(minutes=minute))
    return found


def _names(due: Sequence[PendingDelivery]) -> list[str]:
    return [event.task_id for _, event in due]


async def test_what_is_due_longest_comes_first(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """Whatever the order in which it came to be owed."""
    await _ended(tasks, [3, 1, 2, 0])
    due = await all_due(deliveries, "hook", now=LATER)
    assert _names(due) == ["hook 0", "hook 1", "hook 2", "hook 3"]
    assert [delivery.next_attempt_at for delivery, _ in due] == [NOW + timedelta(minutes=n) for n in range(4)]


async def test_due_is_what_is_owed_by_now(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """To the microsecond."""
    await _ended(tasks, [1, 2])
    second = NOW + timedelta(minutes=2)
    assert _names(await all_due(deliveries, "hook", now=second - MOMENT)) == ["hook 1"]
    assert _names(await all_due(deliveries, "hook", now=second)) == ["hook 1", "hook 2"]
    assert await all_due(deliveries, "hook", now=NOW) == []


async def test_due_is_to_one_destination(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """What others are owed is none of its business."""
    await _ended(tasks, [1], "hook")
    await _ended(tasks, [2], "slack")
    assert _names(await all_due(deliveries, "slack", now=LATER)) == ["slack 2"]
    assert await all_due(deliveries, "Slack", now=LATER) == []


async def test_due_fills_its_limit_besides_what_is_under_way(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """Those that are left out take nobody's place."""
    await _ended(tasks, range(6))
    every = await all_due(deliveries, "hook", now=LATER)
    under_way = {delivery.id for delivery, _ in every[:3]}
    assert await all_due(deliveries, "hook", now=LATER, limit=2, exclude=()) == every[:2]
    assert await all_due(deliveries, "hook", now=LATER, limit=2, exclude=under_way) == every[3:5]
    assert await all_due(deliveries, "hook", now=LATER, exclude={"msg_unknown"}) == every
    assert await all_due(deliveries, "hook", now=LATER, limit=2, exclude={"msg_unknown"}) == every[:2]


async def test_the_next_is_due_after_what_is_due(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """None when nothing else waits for this destination."""
    await _ended(tasks, [1, 2])
    await _ended(tasks, [3], "slack")
    first, second = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    for now, next_due_at in ((NOW, first), (first - MOMENT, first), (first, second), (second, None)):
        assert (await deliveries.due("hook", now=now, fresh=9, repeated=9, exclude=())).next_due_at == next_due_at
    assert (await deliveries.due("pager", now=NOW, fresh=9, repeated=9, exclude=())).next_due_at is None


@pytest.mark.parametrize(
    ("decision", "state", "next_attempt_at", "finished_at"),
    [
        (Delivered(), DeliveryState.DELIVERED, None, LATER),
        (GiveUp(), DeliveryState.DEAD, None, LATER),
        (RetryAt(LATER + MOMENT), DeliveryState.PENDING, LATER + MOMENT, None),
    ],
)
async def test_what_came_of_an_attempt_is_written_down(
    tasks: TaskStore,
    deliveries: DeliveryStore,
    decision: DeliveryDecision,
    state: DeliveryState,
    next_attempt_at: datetime | None,
    finished_at: datetime | None,
) -> None:
    """With the state that the verdict means, and the time when it is due again."""
    task, other = await _ended(tasks, [0, 1])
    (delivery,) = await owed(tasks, task)
    assert await record(deliveries, delivery, REFUSED, decision, now=LATER)
    (found,) = await owed(tasks, task)
    assert found == Delivery(
        id=delivery.id,
        event_id=delivery.event_id,
        destination="hook",
        state=state,
        attempts=1,
        created_at=NOW,
        next_attempt_at=next_attempt_at,
        finished_at=finished_at,
        outcome=Outcome.TRANSIENT,
        http_status=503,
        detail="busy",
    )
    (untouched,) = await owed(tasks, other)
    assert untouched.attempts == 0


@pytest.mark.parametrize("outcome", Outcome)
async def test_every_outcome_has_its_place(tasks: TaskStore, deliveries: DeliveryStore, outcome: Outcome) -> None:
    """Without an answer there is no HTTP status."""
    (task,) = await _ended(tasks, [0])
    (delivery,) = await owed(tasks, task)
    assert await record(deliveries, delivery, Attempt(3, outcome, took_ms=1, detail="💥"), RetryAt(LATER), now=NOW)
    (found,) = await owed(tasks, task)
    assert (found.attempts, found.outcome, found.http_status, found.detail) == (3, outcome, None, "💥")


@pytest.mark.parametrize("closing", [Delivered(), GiveUp()])
@pytest.mark.parametrize("late", [Delivered(), GiveUp(), RetryAt(LATER)])
async def test_what_is_closed_stays_closed(
    tasks: TaskStore, deliveries: DeliveryStore, closing: DeliveryDecision, late: DeliveryDecision
) -> None:
    """A late answer changes nothing."""
    (task,) = await _ended(tasks, [0])
    (delivery,) = await owed(tasks, task)
    assert await record(deliveries, delivery, REFUSED, closing, now=NOW)
    closed = await owed(tasks, task)
    assert not await record(deliveries, delivery, Attempt(2, Outcome.ACCEPTED, took_ms=1), late, now=LATER)
    assert await owed(tasks, task) == closed
    assert await all_due(deliveries, "hook", now=LATER) == []


async def test_what_was_cancelled_under_way_stays_cancelled(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """Its POST could not be called back, but nothing follows from it."""
    (task,) = await _ended(tasks, [0])
    (delivery,) = await owed(tasks, task)
    await tasks.remove(task.key, destinations_for_group=nobody, now=NOW)
    assert not await record(deliveries, delivery, REFUSED, RetryAt(LATER), now=LATER)
    (found,) = await owed(tasks, task)
    assert (found.state, found.attempts, found.finished_at) == (DeliveryState.CANCELLED, 0, NOW)
    assert await deliveries.pending_counts() == {}


async def test_a_delivery_that_is_not_there_is_not_recorded(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """It may have been swept away."""
    ghost = Delivery("msg_0", 1, "hook", DeliveryState.PENDING, 0, NOW, NOW)
    assert not await record(deliveries, ghost, REFUSED, Delivered(), now=NOW)


async def test_a_retry_takes_its_new_place(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """Behind what is due before it."""
    for task, minute in zip(await _ended(tasks, [1, 2]), (3, 2), strict=True):
        (delivery,) = await owed(tasks, task)
        await record(deliveries, delivery, REFUSED, RetryAt(NOW + timedelta(minutes=minute)), now=NOW)
    assert _names(await all_due(deliveries, "hook", now=LATER)) == ["hook 2", "hook 1"]
    due = await deliveries.due("hook", now=NOW + timedelta(minutes=2), fresh=9, repeated=9, exclude=())
    assert (_names(due.repeated), due.next_due_at) == (["hook 2"], NOW + timedelta(minutes=3))


async def test_waiting_counts_what_is_owed(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """To each destination that is owed anything, due or not; what is closed is not waited for."""
    assert await deliveries.pending_counts() == {}
    first, second, _ = await _ended(tasks, [0, 1, 2])
    await _ended(tasks, [0], "slack")
    for task, decision in ((first, Delivered()), (second, RetryAt(LATER))):
        (delivery,) = await owed(tasks, task)
        await record(deliveries, delivery, REFUSED, decision, now=NOW)
    assert await deliveries.pending_counts() == {"hook": 2, "slack": 1}


async def test_an_event_that_cannot_be_read_keeps_back_nothing(
    tasks: TaskStore, deliveries: DeliveryStore, database: Database
) -> None:
    """As after a step back to an older version: it stays owed, and what is due behind it goes out."""
    for name in ("odd", "plain"):
        (task,) = await watch(tasks, name)
        await conclude(tasks, task)
    await database.write(
        lambda connection: connection.exec_driver_sql("""UPDATE events SET document = '{"type": "?"}' WHERE id = 1""")
    )

    due = await all_due(deliveries, "hook", now=NOW + timedelta(hours=1))

    assert _names(due) == ["plain"]
    assert (await deliveries.pending_counts()) == {"hook": 2}

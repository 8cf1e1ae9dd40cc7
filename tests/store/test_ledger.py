"""Deliveries as people look for them, and as they have them tried again."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from store_samples import NOW, all_due, conclude, nobody, not_before, owed, record, watch

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert
from cambwatch.core.model import (
    Attempt,
    Backlog,
    Delivered,
    Delivery,
    DeliveryDecision,
    DeliveryFilter,
    DeliveryState,
    DeliverySubject,
    GiveUp,
    Outcome,
    RetryAt,
    Status,
)

MINUTE = timedelta(minutes=1)
LATER = NOW + timedelta(days=9)
REFUSED = Attempt(1, Outcome.AUTH, took_ms=3, http_status=403, detail="no")
ALL = DeliveryFilter()
DEAD, PENDING = DeliveryState.DEAD, DeliveryState.PENDING


async def _owed(
    tasks: TaskStore, deliveries: DeliveryStore, name: str, decision: DeliveryDecision | None = None, *, minute: int = 0
) -> Delivery:
    """A delivery to `hook` of the end of the task *name*, created at *minute*, tried once if there is a *decision*."""
    (task,) = await watch(tasks, name)
    await conclude(tasks, task, at=NOW + minute * MINUTE)
    (delivery,) = await owed(tasks, task)
    if decision is not None:
        assert await record(deliveries, delivery, REFUSED, decision, now=NOW + minute * MINUTE)
    return delivery


async def _walk(delivery_admin: DeliveryAdmin, wanted: DeliveryFilter, limit: int) -> list[str]:
    found: list[str] = []
    before: tuple[datetime, str] | None = None
    while page := await delivery_admin.page(wanted, limit=limit, before=before):
        assert len(page) <= limit
        found += [delivery.id for delivery, _ in page]
        before = (page[-1][0].created_at, page[-1][0].id)
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_lead_through_all_newest_first(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, limit: int
) -> None:
    """Without gap or repeat, also through those of the same instant."""
    made = [await _owed(tasks, deliveries, f"t{n}", minute=n // 4) for n in range(9)]
    newest_first = sorted(made, key=lambda one: (one.created_at, one.id), reverse=True)
    assert await _walk(delivery_admin, ALL, limit) == [one.id for one in newest_first]


async def test_filters_hold_together(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin
) -> None:
    """By state, destination and task_id."""
    verdicts = {"done": Delivered(), "dead": GiveUp(), "later": RetryAt(LATER), "new": None}
    ids = {
        name: (await _owed(tasks, deliveries, name, decision, minute=minute)).id
        for minute, (name, decision) in enumerate(verdicts.items())
    }
    both = await watch(tasks, "both")
    await conclude(tasks, both[0], notify=("hook", "slack"), at=NOW + 9 * MINUTE)
    hook, slack = [one.id for one in await owed(tasks, both[0])]
    for wanted, found in (
        (DeliveryFilter(states=frozenset({DEAD})), [ids["dead"]]),
        (DeliveryFilter(states=frozenset({DeliveryState.DELIVERED, DEAD})), [ids["dead"], ids["done"]]),
        (DeliveryFilter(destination="slack"), [slack]),
        (DeliveryFilter(destination="hook", task_id="both"), [hook]),
        (DeliveryFilter(destination="hook", states=frozenset({PENDING})), [hook, ids["new"], ids["later"]]),
        (DeliveryFilter(task_id="BOTH"), []),
        (DeliveryFilter(states=frozenset({DeliveryState.CANCELLED})), []),
    ):
        assert await _walk(delivery_admin, wanted, 2) == found


async def test_a_delivery_says_what_it_is_about(tasks: TaskStore, delivery_admin: DeliveryAdmin) -> None:
    """A task, or a group."""
    (task,) = await watch(tasks, "1", name='Größe "1" 👩', group="123")

    def hook(_event: object) -> Sequence[str]:
        return ("hook",)

    await conclude(tasks, task, Status.PAYMENT_REQUIRED, destinations_for_group=hook)
    found = {
        subject.event_type: (delivery, subject)
        for delivery, subject in await delivery_admin.page(ALL, limit=9, before=None)
    }
    assert {key: subject for key, (_, subject) in found.items()} == {
        "camb.task.payment_required": DeliverySubject(
            "camb.task.payment_required", "default", "dub", "1", 'Größe "1" 👩', "123"
        ),
        "camb.group.complete": DeliverySubject("camb.group.complete", group="123"),
    }
    for delivery, subject in found.values():
        assert await delivery_admin.delivery(delivery.id) == (delivery, subject, [])
    assert await delivery_admin.delivery("msg_unknown") is None


@pytest.mark.parametrize(("recovered", "word"), [(False, "down"), (True, "recovered")])
async def test_an_alert_is_about_a_destination(
    deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, *, recovered: bool, word: str
) -> None:
    """And goes to another."""
    alert = DestinationAlert('Büro "1"', NOW, LATER, recovered=recovered, waiting=0, outcome=Outcome.AUTH)
    await deliveries.record_breaker_change(
        BreakerChange(alert.destination, Breaker(), alert=alert, alert_destination="hook"), now=LATER
    )
    ((delivery, subject),) = await delivery_admin.page(ALL, limit=9, before=None)
    assert subject == DeliverySubject(f"cambwatch.destination.{word}", about_destination='Büro "1"')
    assert delivery.destination == "hook"
    assert await delivery_admin.delivery(delivery.id) == (delivery, subject, [])


async def test_an_event_that_cannot_be_read_is_listed_all_the_same(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, database: Database
) -> None:
    """As after a step back to an older version: it does not keep the others from being shown."""
    odd = await _owed(tasks, deliveries, "odd")
    plain = await _owed(tasks, deliveries, "plain", minute=1)
    await database.write(
        lambda connection: connection.exec_driver_sql("""UPDATE events SET document = '{"type": "?"}' WHERE id = 1""")
    )
    found = await delivery_admin.page(ALL, limit=9, before=None)
    assert [(one.id, subject.event_type) for one, subject in found] == [
        (plain.id, "camb.task.success"),
        (odd.id, "unknown"),
    ]


async def test_a_backlog_has_a_size_and_an_age(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin
) -> None:
    """Of what waits, due or not; what is closed does not wait."""
    assert await delivery_admin.backlogs() == {}
    await _owed(tasks, deliveries, "dead", GiveUp())
    await _owed(tasks, deliveries, "later", RetryAt(LATER), minute=1)
    await _owed(tasks, deliveries, "new", minute=2)
    assert await delivery_admin.backlogs() == {"hook": Backlog(2, NOW + MINUTE)}
    await _owed(tasks, deliveries, "older", minute=-1)
    assert await delivery_admin.backlogs() == {"hook": Backlog(3, NOW - MINUTE)}


@pytest.mark.parametrize("decision", [GiveUp(), RetryAt(LATER, not_before=LATER, uncharged=MINUTE)])
async def test_another_try_is_due_now_with_a_fresh_budget(
    tasks: TaskStore,
    deliveries: DeliveryStore,
    delivery_admin: DeliveryAdmin,
    database: Database,
    decision: DeliveryDecision,
) -> None:
    """Under its old id, with its attempts; what was refused before is not held against it."""
    before = await _owed(tasks, deliveries, "one", decision)
    now = NOW + MINUTE
    assert await delivery_admin.retry(before.id, now=now)
    ((again, event),) = await all_due(deliveries, "hook", now=now)
    assert event.task_id == "one"
    assert await not_before(database, again) is None
    assert again == Delivery(before.id, before.event_id, "hook", PENDING, 1, NOW, now, budget_from=now)
    _, _, (kept,) = await delivery_admin.delivery(before.id) or (None, None, ())
    assert kept.attempt == REFUSED
    assert await record(deliveries, again, Attempt(2, Outcome.ACCEPTED, took_ms=1), Delivered(), now=now)


async def test_what_was_delivered_or_cancelled_is_not_tried_again(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin
) -> None:
    """There is no way out of either."""
    done = await _owed(tasks, deliveries, "done", Delivered())
    gone = await _owed(tasks, deliveries, "gone")
    (task,) = await watch(tasks, "gone")
    await tasks.remove(task.key, destinations_for_group=nobody, now=NOW)
    before = await delivery_admin.page(ALL, limit=9, before=None)
    for delivery_id in (done.id, gone.id, "msg_unknown"):
        assert not await delivery_admin.retry(delivery_id, now=LATER)
    for state in (DEAD, PENDING):
        assert await delivery_admin.retry_some(state, destinations=["hook"], since=None, now=LATER) == 0
    assert await delivery_admin.page(ALL, limit=9, before=None) == before
    with pytest.raises(ValueError, match="delivered"):
        await delivery_admin.retry_some(DeliveryState.DELIVERED, destinations=["hook"], since=None, now=LATER)


async def test_many_are_tried_again_step_by_step(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin
) -> None:
    """Oldest first, each once: the call goes on where the last one stopped, whatever fails again meanwhile."""
    made = [await _owed(tasks, deliveries, f"t{n}", GiveUp(), minute=n) for n in range(5)]
    queued = [await delivery_admin.retry_some(DEAD, destinations=["hook"], since=None, now=LATER, limit=2)]
    due = await all_due(deliveries, "hook", now=LATER)
    assert {delivery.id for delivery, _ in due} == {one.id for one in made[:2]}
    for delivery, _ in due:  # dead at once
        await record(deliveries, delivery, Attempt(2, Outcome.AUTH, took_ms=1), GiveUp(), now=LATER)
    queued += [
        await delivery_admin.retry_some(DEAD, destinations=["hook"], since=None, now=LATER, limit=2) for _ in range(3)
    ]
    assert queued == [2, 2, 1, 0]
    assert await delivery_admin.retry_some(DEAD, destinations=["hook"], since=None, now=LATER + MINUTE) == 2


async def test_many_are_chosen_by_state_destination_and_time(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, database: Database
) -> None:
    """What nobody asked for stays as it is."""
    dead = [await _owed(tasks, deliveries, f"t{n}", GiveUp(), minute=n) for n in range(3)]
    later = await _owed(tasks, deliveries, "later", RetryAt(LATER + MINUTE, LATER + MINUTE, MINUTE), minute=3)
    due = await _owed(tasks, deliveries, "due", minute=4)
    assert await delivery_admin.retry_some(DEAD, destinations=["slack"], since=None, now=LATER) == 0
    assert await delivery_admin.retry_some(DEAD, destinations=[], since=None, now=LATER) == 0
    assert await delivery_admin.retry_some(DEAD, destinations=["slack", "hook"], since=NOW + 2 * MINUTE, now=LATER) == 1
    assert await delivery_admin.retry_some(PENDING, destinations=["hook"], since=None, now=LATER) == 1
    found = {one.id: one for one, _ in await delivery_admin.page(ALL, limit=9, before=None)}
    assert [found[one.id].state for one in dead] == [DEAD, DEAD, PENDING]
    assert (found[later.id].next_attempt_at, found[later.id].budget_from) == (LATER, LATER)
    assert (found[later.id].uncharged, await not_before(database, later)) == (timedelta(0), None)
    assert found[due.id] == due

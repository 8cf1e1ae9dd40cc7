"""How destinations fare: written down with the attempts that show it and the alert that is owed."""

import asyncio
import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from store_samples import (
    ENVIRONMENT,
    NOW,
    all_due,
    broken,
    conclude,
    count,
    instants,
    not_before,
    on_one_database,
    owed,
    record,
    texts,
    watch,
)

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import AttemptRecord, BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert
from cambwatch.core.model import Attempt, Delivered, Delivery, DeliveryFilter, DeliveryState, Outcome, RetryAt

MINUTE = timedelta(minutes=1)
LATER = NOW + timedelta(hours=1)
REFUSED = Attempt(1, Outcome.TRANSIENT, took_ms=12, http_status=503)
DOWN = Breaker(
    open=True,
    failures=5,
    rate_limits=2,
    probes=3,
    failing_since=NOW,
    outcome=Outcome.TRANSIENT,
    http_status=503,
    probe_at=NOW + MINUTE,
    paused_until=NOW + 2 * MINUTE,
    alerted=True,
)
ALERT = DestinationAlert("hook", NOW, LATER, recovered=False, waiting=0, outcome=Outcome.TRANSIENT, http_status=503)
KILLS = 6

numbers = st.integers(0, 2**31 - 1)
breakers = st.builds(
    Breaker,
    open=st.booleans(),
    failures=numbers,
    rate_limits=numbers,
    probes=numbers,
    failing_since=st.none() | instants,
    outcome=st.none() | st.sampled_from(Outcome),
    http_status=st.none() | st.integers(100, 599),
    probe_at=st.none() | instants,
    paused_until=st.none() | instants,
    alerted=st.booleans(),
)


async def _delivery(
    tasks: TaskStore,
    deliveries: DeliveryStore,
    name: str,
    decision: RetryAt | None = None,
    *,
    destination: str = "hook",
) -> Delivery:
    """One of the end of the task *name*, owed since NOW, tried once if there is a *decision*."""
    (task,) = await watch(tasks, name)
    await conclude(tasks, task, notify=(destination,), at=NOW)
    (delivery,) = await owed(tasks, task)
    if decision is not None:
        assert await record(deliveries, delivery, REFUSED, decision, now=NOW)
    return delivery


async def _due_at(delivery_admin: DeliveryAdmin) -> dict[str, object]:
    """When each delivery is due, by the name of its task."""
    return {
        subject.task_id: delivery.next_attempt_at
        for delivery, subject in await delivery_admin.page(DeliveryFilter(), limit=99, before=None)
    }


@on_one_database
@given(breaker=breakers, name=texts)
async def test_a_breaker_comes_back_as_it_was(deliveries: DeliveryStore, breaker: Breaker, name: str) -> None:
    """Of any destination, to the microsecond; one that fares well has no row."""
    await deliveries.record_breaker_change(BreakerChange(name, breaker), now=NOW)
    assert (await deliveries.breakers()).get(name) == (None if breaker == Breaker() else breaker)
    await deliveries.record_breaker_change(BreakerChange(name, Breaker()), now=NOW)
    assert name not in await deliveries.breakers()


async def test_a_breaker_is_there_after_a_restart(path: Path) -> None:
    """Word for word, each under its own name."""
    limited = Breaker(
        rate_limits=1, failing_since=NOW, outcome=Outcome.RATE_LIMITED, http_status=429, paused_until=LATER
    )
    async with SqliteDatabase(path) as database:
        await DeliveryStore(database).record_breaker_change(BreakerChange("hook", DOWN), now=NOW)
        await DeliveryStore(database).record_breaker_change(BreakerChange("chat", limited), now=NOW)
    async with SqliteDatabase(path) as database:
        assert await DeliveryStore(database).breakers() == {"hook": DOWN, "chat": limited}


async def test_what_fares_well_leaves_no_row(deliveries: DeliveryStore, database: Database) -> None:
    """Also where there was one; the others keep theirs."""
    assert await deliveries.breakers() == {}
    await deliveries.record_breaker_change(BreakerChange("hook", Breaker()), now=NOW)
    assert await count(database, "destinations") == 0
    for name in ("hook", "chat"):
        await deliveries.record_breaker_change(BreakerChange(name, DOWN), now=NOW)
    await deliveries.record_breaker_change(BreakerChange("hook", Breaker()), now=NOW)
    assert await deliveries.breakers() == {"chat": DOWN}


async def test_a_turn_is_written_with_its_attempts(
    tasks: TaskStore, deliveries: DeliveryStore, database: Database
) -> None:
    """Or neither is, whichever of the two cannot be."""
    delivery = await _delivery(tasks, deliveries, "one")
    tried = [AttemptRecord(delivery, REFUSED, RetryAt(LATER))]
    for table in ("destinations", "attempts"):
        async with broken(database, table):
            with pytest.raises(IntegrityError, match="broken"):
                await deliveries.record(tried, BreakerChange("hook", DOWN), now=NOW)
        assert await deliveries.breakers() == {}
        assert await count(database, "attempts") == 0
        assert [found for found, _ in await all_due(deliveries, "hook", now=NOW)] == [delivery]
    assert await deliveries.record(tried, BreakerChange("hook", DOWN), now=NOW) == 1
    assert await deliveries.breakers() == {"hook": DOWN}
    assert await count(database, "attempts") == 1


async def test_a_turn_counts_also_when_its_delivery_was_closed_meanwhile(
    tasks: TaskStore, deliveries: DeliveryStore
) -> None:
    """What an answer says about the receiver is true of it all the same."""
    delivery = await _delivery(tasks, deliveries, "one")
    await record(deliveries, delivery, REFUSED, Delivered(), now=NOW)
    late = AttemptRecord(delivery, REFUSED, RetryAt(LATER))
    assert await deliveries.record([late], BreakerChange("hook", DOWN), now=NOW) == 0
    assert await deliveries.breakers() == {"hook": DOWN}


def _said_until_killed(path: Path, after: int) -> int:
    """The last attempt that a process said was written down, which is killed *after* so many."""
    program = [sys.executable, str(Path(__file__).with_name("killed_recorder.py")), str(path)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(after)]
        process.kill()
        return int((said + process.stdout.readlines())[-1])


async def test_a_kill_leaves_an_attempt_with_its_turn_or_neither(path: Path) -> None:
    """Many times, on one and the same file."""
    async with SqliteDatabase(path) as database:
        await _delivery(TaskStore(database), DeliveryStore(database), "one")
    dice = random.Random(1)
    for _ in range(KILLS):
        said = await asyncio.to_thread(_said_until_killed, path, dice.randint(1, 40))
        async with SqliteDatabase(path) as database:
            deliveries = DeliveryStore(database)
            ((delivery, _),) = await all_due(deliveries, "hook", now=NOW)
            kept = await database.read(
                lambda connection: connection.exec_driver_sql("SELECT max(number) FROM attempts").scalar_one()
            )
            assert delivery.attempts == kept == (await deliveries.breakers())["hook"].failures >= said


async def test_an_alert_is_owed_to_the_one_who_hears_and_says_what_waits(
    tasks: TaskStore, deliveries: DeliveryStore
) -> None:
    """Tried or not, due or not; what is closed does not wait, what others are owed neither."""
    await _delivery(tasks, deliveries, "fresh")
    await _delivery(tasks, deliveries, "later", RetryAt(LATER + MINUTE))
    await _delivery(tasks, deliveries, "other", destination="pager")
    last = await _delivery(tasks, deliveries, "last")
    breaker_change = BreakerChange("hook", DOWN, alert=ALERT, alert_destination="chat")
    assert await deliveries.record([AttemptRecord(last, REFUSED, Delivered())], breaker_change, now=LATER) == 1
    ((delivery, alerted),) = await all_due(deliveries, "chat", now=LATER)
    assert (delivery.attempts, delivery.created_at, delivery.next_attempt_at) == (0, LATER, LATER)
    assert alerted == DestinationAlert("hook", NOW, LATER, False, 2, Outcome.TRANSIENT, 503)
    assert await all_due(deliveries, "chat", now=LATER - MINUTE) == []
    assert await deliveries.pending_counts() == {"hook": 2, "pager": 1, "chat": 1}


async def test_an_alert_is_owed_once(deliveries: DeliveryStore, database: Database) -> None:
    """However often it is said; that it is over is another, and so is the next time."""
    for _ in range(3):
        await deliveries.record_breaker_change(
            BreakerChange("hook", DOWN, alert=ALERT, alert_destination="chat"), now=LATER
        )
        await deliveries.record_breaker_change(
            BreakerChange("hook", DOWN, alert=ALERT, alert_destination="pager"), now=LATER + MINUTE
        )
    assert await deliveries.breakers() == {"hook": DOWN}
    assert await deliveries.pending_counts() == {"chat": 1}
    for alert in (
        DestinationAlert("hook", NOW, LATER, recovered=True, waiting=0, outcome=Outcome.TRANSIENT),
        DestinationAlert("hook", NOW + MINUTE, LATER, recovered=False, waiting=0, outcome=Outcome.TRANSIENT),
        DestinationAlert("pager", NOW, LATER, recovered=False, waiting=0, outcome=Outcome.TRANSIENT),
    ):
        await deliveries.record_breaker_change(
            BreakerChange(alert.destination, DOWN, alert=alert, alert_destination="chat"), now=LATER
        )
    assert await deliveries.pending_counts() == {"chat": 4}
    assert await count(database, "events") == 4


async def test_an_alert_that_nobody_hears_is_not_owed(deliveries: DeliveryStore, database: Database) -> None:
    """The turn is written down all the same."""
    await deliveries.record_breaker_change(BreakerChange("hook", DOWN, alert=ALERT), now=LATER)
    await deliveries.record_breaker_change(BreakerChange("pager", DOWN, alert_destination="chat"), now=LATER)
    assert await count(database, "events") == 0
    assert await deliveries.breakers() == {"hook": DOWN, "pager": DOWN}


async def test_what_waits_out_a_pause_of_its_own_is_released(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, database: Database
) -> None:
    """But nothing whose receiver has named the pause, nothing of another destination, nothing that is due already."""
    for name, decision in {
        "own": RetryAt(LATER + MINUTE, uncharged=MINUTE),
        "wish gone by": RetryAt(LATER + MINUTE, not_before=LATER),
        "wish": RetryAt(LATER + 2 * MINUTE, not_before=LATER + timedelta(microseconds=1)),
        "due": RetryAt(NOW + MINUTE),
    }.items():
        await _delivery(tasks, deliveries, name, decision)
    await _delivery(tasks, deliveries, "fresh")
    other = await _delivery(tasks, deliveries, "other", RetryAt(LATER + MINUTE, not_before=NOW), destination="hooks")
    dead = await _delivery(tasks, deliveries, "done")
    await record(deliveries, dead, REFUSED, Delivered(), now=NOW)
    before = await _due_at(delivery_admin)
    await deliveries.record_breaker_change(BreakerChange("hook", Breaker()), now=LATER)
    assert await _due_at(delivery_admin) == before
    await deliveries.record_breaker_change(BreakerChange("hook", Breaker(), retries_due_now=True), now=LATER)
    assert await _due_at(delivery_admin) == before | {"own": LATER, "wish gone by": LATER}
    assert before["due"] == NOW + MINUTE
    assert await not_before(database, other) == NOW
    due = await deliveries.due("hook", now=LATER, fresh=9, repeated=9, exclude=())
    assert sorted(event.task_id for _, event in due.repeated) == ["due", "own", "wish gone by"]
    assert {delivery.state for delivery, _ in due.repeated} == {DeliveryState.PENDING}


async def test_what_was_tried_in_the_same_turn_is_released_with_the_others(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin
) -> None:
    """Such as a message that the receiver has read and refused, which closes the breaker."""
    await _delivery(tasks, deliveries, "waiting", RetryAt(LATER + MINUTE))
    probe = await _delivery(tasks, deliveries, "probe")
    breaker_change = BreakerChange("hook", Breaker(failing_since=NOW), retries_due_now=True)
    tried = AttemptRecord(probe, Attempt(1, Outcome.PAYLOAD_REJECTED, took_ms=1), RetryAt(LATER + MINUTE))
    await deliveries.record([tried], breaker_change, now=LATER)
    assert await _due_at(delivery_admin) == {"waiting": LATER, "probe": LATER + MINUTE}

"""What a lane reads: what was never tried apart from what was, and whether there is more of either."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from store_samples import NOW, broken, conclude, nobody, not_before, on_one_database, owed, record, spans, watch

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import AttemptRecord, DueDelivery, PendingDelivery
from cambwatch.core.model import (
    Attempt,
    Delivered,
    Delivery,
    DeliveryDecision,
    DeliveryState,
    GiveUp,
    Outcome,
    PastAttempt,
    RetryAt,
    TaskKey,
)

LATER = NOW + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
REFUSED = Attempt(1, Outcome.TRANSIENT, took_ms=12, http_status=503)


async def _owed(
    tasks: TaskStore, deliveries: DeliveryStore, *names: str, tried: bool = False, destination: str = "hook"
) -> list[Delivery]:
    """A delivery of the end of each task, the first due at NOW and each a minute after the last, in that order."""
    found = []
    for minute, task in enumerate(await watch(tasks, *names)):
        at = NOW + minute * MINUTE
        await conclude(tasks, task, notify=(destination,), at=at)
        (delivery,) = await owed(tasks, task)
        if tried:
            assert await record(deliveries, delivery, REFUSED, RetryAt(at), now=at)
        found.append(delivery)
    return found


async def _look(
    deliveries: DeliveryStore, fresh: int, repeated: int, exclude: Sequence[str] = (), *, now: datetime = LATER
) -> DueDelivery:
    return await deliveries.due("hook", now=now, fresh=fresh, repeated=repeated, exclude=exclude)


async def _shown(delivery_admin: DeliveryAdmin, delivery: Delivery) -> tuple[Delivery, list[PastAttempt]]:
    found, _, kept = await delivery_admin.delivery(delivery.id) or pytest.fail("it is not there")
    return found, kept


def _names(due: Sequence[PendingDelivery]) -> list[str]:
    return [event.task_id for _, event in due]


async def test_what_was_tried_is_apart_from_what_was_not(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """Each longest due first, each up to a number of its own."""
    await _owed(tasks, deliveries, "r1", "r2", "r3", tried=True)
    await _owed(tasks, deliveries, "f1", "f2", "f3")
    due = await _look(deliveries, 9, 9)
    assert (_names(due.fresh), _names(due.repeated)) == (["f1", "f2", "f3"], ["r1", "r2", "r3"])
    assert {delivery.attempts for delivery, _ in due.fresh} == {0}
    assert {delivery.attempts for delivery, _ in due.repeated} == {1}
    due = await _look(deliveries, 2, 1)
    assert (_names(due.fresh), _names(due.repeated)) == (["f1", "f2"], ["r1"])
    due = await _look(deliveries, 0, 2)
    assert (_names(due.fresh), _names(due.repeated), due.more_fresh) == ([], ["r1", "r2"], False)


async def test_there_is_more_exactly_when_more_is_due(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """To the last one; what is not due yet, is under way or is another's is not more."""
    fresh = await _owed(tasks, deliveries, "f1", "f2", "f3")
    repeated = await _owed(tasks, deliveries, "r1", "r2", "r3", tried=True)
    await _owed(tasks, deliveries, "other", destination="slack")
    under_way = [fresh[0].id, repeated[1].id]
    for limit, exclude, now, more in (
        (3, (), LATER, False),
        (2, (), LATER, True),
        (2, (), NOW + MINUTE, False),
        (2, under_way, LATER, False),
        (1, under_way, LATER, True),
        (1, (), NOW, False),
    ):
        due = await _look(deliveries, limit, limit, exclude, now=now)
        assert (len(due.fresh), len(due.repeated)) == (limit, limit)
        assert (due.more_fresh, due.more_repeated) == (more, more)
    due = await _look(deliveries, 3, 1)
    assert (due.more_fresh, due.more_repeated) == (False, True)


@pytest.mark.parametrize("tried", [False, True])
@pytest.mark.parametrize("odd", range(6))
async def test_what_cannot_be_read_keeps_back_nothing_and_is_not_more(
    tasks: TaskStore, deliveries: DeliveryStore, database: Database, odd: int, *, tried: bool
) -> None:
    """However many there are, wherever they are."""
    await _owed(tasks, deliveries, *(f"odd {n}" for n in range(odd)), tried=tried)
    await database.write(
        lambda connection: connection.exec_driver_sql("""UPDATE events SET document = '{"type": "?"}'""").close()
    )
    await _owed(tasks, deliveries, "a", "b", "c", tried=tried)
    for limit in range(1, 6):
        due = await _look(deliveries, limit, limit)
        found, more = (due.repeated, due.more_repeated) if tried else (due.fresh, due.more_fresh)
        assert _names(found) == ["a", "b", "c"][:limit]
        assert more == (limit < 3)
    assert (await deliveries.pending_counts()) == {"hook": 3 + odd}


numbers = iter(range(10**9))


@on_one_database
@given(
    fresh=st.lists(st.integers(0, 3), max_size=6),
    repeated=st.lists(st.integers(0, 3), max_size=6),
    limits=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    now=st.integers(0, 3),
    taken=st.sets(st.integers(0, 11)),
)
async def test_due_is_what_python_would_choose(
    tasks: TaskStore,
    deliveries: DeliveryStore,
    fresh: list[int],
    repeated: list[int],
    limits: tuple[int, int],
    now: int,
    taken: set[int],
) -> None:
    """Of any mixture, at any instant, besides any of it."""
    hook = f"hook{next(numbers)}"
    minutes = [(minute, False) for minute in fresh] + [(minute, True) for minute in repeated]
    every: list[tuple[int, bool, str]] = []
    for task, (minute, tried) in zip(
        await watch(tasks, *(f"{hook} {n}" for n in range(len(minutes)))), minutes, strict=True
    ):
        await conclude(tasks, task, notify=(hook,), at=NOW + minute * MINUTE)
        (delivery,) = await owed(tasks, task)
        if tried:
            await record(deliveries, delivery, REFUSED, RetryAt(NOW + minute * MINUTE), now=NOW)
        every.append((minute, tried, delivery.id))
    exclude = {every[n][2] for n in taken if n < len(every)}
    due = await deliveries.due(hook, now=NOW + now * MINUTE, fresh=limits[0], repeated=limits[1], exclude=exclude)
    for tried, found, limit, more in (
        (False, due.fresh, limits[0], due.more_fresh),
        (True, due.repeated, limits[1], due.more_repeated),
    ):
        wanted = {one: minute for minute, was, one in every if was is tried and minute <= now and one not in exclude}
        assert [wanted[delivery.id] for delivery, _ in found] == sorted(wanted.values())[:limit]
        assert len({delivery.id for delivery, _ in found}) == len(found)
        assert more == (len(wanted) > limit)
    later = [NOW + minute * MINUTE for minute, _, _ in every if minute > now]
    assert due.next_due_at == min(later, default=None)


@pytest.mark.parametrize("decision", [Delivered(), GiveUp(), RetryAt(LATER)])
async def test_attempts_of_one_message_are_written_together(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin, decision: DeliveryDecision
) -> None:
    """One that was closed meanwhile is left as it is, and keeps none of the others from being written."""
    made = await _owed(tasks, deliveries, "a", "b", "c", "d")
    assert await record(deliveries, made[0], REFUSED, GiveUp(), now=NOW)
    await tasks.remove(TaskKey("default", "dub", "c"), destinations_for_group=nobody, now=NOW)
    attempt = Attempt(1, Outcome.TRANSIENT, took_ms=7, http_status=500, delivery_count=4)
    before = [await _shown(delivery_admin, one) for one in made]
    assert await deliveries.record([AttemptRecord(one, attempt, decision) for one in made], None, now=LATER) == 2
    after = [await _shown(delivery_admin, one) for one in made]
    assert [after[0], after[2]] == [before[0], before[2]]
    for delivery, kept in (after[1], after[3]):
        assert (delivery.http_status, [past.attempt for past in kept]) == (500, [attempt])
    assert await deliveries.record([], None, now=LATER) == 0


async def test_of_two_answers_at_once_the_first_closes_it(
    tasks: TaskStore, deliveries: DeliveryStore, delivery_admin: DeliveryAdmin
) -> None:
    """Also when both come into one commit; while it stays open each is written."""
    (delivery,) = await _owed(tasks, deliveries, "a")
    verdicts = [RetryAt(LATER), Delivered(), GiveUp(), Delivered()]
    outcomes = [Outcome.TRANSIENT, Outcome.ACCEPTED, Outcome.AUTH, Outcome.ACCEPTED]
    attempts = [Attempt(number, outcome, took_ms=1) for number, outcome in enumerate(outcomes, 1)]
    written = await asyncio.gather(
        *(
            record(deliveries, delivery, attempt, decision, now=LATER)
            for attempt, decision in zip(attempts, verdicts, strict=True)
        )
    )
    assert written == [True, True, False, False]
    found, kept = await _shown(delivery_admin, delivery)
    assert (found.state, found.attempts) == (DeliveryState.DELIVERED, 2)
    assert [past.attempt for past in kept] == attempts[:2]


async def test_attempts_of_one_message_are_all_written_or_none(
    tasks: TaskStore, deliveries: DeliveryStore, database: Database
) -> None:
    """Here the second cannot be."""
    made = await _owed(tasks, deliveries, "a", "b")
    async with broken(database, "attempts", where=made[1].id):
        with pytest.raises(IntegrityError, match="broken"):
            await deliveries.record([AttemptRecord(one, REFUSED, Delivered()) for one in made], None, now=LATER)
    assert _names((await _look(deliveries, 9, 9)).fresh) == ["a", "b"]


@on_one_database
@given(
    retry_after=st.none() | spans,
    uncharged=spans | st.just(timedelta(0)),
    closing=st.sampled_from([Delivered(), GiveUp()]),
)
async def test_what_a_pause_is_like_comes_back_as_it_was(
    tasks: TaskStore,
    deliveries: DeliveryStore,
    delivery_admin: DeliveryAdmin,
    database: Database,
    retry_after: timedelta | None,
    uncharged: timedelta,
    closing: DeliveryDecision,
) -> None:
    """What the budget is spared, and what the receiver wishes; a delivery that is closed waits for nothing."""
    (delivery,) = await _owed(tasks, deliveries, f"t{next(numbers)}")
    wished = None if retry_after is None else NOW + retry_after
    decision = RetryAt(NOW + 3 * MINUTE, not_before=wished, uncharged=uncharged)
    assert await record(deliveries, delivery, REFUSED, decision, now=NOW)
    found, _ = await _shown(delivery_admin, delivery)
    assert (found.uncharged, found.next_attempt_at) == (uncharged, NOW + 3 * MINUTE)
    assert await not_before(database, delivery) == wished
    assert await record(deliveries, found, Attempt(2, Outcome.AUTH, took_ms=1), closing, now=LATER)
    closed, _ = await _shown(delivery_admin, delivery)
    assert (closed.uncharged, await not_before(database, delivery)) == (uncharged, None)

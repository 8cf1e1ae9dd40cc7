"""Concluding and removing: once, whole, and only what is still watched."""

import asyncio
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from store_samples import (
    CAMBS_LAST_WORDS,
    NOW,
    TERMINAL,
    all_due,
    conclude,
    count,
    ending,
    instants,
    json_values,
    nobody,
    on_one_database,
    owed,
    record,
    texts,
    watch,
)

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.events import GroupComplete, webhook_id
from cambwatch.core.model import Attempt, Delivered, DeliveryState, Outcome, Status, TaskKey

LATER = NOW + timedelta(hours=1)
DESTINATIONS = ("hook", "slack", "pager")


async def test_of_twenty_who_conclude_at_once_one_does(tasks: TaskStore, database: Database) -> None:
    """There is one event and one delivery to each destination, and nineteen hear that they were late."""
    (task,) = await watch(tasks, "one")
    answers = await asyncio.gather(
        *(conclude(tasks, task, status, notify=DESTINATIONS) for status in CAMBS_LAST_WORDS * 5)
    )
    assert [answer for answer in answers if answer is not None] == [list(DESTINATIONS)]
    assert await count(database, "events") == 1
    assert sorted(delivery.destination for delivery in await owed(tasks, task)) == sorted(DESTINATIONS)


async def test_what_ended_is_watched_no_more(tasks: TaskStore) -> None:
    """And cannot end again."""
    (task,) = await watch(tasks, "one")
    await conclude(tasks, task, Status.ERROR)
    assert await tasks.watched() == []
    assert await conclude(tasks, task, Status.SUCCESS) is None
    assert [one.status for one in [await tasks.task(task.key)] if one] == [Status.ERROR]


async def test_a_conclusion_that_cannot_be_owed_is_none(tasks: TaskStore, database: Database) -> None:
    """The task and its outbox are one transaction: here the second delivery would have the id of the first."""
    (task,) = await watch(tasks, "one")
    with pytest.raises(IntegrityError):
        await conclude(tasks, task, notify=("hook", "hook"))
    assert await tasks.watched() == [task]
    assert await count(database, "events") == 0
    assert await owed(tasks, task) == []
    assert await conclude(tasks, task) == ["hook"]


async def test_a_group_that_cannot_be_heard_of_keeps_the_task_open(tasks: TaskStore, database: Database) -> None:
    """Its completion is owed in the same transaction."""
    (task,) = await watch(tasks, "one", group="g")

    def broken(_event: GroupComplete) -> list[str]:
        raise RuntimeError("routes are broken")

    with pytest.raises(RuntimeError):
        await conclude(tasks, task, destinations_for_group=broken)
    with pytest.raises(RuntimeError):
        await tasks.remove(task.key, destinations_for_group=broken, now=NOW)
    assert await tasks.watched() == [task]
    assert await count(database, "deliveries") == 0


async def test_the_end_of_an_earlier_watch_ends_no_later_one(tasks: TaskStore) -> None:
    """A poll that was under way while the task was removed and registered again comes too late."""
    (before,) = await watch(tasks, "one")
    await tasks.remove(before.key, destinations_for_group=nobody, now=NOW)
    assert await conclude(tasks, before) is None
    (again,) = await watch(tasks, "one", now=LATER)
    assert await conclude(tasks, before) is None
    assert await tasks.watched() == [again]
    assert await conclude(tasks, again) == ["hook"]


numbers = iter(range(10**9))
endings = st.fixed_dictionaries(
    {
        "run_id": st.none() | st.integers(0, 2**63 - 1),
        "exception_reason": st.none() | texts,
        "message": st.none() | texts,
        "polls": st.integers(0, 2**31 - 1),
        "first_polled_at": st.none() | instants,
        "result": json_values,
    }
)


@on_one_database
@given(status=st.sampled_from(TERMINAL), at=instants, fields=endings, name=st.none() | texts)
async def test_an_end_comes_back_as_it_was(
    tasks: TaskStore, deliveries: DeliveryStore, status: Status, at: datetime, fields: dict, name: str | None
) -> None:
    """The task as it ended, and the event word for word as it is to be told."""
    destination = f"hook{next(numbers)}"
    (task,) = await watch(tasks, destination, name=name)
    ended, event = ending(task, status, at=at, **fields)
    assert await tasks.conclude(ended, event, notify=[destination], destinations_for_group=nobody) == [destination]
    assert await tasks.task(task.key) == ended
    ((delivery, told),) = await all_due(deliveries, destination, now=at)
    assert told == event
    assert delivery.id == webhook_id(event, destination)


@pytest.mark.parametrize("run_id", [2**63, -(2**63) - 1])
async def test_a_number_beyond_every_column_ends_nothing(tasks: TaskStore, run_id: int) -> None:
    """It is the caller's mistake, and the store goes on."""
    (task,) = await watch(tasks, "one")
    ended, event = ending(task, run_id=run_id)
    with pytest.raises(Exception, match=r"(?i)too large|out of (int64 )?range"):
        await tasks.conclude(ended, event, notify=(), destinations_for_group=nobody)
    assert await tasks.watched() == [task]


async def test_removing_ends_the_watch_and_tells_nobody(tasks: TaskStore, database: Database) -> None:
    """The answer is the task as it was."""
    (task,) = await watch(tasks, "one")
    assert await tasks.remove(task.key, destinations_for_group=nobody, now=LATER) == (task, [])
    stored = await tasks.task(task.key)
    assert stored is not None
    assert (stored.status, stored.finished_at) == (Status.REMOVED, LATER)
    assert await tasks.watched() == []
    assert await count(database, "events") == 0


async def test_removing_what_nobody_registered_is_none(tasks: TaskStore) -> None:
    """Also next to other tasks."""
    await watch(tasks, "one")
    assert await tasks.remove(TaskKey("default", "dub", "two"), destinations_for_group=nobody, now=NOW) is None


async def test_removing_twice_changes_nothing_more(tasks: TaskStore) -> None:
    """The second time the task is removed already."""
    (task,) = await watch(tasks, "one")
    await tasks.remove(task.key, destinations_for_group=nobody, now=NOW)
    removed = await tasks.task(task.key)
    assert await tasks.remove(task.key, destinations_for_group=nobody, now=LATER) == (removed, [])
    assert await tasks.task(task.key) == removed


async def test_removing_cancels_what_is_still_owed(tasks: TaskStore, deliveries: DeliveryStore) -> None:
    """Its ids are the answer; what was delivered stays so, and the task keeps how it ended."""
    one, other = await watch(tasks, "one", "other")
    await conclude(tasks, one, Status.ERROR, notify=DESTINATIONS)
    await conclude(tasks, other, notify=DESTINATIONS)
    hook, pager, slack = await owed(tasks, one)
    await record(deliveries, hook, Attempt(1, Outcome.ACCEPTED, took_ms=1), Delivered(), now=NOW)

    removed = await tasks.remove(one.key, destinations_for_group=nobody, now=LATER)

    assert removed is not None
    assert removed[0].status is Status.ERROR
    assert sorted(removed[1]) == sorted([pager.id, slack.id])
    states = [(one.destination, one.state, one.next_attempt_at is None) for one in await owed(tasks, one)]
    assert states == [
        ("hook", DeliveryState.DELIVERED, True),
        ("pager", DeliveryState.CANCELLED, True),
        ("slack", DeliveryState.CANCELLED, True),
    ]
    assert all(one.state is DeliveryState.PENDING for one in await owed(tasks, other))
    assert [one.status for one in [await tasks.task(one.key)] if one] == [Status.ERROR]
    assert await tasks.remove(one.key, destinations_for_group=nobody, now=LATER) == (removed[0], [])


async def test_polls_are_noted_of_what_is_still_pending(tasks: TaskStore) -> None:
    """A task that ended keeps the number it ended with."""
    one, two = await watch(tasks, "one", "two")
    await conclude(tasks, two)
    ended = await tasks.task(two.key)
    await tasks.record_polls([(one.id, 7, LATER), (two.id, 8, LATER), (10**6, 9, None)])
    noted = await tasks.task(one.key)
    assert noted is not None
    assert (noted.polls, noted.first_polled_at) == (7, LATER)
    assert await tasks.task(two.key) == ended
    await tasks.record_polls([])


async def test_tasks_that_camb_has_answered_for_stay_known(tasks: TaskStore) -> None:
    """Whatever ended meanwhile; ids that are not there are passed over."""
    one, two, three = await watch(tasks, "one", "two", "three")
    await conclude(tasks, two)
    await tasks.record_known([one.id, two.id, 10**6])
    assert {task.key.task_id: task.known for task in await tasks.watched()} == {"one": True, "three": False}
    await tasks.record_known([one.id, three.id])
    assert all(task.known for task in await tasks.watched())


async def test_thousands_become_known_at_once(tasks: TaskStore) -> None:
    watched = await watch(tasks, *(str(number) for number in range(1100)))
    await tasks.record_known([task.id for task in watched])
    assert all(task.known for task in await tasks.watched())

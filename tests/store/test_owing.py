"""What an end causes: the outbox, and once in its life the completion of a group."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from store_samples import NOW, all_due, conclude, count, ending, nobody, owed, watch

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.events import GroupComplete, webhook_id
from cambwatch.core.model import DeliveryState, GroupState, Status

END = NOW + timedelta(seconds=41)
LATER = NOW + timedelta(hours=1)


class Ear:
    """A destination that hears of groups, and remembers what it was asked about."""

    def __init__(self) -> None:
        self.heard: list[GroupComplete] = []

    def __call__(self, event: GroupComplete) -> tuple[str, ...]:
        self.heard.append(event)
        return ("team",)


@pytest.fixture
def ear() -> Ear:
    """One that has heard nothing yet."""
    return Ear()


async def _told(deliveries: DeliveryStore) -> list[GroupComplete]:
    due = await all_due(deliveries, "team", now=LATER)
    return [event for _, event in due if isinstance(event, GroupComplete)]


async def test_each_destination_is_owed_one_delivery_at_once(tasks: TaskStore) -> None:
    """Under the id that the event has for it."""
    (task,) = await watch(tasks, "one")
    assert await conclude(tasks, task, notify=("hook", "slack"), at=END) == ["hook", "slack"]
    _, event = ending(task, at=END)
    found = await owed(tasks, task)
    assert [(one.destination, one.id) for one in found] == [
        (name, webhook_id(event, name)) for name in ("hook", "slack")
    ]
    for one in found:
        assert (one.state, one.attempts, one.created_at, one.next_attempt_at) == (DeliveryState.PENDING, 0, END, END)
        assert (one.finished_at, one.outcome, one.http_status, one.detail) == (None, None, None, None)


async def test_an_end_that_nobody_hears_of_is_an_event_without_deliveries(tasks: TaskStore, database: Database) -> None:
    """It can be listed, and told later."""
    (task,) = await watch(tasks, "one")
    assert await conclude(tasks, task, notify=()) == []
    assert await count(database, "events") == 1
    assert await count(database, "deliveries") == 0


async def test_deliveries_are_told_apart_by_task(tasks: TaskStore) -> None:
    """Oldest first; a task that is owed nothing has an empty list."""
    one, two, three = await watch(tasks, "one", "two", "three")
    await conclude(tasks, one, notify=("b", "a"), at=END)
    await conclude(tasks, two, notify=("a",), at=END)
    await watch(tasks, "one")
    found = await tasks.deliveries_of([one.id, two.id, three.id])
    assert {number: [delivery.destination for delivery in of] for number, of in found.items()} == {
        one.id: ["a", "b"],
        two.id: ["a"],
        three.id: [],
    }
    assert await tasks.deliveries_of([]) == {}


async def test_the_last_open_task_completes_its_group(tasks: TaskStore, deliveries: DeliveryStore, ear: Ear) -> None:
    """And only the last."""
    (first,) = await watch(tasks, "one", group="g")
    second, third = await watch(tasks, "two", "three", group="g", now=NOW + timedelta(seconds=1))
    await watch(tasks, "another", group="h")
    assert await conclude(tasks, first, notify=("hook",), destinations_for_group=ear) == ["hook"]
    assert await conclude(tasks, third, Status.ERROR, notify=("hook",), destinations_for_group=ear) == ["hook"]
    assert ear.heard == []
    assert await conclude(tasks, second, notify=("hook",), destinations_for_group=ear, at=END) == ["hook", "team"]
    complete = GroupComplete("g", {"SUCCESS": 2, "ERROR": 1}, tasks=3, registered_at=NOW, finished_at=END)
    assert ear.heard == [complete]
    assert await _told(deliveries) == [complete]


async def test_a_group_of_a_given_size_waits_for_that_many(tasks: TaskStore, ear: Ear) -> None:
    """However many of those that are known have ended; the largest size that was given counts."""
    one, two = await watch(tasks, "one", "two", group="g", group_size=2)
    (three,) = await watch(tasks, "three", group="g", group_size=4)
    for task in (one, two, three):
        await conclude(tasks, task, destinations_for_group=ear)
    assert ear.heard == []
    (four,) = await watch(tasks, "four", group="g")
    await conclude(tasks, four, destinations_for_group=ear)
    assert [event.tasks for event in ear.heard] == [4]


async def test_removed_tasks_count_as_ended(tasks: TaskStore, ear: Ear) -> None:
    """The group is complete without them."""
    one, two = await watch(tasks, "one", "two", group="g", group_size=2)
    await tasks.remove(one.key, destinations_for_group=ear, now=NOW)
    assert ear.heard == []
    await conclude(tasks, two, destinations_for_group=ear)
    assert [event.counts for event in ear.heard] == [{"REMOVED": 1, "SUCCESS": 1}]


async def test_removing_the_last_open_task_completes_its_group(
    tasks: TaskStore, deliveries: DeliveryStore, ear: Ear
) -> None:
    """What is owed of the group is not cancelled with what is owed of the task."""
    one, two = await watch(tasks, "one", "two", group="g")
    await conclude(tasks, one)
    assert await tasks.remove(two.key, destinations_for_group=ear, now=END) == (two, [])
    assert await tasks.remove(one.key, destinations_for_group=ear, now=END) is not None
    assert [event.finished_at for event in await _told(deliveries)] == [END]


async def _conclude_it(tasks: TaskStore, task_id: str, ear: Callable[[GroupComplete], tuple[str, ...]]) -> None:
    (task,) = await watch(tasks, task_id, group="g", now=LATER)
    await conclude(tasks, task, Status.EXPIRED, destinations_for_group=ear)


async def test_a_group_is_complete_once_in_its_life(tasks: TaskStore, deliveries: DeliveryStore, ear: Ear) -> None:
    """Neither a task that is watched anew nor one that joins later completes it again."""
    (task,) = await watch(tasks, "one", group="g")
    await conclude(tasks, task, Status.EXPIRED, destinations_for_group=ear)
    await _conclude_it(tasks, "one", ear)
    await _conclude_it(tasks, "two", ear)
    (removed,) = await watch(tasks, "three", group="g")
    await tasks.remove(removed.key, destinations_for_group=ear, now=LATER)
    assert len(await _told(deliveries)) == len(ear.heard) == 1


async def test_a_group_that_ends_all_at_once_is_complete_once(
    tasks: TaskStore, deliveries: DeliveryStore, ear: Ear
) -> None:
    """Whoever comes last has seen all the others."""
    members = await watch(tasks, *(f"t{n}" for n in range(30)), group="g", group_size=30)
    answers = await asyncio.gather(*(conclude(tasks, task, notify=(), destinations_for_group=ear) for task in members))
    assert sorted(answers, key=len)[-2:] == [[], ["team"]]
    assert [event.counts for event in await _told(deliveries)] == [{"SUCCESS": 30}]


async def test_a_completion_that_nobody_hears_of_stays_so(tasks: TaskStore, ear: Ear) -> None:
    """Who may hear of it is asked when it happens, not later."""
    (task,) = await watch(tasks, "one", group="g")
    assert await conclude(tasks, task, Status.EXPIRED, notify=(), destinations_for_group=nobody) == []
    await _conclude_it(tasks, "one", ear)
    assert ear.heard == []


async def test_where_a_group_stands(tasks: TaskStore) -> None:
    """A number for each status that occurs; None for a group without tasks."""
    one, two = await watch(tasks, "one", "two", group="g", group_size=3)
    await watch(tasks, "three", group="h", now=NOW - timedelta(hours=1))
    await watch(tasks, "four", now=NOW - timedelta(hours=1))
    await conclude(tasks, one)
    await tasks.remove(two.key, destinations_for_group=nobody, now=NOW)
    await watch(tasks, "five", group="g", group_size=5, now=LATER)
    counts = {Status.SUCCESS: 1, Status.REMOVED: 1, Status.PENDING: 1}
    assert await tasks.group("g") == GroupState("g", counts, size=5, registered_at=NOW)
    assert await tasks.group("G") is None
    state = await tasks.group("h")
    assert state is not None
    assert state.size is None

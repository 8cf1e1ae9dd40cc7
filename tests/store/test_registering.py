"""Registering: all or nothing, each task once, and what ended without Camb's last word is watched anew."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from store_samples import (
    CAMBS_LAST_WORDS,
    NOW,
    TERMINAL,
    conclude,
    count,
    ending,
    instants,
    json_values,
    nobody,
    on_one_database,
    owed,
    spans,
    texts,
    watch,
    wish,
)

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import RESTARTABLE_STATUSES, Registration, Status, Task, TaskKey

LATER = NOW + timedelta(hours=1)


async def _end(tasks: TaskStore, task: Task, status: Status) -> None:
    if status is Status.REMOVED:
        await tasks.remove(task.key, destinations_for_group=nobody, now=NOW)
    else:
        await conclude(tasks, task, status)


async def test_a_new_task_is_pending_and_as_the_wish_says(tasks: TaskStore) -> None:
    """And its deadline counts from the registration."""
    (registered,) = await tasks.register([wish("one", name="Narrator", deadline=timedelta(hours=2))], now=NOW)
    assert registered.new
    assert registered.task == Task(
        id=registered.task.id,
        key=TaskKey("default", "dub", "one"),
        registrations=1,
        status=Status.PENDING,
        registered_at=NOW,
        deadline_at=NOW + timedelta(hours=2),
        name="Narrator",
    )
    assert await tasks.task(registered.task.key) == registered.task


async def test_a_task_that_nobody_registered_is_none(tasks: TaskStore) -> None:
    """Also beside one that differs only in its account, its kind or the case of its task_id."""
    await watch(tasks, "One")
    for key in (TaskKey("b", "dub", "One"), TaskKey("default", "tts", "One"), TaskKey("default", "dub", "one")):
        assert await tasks.task(key) is None


async def test_a_thousand_are_registered_together(tasks: TaskStore) -> None:
    """In the order of the array, and of more than one account and kind."""
    wishes = [wish(f"t{n}", kind=("dub", "tts")[n % 2], account=("a", "b")[n % 3 == 0]) for n in range(1000)]
    registered = await tasks.register(wishes, now=NOW)
    assert [one.task.key for one in registered] == [wish.key for wish in wishes]
    assert all(one.new for one in registered)
    assert [one.task for one in registered] == await tasks.watched()


async def test_of_a_thousand_none_is_kept_when_one_cannot_be(tasks: TaskStore, database: Database) -> None:
    """The last one breaks a rule of the schema."""
    wishes = [wish(f"t{n}") for n in range(999)]
    with pytest.raises(IntegrityError):
        await tasks.register([*wishes, wish("x" * 201)], now=NOW)
    assert await count(database, "tasks") == 0
    assert all(one.new for one in await tasks.register(wishes, now=NOW))


async def test_nothing_registered_is_nothing_answered(tasks: TaskStore) -> None:
    """A configuration may name no tasks."""
    assert await tasks.register([], now=NOW) == []


async def test_a_task_named_twice_in_one_array_is_one_task(tasks: TaskStore, database: Database) -> None:
    """The first wish counts, and the second time the task is known."""
    first, other, second = await tasks.register(
        [wish("one", name="first"), wish("two"), wish("one", name="second")], now=NOW
    )
    assert (first.new, other.new, second.new) == (True, True, False)
    assert first.task == second.task
    assert first.task.name == "first"
    assert first.task.id < other.task.id
    assert await count(database, "tasks") == 2


async def test_a_known_task_is_left_as_it_is(tasks: TaskStore) -> None:
    """Whatever the new wish says."""
    (known,) = await watch(tasks, "one", name="first", labels={"a": "b"})
    (again,) = await tasks.register([wish("one", name="second", group="g")], now=LATER)
    assert not again.new
    assert again.task == known
    assert await tasks.task(known.key) == known


@pytest.mark.parametrize("status", CAMBS_LAST_WORDS)
async def test_what_camb_has_ended_is_left_as_it_is(tasks: TaskStore, status: Status) -> None:
    """It will not end again."""
    (task,) = await watch(tasks, "one")
    await conclude(tasks, task, status)
    ended = await tasks.task(task.key)
    (again,) = await tasks.register([wish("one")], now=LATER)
    assert not again.new
    assert again.task == ended
    assert ended is not None
    assert ended.status is status


@pytest.mark.parametrize("status", sorted(RESTARTABLE_STATUSES))
async def test_what_ended_without_cambs_last_word_is_watched_anew(tasks: TaskStore, status: Status) -> None:
    """With the same id, as the new wish says, and with nothing left of the watch before."""
    (task,) = await watch(tasks, "one", name="first", labels={"a": "b"}, notify=("hook",), group="g", group_size=3)
    await tasks.record_polls([(task.id, 3, NOW)])
    await tasks.record_known([task.id])
    if status is not Status.REMOVED:
        traces = {"run_id": 5, "exception_reason": "r", "message": "m", "result": {"a": 1}, "polls": 3}
        ended, event = ending(task, status, first_polled_at=NOW, **traces)
        await tasks.conclude(ended, event, notify=("hook",), destinations_for_group=nobody)
    else:
        await _end(tasks, task, status)
    (again,) = await tasks.register([wish("one", name="second")], now=LATER)
    assert again.new
    assert again.task == Task(
        id=task.id,
        key=task.key,
        registrations=2,
        status=Status.PENDING,
        registered_at=LATER,
        deadline_at=LATER + timedelta(hours=24),
        name="second",
    )
    assert await tasks.watched() == [again.task]


async def test_a_task_watched_anew_is_told_under_new_webhook_ids(tasks: TaskStore) -> None:
    """Even when it ends the same way."""
    (task,) = await watch(tasks, "one")
    for _ in range(3):
        await conclude(tasks, task, Status.EXPIRED, notify=("hook", "slack"))
        (again,) = await tasks.register([wish("one")], now=LATER)
        task = again.task
    assert task.registrations == 4
    deliveries = await owed(tasks, task)
    assert len({delivery.id for delivery in deliveries}) == len(deliveries) == 6


@pytest.mark.parametrize("status", TERMINAL)
async def test_where_nothing_is_watched_anew_all_stay_as_they_are(tasks: TaskStore, status: Status) -> None:
    """As for the tasks that the configuration names, at every start."""
    (task,) = await watch(tasks, "one")
    await _end(tasks, task, status)
    ended = await tasks.task(task.key)
    (again,) = await tasks.register([wish("one", name="second")], now=LATER, restart_statuses=())
    assert not again.new
    assert again.task == ended


async def test_one_array_can_hold_all_cases(tasks: TaskStore) -> None:
    """New, known, ended, watched anew, and each of them twice."""
    _known, ended, removed = await watch(tasks, "known", "ended", "removed")
    await conclude(tasks, ended)
    await _end(tasks, removed, Status.REMOVED)
    ids = ["new", "known", "ended", "removed"] * 2
    answers = await tasks.register([wish(task_id) for task_id in ids], now=LATER)
    assert [(one.task.key.task_id, one.new) for one in answers] == [
        *zip(ids[:4], (True, False, False, True), strict=True),
        *zip(ids[4:], (False,) * 4, strict=True),
    ]
    assert [task.key.task_id for task in await tasks.watched()] == ["known", "removed", "new"]


async def test_watched_is_what_is_pending_oldest_first(tasks: TaskStore) -> None:
    """And nothing else."""
    one, two, three = await watch(tasks, "one", "two", "three")
    await conclude(tasks, two)
    assert await tasks.watched() == [one, three]


async def test_who_registers_gets_a_number_that_no_task_ever_had(database: Database, tasks: TaskStore) -> None:
    """Also where those that had the highest are forgotten: an old cursor or a poll under way never means another."""
    before = [task.id for task in await watch(tasks, "one", "two", "three")]
    await database.write(lambda connection: connection.execute(sa.text("DELETE FROM tasks")).close())
    after = [task.id for task in await watch(tasks, "four", "five")]
    assert sorted({*before, *after}) == before + after


numbers = iter(range(10**9))
registrations = st.builds(
    lambda fields, account: Registration(TaskKey(account, "dub", f"t{next(numbers)}"), **fields),
    st.fixed_dictionaries(
        {
            "name": st.none() | texts,
            "labels": st.dictionaries(texts, texts, max_size=4),
            "notify": st.none() | st.lists(texts, unique=True, max_size=3).map(tuple),
            "group": st.none() | texts,
            "group_size": st.none() | st.integers(1, 1_000_000),
            "extra": st.dictionaries(texts, json_values, max_size=4),
            "deadline": spans,
        }
    ),
    texts,
)


@on_one_database
@given(wishes=st.lists(registrations, min_size=1, max_size=3), now=instants)
async def test_every_field_comes_back_as_it_was(tasks: TaskStore, wishes: list[Registration], now: datetime) -> None:
    """What is answered is what is on disk: every text, huge numbers, documents within documents."""
    for one, wanted in zip(await tasks.register(wishes, now=now), wishes, strict=True):
        stored = await tasks.task(wanted.key)
        assert stored == one.task
        assert stored == replace(
            one.task,
            name=wanted.name,
            labels=wanted.labels,
            notify=wanted.notify,
            group=wanted.group,
            group_size=wanted.group_size,
            extra=wanted.extra,
            registered_at=now,
            deadline_at=now + wanted.deadline,
        )


@pytest.mark.parametrize("task_id", ["../x?#%", "a/b c", "é", "👩‍👩‍👧‍👦" * 10, "' OR 1=1 --", '"', "\\", "%"])
async def test_any_text_can_name_a_task(tasks: TaskStore, task_id: str) -> None:
    """Nothing in it means anything to the database."""
    (task,) = await watch(tasks, task_id)
    assert (await tasks.task(TaskKey("default", "dub", task_id))) == task

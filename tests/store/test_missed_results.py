"""Results that come after the end of their task: written once, to the row that misses them, and to no other."""

from datetime import timedelta

import pytest
from store_samples import NOW, ending, nobody, watch

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.missed_results import CompletionCursor, LateResultStore
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.adapters.store.schema import nodes
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Json, Registration, Status, Task

ALL = {"kinds": frozenset({"dub"}), "accounts": frozenset({"default"}), "most": 100}
RESULT = {"audio_url": "https://cdn.example/a", "name": "é\0"}


@pytest.fixture
def late(database: Database) -> LateResultStore:
    return LateResultStore(database)


async def end(tasks: TaskStore, task: Task, status: Status = Status.SUCCESS, **fields: object) -> Task:
    """Conclude *task*, without a result if *fields* do not say otherwise."""
    ended, event = ending(task, status, **{"run_id": 5, **fields})
    assert await tasks.conclude(ended, event, notify=[], destinations_for_group=nobody) is not None
    return ended


async def result_of(tasks: TaskStore, task: Task) -> Json:
    found = await tasks.task(task.key)
    assert found is not None
    return found.result


async def test_a_result_is_written_once(tasks, late):
    """Whoever comes second, such as another node, changes nothing."""
    (task,) = await watch(tasks, "one")
    ended = await end(tasks, task)
    assert await late.write(ended, RESULT, part_stored=False)
    assert not await late.write(ended, {"other": True}, part_stored=False)
    assert (await result_of(tasks, task))["audio_url"] == RESULT["audio_url"]


async def test_half_a_result_is_completed(tasks, late):
    (task,) = await watch(tasks, "one")
    ended = await end(tasks, task, result={"texts": []})
    assert not await late.write(ended, RESULT, part_stored=False)
    assert await late.write(ended, {"texts": [], "output_url": "https://a"}, part_stored=True)
    assert await result_of(tasks, task) == {"texts": [], "output_url": "https://a"}


@pytest.mark.parametrize("part_stored", [False, True])
async def test_a_task_that_is_watched_again_gets_no_old_result(tasks, late, part_stored):
    """Neither while it is pending nor when it has ended again, without a result of its own."""
    (task,) = await watch(tasks, "one")
    ended = await end(tasks, task)
    again = await tasks.register([Registration(task.key)], now=NOW, restart_statuses=[Status.SUCCESS])
    assert not await late.write(ended, RESULT, part_stored=part_stored)
    await end(tasks, again[0].task)
    assert not await late.write(ended, RESULT, part_stored=part_stored)
    assert await result_of(tasks, task) is None


async def test_only_those_are_missed_that_have_a_result_to_be_read(tasks, late):
    missing_results, _error, _without_run, _read, _pending, _other_kind, _other_account, _old = (
        *await watch(tasks, "missing_results", "error", "without-run", "read", "pending"),
        *await watch(tasks, "other-kind", kind="story-setup"),
        *await watch(tasks, "other-account", account="another"),
        *await watch(tasks, "old"),
    )
    await end(tasks, missing_results)
    await end(tasks, _error, Status.ERROR)
    await end(tasks, _without_run, run_id=None)
    await end(tasks, _read, result=[])
    await end(tasks, _other_kind)
    await end(tasks, _other_account)
    await end(tasks, _old, at=NOW - timedelta(hours=1))
    found = await late.missing_results(CompletionCursor(NOW), **ALL)
    assert [task.key.task_id for task in found] == ["missing_results"]
    assert (found[0].run_id, found[0].registrations) == (5, 1)


async def test_all_are_found_page_by_page(tasks, late):
    """In the order in which they ended, also those that ended at one instant."""
    made = await watch(tasks, *map(str, range(10)))
    for number, task in enumerate(made):
        await end(tasks, task, at=NOW + timedelta(seconds=number // 4))
    since, seen = CompletionCursor(NOW - timedelta(seconds=1)), []
    while found := await late.missing_results(since, **{**ALL, "most": 3}):
        seen += [task.id for task in found]
        since = CompletionCursor(found[-1].finished_at, found[-1].id)
    assert seen == [task.id for task in made]


async def test_what_another_node_has_missed_is_left_to_it(postgres: PostgresDatabase):
    """As long as it is there."""

    async def be(node: str, *, left: bool) -> None:
        row = nodes.insert().values(id=node, accounts=[], destinations=[], joined_at=0, leased_until=0, left=left)
        await postgres.write(lambda connection: connection.execute(row).close())

    await be("me", left=False)
    await be("there", left=False)
    await be("gone", left=True)
    for node in ("me", "there", "gone", "forgotten", None):
        tasks = TaskStore(postgres, node=node)
        (task,) = await watch(tasks, f"of {node}")
        await end(tasks, task)
    found = await LateResultStore(postgres, node="me").missing_results(CompletionCursor(NOW), **ALL)
    assert [task.key.task_id for task in found] == ["of me", "of gone", "of forgotten", "of None"]

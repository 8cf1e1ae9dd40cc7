"""Listings: the filters, and pages that neither skip nor repeat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_samples import NOW, conclude, nobody, on_one_database, texts, watch, wish

from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Status, Task, TaskFilter

EVERYTHING = TaskFilter()


async def _ids(tasks: TaskStore, wanted: TaskFilter, *, limit: int = 99, before: int | None = None) -> list[str]:
    return [task.key.task_id for task in await tasks.page(wanted, limit=limit, before=before)]


async def test_newest_comes_first(tasks: TaskStore) -> None:
    """By the order of registration; a limit cuts off the oldest."""
    await watch(tasks, "one", "two", "three")
    assert await _ids(tasks, EVERYTHING) == ["three", "two", "one"]
    assert await _ids(tasks, EVERYTHING, limit=2) == ["three", "two"]


async def test_a_page_goes_on_where_the_last_one_ended(tasks: TaskStore) -> None:
    """Behind the oldest there is nothing."""
    one, _, three = await watch(tasks, "one", "two", "three")
    assert await _ids(tasks, EVERYTHING, before=three.id) == ["two", "one"]
    assert await _ids(tasks, EVERYTHING, before=one.id) == []


FILTERS = [
    (EVERYTHING, ["e", "d", "c", "b", "a"]),
    (TaskFilter(statuses=frozenset({Status.PENDING})), ["e", "c"]),
    (TaskFilter(statuses=frozenset({Status.ERROR, Status.REMOVED})), ["d", "b"]),
    (TaskFilter(statuses=frozenset({Status.TIMEOUT})), []),
    (TaskFilter(kinds=frozenset({"tts"})), ["c", "b"]),
    (TaskFilter(kinds=frozenset({"tts", "dub"})), ["e", "d", "c", "b", "a"]),
    (TaskFilter(kinds=frozenset({"story"})), []),
    (TaskFilter(group="g"), ["d", "a"]),
    (TaskFilter(group="G"), []),
    (TaskFilter(account="studio-b"), ["e"]),
    (TaskFilter(account="default", kinds=frozenset({"dub"})), ["d", "a"]),
    (TaskFilter(labels={"team": "dubbing"}), ["e", "b", "a"]),
    (TaskFilter(labels={"team": "dubbing", "show": "pilot"}), ["e", "a"]),
    (TaskFilter(labels={"team": "dub"}), []),
    (TaskFilter(labels={"show": "dubbing"}), []),
    (TaskFilter(group="g", labels={"team": "dubbing"}, statuses=frozenset({Status.SUCCESS})), ["a"]),
    (TaskFilter(group="g", labels={"team": "dubbing"}, statuses=frozenset({Status.PENDING})), []),
]


@pytest.mark.parametrize(("wanted", "found"), FILTERS)
async def test_all_parts_of_a_filter_must_hold(tasks: TaskStore, wanted: TaskFilter, found: list[str]) -> None:
    """An empty part asks nothing."""
    dubbing, pilot = {"team": "dubbing"}, {"team": "dubbing", "show": "pilot"}
    registered = await tasks.register(
        [
            wish("a", group="g", labels=pilot),
            wish("b", kind="tts", labels=dubbing),
            wish("c", kind="tts"),
            wish("d", group="g", labels={"team": "Dubbing"}),
            wish("e", account="studio-b", labels=pilot),
        ],
        now=NOW,
    )
    a, b, _, d, _ = (one.task for one in registered)
    await conclude(tasks, a)
    await conclude(tasks, b, Status.ERROR)
    await tasks.remove(d.key, destinations_for_group=nobody, now=NOW)
    assert await _ids(tasks, wanted) == found
    if found:
        last = (await tasks.page(wanted, limit=99, before=None))[0].id
        assert await _ids(tasks, wanted, before=last) == found[1:]


ODD = [
    "a.b",
    "a b",
    'a"b',
    "a'b",
    '"a"',
    "$",
    "$.a",
    "[0]",
    "a[0]",
    "0",
    "#-1",
    "\\",
    "a\\u0041",
    "{a}",
    "%",
    ":a",
    "?",
    "é",
    "naïve",
    "日本語",
    "👩‍👩‍👧‍👦",
    "\u202e",
    "null",
    "true",
    "1.0",
    " ",
    "--",
    "a\nb\t\x7f",
]


@pytest.mark.parametrize("odd", ODD)
async def test_a_label_is_found_whatever_it_is_called(tasks: TaskStore, odd: str) -> None:
    """By its name and by its value, and not in the place of another."""
    await tasks.register(
        [wish("name", labels={odd: "value"}), wish("value", labels={"name": odd}), wish("other", labels={"a": "b"})],
        now=NOW,
    )
    assert await _ids(tasks, TaskFilter(labels={odd: "value"})) == ["name"]
    assert await _ids(tasks, TaskFilter(labels={"name": odd})) == ["value"]
    assert await _ids(tasks, TaskFilter(labels={odd: odd})) == []


label_sets = st.dictionaries(st.sampled_from(ODD) | texts, st.sampled_from(ODD) | texts, max_size=4)
numbers = iter(range(10**9))


@on_one_database
@given(stored=label_sets, wanted=label_sets, some=st.booleans())
async def test_labels_select_what_python_would(
    tasks: TaskStore, stored: dict[str, str], wanted: dict[str, str], *, some: bool
) -> None:
    """All labels that are asked for are there, each with just its value."""
    if some:
        wanted = dict(list(stored.items())[:2])
    number = f"t{next(numbers)}"
    await watch(tasks, number, group=number, labels=stored)
    found = await _ids(tasks, TaskFilter(labels=wanted, group=number))
    assert found == ([number] if wanted.items() <= stored.items() else [])


@on_one_database
@given(
    first=st.integers(0, 12),
    steps=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), min_size=20, max_size=20),
    status=st.sampled_from([frozenset(), frozenset({Status.PENDING})]),
)
async def test_pages_neither_skip_nor_repeat_while_tasks_are_added(
    tasks: TaskStore, first: int, steps: list[tuple[int, int]], status: frozenset[Status]
) -> None:
    """Who reads on sees all that was there at the start, newest first, and nothing twice."""
    group = f"g{next(numbers)}"
    wanted = TaskFilter(group=group, statuses=status)

    async def add(how_many: int) -> list[Task]:
        return await watch(tasks, *(f"t{next(numbers)}" for _ in range(how_many)), group=group)

    there = await add(first)
    seen: list[Task] = []
    before = None
    for limit, added in steps:
        page = await tasks.page(wanted, limit=limit, before=before)
        assert len(page) <= limit
        seen += page
        if not page:
            break
        before = page[-1].id
        await add(added)
    assert seen == there[::-1]

"""How SQLite finds what is asked for: by an index, however many tasks there are."""

import sqlite3
from collections.abc import Awaitable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from store_samples import NOW, all_due, conclude, nobody, record, watch, wish

from cambwatch.adapters.store.deliveries import KEPT_ATTEMPTS, DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.missed_results import CompletionCursor, LateResultStore
from cambwatch.adapters.store.retention import PruneCursor, RetentionStore
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.stats import StoreStatsReader
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.delivery.attempts import BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert, GroupComplete
from cambwatch.core.model import (
    Attempt,
    Delivered,
    DeliveryFilter,
    DeliveryState,
    Outcome,
    Status,
    TaskFilter,
    TaskKey,
)

SORTED = "USE TEMP B-TREE FOR ORDER BY"
NEWEST_FIRST = "SCAN tasks"  # by its number, from the end, for as long as the page is not full
OF_TASK = "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (task_id=? AND kind=? AND account=?)"
DELIVERY = "SEARCH deliveries USING INDEX sqlite_autoindex_deliveries_1 (id=?)"
BY_ID = "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"
EVENT = "SEARCH events USING INTEGER PRIMARY KEY (rowid=?)"
OPEN_IN_GROUP = "SEARCH tasks USING INDEX ix_tasks_group (group=? AND status=?)"


class Plans:
    """Runs what it is given, and tells how each of its statements was carried out."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.tasks = TaskStore(database)
        self.deliveries = DeliveryStore(database)
        self.delivery_admin = DeliveryAdmin(database)
        self.retention = RetentionStore(database)
        self.late = LateResultStore(database)
        self.store_stats = StoreStatsReader(database)
        self._database = database

    async def of(self, work: Awaitable[object]) -> list[list[str]]:
        """
        For each statement but those that add rows, the lines of its plan.

        Without what differs between versions of SQLite: whether an index holds all
        that is asked for, and how an inner query is called.
        """
        ran: list[tuple[str, object]] = []

        def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                ran.append((statement, parameters))

        engines = (self._database._read_engine, self._database._write_engine)
        for engine in engines:
            sa.event.listen(engine, "before_cursor_execute", note)
        await work
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", note)
        other = sqlite3.connect(self._database._path)
        try:
            return [
                [
                    line[3].replace("COVERING ", "")
                    for line in other.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                    if "SUBQUERY" not in line[3]
                ]
                for statement, parameters in ran
            ]
        finally:
            other.close()


@pytest.fixture
def plans(sqlite: SqliteDatabase) -> Plans:
    """Without rows: what SQLite chooses then does not depend on what it has counted."""
    return Plans(sqlite)


async def test_due(plans: Plans) -> None:
    """Each kind in the order of its index, up to now; when more falls due is one look into each."""
    assert await plans.of(plans.deliveries.due("hook", now=NOW, fresh=9, repeated=9, exclude=())) == [
        ["SEARCH deliveries USING INDEX ix_deliveries_fresh (destination=? AND next_attempt_at>?)"],
        ["SEARCH deliveries USING INDEX ix_deliveries_repeated (destination=? AND next_attempt_at>?)"],
        ["SEARCH deliveries USING INDEX ix_deliveries_fresh (destination=? AND next_attempt_at<?)", EVENT],
        ["SEARCH deliveries USING INDEX ix_deliveries_repeated (destination=? AND next_attempt_at<?)", EVENT],
    ]


WAITING = [
    "COMPOUND QUERY",
    "SCAN deliveries USING INDEX ix_deliveries_fresh",
    "UNION ALL",
    "SCAN deliveries USING INDEX ix_deliveries_repeated",
]


async def test_waiting(plans: Plans) -> None:
    """Through the indexes that hold what waits, past what was delivered in all the years."""
    assert await plans.of(plans.deliveries.pending_counts()) == [WAITING]
    assert await plans.of(plans.delivery_admin.backlogs()) == [WAITING]


async def test_census(plans: Plans) -> None:
    """Tasks by the index of their statuses alone, without a look at the tasks; what waits as above."""
    assert await plans.of(plans.store_stats.read()) == [["SCAN tasks USING INDEX ix_tasks_status"], WAITING]


async def test_record(plans: Plans) -> None:
    """By the webhook-id."""
    (task,) = await watch(plans.tasks, "one")
    await conclude(plans.tasks, task, at=NOW)
    ((delivery, _),) = await all_due(plans.deliveries, "hook", now=NOW)
    last = Attempt(KEPT_ATTEMPTS + 1, Outcome.ACCEPTED, took_ms=1)
    assert await plans.of(record(plans.deliveries, delivery, last, Delivered(), now=NOW)) == [
        [DELIVERY],
        [DELIVERY],
        ["SEARCH attempts USING PRIMARY KEY (delivery_id=? AND number<?)"],
    ]


async def test_turn(plans: Plans) -> None:
    """What is released, and the count of what waits, by the indexes of what waits for that destination."""
    alert = DestinationAlert("hook", NOW, NOW, recovered=True, waiting=0, outcome=Outcome.AUTH)
    breaker_change = BreakerChange("hook", Breaker(), alert, alert_destination="chat", retries_due_now=True)
    retries_due_now, *_, destination, told, fresh, repeated = await plans.of(
        plans.deliveries.record_breaker_change(breaker_change, now=NOW)
    )
    assert [retries_due_now, destination, told, fresh, repeated] == [
        ["SEARCH deliveries USING INDEX ix_deliveries_repeated (destination=? AND next_attempt_at>?)"],
        ["SEARCH destinations USING INDEX sqlite_autoindex_destinations_1 (name=?)"],
        ["SEARCH events USING INDEX sqlite_autoindex_events_1 (origin=?)"],
        ["SEARCH deliveries USING INDEX ix_deliveries_fresh (destination=?)"],
        ["SEARCH deliveries USING INDEX ix_deliveries_repeated (destination=?)"],
    ]


async def test_watched(plans: Plans) -> None:
    """Those that are pending, in order, past all that have ended."""
    assert await plans.of(plans.tasks.watched()) == [["SEARCH tasks USING INDEX ix_tasks_status (status=?)"]]


async def test_task(plans: Plans) -> None:
    """By its key."""
    assert await plans.of(plans.tasks.task(TaskKey("default", "dub", "one"))) == [[OF_TASK]]


async def test_register(plans: Plans) -> None:
    """By the keys, one or a thousand: SQLite does not look into an index for `(a, b, c) IN (...)`."""
    numbers = "SCAN sqlite_sequence"  # which has a row for each table
    assert await plans.of(plans.tasks.register([wish("one")], now=NOW)) == [[OF_TASK], [numbers]]
    wishes = [wish(f"t{n}", kind=("dub", "tts")[n % 2]) for n in range(1000)]
    lines = await plans.of(plans.tasks.register(wishes, now=NOW))
    assert {line for [line] in lines} == {OF_TASK, numbers}


ONE, TWO = frozenset({Status.ERROR}), frozenset({Status.ERROR, Status.TIMEOUT})


@pytest.mark.parametrize(
    ("wanted", "first_page", "next_page"),
    [
        (TaskFilter(), [NEWEST_FIRST], ["SEARCH tasks USING INTEGER PRIMARY KEY (rowid<?)"]),
        (
            TaskFilter(statuses=ONE),
            ["SEARCH tasks USING INDEX ix_tasks_status (status=?)"],
            ["SEARCH tasks USING INDEX ix_tasks_status (status=? AND id<?)"],
        ),
        (
            TaskFilter(statuses=TWO),
            ["SEARCH tasks USING INDEX ix_tasks_status (status=?)", SORTED],
            ["SEARCH tasks USING INDEX ix_tasks_status (status=? AND id<?)", SORTED],
        ),
        (
            TaskFilter(group="g"),
            ["SEARCH tasks USING INDEX ix_tasks_group (group=?)", SORTED],
            ["SEARCH tasks USING INDEX ix_tasks_group (group=?)", SORTED],
        ),
        (
            TaskFilter(account="default", kinds=frozenset({"dub"})),
            [NEWEST_FIRST],
            ["SEARCH tasks USING INTEGER PRIMARY KEY (rowid<?)"],
        ),
    ],
)
async def test_page(plans: Plans, wanted: TaskFilter, first_page: list[str], next_page: list[str]) -> None:
    """Never by reading and sorting all tasks of an account; a group, and what ended badly, is few enough to sort."""
    assert await plans.of(plans.tasks.page(wanted, limit=50, before=None)) == [first_page]
    assert await plans.of(plans.tasks.page(wanted, limit=50, before=10**6)) == [next_page]


async def test_conclude(plans: Plans) -> None:
    """By the number of the task; whether its group is still open is one look into an index."""
    one, _ = await watch(plans.tasks, "one", "two", group="g")
    assert await plans.of(conclude(plans.tasks, one)) == [[BY_ID], [BY_ID], [OPEN_IN_GROUP]]


async def test_completing_a_group(plans: Plans) -> None:
    """Only the last task of a group has its tasks counted, and only those."""
    (last,) = await watch(plans.tasks, "one", group="g")
    heard: list[GroupComplete] = []
    assert await plans.of(
        conclude(plans.tasks, last, destinations_for_group=lambda event: heard.append(event) or ())
    ) == [
        [BY_ID],
        [BY_ID],
        [OPEN_IN_GROUP],
        ["SEARCH tasks USING INDEX ix_tasks_group (group=?)"],
        ["SEARCH events USING INDEX ix_events_group (group=?)"],
    ]
    assert heard


async def test_remove(plans: Plans) -> None:
    """By the key, and what is owed by the events of the task."""
    (task,) = await watch(plans.tasks, "one")
    assert await plans.of(plans.tasks.remove(task.key, destinations_for_group=nobody, now=NOW)) == [
        [OF_TASK],
        [BY_ID],
        [
            "SEARCH deliveries USING INDEX ix_deliveries_event_id (event_id=?)",
            "SEARCH events USING INDEX ix_events_task (task=?)",
        ],
    ]


async def test_deliveries_of(plans: Plans) -> None:
    """By the events of the tasks."""
    (lines,) = await plans.of(plans.tasks.deliveries_of([1, 2, 3]))
    assert lines == [
        "SEARCH events USING INDEX ix_events_task (task=?)",
        "SEARCH deliveries USING INDEX ix_deliveries_event_id (event_id=?)",
        SORTED,
    ]


async def test_note_polls(plans: Plans) -> None:
    """By the numbers of the tasks."""
    (task,) = await watch(plans.tasks, "one", now=NOW - timedelta(hours=1))
    ran = plans.tasks.record_polls([(task.id, 3, NOW)])
    assert await plans.of(ran) == [[BY_ID]]


async def test_note_known(plans: Plans) -> None:
    """By the numbers of the tasks."""
    one, two = await watch(plans.tasks, "one", "two", now=NOW - timedelta(hours=1))
    ran = plans.tasks.record_known([one.id, two.id])
    assert await plans.of(ran) == [[BY_ID]]


@pytest.mark.parametrize(
    ("wanted", "first_page", "next_page"),
    [
        (
            DeliveryFilter(destination="hook", states=frozenset({DeliveryState.DELIVERED})),
            ["SCAN deliveries USING INDEX ix_deliveries_newest", EVENT],
            ["SEARCH deliveries USING INDEX ix_deliveries_newest ((created_at,id)<(?,?))", EVENT],
        ),
        (
            DeliveryFilter(states=frozenset({DeliveryState.DEAD})),
            ["SCAN deliveries USING INDEX ix_deliveries_dead", EVENT],
            ["SEARCH deliveries USING INDEX ix_deliveries_dead ((created_at,id)<(?,?))", EVENT],
        ),
    ],
)
async def test_page_of_deliveries(
    plans: Plans, wanted: DeliveryFilter, first_page: list[str], next_page: list[str]
) -> None:
    """From the newest on, for as long as the page is not full; the dead by themselves."""
    assert await plans.of(plans.delivery_admin.page(wanted, limit=50, before=None)) == [first_page]
    assert await plans.of(plans.delivery_admin.page(wanted, limit=50, before=(NOW, "msg_1"))) == [next_page]


async def test_deliveries_of_a_task_id(plans: Plans) -> None:
    """By the tasks of that name, however many others there are."""
    (lines,) = await plans.of(plans.delivery_admin.page(DeliveryFilter(task_id="one"), limit=50, before=None))
    assert not any(line.startswith("SCAN") for line in lines)


async def test_page_of_what_waits(plans: Plans) -> None:
    """
    Through the indexes that hold what waits, of one destination alone if that is all that is asked for.

    The event is looked up of those alone that are on the page.
    """
    for destination, how in ((None, "SCAN {}"), ("hook", "SEARCH {} (destination=?)")):
        halves = [
            how.format(f"deliveries USING INDEX ix_deliveries_{part_stored}") for part_stored in ("fresh", "repeated")
        ]
        wanted = DeliveryFilter(states=frozenset({DeliveryState.PENDING}), destination=destination)
        for before in (None, (NOW, "msg_1")):
            (lines,) = await plans.of(plans.delivery_admin.page(wanted, limit=50, before=before))
            assert lines[0] == DELIVERY
            assert [line for line in lines if "deliveries USING" in line] == [DELIVERY, *halves]
            assert lines[-2:] == [EVENT, SORTED]


async def test_retry_some(plans: Plans) -> None:
    """The dead oldest first, without a look at what was delivered; what waits by its destination."""
    (dead,) = await plans.of(
        plans.delivery_admin.retry_some(DeliveryState.DEAD, destinations=["hook"], since=NOW, now=NOW)
    )
    assert dead == [DELIVERY, "SEARCH deliveries USING INDEX ix_deliveries_dead (created_at>?)"]
    (waiting,) = await plans.of(
        plans.delivery_admin.retry_some(DeliveryState.PENDING, destinations=["hook"], since=NOW, now=NOW)
    )
    halves = [
        f"SEARCH deliveries USING INDEX ix_deliveries_{part_stored} (destination=? AND next_attempt_at>?)"
        for part_stored in ("fresh", "repeated")
    ]
    assert [line for line in waiting if "deliveries USING" in line] == [DELIVERY, *halves]


async def test_prune_tasks(plans: Plans) -> None:
    """From the oldest end on, up to the age; what is owed of them, and their groups, by an index each."""
    (old,) = await watch(plans.tasks, "one", group="g")
    await conclude(plans.tasks, old, notify=())
    step = plans.retention.prune_tasks(PruneCursor(), before=NOW + timedelta(days=1), exclude=())
    assert await plans.of(step) == [
        ["SEARCH tasks USING INDEX ix_tasks_finished (finished_at>? AND finished_at<?)"],
        ["SEARCH tasks USING INDEX ix_tasks_group (group=? AND status=?)"],
        [
            "SEARCH events USING INDEX ix_events_task (task=?)",
            "SEARCH deliveries USING INDEX ix_deliveries_event_id (event_id=?)",
        ],
        [BY_ID],
    ]


async def test_prune_events(plans: Plans) -> None:
    """The same for what no task takes with it."""
    (old,) = await watch(plans.tasks, "one", group="g")
    await conclude(plans.tasks, old, notify=())
    before = NOW + timedelta(days=1)
    await plans.retention.prune_tasks(PruneCursor(), before=before, exclude=())
    assert await plans.of(plans.retention.prune_events(PruneCursor(), before=before)) == [
        ["SEARCH events USING INDEX ix_events_task (task=? AND created_at>? AND created_at<?)"],
        ["SEARCH tasks USING INDEX ix_tasks_group (group=?)"],
        [EVENT, "SEARCH deliveries USING INDEX ix_deliveries_event_id (event_id=?)"],
        [EVENT],
    ]


async def test_missed_results(plans: Plans) -> None:
    """By the age of their end: of a hundred thousand tasks those of the last hour are looked at."""
    (task,) = await watch(plans.tasks, "one")
    await conclude(plans.tasks, task, notify=())
    missing_results = plans.late.missing_results(
        CompletionCursor(NOW), kinds=frozenset({"dub"}), accounts=frozenset({"default"}), most=9
    )
    assert await plans.of(missing_results) == [["SEARCH tasks USING INDEX ix_tasks_finished (finished_at>?)"]]
    assert await plans.of(plans.late.write(task, [], part_stored=False)) == [[BY_ID]]

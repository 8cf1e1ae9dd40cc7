"""The rules of the core, kept by the database itself: no statement of ours, and nobody's by hand, can break them."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from store_samples import count

from cambwatch.adapters.store.database import Database, Work
from cambwatch.adapters.store.schema import metadata

SOUND: dict[str, dict[str, object]] = {
    "tasks": {
        "account": "default",
        "kind": "dub",
        "task_id": "one",
        "registrations": 1,
        "status": "PENDING",
        "labels": "{}",
        "extra": "{}",
        "polls": 0,
        "registered_at": 0,
        "deadline_at": 1,
        "finished_at": None,
    },
    "events": {"id": 7, "task": None, "origin": "o", "document": "{}", "created_at": 0},
    "deliveries": {
        "id": "msg_1",
        "event_id": 7,
        "destination": "hook",
        "state": "pending",
        "attempts": 0,
        "created_at": 0,
        "next_attempt_at": 0,
        "finished_at": None,
        "outcome": None,
    },
    "attempts": {"delivery_id": "msg_0", "number": 1, "outcome": "transient", "took_ms": 1, "at": 0},
    "destinations": {"name": "hook", "open": False, "failures": 1, "rate_limits": 0, "probes": 0, "alerted": False},
    "durations": {"kind": "dub", "size": "", "histogram": "{}", "updated_at": 0},
    "nodes": {
        "id": "n",
        "accounts": "[]",
        "destinations": "[]",
        "joined_at": 0,
        "leased_until": 1,
        "left": False,
    },
}

BROKEN: list[tuple[str, str, dict[str, object]]] = [
    ("tasks", "ck_tasks_status", {"status": "RUNNING", "finished_at": 1}),
    ("tasks", "ck_tasks_status", {"status": "success", "finished_at": 1}),
    ("tasks", "ck_tasks_finished_iff_terminal", {"status": "SUCCESS"}),
    ("tasks", "ck_tasks_finished_iff_terminal", {"finished_at": 1}),
    ("tasks", "ck_tasks_task_id_length", {"task_id": ""}),
    ("tasks", "ck_tasks_task_id_length", {"task_id": "é" * 201}),
    ("tasks", "ck_tasks_registrations_from_1", {"registrations": 0}),
    ("tasks", "ck_tasks_polls_not_negative", {"polls": -1}),
    ("deliveries", "ck_deliveries_state", {"state": "lost", "next_attempt_at": None, "finished_at": 1}),
    ("deliveries", "ck_deliveries_outcome", {"outcome": "fine"}),
    ("deliveries", "ck_deliveries_due_iff_pending", {"next_attempt_at": None}),
    ("deliveries", "ck_deliveries_due_iff_pending", {"state": "dead", "finished_at": 1}),
    ("deliveries", "ck_deliveries_finished_iff_not_pending", {"finished_at": 1}),
    ("deliveries", "ck_deliveries_finished_iff_not_pending", {"state": "cancelled", "next_attempt_at": None}),
    ("deliveries", "ck_deliveries_attempts_not_negative", {"attempts": -1}),
    ("deliveries", "ck_deliveries_uncharged_not_negative", {"uncharged": -1}),
    ("attempts", "ck_attempts_outcome", {"outcome": "fine"}),
    ("attempts", "ck_attempts_number_from_1", {"number": 0}),
    ("destinations", "ck_destinations_outcome", {"outcome": "fine"}),
]


def _insert(table: str, **special: object) -> Work[None]:
    """Add a row by hand: the sound one, but for what is *special*."""
    row = SOUND[table] | special
    columns, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({values})"  # noqa: S608 - of this file

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text(statement), row)

    return work


@pytest.fixture(autouse=True)
async def _event(database: Database) -> None:
    await database.write(_insert("events"))


@pytest.fixture
async def _delivery(database: Database, _event: None) -> None:
    """For attempts to belong to."""
    await database.write(_insert("deliveries", id="msg_0", destination="pager"))


@pytest.mark.usefixtures("_delivery")
async def test_an_attempt_goes_with_its_delivery(database: Database) -> None:
    """As that goes with its event."""
    await database.write(_insert("attempts"))
    await database.write(_insert("attempts", number=2))
    assert await count(database, "attempts") == 2
    await database.write(lambda connection: connection.execute(sa.text("DELETE FROM events")).close())
    assert await count(database, "attempts") == 0


async def test_what_keeps_the_rules_is_taken(database: Database) -> None:
    """Or else the tests below would show nothing."""
    await database.write(_insert("tasks"))
    await database.write(_insert("tasks", task_id="é" * 200, status="REMOVED", finished_at=1))
    await database.write(_insert("deliveries"))
    await database.write(_insert("deliveries", id="msg_2", state="dead", next_attempt_at=None, finished_at=1))
    assert await count(database, "tasks") == await count(database, "deliveries") == 2
    await database.write(_insert("destinations", outcome="auth"))


@pytest.mark.parametrize(("table", "rule", "special"), BROKEN)
async def test_what_breaks_a_rule_is_refused(
    database: Database, table: str, rule: str, special: dict[str, object]
) -> None:
    """By the rule that it breaks."""
    with pytest.raises(IntegrityError, match=rule):
        await database.write(_insert(table, **special))
    assert await count(database, table) == 0


def test_every_rule_is_broken_above() -> None:
    """A rule that is added later wants its line."""
    rules = {
        str(constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint)
    }
    assert rules == {rule for _, rule, _ in BROKEN}


@pytest.mark.parametrize(
    ("table", "other"),
    [
        ("tasks", {"name": "the same task twice"}),
        ("events", {"id": 8}),
        ("deliveries", {"destination": "slack"}),
        ("destinations", {"failures": 2}),
    ],
)
async def test_what_is_there_once_is_not_there_twice(database: Database, table: str, other: dict[str, object]) -> None:
    """A task by its key, an event by its origin, a delivery by its webhook-id, how a destination fares."""
    if table != "events":
        await database.write(_insert(table))
    with pytest.raises(IntegrityError, match=r"(?i)unique"):
        await database.write(_insert(table, **other))
    assert await count(database, table) == 1


@pytest.mark.parametrize("other", [{"account": "b"}, {"kind": "tts"}, {"task_id": "One"}])
async def test_each_part_of_a_key_tells_tasks_apart(database: Database, other: dict[str, object]) -> None:
    """Case counts."""
    await database.write(_insert("tasks"))
    await database.write(_insert("tasks", **other))
    assert await count(database, "tasks") == 2


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if not column.nullable and not column.primary_key
    ],
)
async def test_what_must_be_known_is_never_left_out(database: Database, table: str, column: str) -> None:
    """Every column but those that say why they may be empty."""
    special = {"id": 8, "origin": "p"} if table == "events" else {}
    with pytest.raises(IntegrityError, match=r"(?i)not.null"):
        await database.write(_insert(table, **(special | {column: None})))


async def test_nothing_is_owed_of_an_event_that_is_not_there(database: Database) -> None:
    """Nor is there an event of a task that is not."""
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        await database.write(_insert("deliveries", event_id=10**6))
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        await database.write(_insert("events", id=8, origin="p", task=10**6))


async def test_with_a_task_goes_what_it_caused(database: Database) -> None:
    """Its events and their deliveries; those of others stay."""
    await database.write(_insert("tasks"))
    number = await database.read(lambda connection: connection.execute(sa.text("SELECT id FROM tasks")).scalar())
    await database.write(_insert("events", id=8, origin="p", task=number))
    await database.write(_insert("deliveries"))
    await database.write(_insert("deliveries", id="msg_2", event_id=8))
    await database.write(lambda connection: connection.execute(sa.text("DELETE FROM tasks")))
    assert await count(database, "events") == await count(database, "deliveries") == 1


async def test_the_number_of_a_task_is_never_given_again(database: Database) -> None:
    """Newest first stays true, and an old cursor or a poll under way never means another task."""
    await database.write(_insert("tasks"))
    await database.write(lambda connection: connection.execute(sa.text("DELETE FROM tasks")))
    await database.write(_insert("tasks"))
    assert await database.read(lambda connection: connection.execute(sa.text("SELECT id FROM tasks")).scalar()) == 2

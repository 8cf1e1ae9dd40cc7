"""The steps of the schema: they lead to schema.py, whole or not at all, and leave alone what is not ours."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from store_samples import conclude, owed, watch

from cambwatch.adapters.store.database import StoreTooNewError, StoreUnavailableError
from cambwatch.adapters.store.schema import metadata
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.sqlite_migration import MIGRATIONS, migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import TaskFilter

NO_TIME = timedelta(0)
LAST = max(step.name.split("_")[0] for step in (MIGRATIONS / "versions").glob("[0-9]*.py"))
STEP = f"""
import sqlalchemy as sa
from alembic import op
revision = "9998"
down_revision = "{LAST}"

def upgrade() -> None:
"""
# As a writer that was killed: its log is left behind.
KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute(sys.argv[2])
connection.commit()
os.kill(os.getpid(), 9)
"""


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}


def _dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def _with_step(folder: Path, body: str) -> Path:
    """The steps of this version and one more."""
    migrations = folder / "migrations"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__"))
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    (migrations / "versions" / "9998_next.py").write_text(STEP + lines)
    return migrations


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for nothing but a database."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
async def used(path: Path, place: Path) -> Path:
    """A database, not in use, with a task that ended and two deliveries."""
    async with SqliteDatabase(path) as database:
        tasks = TaskStore(database)
        one, _ = await watch(tasks, "one", "two", labels={"a": "b"})
        await conclude(tasks, one, notify=("hook", "slack"))
    return path.rename(place / "cambwatch.db")


def _shape(engine: sa.Engine) -> dict[str, object]:
    """All that SQLite tells of the tables, in an order of its own."""
    found = sa.inspect(engine)
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["default"], column["primary_key"])
                for column in found.get_columns(table)
            ],
            "key": found.get_pk_constraint(table),
            "checks": sorted((one["name"], one["sqltext"]) for one in found.get_check_constraints(table)),
            "unique": sorted((one["name"], one["column_names"]) for one in found.get_unique_constraints(table)),
            "references": sorted(map(str, found.get_foreign_keys(table))),
            "indexes": sorted(
                (one["name"], one["column_names"], one["unique"], str(one["dialect_options"].get("sqlite_where")))
                for one in found.get_indexes(table)
            ),
        }
        for table in found.get_table_names()
        if table != "alembic_version"
    }


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    """On a database that the steps made."""
    engine = sa.create_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def test_the_steps_lead_to_the_schema(engine: sa.Engine) -> None:
    """As Alembic sees it."""
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_object": _is_for_both}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def _is_for_both(_item: object, name: str | None, *_: object) -> bool:
    """Not an index that PostgreSQL alone has."""
    return name != "ix_tasks_node"


def test_the_steps_lead_to_the_rules_of_the_schema(engine: sa.Engine) -> None:
    """Which Alembic does not compare: checks, conditions of indexes, names, what goes with what."""
    fresh = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(fresh)
    assert _shape(engine) == _shape(fresh)
    fresh.dispose()


def test_the_steps_number_tasks_and_events_for_good(engine: sa.Engine) -> None:
    """AUTOINCREMENT, which no reflection tells of."""
    fresh = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(fresh)
    numbered = sa.text("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name")
    with engine.connect() as ours, fresh.connect() as other:
        assert ours.execute(numbered).all() == other.execute(numbered).all() == [("tasks",)]
    fresh.dispose()


def test_a_new_file_is_made_and_nothing_beside_it(place: Path) -> None:
    """An empty file is a new one, too."""
    migrate(place / "new.db")
    (place / "empty.db").touch()
    migrate(place / "empty.db")
    assert sorted(_files(place)) == ["empty.db", "new.db"]
    assert _dump(place / "new.db") == _dump(place / "empty.db")


def test_a_database_without_tables_is_a_new_one(place: Path) -> None:
    """Such as one whose first step was cut short."""
    connection = sqlite3.connect(place / "cambwatch.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("VACUUM")
    connection.close()
    assert (place / "cambwatch.db").stat().st_size
    migrate(place / "cambwatch.db")
    migrate(place / "other.db")
    assert _dump(place / "cambwatch.db") == _dump(place / "other.db")


def test_a_second_time_changes_nothing(used: Path) -> None:
    """Not one byte."""
    before = _files(used.parent)
    migrate(used)
    assert _files(used.parent) == before


def test_a_newer_database_is_left_as_it_is(used: Path) -> None:
    """Byte for byte, with nothing beside it; the refusal says which step is unknown."""
    connection = sqlite3.connect(used)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = _files(used.parent)
    with pytest.raises(StoreTooNewError, match=rf"step 9999, this one knows {LAST}"):
        migrate(used)
    assert _files(used.parent) == before
    assert list(before) == [used.name]


def test_a_newer_database_is_known_by_the_log_of_a_killed_process(used: Path) -> None:
    """Its last step may not have come further than that."""
    newer = "UPDATE alembic_version SET version_num = '9999'"
    subprocess.run([sys.executable, "-c", KILLED, str(used), newer], check=False)
    before = _files(used.parent)
    assert before[f"{used.name}-wal"]
    with pytest.raises(StoreTooNewError):
        migrate(used)
    assert _files(used.parent) == before


def test_a_database_of_another_program_is_left_as_it_is(place: Path) -> None:
    """Whatever is in it."""
    path = place / "photos.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (id)")
    connection.close()
    before = _files(place)
    with pytest.raises(StoreUnavailableError, match="another program") as caught:
        migrate(path)
    assert "store.url" in caught.value.hint
    assert _files(place) == before


@pytest.mark.parametrize("content", [b"x", b"Dear diary,\n" * 1000, bytes(100), b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_is_left_as_it_is(place: Path, content: bytes) -> None:
    """It may be somebody's only copy."""
    path = place / "diary.txt"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailableError):
        migrate(path)
    assert _files(place) == {path.name: content}


def test_a_folder_is_no_database(place: Path) -> None:
    """And stays empty."""
    with pytest.raises(StoreUnavailableError, match=r"store\.url"):
        migrate(place)
    assert _files(place) == {}


BREAKING = [
    """
op.create_table("more", sa.Column("id", sa.Integer))
op.execute("UPDATE tasks SET name = 'changed'")
raise RuntimeError("half-way")
""",
    """
op.execute("DROP TABLE deliveries")
op.execute("INSERT INTO nowhere VALUES (1)")
""",
    """
with op.batch_alter_table("tasks", recreate="always") as tasks:
    tasks.add_column(sa.Column("more", sa.Text))
op.execute("UPDATE tasks SET polls = -1")
""",
]


@pytest.mark.parametrize("body", BREAKING)
def test_a_step_that_fails_half_way_leaves_all_as_it_was(used: Path, tmp_path: Path, body: str) -> None:
    """And this version goes on with it."""
    before = _dump(used)
    with pytest.raises((RuntimeError, StoreUnavailableError, sa.exc.IntegrityError)):
        migrate(used, migrations=_with_step(tmp_path, body))
    assert _dump(used) == before
    assert list(_files(used.parent)) == [used.name]
    migrate(used)


def test_a_first_step_that_fails_leaves_an_empty_file(place: Path, tmp_path: Path) -> None:
    """From which a version without the mistake starts anew."""
    path = place / "cambwatch.db"
    with pytest.raises(RuntimeError):
        migrate(path, migrations=_with_step(tmp_path, "raise RuntimeError"))
    assert not any("CREATE" in line for line in _dump(path))
    migrate(path)


async def test_a_step_that_rebuilds_a_table_loses_nothing_of_the_others(used: Path, tmp_path: Path) -> None:
    """SQLite drops the old table, which must not take the events of its tasks along."""
    body = """
with op.batch_alter_table("tasks", recreate="always") as tasks:
    tasks.add_column(sa.Column("more", sa.Text))
"""
    before = _rows(used)
    migrate(used, migrations=_with_step(tmp_path, body))
    assert _rows(used) == before
    with pytest.raises(StoreTooNewError):
        migrate(used)


def _rows(path: Path) -> dict[str, list[object]]:
    connection = sqlite3.connect(path)
    try:
        return {
            "tasks": connection.execute("SELECT id, task_id, status, labels FROM tasks").fetchall(),
            "events": connection.execute("SELECT * FROM events").fetchall(),
            "deliveries": connection.execute("SELECT * FROM deliveries").fetchall(),
        }
    finally:
        connection.close()


async def test_a_migrated_database_has_what_was_in_it(used: Path) -> None:
    """Read with the statements of this version."""
    migrate(used)
    async with SqliteDatabase(used) as database:
        tasks = TaskStore(database)
        (two,) = await tasks.watched()
        assert two.labels == {"a": "b"}
        (one,) = await tasks.page(TaskFilter(), limit=9, before=two.id)
        assert [delivery.destination for delivery in await owed(tasks, one)] == ["hook", "slack"]

"""Migration 0008 on a database that revision 0007 wrote: every row is there under the new names, on both databases."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cambwatch.adapters.store.database import Database
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.durations import DurationStore
from cambwatch.adapters.store.postgres import PostgresDatabase
from cambwatch.adapters.store.postgres_migration import migrate as migrate_server
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.sqlite_migration import MIGRATIONS, migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Outcome
from postgres_server import execute, fetch

START = datetime(1970, 1, 1, tzinfo=UTC)
# Written with the column names of revision 0007, every column that 0008 renames with a value of its own.
ROWS_OF_0007 = """
INSERT INTO tasks
  (id, account, kind, task_id, registrations, status, labels, extra, polls, registered_at, deadline_at, finished_at,
   known) VALUES
  (1, 'default', 'dub', 'one', 1, 'PENDING', '{"a": "b"}', '{}', 7, 5, 9, NULL, TRUE),
  (2, 'default', 'tts', 'two', 1, 'SUCCESS', '{}', '{}', 3, 5, 9, 8, TRUE);
INSERT INTO events (id, task, origin, document, created_at) VALUES
  (1, NULL, 'group:g', '{"event": "group", "group": "g", "counts": {}, "tasks": 0, "registered_at_us": 0,
   "finished_at_us": 0}', 5);
INSERT INTO deliveries
  (id, event_id, destination, state, attempts, created_at, next_attempt_at, finished_at, outcome, http_status, detail,
   budget_from, spared, not_before) VALUES
  ('fresh', 1, 'hook', 'pending', 0, 5, 5, NULL, NULL, NULL, NULL, NULL, 0, NULL),
  ('repeated', 1, 'hook', 'pending', 2, 5, 90, NULL, 'transient', 503, 'busy', 7, 3000000, 80),
  ('dead', 1, 'hook', 'dead', 3, 5, NULL, 8, 'auth', 403, 'no', NULL, 0, NULL);
INSERT INTO attempts (delivery_id, number, outcome, http_status, took_ms, detail, at, together) VALUES
  ('repeated', 1, 'ours', NULL, 4, NULL, 6, 1),
  ('repeated', 2, 'transient', 503, 5, 'busy', 7, 4);
INSERT INTO destinations
  (name, open, failures, limits, probes, failing_since, outcome, http_status, probe_at, held_until, told) VALUES
  ('hook', TRUE, 5, 2, 1, 6, 'transient', 503, 100, 90, TRUE);
INSERT INTO durations (kind, size, memory, updated_at) VALUES ('dub', '', '{"form": 1}', 7);
INSERT INTO lanes (destination, node) VALUES ('hook', 'a');
"""


@pytest.fixture
def steps_to_0007(tmp_path: Path) -> Path:
    migrations = tmp_path / "to 0007"
    shutil.copytree(MIGRATIONS, migrations, ignore=shutil.ignore_patterns("__pycache__", "0008_*"))
    return migrations


@pytest.fixture
async def upgraded_sqlite(tmp_path: Path, steps_to_0007: Path) -> AsyncIterator[Database]:
    path = tmp_path / "cambwatch.db"
    migrate(path, migrations=steps_to_0007)
    with sqlite3.connect(path) as connection:
        connection.executescript(ROWS_OF_0007)
    connection.close()
    migrate(path)
    async with SqliteDatabase(path) as database:
        yield database


@pytest.fixture
async def upgraded_postgres(empty: str, steps_to_0007: Path) -> AsyncIterator[Database]:
    await migrate_server(empty, migrations=steps_to_0007)
    await execute(empty, ROWS_OF_0007)
    await migrate_server(empty)
    (lease,) = await fetch(empty, "SELECT destination, node FROM destination_leases")
    assert tuple(lease) == ("hook", "a")
    async with PostgresDatabase(empty) as database:
        yield database


@pytest.fixture(params=["upgraded_sqlite", "upgraded_postgres"])
def upgraded(request: pytest.FixtureRequest) -> Database:
    return request.getfixturevalue(request.param)


async def test_every_row_of_revision_0007_is_read_under_the_new_names(upgraded: Database) -> None:
    deliveries = DeliveryStore(upgraded)
    (task,) = await TaskStore(upgraded).watched()
    assert (task.labels, task.polls, task.known) == ({"a": "b"}, 7, True)

    due = await deliveries.due("hook", now=datetime(2026, 1, 1, tzinfo=UTC), fresh=9, repeated=9, exclude=())
    ((fresh, _),), ((repeated, _),) = due.fresh, due.repeated
    assert (fresh.id, fresh.uncharged) == ("fresh", timedelta(0))
    assert (repeated.id, repeated.uncharged) == ("repeated", timedelta(seconds=3))

    _, _, kept = await DeliveryAdmin(upgraded).delivery("repeated") or (None, None, [])
    assert [(past.attempt.number, past.attempt.delivery_count) for past in kept] == [(1, 1), (2, 4)]

    breaker = (await deliveries.breakers())["hook"]
    assert (breaker.open, breaker.failures, breaker.rate_limits, breaker.alerted) == (True, 5, 2, True)
    assert (breaker.outcome, breaker.paused_until) == (Outcome.TRANSIENT, START + timedelta(microseconds=90))

    (saved,) = await DurationStore(upgraded).saved_durations()
    assert (saved.kind, saved.durations) == ("dub", {"form": 1})

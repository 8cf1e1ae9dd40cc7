"""A copy of a database in use: one moment of it, whole, private, and never in the place of something else."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from store_samples import ENVIRONMENT, conclude, owed, watch

from cambwatch.adapters.store.backup import BackupError, back_up
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.tasks import TaskStore

ROWS = "SELECT (SELECT count(*) FROM tasks WHERE status <> 'PENDING'), (SELECT count(*) FROM deliveries)"
# As a writer that was killed: its log is left behind.
KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("UPDATE tasks SET name = 'from the log'")
connection.commit()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder for nothing but copies."""
    folder = tmp_path / "copies"
    folder.mkdir()
    return folder


def query(path: Path, statement: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


async def test_a_copy_is_one_moment_of_a_database_that_is_written(path: Path, place: Path) -> None:
    """Never a task that ended without what is owed of that; all that was acknowledged before is in it."""
    async with SqliteDatabase(path) as database:
        tasks = TaskStore(database)
        acknowledged = 0
        stop = False

        async def write(writer: int) -> None:
            nonlocal acknowledged
            number = 0
            while not stop:
                number += 1
                (task,) = await watch(tasks, f"{writer}-{number}", name="x" * 200)
                await conclude(tasks, task, notify=("hook",))
                acknowledged += 1

        writing = [asyncio.create_task(write(writer)) for writer in range(4)]
        seen = []
        for number in range(5):
            before = acknowledged
            await asyncio.to_thread(back_up, path, place / f"{number}.db", replace=False)
            ((ended, deliveries),) = query(place / f"{number}.db", ROWS)
            assert ended == deliveries >= before
            seen.append(ended)
        stop = True
        await asyncio.gather(*writing)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    assert sorted(file.name for file in place.iterdir()) == [f"{number}.db" for number in range(5)]
    assert query(place / "4.db", "PRAGMA integrity_check") == [("ok",)]


async def test_a_copy_does_not_begin_anew_with_each_write(
    path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a busy daemon it would never end; what is written from its begin on is not in it, and does not wait."""
    async with SqliteDatabase(path) as database:
        await watch(TaskStore(database), "one", name="before")
    connect = sqlite3.connect

    class Interrupted(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, **options: Any) -> None:
            writer = connect(path, timeout=0)
            writer.execute("UPDATE tasks SET name = 'later'")
            writer.commit()
            writer.close()
            super().backup(target, **options)

    monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=Interrupted))
    back_up(path, place / "copy.db", replace=False)
    monkeypatch.undo()
    assert query(place / "copy.db", "SELECT name FROM tasks") == [("before",)]
    assert query(path, "SELECT name FROM tasks") == [("later",)]


async def test_a_copy_can_be_worked_on(path: Path, place: Path) -> None:
    """It is a database like the first one, also of a daemon that does not run."""
    async with SqliteDatabase(path) as database:
        (one,) = await watch(TaskStore(database), "one")
        await conclude(TaskStore(database), one)
        (delivery,) = await owed(TaskStore(database), one)
    beside = sorted(file.name for file in path.parent.iterdir())
    size = back_up(path, place / "copy.db", replace=False)
    assert sorted(file.name for file in path.parent.iterdir()) == beside
    assert size == (place / "copy.db").stat().st_size
    async with SqliteDatabase(place / "copy.db") as copy:
        assert await owed(TaskStore(copy), one) == [delivery]
        await watch(TaskStore(copy), "two")


async def test_what_a_killed_daemon_left_in_its_log_is_in_the_copy(path: Path, place: Path) -> None:
    async with SqliteDatabase(path) as database:
        await watch(TaskStore(database), "one")
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, env=ENVIRONMENT)  # noqa: ASYNC221
    assert path.with_name(path.name + "-wal").stat().st_size
    back_up(path, place / "copy.db", replace=False)
    assert query(place / "copy.db", "SELECT name FROM tasks") == [("from the log",)]


def test_a_copy_is_for_its_owner_alone(path: Path, place: Path) -> None:
    """It holds what the database holds; whatever the umask."""
    before = os.umask(0)
    try:
        back_up(path, place / "copy.db", replace=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "copy.db").stat().st_mode) == 0o600


def test_what_is_there_is_left_alone_unless_it_is_to_be_replaced(path: Path, place: Path) -> None:
    """A copy of yesterday, a link, whatever it is."""
    target = place / "copy.db"
    target.write_text("of yesterday")
    dangling = place / "link.db"
    dangling.symlink_to(place / "nowhere")
    for there in (target, dangling):
        with pytest.raises(BackupError, match="--force"):
            back_up(path, there, replace=False)
    assert target.read_text() == "of yesterday"
    back_up(path, target, replace=True)
    assert query(target, "SELECT count(*) FROM tasks") == [(0,)]
    assert sorted(file.name for file in place.iterdir()) == ["copy.db", "link.db"]


def test_what_comes_meanwhile_is_left_alone(path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is taken by what cannot overwrite."""
    target = place / "copy.db"
    fsync = os.fsync

    def come(handle: int) -> None:
        target.write_text("of somebody else")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", come)
    with pytest.raises(BackupError, match="meanwhile"):
        back_up(path, target, replace=False)
    assert target.read_text() == "of somebody else"
    assert list(place.iterdir()) == [target]


@pytest.mark.parametrize("end", ["", "-wal", "-shm", ".lock"])
def test_the_database_itself_is_never_overwritten(path: Path, end: str) -> None:
    """Nor what stands beside it, by whatever name; not even with --force."""
    own = path.with_name(path.name + end)
    own.touch()
    link = path.with_name("link")
    link.symlink_to(own)
    before = own.read_bytes()
    for target in (own, link):
        with pytest.raises(BackupError, match="no place"):
            back_up(path, target, replace=True)
    assert own.read_bytes() == before


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"store\.url"):
        back_up(tmp_path / "none.db", tmp_path / "copy.db", replace=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file"):
        back_up(path, tmp_path / "none" / "copy.db", replace=False)


@pytest.mark.parametrize("content", [b"Dear diary,\n" * 1000, b"", b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_database_of_ours_makes_no_copy(place: Path, tmp_path: Path, content: bytes) -> None:
    source = tmp_path / "diary"
    source.write_bytes(content)
    with pytest.raises(BackupError, match="could not be copied"):
        back_up(source, place / "copy.db", replace=False)
    assert list(place.iterdir()) == []
    assert source.read_bytes() == content


async def test_a_damaged_database_does_not_take_the_place_of_a_good_copy(path: Path, place: Path) -> None:
    """The last good one may be all that is left."""
    async with SqliteDatabase(path) as database:
        await watch(TaskStore(database), *(f"t{n}" for n in range(500)), name="x" * 200)
    target = place / "copy.db"
    back_up(path, target, replace=False)
    good = target.read_bytes()
    pages = query(path, "SELECT rootpage FROM sqlite_master WHERE name = 'ix_tasks_status'")
    with path.open("r+b") as file:
        file.seek((int(str(pages[0][0])) - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(BackupError, match="damaged"):
        back_up(path, target, replace=True)
    assert target.read_bytes() == good
    assert list(place.iterdir()) == [target]

"""A disk that is full, a file that cannot be written, a file that another program holds: said, and survived."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from store_samples import conclude, count, nobody, watch

from cambwatch.adapters.store.database import StoreBusyError, StoreUnavailableError
from cambwatch.adapters.store.sqlite import SqliteDatabase, create_engine, exclusive_process_lock
from cambwatch.adapters.store.sqlite_migration import migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import TaskKey

BUSY_TIMEOUT_S = 0.05
LONG = "x" * 4000


@pytest.fixture
async def hasty(path: Path) -> AsyncIterator[SqliteDatabase]:
    """A database that does not wait long for other programs."""
    async with SqliteDatabase(path, busy_timeout_s=BUSY_TIMEOUT_S) as database:
        yield database


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; only root can make one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def freezable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder for read_only(); root may write into every other."""
    return request.getfixturevalue("small_disk") if os.geteuid() == 0 else tmp_path


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in *folder* can be written within the block."""
    if os.geteuid() == 0:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        return
    modes = {path: path.stat().st_mode for path in (folder, *folder.iterdir())}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


def _set(database: SqliteDatabase, pragma: str) -> None:
    """Change a setting of the idle writer's connection."""
    connection = database._write_engine.raw_connection()
    connection.driver_connection.execute(f"PRAGMA {pragma}").close()
    connection.close()


async def _no_more_pages(database: SqliteDatabase) -> None:
    pages = await database.read(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar())
    _set(database, f"max_page_count = {pages}")


async def test_a_file_that_may_not_grow_takes_nothing_and_goes_on_by_itself(sqlite: SqliteDatabase) -> None:
    """What does not fit is not there at all; what is there can be read; the next write after it is good again."""
    tasks = TaskStore(sqlite)
    (one,) = await watch(tasks, "one")
    await _no_more_pages(sqlite)
    assert sqlite.trouble is None

    with pytest.raises(StoreUnavailableError, match="full") as caught:
        await watch(tasks, *(f"t{n}" for n in range(200)), name=LONG)

    assert caught.value.reason == "database or disk is full"
    assert "make room" in caught.value.hint
    assert sqlite.trouble == str(caught.value)
    assert await tasks.watched() == [one]
    _set(sqlite, "max_page_count = 1000000")
    assert len(await watch(tasks, *(f"t{n}" for n in range(200)), name=LONG)) == 200
    assert sqlite.trouble is None


async def test_on_a_full_disk_each_hears_of_it_and_the_small_ones_may_pass(sqlite: SqliteDatabase) -> None:
    """A large write that does not fit takes none of its neighbours with it."""
    tasks = TaskStore(sqlite)
    (one,) = await watch(tasks, "one")
    await _no_more_pages(sqlite)
    large, small = await asyncio.gather(
        watch(tasks, *(f"t{n}" for n in range(200)), name=LONG),
        tasks.remove(one.key, destinations_for_group=nobody, now=one.registered_at),
        return_exceptions=True,
    )
    assert isinstance(large, StoreUnavailableError)
    assert small == (one, [])
    assert await tasks.watched() == []


async def test_a_disk_that_was_full_is_used_again(small_disk: Path) -> None:
    """A real one: it fills up, room is made, and nothing that was acknowledged is missing."""
    path = small_disk / "cambwatch.db"
    migrate(path)
    async with SqliteDatabase(path) as database:
        tasks = TaskStore(database)
        await watch(tasks, "first")
        ballast = small_disk / "ballast"
        free = os.statvfs(small_disk)
        ballast.write_bytes(bytes(free.f_bavail * free.f_bsize - 200_000))
        acknowledged = ["first"]

        async def fill() -> None:
            for number in range(1000):
                await watch(tasks, f"t{number}", name=LONG)
                acknowledged.append(f"t{number}")

        with pytest.raises(StoreUnavailableError, match=r"full|disk I/O"):
            await fill()
        assert database.trouble is not None
        assert [task.key.task_id for task in await tasks.watched()] == acknowledged
        ballast.unlink()
        (after,) = await watch(tasks, "after", name=LONG)
        assert database.trouble is None
        assert await conclude(tasks, after) == ["hook"]
    async with SqliteDatabase(path) as database:
        assert [task.key.task_id for task in await TaskStore(database).watched()] == acknowledged
        assert await database.read(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"


def test_a_full_disk_does_not_keep_the_lock_from_being_taken(small_disk: Path) -> None:
    """Only the number of its holder is not known then."""
    path = small_disk / "cambwatch.db"
    path.touch()
    free = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize))
    with (
        exclusive_process_lock(path),
        pytest.raises(StoreBusyError, match=r"\(process unknown\)"),
        exclusive_process_lock(path),
    ):
        pytest.fail("twice on one file")


async def test_a_database_that_turned_read_only_says_so(sqlite: SqliteDatabase) -> None:
    """And is written again as soon as it can be."""
    tasks = TaskStore(sqlite)
    _set(sqlite, "query_only = ON")
    with pytest.raises(StoreUnavailableError, match="readonly") as caught:
        await watch(tasks, "one")
    assert "writable" in caught.value.hint
    assert sqlite.trouble == str(caught.value)
    _set(sqlite, "query_only = OFF")
    await watch(tasks, "one")
    assert sqlite.trouble is None


def test_a_read_only_file_is_refused_at_the_start(freezable: Path) -> None:
    """By every step of it, and without a change."""
    path = freezable / "cambwatch.db"
    migrate(path)
    before = path.read_bytes()
    with read_only(freezable):
        for start in (migrate, SqliteDatabase):
            with pytest.raises(StoreUnavailableError, match=r"store\.url"):
                start(path)
        with pytest.raises(StoreUnavailableError, match=r"store\.url"), exclusive_process_lock(path):
            pytest.fail("there is no lock without a file")
    assert path.read_bytes() == before
    assert [file.name for file in freezable.iterdir()] == [path.name]


async def test_a_file_that_another_program_holds_is_waited_for_and_then_given_up(
    hasty: SqliteDatabase, path: Path
) -> None:
    """Reading goes on meanwhile; when the other is done, so does writing."""
    tasks = TaskStore(hasty)
    await watch(tasks, "one")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked") as caught:
        await watch(tasks, "two")
    assert "another program" in caught.value.hint
    assert hasty.trouble == str(caught.value)
    assert await count(hasty, "tasks") == 1
    other.execute("COMMIT")
    other.close()
    await watch(tasks, "two")
    assert hasty.trouble is None
    assert await count(hasty, "tasks") == 2


async def test_a_moment_of_another_program_is_waited_out(path: Path) -> None:
    """A backup does not fail anybody."""
    async with SqliteDatabase(path, busy_timeout_s=30) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()

        @sa.event.listens_for(database._write_engine, "before_cursor_execute")
        def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if statement == "BEGIN IMMEDIATE":
                loop.call_soon_threadsafe(begun.set)

        writing = asyncio.ensure_future(watch(TaskStore(database), "one"))
        await begun.wait()
        other.execute("COMMIT")
        other.close()
        assert len(await writing) == 1


async def test_a_held_file_is_waited_for_once_by_all(hasty: SqliteDatabase, path: Path) -> None:
    """Not by each that waits in turn: five hundred of them would wait for most of an hour."""
    tasks = TaskStore(hasty)
    await watch(tasks, "one")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tries: list[str] = []

    @sa.event.listens_for(hasty._write_engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        tries.append(statement)

    answers = await asyncio.gather(*(watch(tasks, f"t{n}") for n in range(300)), return_exceptions=True)
    other.execute("COMMIT")
    other.close()
    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    assert set(tries) == {"BEGIN IMMEDIATE"}
    assert len(tries) <= 2  # the first may have gone ahead of the others


async def test_a_bug_is_not_taken_for_trouble_with_the_file(sqlite: SqliteDatabase) -> None:
    """Nor does work that fails without the database say that the database is well again."""
    _set(sqlite, "query_only = ON")
    with pytest.raises(StoreUnavailableError):
        await watch(TaskStore(sqlite), "one")
    trouble = sqlite.trouble
    assert trouble is not None
    _set(sqlite, "query_only = OFF")
    with pytest.raises(ZeroDivisionError):
        await sqlite.write(lambda _: 1 // 0)
    with pytest.raises(sa.exc.ProgrammingError):
        await sqlite.write(lambda connection: connection.exec_driver_sql("SELECT ?", ()))
    assert sqlite.trouble == trouble


async def test_a_damaged_file_is_named(path: Path) -> None:
    """Restoring a backup is all that helps."""
    path.write_bytes(path.read_bytes()[:5000] + b"\xff" * 60_000)
    async with SqliteDatabase(path) as database:
        with pytest.raises(StoreUnavailableError, match=r"malformed|not a database") as caught:
            await TaskStore(database).task(TaskKey("default", "dub", "one"))
        assert "restore a backup" in caught.value.hint
        assert database.trouble == str(caught.value)
        # A write elsewhere in the file may succeed, and must not say that all is well.
        assert await database.check_write() == database.trouble == str(caught.value)
        assert await database.recheck_write() == str(caught.value)


def test_an_engine_leaves_its_place_alone_until_it_is_used(tmp_path: Path) -> None:
    """But for the file itself, empty and private."""
    path = tmp_path / "cambwatch.db"
    create_engine(path, begin="BEGIN").dispose()
    assert [(file.name, file.stat().st_size) for file in tmp_path.iterdir()] == [(path.name, 0)]

"""What SQLite is for us: durable, private, one writer with grouped commits, one process."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from store_samples import ENVIRONMENT, count, owed, watch

from cambwatch.adapters.store.database import MAX_UNITS_PER_COMMIT, StoreBusyError, StoreUnavailableError, Work
from cambwatch.adapters.store.sqlite import SqliteDatabase, exclusive_process_lock
from cambwatch.adapters.store.sqlite_migration import migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.core.model import Status, TaskKey

ROUNDS = 25
HOLD = """
import sys
from pathlib import Path
from cambwatch.adapters.store.sqlite import exclusive_process_lock
with exclusive_process_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def _insert(name: str) -> Work[None]:
    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO notes VALUES (:name)"), {"name": name})

    return work


@pytest.fixture
async def notes(sqlite: SqliteDatabase) -> Callable[[], list[str]]:
    """A table `notes` of unique names in the database; the fixture reads what is on disk, as another program would."""
    await sqlite.write(lambda connection: connection.exec_driver_sql("CREATE TABLE notes (name TEXT PRIMARY KEY)"))

    def read() -> list[str]:
        with sqlite3.connect(sqlite._path) as other:
            names = [name for (name,) in other.execute("SELECT name FROM notes ORDER BY name")]
        other.close()
        return names

    return read


@asynccontextmanager
async def held(database: SqliteDatabase) -> AsyncIterator[None]:
    """Keep the writer busy within the block, so that all that is handed in meanwhile becomes one group."""
    begun, released = threading.Event(), threading.Event()

    def work(_connection: sa.Connection) -> None:
        begun.set()
        assert released.wait(30)

    holding = asyncio.create_task(database.write(work))
    assert await asyncio.to_thread(begun.wait, 30)
    try:
        yield
        await asyncio.sleep(0)  # until all that was begun within the block is handed in
    finally:
        released.set()
    await holding


@contextmanager
def commits(database: SqliteDatabase) -> Iterator[list[object]]:
    """Grows by one with each transaction that is committed within the block."""
    found: list[object] = []

    @sa.event.listens_for(database._write_engine, "commit")
    def note(connection: sa.Connection) -> None:
        found.append(connection)

    yield found
    sa.event.remove(database._write_engine, "commit", note)


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
async def test_the_settings_are_in_force(sqlite: SqliteDatabase, pragma: str, value: object) -> None:
    """2 is FULL: every commit waits for the disk."""
    for run in (sqlite.write, sqlite.read):
        assert await run(lambda connection: connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()) == value


async def test_all_files_are_for_this_user_alone(tmp_path: Path) -> None:
    """Even where the umask would let everybody in: there are URLs with secrets in them."""
    before = os.umask(0)
    try:
        path = tmp_path / "cambwatch.db"
        with exclusive_process_lock(path):
            migrate(path)
            async with SqliteDatabase(path) as database:
                await watch(TaskStore(database), "one")
                modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    names = ("cambwatch.db", "cambwatch.db-wal", "cambwatch.db-shm", "cambwatch.db.lock")
    assert modes == dict.fromkeys(names, 0o600)


async def test_writes_that_wait_together_are_committed_together(
    sqlite: SqliteDatabase, notes: Callable[[], list[str]]
) -> None:
    """In groups of at most LARGEST_GROUP, and each is on disk when it is acknowledged."""
    how_many = 2 * MAX_UNITS_PER_COMMIT + 1
    with commits(sqlite) as committed:
        async with held(sqlite):
            writes = [asyncio.ensure_future(sqlite.write(_insert(f"{n:04}"))) for n in range(how_many)]
        await writes[0]
        assert notes()[:1] == ["0000"]
        await asyncio.gather(*writes)
        assert len(committed) == 4  # the one that held the writer, two full groups, and the rest
    assert notes() == [f"{n:04}" for n in range(how_many)]


async def test_a_unit_that_raises_takes_no_neighbour_with_it(
    sqlite: SqliteDatabase, notes: Callable[[], list[str]]
) -> None:
    """Nor leaves anything behind itself; each hears of its own fate."""

    def half(connection: sa.Connection) -> None:
        _insert("half")(connection)
        raise ValueError("broken")

    async with held(sqlite):
        group = asyncio.gather(
            *(sqlite.write(work) for work in (_insert("a"), half, _insert("b"), _insert("a"), _insert("c"))),
            return_exceptions=True,
        )
    assert [type(answer) for answer in await group] == [
        type(None),
        ValueError,
        type(None),
        IntegrityError,
        type(None),
    ]
    assert notes() == ["a", "b", "c"]
    assert sqlite.trouble is None


async def test_who_waits_no_more_takes_nobody_with_it(sqlite: SqliteDatabase, notes: Callable[[], list[str]]) -> None:
    """What was handed in is done all the same."""
    async with held(sqlite):
        gone, stays = (asyncio.ensure_future(sqlite.write(_insert(name))) for name in "ab")
        await asyncio.sleep(0)  # until both are handed in
        gone.cancel()
    await stays
    assert gone.cancelled()
    assert notes() == ["a", "b"]


async def test_a_result_comes_back_to_whoever_asked(sqlite: SqliteDatabase) -> None:
    """Also out of the middle of a group."""

    def squared(number: int) -> Work[int]:
        return lambda connection: connection.execute(sa.select(sa.literal(number) * number)).scalar_one()

    for run in (sqlite.write, sqlite.read):
        assert await asyncio.gather(*(run(squared(n)) for n in range(100))) == [n * n for n in range(100)]


async def test_readers_do_not_wait_for_the_writer(sqlite: SqliteDatabase) -> None:
    """And do not see what is not committed."""
    await watch(TaskStore(sqlite), "one")
    inserted, released = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        connection.exec_driver_sql("DELETE FROM tasks")
        inserted.set()
        assert released.wait(30)

    writing = asyncio.ensure_future(sqlite.write(slow))
    assert await asyncio.to_thread(inserted.wait, 30)
    assert await count(sqlite, "tasks") == 1
    released.set()
    await writing
    assert await count(sqlite, "tasks") == 0


async def test_leaving_finishes_what_was_handed_in(path: Path) -> None:
    """And then takes nothing more, instead of leaving somebody to wait for ever."""
    async with SqliteDatabase(path) as database:
        tasks = TaskStore(database)
        async with held(database):
            writes = [asyncio.ensure_future(watch(tasks, f"t{n}")) for n in range(50)]
    await asyncio.gather(*writes)
    with pytest.raises(StoreUnavailableError, match="closed"):
        await tasks.watched()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await watch(tasks, "late")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["with space.db", "ä#%20.db", "a?b=c.db", "file:x", ":memory:"])
async def test_a_file_can_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nothing in it is an option, and a relative one stays where it was when the process started."""
    monkeypatch.chdir(tmp_path)
    migrate(Path(name))
    async with SqliteDatabase(Path(name)) as database:
        await watch(TaskStore(database), "one")
    migrate(Path(name))
    assert [file.name for file in tmp_path.iterdir()] == [name]


async def test_text_that_is_no_unicode_is_refused(sqlite: SqliteDatabase) -> None:
    """Half of a surrogate pair cannot be written down; the store goes on."""
    tasks = TaskStore(sqlite)
    with pytest.raises(UnicodeEncodeError):
        await watch(tasks, "\ud800")
    assert len(await watch(tasks, "one")) == 1


def _lines_until(process: subprocess.Popen[str], last: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == last:
            return
        yield line.strip()


def _acknowledged_before_kills(path: Path) -> list[str]:
    """What the writers into *path* said, each until it was killed right after an acknowledgement."""
    dice = random.Random(1)
    said: list[str] = []
    program = [sys.executable, str(Path(__file__).with_name("killed_writer.py"))]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=ENVIRONMENT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(ROUNDS):
            process.stdin.write(f"{path}\n")
            child = int(process.stdout.readline())
            said += [process.stdout.readline().strip() for _ in range(dice.randint(1, 60))]
            os.kill(child, signal.SIGKILL)
            said += _lines_until(process, ".")
        process.stdin.close()
    return said


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    """Many times, on one and the same file."""
    acknowledged = await asyncio.to_thread(_acknowledged_before_kills, path)
    async with SqliteDatabase(path) as database:
        tasks = TaskStore(database)
        for line in acknowledged:
            word, name = line.split()
            task = await tasks.task(TaskKey("default", "dub", name))
            assert task is not None, line
            if word == "concluded":
                assert task.status is Status.SUCCESS, line
                assert [delivery.destination for delivery in await owed(tasks, task)] == [name], line
        assert await database.read(lambda c: c.exec_driver_sql("PRAGMA integrity_check").scalar()) == "ok"
    assert len(acknowledged) > ROUNDS


def test_a_second_process_is_refused_until_the_first_is_gone(path: Path) -> None:
    """It hears who holds the file; a kill leaves nothing to tidy up, and the lock file stays."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    lock = path.with_name(path.name + ".lock")
    lock.write_text("9" * 15)  # of a process long gone
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        for name in (path, link):
            with pytest.raises(StoreBusyError, match=rf"\(process {first.pid}\)"), exclusive_process_lock(name):
                pytest.fail("two processes on one file")
        first.kill()
    for _ in range(2):
        with (
            exclusive_process_lock(path),
            pytest.raises(StoreBusyError, match=rf"\(process {os.getpid()}\)"),
            exclusive_process_lock(path),
        ):
            pytest.fail("twice on one file")
    assert lock.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("name", ["missing/cambwatch.db", "file/cambwatch.db", "x" * 300])
def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, name: str) -> None:
    """With a word on what to do, not with an error of the system."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match=r"store\.url"), exclusive_process_lock(tmp_path / name):
        pytest.fail("there is no such place")
    with pytest.raises(StoreUnavailableError):
        migrate(tmp_path / name)
    with pytest.raises(StoreUnavailableError):
        SqliteDatabase(tmp_path / name)

"""
SQLite: one file, one process, one writer, grouped commits.

A commit waits for the disk, and the disk takes as long for one unit of work as
for a hundred. So a writer thread runs all units that have come in while the last
commit was under way in one transaction. Statements run on plain connections in
that thread: an async driver would cross threads for every single statement.
"""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.pool import StaticPool

from cambwatch.adapters.store.database import (
    MAX_UNITS_PER_COMMIT,
    BatchWork,
    Item,
    StoreBusyError,
    StoreMeter,
    StoreUnavailableError,
    T,
    UnitOfWork,
    Work,
    run_units,
)
from cambwatch.adapters.store.row_mapping import from_json, to_json

MIN_FREE_BYTES = 1 << 16  # bytes; with less SQLite cannot even begin its log
BUSY_TIMEOUT_S = 5.0  # another program, such as a backup, may hold the file for a moment


@contextmanager
def exclusive_process_lock(database: Path) -> Iterator[None]:
    """
    Hold the lock file beside *database* for the length of the block.

    Raises StoreBusyError, with the other's process number, while another process does,
    and StoreUnavailableError where no file can be.
    """
    real = database.resolve()  # one lock for one database, by whatever link it is reached
    handle = open_private(real.with_name(real.name + ".lock"))
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 20).decode("ascii", "replace").strip() or "unknown"
            raise StoreBusyError(
                f"{database} is in use by another cambwatch (process {holder}); "
                "stop that one, or give this one another store.url"
            ) from None
        with suppress(OSError):  # on a full disk: the lock is what counts, the number a courtesy
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(handle)  # lets go of the lock; the file stays, because removing it would race


def open_private(path: Path) -> int:
    """
    A handle on the file *path*, which is made for this user alone if there is none.

    Raises StoreUnavailableError where no file can be, or where it cannot be written.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = f"{path}: {error.strerror}"
        raise StoreUnavailableError(
            reason, hint="name a file in store.url that this user can create and write"
        ) from error


def create_engine(
    path: Path, *, begin: str, busy_timeout_s: float = BUSY_TIMEOUT_S, foreign_keys: bool = True
) -> sa.Engine:
    """
    An engine of one connection on the file *path*, whose transactions start with *begin*.

    Creates the file, for nobody but this user. Raises StoreUnavailableError where it cannot be.
    """
    os.close(open_private(path))  # before SQLite chooses a mode
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path.absolute())),
        poolclass=StaticPool,
        json_serializer=to_json,
        json_deserializer=from_json,
        connect_args={"check_same_thread": False, "timeout": busy_timeout_s},
    )
    pragmas = ("journal_mode=WAL", "synchronous=FULL", f"foreign_keys={int(foreign_keys)}", "temp_store=MEMORY")

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so, not where the driver guesses
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


class SqliteDatabase:
    """The file *path*, whose tables are there; use it within one running event loop."""

    def __init__(self, path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S, meter: StoreMeter | None = None) -> None:
        self._path = path
        self._meter = meter
        self._units: SimpleQueue[UnitOfWork | None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._write_engine = create_engine(path, begin="BEGIN IMMEDIATE", busy_timeout_s=busy_timeout_s)
        self._read_engine = create_engine(path, begin="BEGIN", busy_timeout_s=busy_timeout_s)
        self._reader = ThreadPoolExecutor(1, "cambwatch-read")
        self._trouble: str | None = None
        self._damage: str | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def trouble(self) -> str | None:
        """
        Why the last write failed; None after one that succeeded.

        Once the file was found damaged, by a read or a write, it says so until the end: a write elsewhere in it,
        such as that of check_write(), may well succeed.
        """
        return self._damage or self._trouble

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._writer = threading.Thread(target=self._write_groups, name="cambwatch-write", daemon=True)
        self._writer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what was handed in, then close the file."""
        self._closed = True
        self._units.put(None)
        if self._writer is not None:
            await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._reader.shutdown)
        self._write_engine.dispose()
        self._read_engine.dispose()

    async def write(self, work: Work[T]) -> T:
        """
        Run *work* with its neighbours in one transaction; see Database.

        Cancelling the wait does not call the work back.
        """
        return await self.write_batched(lambda connection, _: [work(connection)], None)

    async def write_batched(self, work: BatchWork[Item, T], item: Item) -> T:
        """Run *work* on the items of all who ask for it at once; see Database."""
        if self._closed:
            raise StoreUnavailableError(f"{self._path} is closed", hint="cambwatch is stopping")
        unit = UnitOfWork(work, item, asyncio.get_running_loop().create_future())
        self._units.put(unit)
        result: T = await unit.done
        return result

    async def write_unbatched(self, work: Work[T]) -> T:
        """As write(): there is one writer, and nobody else to wait for."""
        return await self.write(work)

    async def recheck_write(self) -> str | None:
        """Why nothing can be written; None where it can. Tries to, if the last write failed."""
        return self.trouble and await self.check_write()

    async def check_write(self) -> str | None:
        """Write something that nobody reads. Why that cannot be; None where it can."""
        with suppress(StoreUnavailableError):
            await self.write(_write_nothing)
        return self.trouble

    async def read(self, work: Work[T]) -> T:
        """Run *work* beside the writer; see Database."""
        if self._closed:
            raise StoreUnavailableError(f"{self._path} is closed", hint="cambwatch is stopping")

        def run() -> T:
            begun_s = time.monotonic()
            try:
                with translate_errors(self._path), self._read_engine.connect() as connection:
                    return work(connection)
            except StoreUnavailableError as error:
                self._record_damage(error)
                raise
            finally:
                if self._meter is not None:
                    self._meter.read(time.monotonic() - begun_s)

        return await asyncio.get_running_loop().run_in_executor(self._reader, run)

    def _write_groups(self) -> None:
        while (first := self._units.get()) is not None:
            group = [first]
            stop = False
            while len(group) < MAX_UNITS_PER_COMMIT and not self._units.empty():
                unit = self._units.get()
                if unit is None:
                    stop = True
                    break
                group.append(unit)
            self._write_group(group)
            if stop:
                return

    def _write_group(self, group: Sequence[UnitOfWork]) -> None:
        error = self._transact(group)
        if error is not None and len(group) > 1 and group[0].started:
            # One unit must not take its neighbours with it: each gets a transaction of its own.
            for unit in group:
                unit.error = self._transact([unit])
        elif error is not None:
            # Where no transaction even began, such as on a locked file, each of its own would wait as long in vain.
            for unit in group:
                unit.error = error
        assert self._loop is not None  # noqa: S101 - set before the thread starts
        try:
            self._loop.call_soon_threadsafe(self._resolve_group, group)
        except RuntimeError:  # the loop has gone, and everybody who waited with it
            return

    def _transact(self, units: Sequence[UnitOfWork]) -> BaseException | None:
        begun_s = time.monotonic()
        try:
            with translate_errors(self._path), self._write_engine.begin() as connection:
                run_units(connection, units)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the unit
            return error
        finally:
            if self._meter is not None:
                self._meter.observe_write(time.monotonic() - begun_s)
        return None

    def _resolve_group(self, group: Sequence[UnitOfWork]) -> None:
        for unit in group:
            if unit.error is None:
                self._trouble = None
            elif isinstance(unit.error, StoreUnavailableError):
                self._trouble = str(unit.error)
                self._record_damage(unit.error)
            unit.resolve()

    def _record_damage(self, error: StoreUnavailableError) -> None:
        if _is_damage(error.reason):
            self._damage = str(error)


def _write_nothing(connection: sa.Connection) -> None:
    """Writes a page, and nothing that anybody reads: on a full disk it fails as everything else does."""
    (number,) = connection.exec_driver_sql("PRAGMA user_version").one()
    connection.exec_driver_sql(f"PRAGMA user_version = {(number + 1) % 2**31}")


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Turn the driver's trouble with the file into ours; a broken rule of the schema, or a bug, stays what it is."""
    try:
        yield
    except (IntegrityError, DataError, ProgrammingError, InterfaceError):
        raise
    except DBAPIError as error:
        reason = str(error.orig)
        raise StoreUnavailableError(reason, hint=_hint(reason, path)) from error


def _hint(reason: str, path: Path) -> str:
    words = reason.lower()
    if "full" in words or ("disk i/o" in words and _is_full(path)):  # the latter where not even a log can be made
        return f"make room on the file system of {path}; it goes on by itself"
    if "readonly" in words or "read-only" in words or "unable to open" in words:
        return f"make {path} and its folder writable for this user"
    if _is_damage(reason):
        return f"{path} is damaged: stop cambwatch, put it aside and restore a backup"
    if "locked" in words:
        return f"another program holds {path}"
    return f"look at the disk of {path}"


def _is_damage(reason: str) -> bool:
    return "malformed" in reason or "not a database" in reason


def _is_full(path: Path) -> bool:
    try:
        files = os.statvfs(path.parent)
    except OSError:
        return False
    return files.f_bavail * files.f_frsize < MIN_FREE_BYTES

"""
A copy of a database that others may be writing at the same time.

It is what the database held at one moment, in one file that needs nothing beside it.
Nobody is asked, and nobody is held up: SQLite's own log lets readers and the writer be.
"""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

PAGES_AT_ONCE = 4096  # between two moments at which Ctrl-C is heard


class BackupError(Exception):
    """There is no copy; what was there before is still there. Says what to do."""


def back_up(source: Path, target: Path, *, replace: bool) -> int:
    """
    Copy the SQLite file *source* to *target*, for this user's eyes only; returns its size in bytes.

    The file *target* is there whole, checked and on disk, or not at all; one that is there
    already is left alone unless it is to be *replace*d. Raises BackupError.
    """
    if not source.is_file():
        raise BackupError(f"there is no database {source}: look at store.url")
    if os.path.lexists(target):
        if target.is_dir() or target.resolve() in _protected_paths(source):
            raise BackupError(f"{target} is no place for a copy: name another file")
        if not replace:
            raise BackupError(f"{target} is there already: name another file, or overwrite it with --force")
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            _copy(source, partial)
            size = _sync_file(partial)
            _move_into_place(partial, target, replace=replace)
        finally:
            for left in (partial, *_sidecar_files(partial)):
                left.unlink(missing_ok=True)
        _sync_folder(target.absolute().parent)
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror or error}") from error
    return size


def _copy(source: Path, partial: Path) -> None:
    try:
        with (
            # Not read-only: who only reads would leave an empty log behind where nobody else has it open.
            closing(
                sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)
            ) as source_connection,
            closing(sqlite3.connect(partial, isolation_level=None)) as target_connection,
        ):
            # One view for all of it: without, each write of the daemon would make the copy begin anew.
            source_connection.execute("BEGIN")
            source_connection.execute(
                "SELECT version_num FROM alembic_version"
            ).fetchone()  # else it is another program's
            source_connection.backup(target_connection, pages=PAGES_AT_ONCE, progress=lambda *_: None)
            source_connection.close()  # the daemon's log need not wait for the check
            target_connection.execute("PRAGMA journal_mode=DELETE")  # with a log beside it, it would be two files
            damage = [row[0] for row in target_connection.execute("PRAGMA quick_check(1)") if row[0] != "ok"]
    except sqlite3.Error as error:
        raise BackupError(f"{source} could not be copied to {partial.parent}: {error}") from error
    if damage:
        raise BackupError(f"{source} is damaged ({damage[0].splitlines()[-1]}): keep your last good backup")


def _sync_file(partial: Path) -> int:
    handle = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
        return os.fstat(handle).st_size
    finally:
        os.close(handle)


def _move_into_place(partial: Path, target: Path, *, replace: bool) -> None:
    if replace:
        partial.replace(target)
        return
    try:
        os.link(partial, target)  # which, unlike a rename, never takes the place of what has come meanwhile
    except FileExistsError:
        raise BackupError(f"{target} has come into being meanwhile, and was left alone") from None
    except OSError:  # a file system without links, such as a stick's
        if os.path.lexists(target):
            raise
        partial.rename(target)


def _sync_folder(folder: Path) -> None:
    """Have the name on disk as well; some file systems cannot, and need not."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


def _sidecar_files(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("-journal", "-wal", "-shm")]


def _protected_paths(source: Path) -> set[Path]:
    """What a copy must never take the place of, whoever wishes it: the database itself and what stands beside it."""
    real = source.resolve()
    return {real, real.with_name(real.name + ".lock"), *_sidecar_files(real)}

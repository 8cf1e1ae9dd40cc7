"""Brings a SQLite file to the schema of this version, or refuses it untouched."""

import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa

from cambwatch.adapters.store.database import StoreTooNewError, StoreUnavailableError
from cambwatch.adapters.store.sqlite import create_engine, open_private, translate_errors

MIGRATIONS = Path(__file__).parent / "migrations"

_HEADER = b"SQLite format 3\0"


def migrate(path: Path, *, migrations: Path = MIGRATIONS) -> None:
    """
    Apply the steps in *migrations* that the SQLite file *path* lacks, all or none; creates the file.

    Raises StoreTooNewError, without having changed a byte, for a database that has
    taken a step unknown here, and StoreUnavailableError for what is no database of ours.
    """
    known = known_revisions(migrations)
    current = _current_revision(path)
    if current is not None and current not in known:
        raise StoreTooNewError(
            f"{path} was written by a newer cambwatch (step {current}, this one knows {known[-1]}): "
            "install that version again, or restore a backup from before it"
        )
    if current == known[-1]:
        return
    # Without foreign keys: a step that rebuilds a table drops the old one, and its rows' dependants would go with it.
    engine = create_engine(path, begin="BEGIN EXCLUSIVE", foreign_keys=False)
    try:
        with translate_errors(path), engine.begin() as connection:
            upgrade(connection, migrations)
    finally:
        engine.dispose()


def upgrade(connection: sa.Connection, migrations: Path) -> None:
    """Take all steps in *migrations* that the database lacks, in the open transaction of *connection*."""
    # Imported here: it takes a third of a second, and most starts need no step.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    command.upgrade(config, "head")


def known_revisions(migrations: Path) -> list[str]:
    """The revisions of this version, oldest first: each file's name starts with its own."""
    return sorted(step.name.split("_")[0] for step in (migrations / "versions").glob("[0-9]*.py"))


def _current_revision(path: Path) -> str | None:
    """The last step that the file *path* has taken; None for a new file. Leaves no other trace."""
    handle = open_private(path)
    try:
        header = os.read(handle, len(_HEADER))
    finally:
        os.close(handle)
    if not header:
        return None
    if header != _HEADER:  # SQLite itself would take a text of a few bytes for an empty database, and write over it
        raise StoreUnavailableError(f"{path} is no database", hint="name another file in store.url")
    with translate_errors(path):
        try:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?{_read_only_mode(path)}", uri=True)
            try:
                names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
                if not names:
                    return None
                if "alembic_version" not in names:
                    raise StoreUnavailableError(
                        f"{path} is a database of another program", hint="name another file in store.url"
                    )
                row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            finally:
                connection.close()
        except sqlite3.DatabaseError as error:
            raise sa.exc.DBAPIError("", None, error) from error
    return None if row is None else str(row[0])


def _read_only_mode(path: Path) -> str:
    """
    How to open *path* so that nothing is left beside it.

    Even a reader leaves an empty log behind, unless it is told that nobody writes,
    which our lock says. A log from before, of a process that was killed, has to be read.
    """
    log = path.with_name(path.name + "-wal")
    return "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"

"""Brings a PostgreSQL database to the schema of this version, or refuses it untouched."""

import asyncio
from pathlib import Path

import sqlalchemy as sa

from cambwatch.adapters.store.database import StoreTooNewError, StoreUnavailableError
from cambwatch.adapters.store.postgres import create_engine
from cambwatch.adapters.store.postgres_connection import PostgresServer, refuse_shared_sessions
from cambwatch.adapters.store.postgres_errors import translate_errors
from cambwatch.adapters.store.schema import metadata
from cambwatch.adapters.store.sqlite_migration import MIGRATIONS, known_revisions, upgrade

MIGRATION_TIMEOUT_S = 300.0  # for all steps of all nodes that start at the same time
_LOCK = 0x63616D62  # "camb": the advisory lock under which steps are taken


async def migrate(url: str, *, migrations: Path = MIGRATIONS) -> None:
    """
    Apply the steps in *migrations* that the database at *url* lacks, all or none.

    Of several nodes that start at the same time one takes them, and the others wait for it.
    Raises StoreTooNewError, with nothing changed, for a database that has taken a step
    unknown here, StoreMisconfiguredError where it is not UTF-8 or lies behind a pooler that shares
    sessions, and StoreUnavailableError where it cannot be had or holds other tables by our names.
    """
    known = known_revisions(migrations)

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text(f"SET LOCAL lock_timeout = {round(MIGRATION_TIMEOUT_S * 1000)}"))
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        current = _current_revision(connection)
        if current is not None and current not in known:
            raise StoreTooNewError(
                f"this database was written by a newer cambwatch or by another program (step {current}; this one knows "
                f"{known[-1]}): install that version again, or name another database in store.url"
            )
        if current != known[-1]:
            upgrade(connection, migrations)

    server = PostgresServer(url)
    await refuse_shared_sessions(server)
    engine = create_engine(server, size=1)
    try:
        with translate_errors():
            async with asyncio.timeout(MIGRATION_TIMEOUT_S), engine.begin() as connection:
                await connection.run_sync(work)
    finally:
        await engine.dispose()


def _current_revision(connection: sa.Connection) -> str | None:
    """The last step that the database has taken; None for one without tables of ours."""
    names = set(sa.inspect(connection).get_table_names())
    if "alembic_version" not in names:
        if foreign := names & set(metadata.tables):
            raise StoreUnavailableError(
                f"another program has tables in this database ({', '.join(sorted(foreign))})",
                hint="name another database in store.url",
            )
        return None
    row = connection.execute(sa.text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])

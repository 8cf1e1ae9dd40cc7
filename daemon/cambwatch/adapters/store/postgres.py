"""
PostgreSQL: any number of processes, grouped commits, and trouble that passes by itself.

As on SQLite, one transaction takes all units of work that have come in while the
last one was under way: a commit waits for the server's disk and for the way to it
and back. While the server cannot be had nobody waits for it: units are refused at
once, and one probe after the other finds out when it is back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Self

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cambwatch.adapters.store.database import Item, StoreUnavailableError, T, Work, WorkOfMany
from cambwatch.adapters.store.json_columns import from_json, to_json
from cambwatch.adapters.store.units import LARGEST_GROUP, Meter, Unit, do_all

READERS = 4  # connections besides the writer's
APART = 1  # likewise, for write_alone()
CONNECT_S = 3.0
TRANSACTION_S = 10.0  # until one is given up: a connection that drops everything says nothing of it
LOCK_MS = 5000  # that a statement waits for somebody else's lock
# In which a transaction of ours may do nothing, before the server frees what it has locked. It does not count while a
# statement was prepared and is not run yet, which is how asyncpg runs it: others end such sessions, see NodeStore.
FROZEN_MS = 5000
SESSION = "cambwatch"  # the application_name of ours; a node's has its id besides
PROBE_PAUSE_S = 0.5  # between two tries to have the server back
TRIES = 3  # of a unit that another node has crossed

_CROSSED = {"40001", "40P01", "23505"}  # serialization_failure, deadlock_detected, unique_violation
_PASSING = {"55P03", "57014"}  # lock_not_available, query_canceled: the next unit may fare better
_BUGS = ("22", "23", "42")  # data_exception, integrity_constraint_violation, access_rule_violation
_PERMISSION = "42501"
# Writes, as all real work does: a server that only reads, such as one that takes over, is not back yet.
_PROBE = sa.text("SELECT 1 FROM alembic_version FOR KEY SHARE")


class PostgresDatabase:
    """The database at *url*, whose tables are there; use it within one running event loop."""

    def __init__(
        self,
        url: str,
        *,
        meter: Meter | None = None,
        transaction_s: float = TRANSACTION_S,
        node: str | None = None,
    ) -> None:
        """*node* is the id by which others know whose sessions these are."""
        self._meter = meter
        self._transaction_s = transaction_s
        self._engine = create_engine(url, size=1 + READERS + APART, name=SESSION if node is None else session_of(node))
        self._views = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._readers, self._apart = asyncio.Semaphore(READERS), asyncio.Semaphore(APART)
        self._units: asyncio.Queue[Unit | None] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._prober: asyncio.Task[None] | None = None
        self._closed = False
        self._trouble: StoreUnavailableError | None = None
        self._down = False

    @property
    def trouble(self) -> str | None:
        """Why the last write failed, or why nothing can be done; None while all is well."""
        return None if self._trouble is None else str(self._trouble)

    async def __aenter__(self) -> Self:
        self._writer = asyncio.create_task(self._write_groups(), name="write")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Finish what was handed in, then close the connections."""
        self._closed = True
        self._units.put_nowait(None)
        if self._writer is not None:
            await self._writer
        if self._prober is not None:
            self._prober.cancel()
            with suppress(asyncio.CancelledError):
                await self._prober
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                await self._engine.dispose()

    async def write(self, work: Work[T]) -> T:
        """
        Run *work* with its neighbours in one transaction; see Database.

        Raises StoreUnavailableError also where the connection broke at the commit: then
        it may have been written. Every work here can be done again after that.
        """
        return await self.write_together(lambda connection, _: [work(connection)], None)

    async def write_together(self, work: WorkOfMany[Item, T], item: Item) -> T:
        """Run *work* on the items of all who ask for it at once; see Database."""
        self._refuse_in_trouble()
        unit = Unit(work, item, asyncio.get_running_loop().create_future())
        self._units.put_nowait(unit)
        result: T = await unit.done
        return result

    async def write_alone(self, work: Work[T]) -> T:
        """Run *work* in a transaction of its own, beside that of all the others; see Database."""
        self._refuse_in_trouble()
        unit = Unit(lambda connection, _: [work(connection)], None, asyncio.get_running_loop().create_future())
        async with self._apart:
            error = await self._transact([unit])
        if error is not None:
            raise error
        result: T = unit.result
        return result

    async def read(self, work: Work[T]) -> T:
        """Run *work*, which only reads, on a consistent view; see Database."""
        self._refuse_in_trouble()
        async with self._readers:
            begun_s = time.monotonic()
            try:
                async with self._within(self._views) as connection:
                    return await connection.run_sync(work)
            finally:
                if self._meter is not None:
                    self._meter.read(time.monotonic() - begun_s)

    async def probe(self) -> str | None:
        """Why nothing can be written; None where it can. Tries to, if the last write failed."""
        return self.trouble and await self.prove()

    async def prove(self) -> str | None:
        """Write something that nobody reads. Why that cannot be; None where it can."""
        with suppress(StoreUnavailableError):
            await self.write(_touch)
        return self.trouble

    def _refuse_in_trouble(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the database is closed", hint="cambwatch is stopping")
        if self._down and self._trouble is not None:
            raise StoreUnavailableError(self._trouble.reason, hint=self._trouble.hint)

    @asynccontextmanager
    async def _within(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, which is given up when it takes too long; trouble is ours."""
        try:
            with translated():
                async with asyncio.timeout(self._transaction_s), engine.begin() as connection:
                    yield connection
        except StoreUnavailableError as error:
            self._note(error)
            raise

    async def _write_groups(self) -> None:
        while (first := await self._units.get()) is not None:
            group = [first]
            while len(group) < LARGEST_GROUP and not self._units.empty():
                unit = self._units.get_nowait()
                if unit is None:
                    self._units.put_nowait(None)
                    break
                group.append(unit)
            await self._write_group(group)
            for unit in group:
                unit.settle()

    async def _write_group(self, group: Sequence[Unit]) -> None:
        if self._down:
            for unit in group:
                unit.error = self._trouble
            return
        error = await self._transact(group)
        if error is None:
            self._trouble = None
            return
        for unit in group:
            # One unit must not take its neighbours with it; where the server is in trouble they would fare no better.
            alone = not isinstance(error, StoreUnavailableError) or not self._down
            unit.error = await self._transact([unit]) if alone and len(group) > 1 else error

    async def _transact(self, units: Sequence[Unit]) -> BaseException | None:
        for number in range(1, TRIES + 1):
            begun_s = time.monotonic()
            try:
                async with self._within(self._engine) as connection:
                    await connection.run_sync(do_all, units)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the unit
                if isinstance(error, DBAPIError) and _state(error) in _CROSSED and number < TRIES:
                    continue
                return _crossed(error)
            finally:
                if self._meter is not None:
                    self._meter.wrote(time.monotonic() - begun_s)
            return None
        raise AssertionError  # the last try returns

    def _note(self, error: StoreUnavailableError) -> None:
        self._trouble = error
        if isinstance(error, _PassingError) or self._closed:
            return
        self._down = True
        if self._prober is None or self._prober.done():
            self._prober = asyncio.create_task(self._until_back(), name="probe the database")

    async def _until_back(self) -> None:
        """Returns when the server takes a write; connections of before are not used again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    await self._engine.dispose()
            try:
                with translated():
                    async with asyncio.timeout(CONNECT_S), self._engine.begin() as connection:
                        await connection.execute(_PROBE)
            except StoreUnavailableError as error:
                self._trouble = error
            except Exception as error:  # noqa: BLE001 - whatever it is: nobody else finds out when the server is well again
                self._trouble = StoreUnavailableError(str(error), hint=_LOOK)
            else:
                break
            await asyncio.sleep(PROBE_PAUSE_S)
        self._down, self._trouble = False, None


class _PassingError(StoreUnavailableError):
    """One unit of work was in the way of somebody else's; the server is well."""


def session_of(node: str) -> str:
    """The application_name of all sessions in which *node* may lock anything."""
    return f"{SESSION} {node}"


def create_engine(url: str, *, size: int, name: str = SESSION) -> AsyncEngine:
    """An engine of at most *size* connections, made as they are needed and called *name*, to the database at *url*."""
    return create_async_engine(
        address(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=TRANSACTION_S,
        pool_use_lifo=True,
        json_serializer=to_json,
        json_deserializer=from_json,
        connect_args={
            "timeout": CONNECT_S,
            "server_settings": {
                "application_name": name,
                "lock_timeout": str(LOCK_MS),
                "idle_in_transaction_session_timeout": str(FROZEN_MS),
                "jit": "off",  # all statements are short
            },
        },
    )


def address(url: str) -> sa.URL:
    """*url*, which may begin with postgres:// and have libpq's sslmode, as SQLAlchemy wants it."""
    parts = sa.make_url(url).set(drivername="postgresql+asyncpg")
    if mode := parts.query.get("sslmode"):
        parts = parts.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return parts


def _touch(connection: sa.Connection) -> None:
    connection.execute(_PROBE)


@contextmanager
def translated() -> Iterator[None]:
    """Turn trouble with the server into ours; a broken rule of the schema, or a bug, stays what it is."""
    try:
        yield
    except TimeoutError as error:
        raise StoreUnavailableError("the database does not answer", hint=_LOOK) from error
    except NoConnectionError as error:
        raise _PassingError("no connection to the database is free", hint=_LOOK) from error
    except DBAPIError as error:
        if isinstance(error.orig, BaseException) and isinstance(error.orig.__cause__, ValueError):
            raise  # the driver would not even send it, such as a number beyond its column
        raise_ours(_state(error), str(error.orig).partition(": ")[2] or str(error.orig), error)
        raise
    except asyncpg.PostgresError as error:  # while connecting
        raise_ours(error.sqlstate or "", str(error), error)
        raise
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:  # the last: it ended just now
        raise StoreUnavailableError(str(error) or type(error).__name__, hint=_LOOK) from error


_LOOK = "look whether PostgreSQL runs and can be reached with store.url; it goes on by itself"
_HINTS = {
    "28": "look at the user and password in store.url, and at PostgreSQL's pg_hba.conf",
    "3D": "create the database that store.url names (createdb), or name another",
    "42": "grant this user the right to create and change tables in the database",
    "53": "PostgreSQL is out of room or connections: look at its disk and at max_connections; it goes on by itself",
    "25006": "PostgreSQL only reads, as during a failover: let store.url lead to the primary; it goes on by itself",
}


def raise_ours(state: str, reason: str, error: BaseException) -> None:
    """Raise what an error with this SQLSTATE means, if it is trouble with the server."""
    if state in _CROSSED:
        return  # to be done again
    if state in _PASSING:
        raise _PassingError(reason, hint="somebody holds a lock in the database; it is tried again") from error
    if state.startswith(_BUGS) and state != _PERMISSION:
        return
    raise StoreUnavailableError(reason, hint=_HINTS.get(state, _HINTS.get(state[:2], _LOOK))) from error


def _state(error: DBAPIError) -> str:
    """The SQLSTATE of *error*: https://www.postgresql.org/docs/current/errcodes-appendix.html; empty if it has none."""
    return getattr(error.orig, "sqlstate", None) or ""


def _crossed(error: BaseException) -> BaseException:
    """*error*; where others were in the way time and again, as trouble that passes."""
    if isinstance(error, DBAPIError) and _state(error) in _CROSSED - {"23505"}:
        return _PassingError(str(error.orig), hint="it is tried again")
    return error

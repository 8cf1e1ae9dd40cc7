"""
PostgreSQL: any number of processes, grouped commits, and trouble that passes by itself.

As on SQLite, one transaction takes all units of work that have come in while the
last one was under way: a commit waits for the server's disk and for the way to it
and back. While the server cannot be had nobody waits for it: units are refused at
once, and one probe after the other finds out when it is back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Self

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cambwatch.adapters.store.database import (
    MAX_UNITS_PER_COMMIT,
    BatchWork,
    Item,
    StoreMeter,
    StoreUnavailableError,
    T,
    UnitOfWork,
    Work,
    run_units,
)
from cambwatch.adapters.store.postgres_connection import CONNECT_S, PostgresServer
from cambwatch.adapters.store.postgres_errors import (
    CHECK_SERVER_HINT,
    CONFLICT_STATES,
    TransientStoreError,
    as_transient_conflict,
    sqlstate_of,
    translate_errors,
)
from cambwatch.adapters.store.row_mapping import from_json, to_json

READERS = 4  # connections besides the writer's
UNBATCHED_WRITERS = 1  # likewise, for write_unbatched()
TRANSACTION_S = 10.0  # until one is given up: a connection that drops everything says nothing of it
APPLICATION_NAME = "cambwatch"  # the application_name of ours; a node's has its id besides
PROBE_S = 3.0  # that a probe may take with its connection
PROBE_PAUSE_S = 0.5  # between two tries to have the server back
MAX_TRIES = 3  # of a unit that another node has crossed

# Writes, as all real work does: a server that only reads, such as one that takes over, is not back yet.
_PROBE = sa.text("SELECT 1 FROM alembic_version FOR KEY SHARE")


class PostgresDatabase:
    """The database at *url*, whose tables are there; use it within one running event loop."""

    def __init__(
        self,
        url: str,
        *,
        meter: StoreMeter | None = None,
        transaction_s: float = TRANSACTION_S,
        node: str | None = None,
    ) -> None:
        """*node* is the id by which others know whose sessions these are."""
        self._meter = meter
        self._server = PostgresServer(url)
        # A transaction may first have to connect, to the last of several hosts.
        self._transaction_s = transaction_s + max(self._server.connect_timeout_s - CONNECT_S, 0)
        name = APPLICATION_NAME if node is None else application_name_of(node)
        self._engine = create_engine(self._server, size=1 + READERS + UNBATCHED_WRITERS, name=name)
        self._read_engine = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._readers, self._unbatched_writers = asyncio.Semaphore(READERS), asyncio.Semaphore(UNBATCHED_WRITERS)
        self._units: asyncio.Queue[UnitOfWork | None] = asyncio.Queue()
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
        return await self.write_batched(lambda connection, _: [work(connection)], None)

    async def write_batched(self, work: BatchWork[Item, T], item: Item) -> T:
        """Run *work* on the items of all who ask for it at once; see Database."""
        self._raise_if_unavailable()
        unit = UnitOfWork(work, item, asyncio.get_running_loop().create_future())
        self._units.put_nowait(unit)
        result: T = await unit.done
        return result

    async def write_unbatched(self, work: Work[T]) -> T:
        """Run *work* in a transaction of its own, beside that of all the others; see Database."""
        self._raise_if_unavailable()
        unit = UnitOfWork(lambda connection, _: [work(connection)], None, asyncio.get_running_loop().create_future())
        async with self._unbatched_writers:
            error = await self._transact([unit])
        if error is not None:
            raise error
        result: T = unit.result
        return result

    async def read(self, work: Work[T]) -> T:
        """Run *work*, which only reads, on a consistent view; see Database."""
        self._raise_if_unavailable()
        async with self._readers:
            begun_s = time.monotonic()
            try:
                async with self._transaction(self._read_engine) as connection:
                    return await connection.run_sync(work)
            finally:
                if self._meter is not None:
                    self._meter.read(time.monotonic() - begun_s)

    async def recheck_write(self) -> str | None:
        """Why nothing can be written; None where it can. Tries to, if the last write failed."""
        return self.trouble and await self.check_write()

    async def check_write(self) -> str | None:
        """Write something that nobody reads. Why that cannot be; None where it can."""
        with suppress(StoreUnavailableError):
            await self.write(_touch)
        return self.trouble

    def _raise_if_unavailable(self) -> None:
        if self._closed:
            raise StoreUnavailableError("the database is closed", hint="cambwatch is stopping")
        if self._down and self._trouble is not None:
            raise StoreUnavailableError(self._trouble.reason, hint=self._trouble.hint)

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """A connection in a transaction, which is given up when it takes too long; trouble is ours."""
        try:
            with translate_errors():
                async with asyncio.timeout(self._transaction_s), engine.begin() as connection:
                    yield connection
        except StoreUnavailableError as error:
            self._record_trouble(error)
            raise

    async def _write_groups(self) -> None:
        while (first := await self._units.get()) is not None:
            group = [first]
            while len(group) < MAX_UNITS_PER_COMMIT and not self._units.empty():
                unit = self._units.get_nowait()
                if unit is None:
                    self._units.put_nowait(None)
                    break
                group.append(unit)
            await self._write_group(group)
            for unit in group:
                unit.resolve()

    async def _write_group(self, group: Sequence[UnitOfWork]) -> None:
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

    async def _transact(self, units: Sequence[UnitOfWork]) -> BaseException | None:
        for number in range(1, MAX_TRIES + 1):
            begun_s = time.monotonic()
            try:
                async with self._transaction(self._engine) as connection:
                    await connection.run_sync(run_units, units)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the unit
                if isinstance(error, DBAPIError) and sqlstate_of(error) in CONFLICT_STATES and number < MAX_TRIES:
                    continue
                return as_transient_conflict(error)
            finally:
                if self._meter is not None:
                    self._meter.observe_write(time.monotonic() - begun_s)
            return None
        raise AssertionError  # the last try returns

    def _record_trouble(self, error: StoreUnavailableError) -> None:
        self._trouble = error
        if isinstance(error, TransientStoreError) or self._closed:
            return
        self._down = True
        if self._prober is None or self._prober.done():
            self._prober = asyncio.create_task(self._wait_until_back(), name="probe the database")

    async def _wait_until_back(self) -> None:
        """Returns when the server takes a write; connections of before are not used again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONNECT_S):
                    await self._engine.dispose()
            try:
                with translate_errors():
                    async with (
                        asyncio.timeout(self._server.connect_timeout_s + PROBE_S),
                        self._engine.begin() as connection,
                    ):
                        await connection.execute(_PROBE)
            except StoreUnavailableError as error:
                self._trouble = error
            except Exception as error:  # noqa: BLE001 - whatever it is: nobody else finds out when the server is well again
                self._trouble = StoreUnavailableError(str(error), hint=CHECK_SERVER_HINT)
            else:
                break
            await asyncio.sleep(PROBE_PAUSE_S)
        self._down, self._trouble = False, None


def application_name_of(node: str) -> str:
    """The application_name of all sessions in which *node* may lock anything."""
    return f"{APPLICATION_NAME} {node}"


def create_engine(server: PostgresServer, *, size: int, name: str = APPLICATION_NAME) -> AsyncEngine:
    """An engine of at most *size* connections to *server*, made as they are needed and called *name*."""
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: server.connect(name),
        pool_size=size,
        max_overflow=0,
        pool_timeout=TRANSACTION_S,
        pool_use_lifo=True,
        json_serializer=to_json,
        json_deserializer=from_json,
    )


def _touch(connection: sa.Connection) -> None:
    connection.execute(_PROBE)

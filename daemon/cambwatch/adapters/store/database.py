"""What the stores need of a database, its errors, and the units of work that share one commit."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
"""Statements on an open transaction. May be run again after a rollback, so it must do nothing else."""


Item = TypeVar("Item")
BatchWork = Callable[[sa.Connection, Sequence[Item]], Sequence[T]]
"""The same for several that ask for the same at once: the items of all in, a result for each out, in their order."""


class StoreUnavailableError(Exception):
    """
    The database took nothing and keeps nothing of this unit of work.

    *reason* is the database's own word, *hint* what an operator can do.
    """

    def __init__(self, reason: str, *, hint: str) -> None:
        super().__init__(f"{reason} ({hint})")
        self.reason = reason
        self.hint = hint


class StoreMisconfiguredError(StoreUnavailableError):
    """The database, or the connection to it, cannot work until an operator changes something."""


class StoreBusyError(Exception):
    """Another process holds this database."""


class StoreTooNewError(Exception):
    """The database was written by a newer cambwatch; it was left as it is."""


class Database(Protocol):
    """Runs units of work; statements are written once, for SQLite and PostgreSQL alike."""

    async def write(self, work: Work[T]) -> T:
        """
        Run *work* in a transaction and return when it is on disk.

        Raises StoreUnavailableError, with nothing written, when the database cannot.
        """

    async def write_batched(self, work: BatchWork[Item, T], item: Item) -> T:
        """
        The same, but *work* does the items of all at once who ask for this *work*, one function, at the same time.

        A statement for a hundred rows costs little more than one for a single row. Fails
        for one item alone where it fails with several.
        """

    async def write_unbatched(self, work: Work[T]) -> T:
        """The same as write(), but neither waiting for the others nor with what they have locked."""

    async def read(self, work: Work[T]) -> T:
        """Run *work*, which only reads, on a consistent view."""


MAX_UNITS_PER_COMMIT = 500  # units of work in one transaction


class StoreMeter(Protocol):
    """Who counts transactions, in seconds; may be called by another thread."""

    def observe_write(self, took_s: float) -> None: ...
    def read(self, took_s: float) -> None: ...


@dataclass(slots=True)
class UnitOfWork:
    """*item* goes through *work* together with others; *done* gets its result."""

    work: BatchWork[Any, Any]
    item: Any
    done: asyncio.Future[Any]
    started: bool = False
    result: Any = None
    error: BaseException | None = None

    def resolve(self) -> None:
        """Hand the result to the caller, in the event loop."""
        if self.done.done():  # the caller was cancelled
            return
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


def run_units(connection: sa.Connection, units: Sequence[UnitOfWork]) -> None:
    """Do *units* in the open transaction of *connection*: each work once, for all that ask for it."""
    by_work: dict[BatchWork[Any, Any], list[UnitOfWork]] = {}
    for unit in units:
        by_work.setdefault(unit.work, []).append(unit)
    for work, batch in by_work.items():
        for unit in batch:
            unit.started = True
        results = work(connection, [unit.item for unit in batch])
        for unit, result in zip(batch, results, strict=True):
            unit.result = result

"""What the stores need of a database, and what its trouble looks like."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

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

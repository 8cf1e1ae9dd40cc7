"""Units of work that wait for the same commit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from cambwatch.adapters.store.database import BatchWork

MAX_UNITS_PER_COMMIT = 500  # units of work in one transaction


class StoreMeter(Protocol):
    """Who counts transactions, in seconds; may be called by another thread."""

    def observe_write(self, took_s: float) -> None: ...
    def read(self, took_s: float) -> None: ...


@dataclass(slots=True)
class UnitOfWork:
    """*item* is to go through *work* with its neighbours; *done* hears what came of it."""

    work: BatchWork[Any, Any]
    item: Any
    done: asyncio.Future[Any]
    started: bool = False
    result: Any = None
    error: BaseException | None = None

    def resolve(self) -> None:
        """Tell whoever asked, in the event loop."""
        if self.done.done():  # whoever asked has gone
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

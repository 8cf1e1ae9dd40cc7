"""Units of work that wait for the same commit."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from cambwatch.adapters.store.database import WorkOfMany

LARGEST_GROUP = 500  # units of work in one transaction


class Meter(Protocol):
    """Who counts transactions, in seconds; may be called by another thread."""

    def wrote(self, took_s: float) -> None: ...
    def read(self, took_s: float) -> None: ...


@dataclass(slots=True)
class Unit:
    """*item* is to go through *work* with its neighbours; *done* hears what came of it."""

    work: WorkOfMany[Any, Any]
    item: Any
    done: asyncio.Future[Any]
    begun: bool = False
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever asked, in the event loop."""
        if self.done.done():  # whoever asked has gone
            return
        if self.error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(self.error)


def do_all(connection: sa.Connection, units: Sequence[Unit]) -> None:
    """Do *units* in the open transaction of *connection*: each work once, for all that ask for it."""
    alike: dict[WorkOfMany[Any, Any], list[Unit]] = {}
    for unit in units:
        alike.setdefault(unit.work, []).append(unit)
    for work, some in alike.items():
        for unit in some:
            unit.begun = True
        results = work(connection, [unit.item for unit in some])
        for unit, result in zip(some, results, strict=True):
            unit.result = result

"""Inserting many rows: what SQLAlchemy does anew for each of them is done once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import sqlalchemy as sa

Processor = Callable[[Any], Any]


class _Prepared(NamedTuple):
    sql: str
    processors: Sequence[tuple[int, Processor]]  # by the place of their column


class BulkInsert:
    """Inserts rows into *table*, with values for *columns* in this order, and those of *constants* in the statement."""

    def __init__(self, table: sa.Table, columns: Sequence[str], constants: dict[str, sa.ColumnElement[Any]]) -> None:
        self._table = table
        self._columns = list(columns)
        self._statement = sa.insert(table).values(**constants).inline()
        self._prepared: WeakKeyDictionary[sa.Dialect, _Prepared] = WeakKeyDictionary()

    def insert(self, connection: sa.Connection, rows: Iterable[list[Any]]) -> None:
        """Insert *rows*, of which there is one, and which are changed for it."""
        dialect = connection.dialect
        prepared = self._prepared.get(dialect)
        if prepared is None:
            prepared = self._prepared[dialect] = self._prepare(dialect)
        values = []
        for row in rows:
            for column_index, process in prepared.processors:
                row[column_index] = process(row[column_index])
            values.append(tuple(row))
        connection.exec_driver_sql(prepared.sql, values)

    def _prepare(self, dialect: sa.Dialect) -> _Prepared:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        if compiled.positiontup != self._columns:
            raise ValueError(f"the values of {self._table} are to be in the order of {compiled.positiontup}")
        types = [self._table.c[name].type.dialect_impl(dialect) for name in self._columns]
        processors = [(column_index, one.bind_processor(dialect)) for column_index, one in enumerate(types)]
        return _Prepared(
            str(compiled), [(column_index, process) for column_index, process in processors if process is not None]
        )

"""How to find tasks by a label, on each database."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from cambwatch.adapters.store.schema import NulSafeText, tasks


class json_each_text(GenericFunction[Any]):  # noqa: N801 - SQLAlchemy takes the function's name from here
    """The members of a JSON object as rows of `key` and `value`: PostgreSQL's, under the name it has there."""

    inherit_cache = True


@compiles(json_each_text, "sqlite")
def _json_each(function: json_each_text, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_each{compiler.process(function.clause_expr, **options)}"


def has_label(name: str, value: str) -> sa.ColumnElement[bool]:
    """
    Whether a task has the label *name* with exactly this *value*.

    Not by `labels[name]`: a path into JSON has no way to quote a quote on SQLite,
    and does not find names that are stored with escapes, such as those beyond ASCII.
    """
    label = json_each_text(tasks.c.labels).table_valued("key", "value")
    return sa.exists().where(
        label.c.key == sa.literal(name, NulSafeText), label.c.value == sa.literal(value, NulSafeText)
    )

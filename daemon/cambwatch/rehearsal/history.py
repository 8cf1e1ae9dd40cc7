"""Durations out of a file: what `GET /v1/durations` answers, or plain seconds."""

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

DRAWN = 1000  # durations out of a histogram
COLUMNS = ("seconds", "duration_seconds", "duration", "duration_s")
"""Names of the column that holds the durations, in a table that has names."""


class HistoryError(Exception):
    """What is wrong with the file, for a person."""


@dataclass(frozen=True, slots=True)
class History:
    """How long tasks of one sort took, oldest first; *drawn*: not as they came, but by chance out of a histogram."""

    label: str
    durations_s: Sequence[float]
    drawn: bool = False


def read_history(text: str) -> list[History]:
    """
    What *text* holds, by kind where it tells kinds apart.

    An object with `items`, as the daemon exports it; an array of numbers; or a table with
    a column of seconds, the only one or one named as in COLUMNS, and perhaps a column
    `kind`. Raises HistoryError for anything else.
    """
    start = text.lstrip()[:1]
    if start not in {"{", "["}:
        return _of_table(text)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise HistoryError(f"is no JSON: {error}") from None
    if isinstance(document, list):
        return [History("all", [_seconds(value, f"[{index}]") for index, value in enumerate(document)])]
    items = document.get("items")
    if not isinstance(items, list):
        raise HistoryError("has no `items`: save what GET /v1/durations answers")
    return [_of_export(item, f"items[{index}]") for index, item in enumerate(items)]


def _of_export(item: Any, place: str) -> History:
    try:
        label = item["kind"] if item["size"] is None else f"{item['kind']} {item['size']}"
        bins = [(one["from_seconds"], one["to_seconds"], one["weight"]) for one in item["histogram"]]
    except (KeyError, TypeError) as error:
        raise HistoryError(f"{place} is not of the form of GET /v1/durations: {error!r}") from None
    for low_s, high_s, weight in bins:
        for value in (low_s, high_s, weight):
            _seconds(value, place)
    dice = Random(label)  # noqa: S311 - the same draw each time
    if not sum(weight for *_, weight in bins):
        return History(label, (), drawn=True)
    drawn = dice.choices(bins, weights=[weight for *_, weight in bins], k=DRAWN)
    return History(label, [dice.uniform(low_s, high_s) for low_s, high_s, _ in drawn], drawn=True)


def _of_table(text: str) -> list[History]:
    rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if any(map(str.strip, row))]
    if not rows:
        raise HistoryError("is empty")
    heads = [cell.strip().lower() for cell in rows[0][1]]
    column, kind = 0, None
    if not _is_number(heads[0]) or any(name in heads for name in (*COLUMNS, "kind")):
        named = [heads.index(name) for name in COLUMNS if name in heads]
        if not named and len(heads) > 1:
            raise HistoryError(f"line 1: no column is named {' or '.join(COLUMNS)}")
        column, kind = named[0] if named else 0, heads.index("kind") if "kind" in heads else None
        rows = rows[1:]
    elif len(heads) > 1:
        raise HistoryError("line 1: several columns and no names: name one of them seconds")
    return _grouped(_cells(rows, column, kind))


def _cells(rows: Iterable[tuple[int, list[str]]], column: int, kind: int | None) -> Iterable[tuple[str, float]]:
    for number, row in rows:
        if len(row) <= max(column, kind or 0):
            raise HistoryError(f"line {number}: has {len(row)} columns only")
        yield "all" if kind is None else row[kind].strip(), _seconds(row[column], f"line {number}")


def _grouped(pairs: Iterable[tuple[str, float]]) -> list[History]:
    found: dict[str, list[float]] = {}
    for label, duration_s in pairs:
        found.setdefault(label, []).append(duration_s)
    return [History(label, durations_s) for label, durations_s in found.items()]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(value: Any, place: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number < math.inf:
        raise HistoryError(f"{place}: {str(value)[:40]!r} is no number of seconds")
    return number

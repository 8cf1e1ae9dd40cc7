"""Observed durations from a file: the answer of `GET /v1/durations`, or a list of seconds."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cambwatch.core.cadence.histogram import BINS, bin_of

WHOLE_LIST = "all"
"""The label of a list of seconds, which does not name a kind."""


class DurationsFileError(Exception):
    """The file is not in one of the two forms; the message says where, and why."""


@dataclass(frozen=True, slots=True)
class DurationList:
    """Durations in seconds, oldest first."""

    label: str
    seconds: Sequence[float]

    @property
    def observed(self) -> int:
        """How many tasks these are."""
        return len(self.seconds)


@dataclass(frozen=True, slots=True)
class DurationBins:
    """What cambwatch remembers of *observed* tasks of a kind or size: *weights* per bin of DurationHistogram."""

    label: str
    weights: Sequence[float]
    observed: int


ObservedDurations = DurationList | DurationBins


def read_durations(text: str) -> list[ObservedDurations]:
    """
    The durations in *text*, by kind and size if it has them.

    *text* is the answer of `GET /v1/durations`, a JSON array of seconds, or seconds
    separated by white space. Raises DurationsFileError for anything else.
    """
    if not text.strip():
        raise DurationsFileError("the file is empty: save the answer of GET /v1/durations, or list seconds")
    if text.lstrip()[0] not in "{[":
        return [_list_of(text.split())]
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DurationsFileError(f"the file is not valid JSON: {error}") from None
    if isinstance(document, list):
        return [_list_of(document)]
    items = document.get("items")
    if not isinstance(items, list):
        raise DurationsFileError("the JSON object has no `items` array: save the answer of GET /v1/durations")
    return [_bins_of(item, f"items[{index}]") for index, item in enumerate(items)]


def _list_of(values: Sequence[Any]) -> DurationList:
    return DurationList(WHOLE_LIST, [_number(value, f"value {index}") for index, value in enumerate(values, 1)])


def _bins_of(item: Any, place: str) -> DurationBins:
    weights = [0.0] * BINS
    try:
        label = item["kind"] if item["size"] is None else f"{item['kind']} {item['size']}"
        observed = int(_number(item["completions"], place))
        for one in item["histogram"]:
            low_s, high_s = _number(one["from_seconds"], place), _number(one["to_seconds"], place)
            weights[bin_of((low_s + high_s) / 2)] += _number(one["weight"], place)
    except (KeyError, TypeError) as error:
        raise DurationsFileError(f"{place} does not have the form of GET /v1/durations: {error!r}") from None
    return DurationBins(str(label), weights, observed if any(weights) else 0)


def _number(value: Any, place: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number < math.inf:
        raise DurationsFileError(f"{place}: {str(value)[:40]!r} is not a number of at least 0")
    return number

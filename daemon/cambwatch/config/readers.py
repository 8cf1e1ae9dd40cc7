"""
Values of the file as Python values: text, numbers, durations, words.

Every reader takes a Scalar of the file or the plain Python value, and raises
ValueError with a sentence that says what would be right.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from cambwatch.config.errors import did_you_mean
from cambwatch.config.yaml_document import Scalar
from cambwatch.core.camb import kinds
from cambwatch.core.instants import parse_duration
from cambwatch.core.model import Status
from cambwatch.core.names import check_name, check_task_id

T = TypeVar("T")

LATER = "not supported yet: it comes with a later version"
NOTIFIED_STATUSES = tuple(status.value for status in Status if status not in {Status.PENDING, Status.REMOVED})
"""The statuses that an event can have."""

_TRUTH_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "y", "n"})
_WHOLE = re.compile(r"0|[1-9][0-9_]{0,17}")
_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,15})?")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


def read_text(value: object) -> str:
    """The text as it is written: 0123, 1.50 and 2026-11-22 need no quotes."""
    match value:
        case Scalar(plain=True) if value.text.lower() in _TRUTH_WORDS:
            raise ValueError("reads as true or false, not as a text: put quotes around it")
        case Scalar() | str():
            text = value.text if isinstance(value, Scalar) else value
        case None:
            raise ValueError("has no value (the word null needs quotes)")
        case Mapping():
            raise ValueError("must be a text, not a mapping")
        case list() | tuple():
            raise ValueError("must be a text, not a list")
        case _:
            text = str(value)
    if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise ValueError("holds bytes that are not UTF-8")
    return text


def shown(value: object) -> str:
    """*value* as a message may show it: as written, unless it is long or may be a pasted secret."""
    written = value.written if isinstance(value, Scalar) else str(value)
    harmless = len(written) <= 40 and written.isprintable() and "://" not in written and "whsec_" not in written
    return f"'{written}'" if harmless and written else "this"


def one_line(longest: int, *, empty: bool = False) -> Callable[[object], str]:
    """A reader of a text of 1 (0 where it may be *empty*) to *longest* characters, without control characters."""
    least = 0 if empty else 1

    def read(value: object) -> str:
        text = read_text(value)
        if not least <= len(text) <= longest:
            raise ValueError(f"must have {least} to {longest} characters" + (f", not {len(text)}" if text else ""))
        if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text):
            raise ValueError("must not hold control characters or line breaks")
        return text

    return read


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of a whole number from *low* to *high*."""

    def read(value: object) -> int:
        text = read_text(value)
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError(f"{shown(value)} must be a whole number from {low} to {high}")
        return int(text)

    return read


def number(*, above: float = 0, least: float | None = None, most: float) -> Callable[[object], float]:
    """A reader of a number greater than *above*, or not less than *least* where that is given, and up to *most*."""

    def read(value: object) -> float:
        text = read_text(value)
        fits = _NUMBER.fullmatch(text) and float(text) <= most
        if not fits or not (float(text) > above if least is None else float(text) >= least):
            lower = f"above {above:g}" if least is None else f"from {least:g}"
            raise ValueError(f"{shown(value)} must be a number {lower} up to {most:g}")
        return float(text)

    return read


def read_bool(value: object) -> bool:
    """Whether it says true; yes and on do as well, for YAML knows them."""
    if isinstance(value, bool):
        return value
    word = value.text.lower() if isinstance(value, Scalar) else ""
    if word in {"true", "yes", "on"}:
        return True
    if word in {"false", "no", "off"}:
        return False
    raise ValueError("must be true or false")


def span(*, zero: bool = False) -> Callable[[object], timedelta]:
    """A reader of a duration, longer than nothing unless *zero* is allowed."""

    def read(value: object) -> timedelta:
        if isinstance(value, timedelta):
            return value
        text = read_text(value)
        try:
            found = parse_duration(text)
        except ValueError:
            if re.fullmatch(r"\d+(\.\d+)?", text):
                raise ValueError(f"{shown(value)} has no unit: write ms, s, m, h or d behind the number") from None
            raise ValueError(
                f"{shown(value)} is no duration of up to ten years: "
                "write a number and a unit, such as 500ms, 30s, 5m, 12h or 7d"
            ) from None
        if not found and not zero:
            raise ValueError("must be longer than nothing")
        return found

    return read


def write_span(value: timedelta) -> str:
    """*value* as the configuration writes it: in the largest unit that leaves no rest."""
    milliseconds = round(value / timedelta(milliseconds=1))
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def choice(words: Collection[str]) -> Callable[[object], str]:
    """A reader of one of *words*, in any case."""

    def read(value: object) -> str:
        word = read_text(value).strip().lower()
        if word in words:
            return word
        raise ValueError(f"{shown(value)} is not known here{did_you_mean(word, words)}")

    return read


def read_kind(value: object) -> str:
    """The name of the kind that is meant."""
    word = read_text(value)
    if kind := kinds.find_kind(word):
        return kind.name
    near = kinds.suggest_kind(word[:100])
    hint = f" (did you mean {near}?)" if near else did_you_mean(word, kinds.KINDS)
    raise ValueError(f"{shown(value)} is no kind of task{hint}{_list_hint(word)}")


def read_terminal_status(value: object) -> Status:
    """The status that an event can have."""
    word = read_text(value).strip().upper()
    if word in NOTIFIED_STATUSES:
        return Status(word)
    if word in {Status.PENDING, Status.REMOVED}:
        raise ValueError(f"nobody is told of {word}: a route hears of {', '.join(NOTIFIED_STATUSES)}")
    raise ValueError(f"{shown(value)} is no status{did_you_mean(word, NOTIFIED_STATUSES)}{_list_hint(word)}")


def _list_hint(word: str) -> str:
    return ": a list is written [a, b]" if "," in word else ""


def read_name(value: object) -> str:
    """The name of a destination or an account."""
    return check_name(read_text(value))


def read_task_id(value: object) -> str:
    """The task_id, as Camb answered it."""
    if value is None:  # quoting it would not make null a task_id
        raise ValueError("has no value: give the task_id that Camb returned")
    return check_task_id(read_text(value))


def read_json(value: object) -> Any:
    """What `extra` holds: YAML as JSON, in which a text with quotes or a variable stays a text."""
    match value:
        case Mapping():
            return {str(key): read_json(inner) for key, inner in value.items()}
        case list() | tuple():
            return [read_json(inner) for inner in value]
        case Scalar(plain=True, text="true" | "false"):
            return value.text == "true"
        case Scalar(plain=True) if _JSON_NUMBER.fullmatch(value.text):
            return float(value.text) if "." in value.text else int(value.text)
        case Scalar():
            return read_text(value)
    return value


def or_none(read: Callable[[object], T]) -> Callable[[object], T | None]:
    """*read* for a key that may also be null."""
    return lambda value: None if value is None else read(value)

"""Instants and spans as the wire and the config write them."""

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)", re.ASCII)
LONGEST_DURATION = timedelta(days=3650)


def rfc3339(at: datetime) -> str:
    """*at* in UTC with milliseconds, as in 2026-11-22T06:00:00.123Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_duration(text: str) -> timedelta:
    """
    The span that `500ms`, `30s`, `5m`, `12h`, `7d` or a sum like `1h30m` names.

    Raises ValueError, with what is allowed, on anything else and on more than ten years.
    """
    cleaned = text.replace(" ", "")
    parts = list(_SPAN.finditer(cleaned))
    if not parts or "".join(part.group() for part in parts) != cleaned or len(cleaned) > 40:
        raise ValueError(f"{text[:40]!r} is no duration: write a number and a unit, such as 500ms, 30s, 5m, 12h or 7d")
    seconds = sum(float(part["number"]) * _UNITS[part["unit"]] for part in parts)
    if seconds > LONGEST_DURATION.total_seconds():
        raise ValueError(f"{text!r} is longer than ten years")
    return timedelta(seconds=seconds)


def format_duration(span: timedelta) -> str:
    """*span* for people: `0.4 s`, `41 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    seconds = max(span.total_seconds(), 0)
    if seconds < 0.95:  # one digit of more would read 1.0
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, rest_unit, rest_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            count, rest = divmod(whole, size)
            rest //= rest_size
            return f"{count} {unit} {rest} {rest_unit}" if rest else f"{count} {unit}"
    return f"{whole} s"

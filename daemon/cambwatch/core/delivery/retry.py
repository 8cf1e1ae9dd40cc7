"""When to try again: backoff, Retry-After in all its forms, and fewer requests at once after a rate limit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import NamedTuple


class ConcurrencyRamp:
    """
    Allows *full* concurrent requests; one after a rate limit, and one more with each success.

    Without it, the end of a pause would cause a burst, and the burst the next rate limit.
    TCP's slow start works the same way (RFC 5681, 3.1). Only the success of a request that was
    sent after the last rate limit counts. Other failures change nothing.
    """

    __slots__ = ("_full", "epoch", "limit")

    def __init__(self, full: int) -> None:
        self._full = full
        self.limit = full
        """The number of concurrent requests allowed now, from 1 to *full*."""
        self.epoch = 0
        """Pass the value at the time of sending a request to succeeded()."""

    def rate_limited(self) -> None:
        """Allow one request at a time."""
        self.limit = 1
        self.epoch += 1

    def succeeded(self, epoch: int) -> None:
        """A request that was sent in *epoch* succeeded: allow one more concurrent request."""
        if epoch == self.epoch:
            self.limit = min(self.limit + 1, self._full)


LONGEST_RETRY_AFTER = timedelta(hours=24)
LONGEST_RAW = 64  # characters of a header that the log repeats
JITTER = 0.2  # a pause is stretched by at most this share, never shortened

_LONGEST_S = LONGEST_RETRY_AFTER.total_seconds()


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow from *first* by *factor* (>= 1) up to *max*."""

    first: timedelta
    factor: float
    max: timedelta

    def pause(self, attempt: int, *, chance: float) -> timedelta:
        """
        The pause after the *attempt*-th failure in a row, counted from 1.

        Between the plain pause and JITTER more, chosen by *chance* in [0, 1); the
        plain pause never exceeds *max*, and jitter only ever adds.
        """
        steps = min(attempt - 1, 64)  # a larger power overflows; *max* was reached long before
        plain = min(self.first.total_seconds() * self.factor**steps, self.max.total_seconds())
        return timedelta(seconds=plain * (1 + JITTER * chance))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a delivery is tried again, and for how long after its event it is worth it."""

    first: timedelta = timedelta(seconds=5)
    factor: float = 2
    max: timedelta = timedelta(hours=1)
    give_up_after: timedelta = timedelta(days=3)

    @property
    def backoff(self) -> Backoff:
        """The pauses alone."""
        return Backoff(self.first, self.factor, self.max)


class ReadAs(StrEnum):
    """How cambwatch read a requested pause that is not plain seconds: the log field."""

    UNIX_SECONDS = "unix_seconds"
    UNIX_MILLISECONDS = "unix_milliseconds"
    RESET_AFTER = "reset_after"  # X-RateLimit-Reset-After, which differs from Retry-After
    CAPPED = "capped"  # longer than LONGEST_RETRY_AFTER


class PauseReading(NamedTuple):
    """
    How cambwatch read a requested pause that is not plain seconds.

    *raw* is the header, at most LONGEST_RAW printable characters of it. *seconds* is the
    pause, 0 for an instant that has passed.
    """

    raw: str
    seconds: float
    read_as: ReadAs


class RequestedPause(NamedTuple):
    """
    The pause that an answer asks for; *pause* is None if it asks for none, or for an invalid one.

    *reading* is set if the log should show how cambwatch read it.
    """

    pause: timedelta | None = None
    reading: PauseReading | None = None


# (lowest, highest, seconds per unit, meaning): such a number is an instant in the years 2001 to 5138.
_INSTANTS = (
    (1e9, 1e11, 1.0, ReadAs.UNIX_SECONDS),
    (1e12, 1e14, 1e-3, ReadAs.UNIX_MILLISECONDS),
)


def parse_retry_after(value: str | None, *, now: datetime) -> RequestedPause:
    """
    The pause that a Retry-After header asks for.

    RFC 9110, 10.2.3 allows seconds or a date; some servers send a Unix time. *now* is the time
    by the sender's clock: the Date of its answer, if it has one.

        a date                     until that date
        below 10^9                 seconds; fractions count, although the RFC has none
        10^9 to 10^11              an instant in Unix seconds
        10^12 to 10^14             an instant in Unix milliseconds
        any other number           seconds
        an instant that has passed, a negative number, anything else: none

    No pause is longer than LONGEST_RETRY_AFTER.
    """
    text = (value or "").strip()
    number = _number(text)
    if number is None:
        at = http_date(text)
        return RequestedPause() if at is None else _asked(text, (at - now).total_seconds())
    for lowest, highest, step_s, read_as in _INSTANTS:
        if lowest <= number <= highest:
            return _asked(text, number * step_s - now.timestamp(), read_as)
    return _asked(text, number)


def requested_pause(headers: Mapping[str, str], *, service: str, now: datetime) -> RequestedPause:
    """
    The pause that an answer of *service*, a destination type, asks for with its *headers*.

    *headers* are case-insensitive. *now* is used if they have no Date.
    Discord's unversioned webhook URL answers Retry-After in milliseconds (discord-api-docs
    issue 2360). Its `X-RateLimit-Reset-After` is always in seconds, so it takes precedence.
    """
    value = headers.get("retry-after")
    requested = parse_retry_after(value, now=http_date(headers.get("date")) or now)
    if service != "discord":
        return requested
    text = headers.get("x-ratelimit-reset-after", "").strip()
    number = _number(text)
    if number is None or number < 0:
        return requested
    reset = _asked(text, number)
    if value is None or _is_rounded_up(requested.pause, reset.pause):
        return reset
    return RequestedPause(reset.pause, PauseReading(_printable(value), min(number, _LONGEST_S), ReadAs.RESET_AFTER))


def read_accepts_again_after(headers: Mapping[str, str]) -> timedelta | None:
    """
    How long the receiver accepts nothing more, although it accepted this request; None if it does not say.

    By `X-RateLimit-Remaining` and `X-RateLimit-Reset-After` in seconds, as Discord has
    them (docs.discord.com, "Rate Limits"); *headers* are found whatever the case of their names.
    """
    if headers.get("x-ratelimit-remaining", "").strip() != "0":
        return None
    text = headers.get("x-ratelimit-reset-after", "").strip()
    number = _number(text)
    return None if number is None else _asked(text, number).pause


def http_date(text: str | None) -> datetime | None:
    """The instant that an HTTP date names (RFC 9110, 5.6.7); None for anything else."""
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError, IndexError, TypeError):  # all of them come out of odd dates
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _number(text: str) -> float | None:
    """*text* as a number, which may be infinite; None if it is not one."""
    try:
        number = float(text.encode("ascii"))  # only Python accepts digits of other scripts
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _asked(text: str, seconds: float, read_as: ReadAs | None = None) -> RequestedPause:
    if seconds > _LONGEST_S:
        seconds, read_as = _LONGEST_S, read_as or ReadAs.CAPPED
    pause = timedelta(seconds=seconds) if seconds >= 0 else None
    return RequestedPause(pause, PauseReading(_printable(text), max(seconds, 0.0), read_as) if read_as else None)


def _is_rounded_up(pause: timedelta | None, exact: timedelta | None) -> bool:
    """Whether *pause* is *exact* rounded up to seconds, as Discord rounds Retry-After."""
    return pause is not None and exact is not None and timedelta(0) <= pause - exact < timedelta(seconds=1)


def _printable(text: str) -> str:
    return "".join(char for char in text if char.isprintable())[:LONGEST_RAW]

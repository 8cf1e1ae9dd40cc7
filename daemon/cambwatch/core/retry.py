"""How long to pause between attempts, and what a Retry-After asks for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = timedelta(hours=24)
_NEVER = datetime.max.replace(tzinfo=UTC)  # by which every date has gone by
JITTER = 0.2  # a pause is stretched by at most this share, never shortened


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


def retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """
    The pause that a Retry-After header asks for (RFC 9110, 10.2.3: seconds or a date).

    *now* is the instant by the clock of whoever asks: the Date of its answer, where it has one.

    None where there is no header or no sense in it (negative, NaN, garbage, a date
    gone by); a longer wish than LONGEST_RETRY_AFTER is cut to it. Fractions of a
    second, which the RFC does not know, are taken because servers send them.
    """
    text = (value or "").strip()
    if not text:
        return None
    try:
        seconds = float(text.encode("ascii"))  # digits of other scripts are numbers to Python alone
    except ValueError:
        at = http_date(text)
        if at is None:
            return None
        seconds = (at - now).total_seconds()
    if math.isnan(seconds) or seconds < 0:
        return None
    return timedelta(seconds=min(seconds, LONGEST_RETRY_AFTER.total_seconds()))


def quiet_after(headers: Mapping[str, str]) -> timedelta | None:
    """
    How long an answer says that its sender takes nothing more, although it took this; None: it does not.

    By `X-RateLimit-Remaining` and `X-RateLimit-Reset-After` in seconds, as Discord has
    them (docs.discord.com, "Rate Limits"); *headers* are found whatever the case of their names.
    """
    if headers.get("x-ratelimit-remaining", "").strip() != "0":
        return None
    # The same words as in a Retry-After; a date is not among them, and would be harmless.
    return retry_after(headers.get("x-ratelimit-reset-after"), now=_NEVER)


def http_date(text: str | None) -> datetime | None:
    """The instant that an HTTP date names (RFC 9110, 5.6.7); None for anything else."""
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError, IndexError, TypeError):  # all of them come out of odd dates
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)

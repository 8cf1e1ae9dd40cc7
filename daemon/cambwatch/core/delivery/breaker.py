"""
The breaker of a destination: whether everything may be posted, nothing for now, or one to see.

closed: what is due is posted. open: the destination fails, and what it is owed waits,
but for one delivery at a time (half-open), whose fate decides. Nothing that waits is
thrown away. (M. Nygard, Release It!, 2nd ed., "Circuit Breaker".)
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from cambwatch.core.delivery.retry import Backoff, RetryPolicy
from cambwatch.core.model import Attempt, Outcome

FAILURES_TO_OPEN = 5  # in a row, of those that may pass by themselves
LONGEST_PROBE_PAUSE = timedelta(minutes=5)  # a destination that is back is found out by then
SHORTEST_HOLD = timedelta(seconds=1)  # a receiver that says 429 and "at once" would be asked in a circle


class BreakerState(StrEnum):
    """Whether a destination is posted to; half_open while the one that decides is under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """
    How a destination has fared since it last took a message; as it is for one that has just taken one.

    *failures* are in a row; *limits* are answers that we are too fast, in a row; *probes*
    counts the failure that opened it and those of the probes since.
    *failing_since* is when the first attempt since then failed, with *outcome* and
    *http_status* of the last that did. An *open* one lets a delivery through at
    *probe_at*. Nothing at all is posted before *held_until*. *told*: that it is down
    was said.
    """

    open: bool = False
    failures: int = 0
    limits: int = 0
    probes: int = 0
    failing_since: datetime | None = None
    outcome: Outcome | None = None
    http_status: int | None = None
    probe_at: datetime | None = None
    held_until: datetime | None = None
    told: bool = False

    @property
    def next_at(self) -> datetime | None:
        """Before this nothing is posted; None: nothing stands against it."""
        instants = [at for at in (self.probe_at, self.held_until) if at is not None]
        return max(instants, default=None)

    def after(self, attempt: Attempt, retry: RetryPolicy, *, probe: bool, now: datetime, chance: float) -> "Breaker":
        """
        The breaker after *attempt*, whose outcome was known at *now*.

        *probe*: it was let through by an open breaker; others that were under way when
        it opened move no probe. *retry* is the destination's own: a lone delivery is
        never kept back for longer than its own schedule does.
        """
        match attempt.outcome:
            case Outcome.ACCEPTED | Outcome.ACCEPTED_UNVERIFIED:
                # Another post may have been told to wait while this one was under way.
                holds = [at for at in (self.held_until, attempt.quiet and now + attempt.quiet) if at and at > now]
                return Breaker(held_until=max(holds, default=None))
            case Outcome.RATE_LIMITED:
                known = self._failed(attempt, now)
                held_until = now + pause_when_limited(attempt, retry, limits=self.limits + 1, chance=chance)
                # It lives: what it wants is silence, and gets it.
                return replace(
                    known,
                    open=False,
                    probe_at=None,
                    probes=0,
                    failures=0,
                    limits=self.limits + 1,
                    held_until=max(held_until, self.held_until or held_until),
                )
            case Outcome.PAYLOAD_REJECTED:
                # It lives, and has read the message: others may do better.
                return replace(self._failed(attempt, now), open=False, probe_at=None, probes=0, failures=0, limits=0)
            case Outcome.TRANSIENT | Outcome.OURS:
                return self._after_failure(attempt, retry, FAILURES_TO_OPEN, probe=probe, now=now, chance=chance)
            case Outcome.AUTH | Outcome.DESTINATION_GONE | Outcome.POLICY:
                # One is enough: what is refused to us is refused to all that wait.
                return self._after_failure(attempt, retry, 1, probe=probe, now=now, chance=chance)
            case _:
                assert_never(attempt.outcome)

    def alert_at(self, alert_after: timedelta) -> datetime | None:
        """When somebody is to be told that it is down; None: it is not, or was said."""
        return None if self.failing_since is None or self.told else self.failing_since + alert_after

    def _after_failure(
        self, attempt: Attempt, retry: RetryPolicy, enough: int, *, probe: bool, now: datetime, chance: float
    ) -> "Breaker":
        known = replace(self._failed(attempt, now), failures=self.failures + 1, limits=0)
        if not probe if self.open else known.failures < enough:
            return known
        pause = probe_backoff(retry).pause(self.probes + 1, chance=chance)
        return replace(known, open=True, probes=self.probes + 1, probe_at=now + pause)

    def _failed(self, attempt: Attempt, now: datetime) -> "Breaker":
        return replace(
            self, failing_since=self.failing_since or now, outcome=attempt.outcome, http_status=attempt.http_status
        )


def probe_backoff(retry: RetryPolicy) -> Backoff:
    """The pauses between two looks at a destination that is down."""
    return Backoff(retry.first, retry.factor, min(retry.max, max(LONGEST_PROBE_PAUSE, retry.first)))


def pause_when_limited(attempt: Attempt, retry: RetryPolicy, *, limits: int, chance: float) -> timedelta:
    """How long a receiver is left alone that has said for the *limits*-th time in a row that we are too fast."""
    if attempt.retry_after:
        return max(attempt.retry_after, SHORTEST_HOLD)
    return retry.backoff.pause(limits, chance=chance)

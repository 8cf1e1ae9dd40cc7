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
SHORTEST_RATE_LIMIT_PAUSE = timedelta(seconds=1)  # a receiver that says 429 and "at once" would be asked in a circle


class BreakerState(StrEnum):
    """Whether a destination is posted to; half_open while the one that decides is under way."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class Breaker:
    """
    How a destination has fared since it last took a message; as it is for one that has just taken one.

    *failures* are in a row; *rate_limits* are answers that we are too fast, in a row; *probes*
    counts the failure that opened it and those of the probes since.
    *failing_since* is when the first attempt since then failed, with *outcome* and
    *http_status* of the last that did. An *open* one lets a delivery through at
    *probe_at*. Nothing at all is posted before *paused_until*. *alerted*: that it is down
    was said.
    """

    open: bool = False
    failures: int = 0
    rate_limits: int = 0
    probes: int = 0
    failing_since: datetime | None = None
    outcome: Outcome | None = None
    http_status: int | None = None
    probe_at: datetime | None = None
    paused_until: datetime | None = None
    alerted: bool = False

    @property
    def blocked_until(self) -> datetime | None:
        """Before this nothing is posted; None: nothing stands against it."""
        instants = [at for at in (self.probe_at, self.paused_until) if at is not None]
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
                holds = [
                    at
                    for at in (self.paused_until, attempt.accepts_again_after and now + attempt.accepts_again_after)
                    if at and at > now
                ]
                return Breaker(paused_until=max(holds, default=None))
            case Outcome.RATE_LIMITED:
                known = self._failed(attempt, now)
                paused_until = now + rate_limit_pause(attempt, retry, rate_limits=self.rate_limits + 1, chance=chance)
                # It lives: what it wants is silence, and gets it.
                return replace(
                    known,
                    open=False,
                    probe_at=None,
                    probes=0,
                    failures=0,
                    rate_limits=self.rate_limits + 1,
                    paused_until=max(paused_until, self.paused_until or paused_until),
                )
            case Outcome.PAYLOAD_REJECTED:
                # It lives, and has read the message: others may do better.
                return replace(
                    self._failed(attempt, now), open=False, probe_at=None, probes=0, failures=0, rate_limits=0
                )
            case Outcome.TRANSIENT | Outcome.OURS:
                return self._after_failure(attempt, retry, FAILURES_TO_OPEN, probe=probe, now=now, chance=chance)
            case Outcome.AUTH | Outcome.DESTINATION_GONE | Outcome.POLICY:
                # One is enough: what is refused to us is refused to all that wait.
                return self._after_failure(attempt, retry, 1, probe=probe, now=now, chance=chance)
            case _:
                assert_never(attempt.outcome)

    def alert_at(self, alert_after: timedelta) -> datetime | None:
        """When somebody is to be told that it is down; None: it is not, or was said."""
        return None if self.failing_since is None or self.alerted else self.failing_since + alert_after

    def _after_failure(
        self, attempt: Attempt, retry: RetryPolicy, threshold: int, *, probe: bool, now: datetime, chance: float
    ) -> "Breaker":
        known = replace(self._failed(attempt, now), failures=self.failures + 1, rate_limits=0)
        if not probe if self.open else known.failures < threshold:
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


def rate_limit_pause(attempt: Attempt, retry: RetryPolicy, *, rate_limits: int, chance: float) -> timedelta:
    """How long a receiver is left alone that has said for the *rate_limits*-th time in a row that we are too fast."""
    if attempt.retry_after:
        return max(attempt.retry_after, SHORTEST_RATE_LIMIT_PAUSE)
    return retry.backoff.pause(rate_limits, chance=chance)

"""How the destination of a lane fares: whether it may be posted to, and who is told when it is down."""

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from cambwatch.core.delivery.attempts import BreakerChange
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert
from cambwatch.core.model import Attempt, Outcome
from cambwatch.core.routing import Destination
from cambwatch.loops.scheduler import Clock

log = structlog.get_logger()


class DestinationHealth:
    """The breaker of one destination, and the clock by which it waits."""

    def __init__(self, destination: Destination, breaker: Breaker, *, clock: Clock) -> None:
        """*breaker* is as the last process left it."""
        self._destination = destination
        self._clock = clock
        self.set(breaker)

    def set(self, breaker: Breaker) -> None:
        """Go by *breaker* from now on."""
        self.breaker = breaker
        blocked_until = breaker.blocked_until
        # By the clock that only grows from here on: the machine's may be set while we wait.
        left_s = 0.0 if blocked_until is None else (blocked_until - self._clock.now()).total_seconds()
        self._paused_until_s = self._clock.monotonic() + max(left_s, 0.0)

    @property
    def pause_s(self) -> float:
        """For how long nothing may be posted; 0: it may."""
        return max(self._paused_until_s - self._clock.monotonic(), 0.0)

    @property
    def paused_until(self) -> datetime | None:
        """Until when nothing is posted; None: it may be."""
        pause_s = self.pause_s
        return self._clock.now() + timedelta(seconds=pause_s) if pause_s > 0 else None

    @property
    def alert_in_s(self) -> float | None:
        """The seconds until somebody is to be told that it is down; None: it is not, or was said."""
        at = self.breaker.alert_at(self._destination.alert_after)
        return None if at is None else (at - self._clock.now()).total_seconds()

    def record_attempt(self, attempt: Attempt, *, probe: bool, now: datetime, chance: float) -> BreakerChange | None:
        """Learn from *attempt*, which an open breaker let through if it was a *probe*; what is to be written down."""
        before = self.breaker
        after = before.after(attempt, self._destination.retry, probe=probe, now=now, chance=chance)
        if after == before:
            return None
        self.set(after)
        if after.open and not before.open:
            probe_at = None if after.probe_at is None else after.probe_at.isoformat()
            log.warning(
                "breaker.opened",
                destination=self._destination.name,
                outcome=attempt.outcome,
                http_status=attempt.http_status,
                probe_at=probe_at,
            )
        elif before.open and not after.open:
            log.info("breaker.closed", destination=self._destination.name, outcome=attempt.outcome)
        alert = None
        if before.alerted and after.failing_since is None:
            alert = self._alert(before, now, recovered=True)
            log.info(
                "destination.recovered",
                destination=self._destination.name,
                since=alert.since.isoformat(),
                alert_destination=self._destination.fallback,
            )
        return self._breaker_change(alert, retries_due_now=before.open and not after.open)

    def mark_down(self) -> BreakerChange | None:
        """What is to be written down when it has been down for so long that somebody is to be told now; once."""
        now = self._clock.now()
        at = self.breaker.alert_at(self._destination.alert_after)
        if at is None or at > now:
            return None
        alert = self._alert(self.breaker, now, recovered=False)
        # Before it is written: an answer that comes meanwhile must know that it has a recovery to tell.
        self.breaker = replace(self.breaker, alerted=True)
        log.warning(
            "destination.down",
            destination=self._destination.name,
            since=alert.since.isoformat(),
            outcome=alert.outcome,
            http_status=alert.http_status,
            alert_destination=self._destination.fallback,
        )
        return self._breaker_change(alert)

    def retry_now(self) -> None:
        """Let one through now, though it was to wait longer; what the receiver has asked for is kept."""
        self.set(replace(self.breaker, probe_at=None))

    def alert_not_written(self) -> None:
        """What down() gave could not be written: it is to be said again."""
        self.breaker = replace(self.breaker, alerted=False)

    def _breaker_change(self, alert: DestinationAlert | None, *, retries_due_now: bool = False) -> BreakerChange:
        return BreakerChange(
            self._destination.name,
            self.breaker,
            alert=alert,
            alert_destination=self._destination.fallback,
            retries_due_now=retries_due_now,
        )

    def _alert(self, breaker: Breaker, now: datetime, *, recovered: bool) -> DestinationAlert:
        return DestinationAlert(
            self._destination.name,
            since=breaker.failing_since or now,
            at=now,
            recovered=recovered,
            waiting=0,  # the store counts them as it writes this down
            outcome=breaker.outcome or Outcome.TRANSIENT,
            http_status=breaker.http_status,
        )

"""What a destination is owed, what came of it, and what that says about the destination."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert, Event
from cambwatch.core.model import Attempt, Delivery, DeliveryDecision

PendingDelivery = tuple[Delivery, Event]


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """
    What is due to a destination: *fresh* was never tried, *repeated* was; each longest due first.

    *more_fresh*, *more_repeated*: more may be due than is here. *next_due_at* is when more
    falls due, None: nothing that is written down now.
    """

    fresh: Sequence[PendingDelivery]
    repeated: Sequence[PendingDelivery]
    next_due_at: datetime | None = None
    more_fresh: bool = False
    more_repeated: bool = False


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """An attempt that was made of a delivery, and what follows."""

    delivery: Delivery
    attempt: Attempt
    decision: DeliveryDecision


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """
    What is to be written down about a *destination*.

    *alert_destination* gets the *alert* if both are given. *retries_due_now*: what waits out a
    pause after a failure is due now, unless the receiver has named the pause.
    """

    destination: str
    breaker: Breaker
    alert: DestinationAlert | None = None
    alert_destination: str | None = None
    retries_due_now: bool = False

"""What a destination is owed, what came of it, and what that says about the destination."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.events import DestinationAlert, Event
from cambwatch.core.model import Attempt, Delivery, Verdict

Owed = tuple[Delivery, Event]


@dataclass(frozen=True, slots=True)
class Due:
    """
    What is due to a destination: *fresh* was never tried, *repeated* was; each longest due first.

    *more_fresh*, *more_repeated*: more may be due than is here. *next_at* is when more
    falls due, None: nothing that is written down now.
    """

    fresh: Sequence[Owed]
    repeated: Sequence[Owed]
    next_at: datetime | None = None
    more_fresh: bool = False
    more_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Tried:
    """An attempt that was made of a delivery, and what follows."""

    delivery: Delivery
    attempt: Attempt
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Turn:
    """
    What is to be written down about a *destination*.

    *hears* is owed the *alert*, where both are given. *released*: what waits out a
    pause after a failure is due now, unless the receiver has named the pause.
    """

    destination: str
    breaker: Breaker
    alert: DestinationAlert | None = None
    hears: str | None = None
    released: bool = False

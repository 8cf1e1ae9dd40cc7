"""A book of what is due, written by hand, and a clock that stands still: for what is decided about the two."""

from collections.abc import Collection, Coroutine, Generator, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from event_samples import ended
from task_samples import START

from cambwatch.core.delivery.attempts import DueDelivery, PendingDelivery
from cambwatch.core.model import Delivery, DeliveryState
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

NEVER = datetime(9999, 1, 1, tzinfo=START.tzinfo)


def chat(**fields: Any) -> Destination:
    """A destination to which one message goes at a time."""
    return Destination("team", "slack", Secret("https://hooks.example/x"), **{"concurrency": 1, **fields})


class Clock:
    """Goes on only when it is told to; the machine's may be set apart from the one that only grows."""

    def __init__(self) -> None:
        self.at = START
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.elapsed_s

    def chance(self) -> float:
        return 0.0

    def forward(self, span: timedelta) -> None:
        self.at += span
        self.elapsed_s += span.total_seconds()


class Turn:
    """Lets whoever steps a coroutine by hand do something else before it goes on."""

    def __await__(self) -> Generator[None, None, None]:
        yield


@dataclass
class Reading:
    """What one read was asked for."""

    fresh: int
    repeated: int
    exclude: Collection[str]


@dataclass
class Book:
    """
    What is owed, as a store has it: by id.

    A read takes a turn. It shows what was written down when it began or, with
    *reads_late*, when it ends; it fails with *trouble*.
    """

    owed: dict[str, Delivery] = field(default_factory=dict)
    reads_late: bool = False
    trouble: Exception | None = None
    readings: list[Reading] = field(default_factory=list)

    def add(self, *, at: datetime, attempts: int = 0) -> str:
        """Owe one more, due *at*; returns its id."""
        number = len(self.owed) + 1
        delivery_id = f"msg_{number}"
        state = DeliveryState.PENDING
        self.owed[delivery_id] = Delivery(delivery_id, number, "team", state, attempts, START, at)
        return delivery_id

    def change(self, delivery_id: str, **fields: Any) -> None:
        self.owed[delivery_id] = replace(self.owed[delivery_id], **fields)

    def pending(self) -> list[Delivery]:
        return [one for one in self.owed.values() if one.state is DeliveryState.PENDING]

    async def due(
        self, destination: str, *, now: datetime, fresh: int, repeated: int, exclude: Collection[str]
    ) -> DueDelivery:
        assert destination == "team"
        assert fresh >= 0
        assert repeated >= 0
        self.readings.append(Reading(fresh, repeated, exclude))
        shown = self.pending()
        await Turn()
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        in_order = sorted(self.pending() if self.reads_late else shown, key=lambda one: one.next_attempt_at or NEVER)
        # Looked at late in any case: whoever changes it while the store is read has no promise.
        due = [one for one in in_order if (one.next_attempt_at or NEVER) <= now and one.id not in exclude]
        first = [one for one in due if not one.attempts][:fresh]
        again = [one for one in due if one.attempts][:repeated]
        return DueDelivery(
            list(told(first)),
            list(told(again)),
            next_due_at=next((one.next_attempt_at for one in in_order if (one.next_attempt_at or NEVER) > now), None),
            more_fresh=0 < fresh == len(first),
            more_repeated=0 < repeated == len(again),
        )


def told(deliveries: Iterable[Delivery]) -> Iterable[PendingDelivery]:
    for delivery in deliveries:
        yield delivery, ended(task_id=delivery.id)


def finish(coroutine: Coroutine[Any, Any, None]) -> None:
    """Step *coroutine* to its end."""
    while step(coroutine):
        pass


def step(coroutine: Coroutine[Any, Any, None]) -> bool:
    """Step *coroutine* to its next turn; False: it has ended."""
    try:
        coroutine.send(None)
    except StopIteration:
        return False
    return True

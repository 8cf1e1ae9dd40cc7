"""The few deliveries of a lane that are in memory, and when to read more; all the others wait in the store."""

from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from cambwatch.core.delivery.attempts import DueDelivery, PendingDelivery
from cambwatch.core.formats import MOST_IN_DIGEST
from cambwatch.core.model import Delivery
from cambwatch.core.routing import Destination
from cambwatch.loops.scheduler import Clock

READ_AHEAD_FACTOR = 4  # deliveries read ahead, for each that may be under way
REPEATED_EVERY = 8  # of so many that are taken while both wait, one is a repeated one: else they might starve


class DueDeliveryStore(Protocol):
    """Where it is written down what is due."""

    async def due(
        self, destination: str, *, now: datetime, fresh: int, repeated: int, exclude: Collection[str]
    ) -> DueDelivery: ...


class Window:
    """Deliveries to *destination* that are due: fresh ones, and those that were tried before."""

    def __init__(self, destination: Destination, store: DueDeliveryStore, *, clock: Clock) -> None:
        self._destination = destination
        self._store = store
        self._clock = clock
        self._fresh: deque[PendingDelivery] = deque()
        self._repeated: deque[PendingDelivery] = deque()
        # More may be due than is in memory.
        self._more_fresh = self._more_repeated = True
        self._reading_fresh = False
        self._limit = max(READ_AHEAD_FACTOR * destination.concurrency, MOST_IN_DIGEST)  # of each sort
        self._next_at: datetime | None = None  # when more falls due by itself
        self._discarded: set[str] | None = None  # since the store began to be read; None: it is not being read
        self._take_count = 0

    @property
    def ready(self) -> bool:
        """Whether there is one to post now."""
        return bool(self._repeated) or (bool(self._fresh) and self._digest_wait_s == 0)

    @property
    def wait_s(self) -> float | None:
        """Of one that is not ready: the seconds until one may be; None: only wake() brings more."""
        waits_s = [self._digest_wait_s] if self._fresh else []
        if self._next_at is not None:
            waits_s.append((self._next_at - self._clock.now()).total_seconds())
        return min(waits_s, default=None)

    def wake(self) -> None:
        """More is due than is known here."""
        self._more_fresh = self._more_repeated = True

    def note_due_at(self, at: datetime) -> None:
        """One falls due at *at*."""
        self._next_at = at if self._next_at is None else min(at, self._next_at)

    def discard(self, delivery_ids: Collection[str]) -> None:
        """These are not owed any more."""
        if self._discarded is not None:
            self._discarded.update(delivery_ids)
        for waiting in (self._fresh, self._repeated):
            if any(delivery.id in delivery_ids for delivery, _ in waiting):
                kept = [one for one in waiting if one[0].id not in delivery_ids]
                waiting.clear()
                waiting.extend(kept)

    @property
    def wants_more(self) -> bool:
        """Whether to look: more may be due, and half of the room is free; fresh ones also while others wait."""
        if self._next_at is not None and self._next_at <= self._clock.now():
            self.wake()
        fresh, repeated = self._free_slots
        # Into a digest everything goes that has come until it leaves.
        enough = 1 if self._destination.digest is not None else self._limit // 2
        if self._more_fresh and fresh >= enough:
            return True
        return self._more_repeated and not (self._fresh and self.ready) and repeated >= self._limit // 2

    @property
    def must_read_first(self) -> bool:
        """Whether a look has to end before one is taken: there is none, or a fresh one may be to go before it."""
        return not self.ready or ((self._more_fresh or self._reading_fresh) and not self._fresh)

    async def read_due(self, under_way: Collection[str]) -> None:
        """Read what is due besides those *under_way*; one look at a time, while others take what is here."""
        now = self._clock.now()
        fresh, repeated = self._free_slots
        # Before the read: whoever wakes us meanwhile, or expects one, means something newer.
        self._more_fresh &= not fresh
        self._reading_fresh = fresh > 0
        self._more_repeated &= not repeated
        self._next_at = None
        self._discarded = discarded = set[str]()
        # A copy from before the read: what ends and is recorded while the store is
        # read may still look pending to it, and must not be posted twice.
        exclude = frozenset(under_way) | {one.id for waiting in (self._fresh, self._repeated) for one, _ in waiting}
        try:
            due = await self._store.due(
                self._destination.name, now=now, fresh=fresh, repeated=repeated, exclude=exclude
            )
        finally:
            self._discarded = None
            self._reading_fresh = False
        self._fresh.extend(one for one in due.fresh if one[0].id not in discarded)
        self._repeated.extend(one for one in due.repeated if one[0].id not in discarded)
        self._more_fresh |= due.more_fresh
        self._more_repeated |= due.more_repeated
        if due.next_due_at is not None:
            self.note_due_at(due.next_due_at)

    @property
    def _free_slots(self) -> tuple[int, int]:
        """For how many more fresh and repeated ones there is room."""
        return max(self._limit - len(self._fresh), 0), max(self._limit - len(self._repeated), 0)

    def take(self) -> PendingDelivery:
        """The next to be posted, where one is ready: a fresh one, now and then a repeated one."""
        if not self._fresh or self._digest_wait_s > 0:
            return self._repeated.popleft()
        if self._repeated:
            self._take_count += 1
            if self._take_count % REPEATED_EVERY == 0:
                return self._repeated.popleft()
        return self._fresh.popleft()

    def take_matching(self, fits: Callable[[Delivery], bool], most: int) -> list[PendingDelivery]:
        """Up to *most* more for which *fits* holds, fresh ones first, ripe or not."""
        taken: list[PendingDelivery] = []
        for waiting in (self._fresh, self._repeated):
            rest: list[PendingDelivery] = []
            while waiting:
                one = waiting.popleft()
                (taken if len(taken) < most and fits(one[0]) else rest).append(one)
            waiting.extend(rest)
        return taken

    def put_back(self, queued: Sequence[PendingDelivery]) -> None:
        """These could not go with the others: they are the next, in their order."""
        for one in reversed(queued):
            (self._repeated if one[0].attempts else self._fresh).appendleft(one)

    @property
    def _digest_wait_s(self) -> float:
        """How long the fresh ones still wait for others to join them in a digest; 0: no longer."""
        if self._destination.digest is None or not self._fresh:
            return 0
        first, _ = self._fresh[0]
        left = (first.next_attempt_at or first.created_at) + self._destination.digest - self._clock.now()
        return max(left.total_seconds(), 0)

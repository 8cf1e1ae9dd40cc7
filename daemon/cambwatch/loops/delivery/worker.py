"""The lane of one destination: posts what it is owed, as fast as it takes it and no faster."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Protocol

import structlog

from cambwatch.core.cadence.policy import TokenBucket
from cambwatch.core.delivery.attempts import Owed, Tried, Turn
from cambwatch.core.delivery.breaker import Breaker, BreakerState
from cambwatch.core.delivery.ramp import ConcurrencyRamp
from cambwatch.core.destinations import Destination
from cambwatch.core.formats import FORMATS, MOST_IN_DIGEST, Message
from cambwatch.core.lifecycle import verdict
from cambwatch.core.model import ACCEPTED, Attempt, Delivery, GiveUp, Outcome, PastAttempt, RetryAt
from cambwatch.loops.clock import Clock
from cambwatch.loops.delivery.composition import compose, compose_digest, describe_bug, joins
from cambwatch.loops.delivery.health import Health
from cambwatch.loops.delivery.window import DueBook, Window
from cambwatch.loops.pause_log import log_reading
from cambwatch.loops.scheduler import Alarm

RECORD_PAUSE_S = 1.0  # until an outcome that the store did not take is offered to it again
RECORD_PAUSE_MAX_S = 4.0  # a store that is back is to be used within 5 s
SHORTEST_PAUSE_S = 0.001  # a wish of nothing at all would ask the store again in the same breath

log = structlog.get_logger()


class DeliveryBook(DueBook, Protocol):
    """Where it is written down what is owed, and what came of it."""

    async def record(self, tried: Sequence[Tried], turn: Turn | None, *, now: datetime) -> int: ...
    async def turn(self, turn: Turn, *, now: datetime) -> None: ...


class Sender(Protocol):
    """What carries a message to its receiver."""

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt: ...


class DeliveryMeter(Protocol):
    """Who counts attempts."""

    def attempted(self, destination: str, tried: Sequence[Tried], *, posted: bool, now: datetime) -> None: ...


class Lane:
    """The deliveries to one destination; only a few of them are in memory at a time."""

    def __init__(
        self,
        destination: Destination,
        book: DeliveryBook,
        sender: Sender,
        *,
        breaker: Breaker,
        meter: DeliveryMeter,
        clock: Clock,
        alarm: Alarm,
        owed: Callable[[Iterable[str]], None],
    ) -> None:
        """
        *breaker* is as the last process left it; *owed* is told who is owed something by what happens here.

        Nothing is posted until take_up() is called.
        """
        self._destination = destination
        self._book = book
        self._sender = sender
        self._meter = meter
        self._clock = clock
        self._kick = alarm.kick
        self._alarm = alarm
        self._owed = owed
        self.last: PastAttempt | None = None  # of all its deliveries
        rate = destination.rate or FORMATS[destination.type].rate
        self._bucket = rate and TokenBucket(rate.per_second, burst=rate.burst, now_s=clock.monotonic())
        self._window = Window(destination, book, clock=clock)
        self._ramp = ConcurrencyRamp(destination.concurrency)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        # Messages, of which one may tell of several deliveries: on their way, and answered but not written down yet.
        self._posts = self._recording = 0
        self._looking: asyncio.Task[None] | None = None
        self._health = Health(destination, breaker, clock=clock)
        self._failing = False  # a failure was logged as a warning, and nothing was accepted since
        self._stopping = False
        self._taken_up = False
        self.until_s = inf
        """When this process is no longer the one to post, by a clock that only grows; it may be put off."""

    @property
    def held(self) -> bool:
        """Whether this process posts to the destination; of several that share a database one does."""
        return self._taken_up and self._clock.monotonic() < self.until_s

    @property
    def breaker(self) -> Breaker:
        """How the destination fares."""
        return self._health.breaker

    @property
    def state(self) -> BreakerState:
        """Whether it is posted to."""
        if not self._health.breaker.open:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._posts else BreakerState.OPEN

    @property
    def paused_until(self) -> datetime | None:
        """Until when nothing is posted, because the receiver limits us or is down; None: it is not paused."""
        return self._health.paused_until

    def take_up(self) -> None:
        """
        Post from now on what the destination is owed.

        An open breaker lets one delivery through at once: what was wrong may have been
        put right since it was opened, such as with a restart. After a rate limit that
        another process met, or this one before its restart, the first goes alone as well.
        """
        self._taken_up = True
        if self.breaker.held_until is not None:
            self._ramp.rate_limited()
        self._health.hurry()
        self.read_anew()

    def read_anew(self) -> None:
        """What was read ahead may not be owed any more, or not yet: look again, for all of it."""
        self._window = Window(self._destination, self._book, clock=self._clock)
        self.wake()

    async def lay_down(self) -> None:
        """Post no more; returns when no post is under way, and all that came of them is written down."""
        self._taken_up = False
        self.wake()
        await self.drain()

    def show(self, breaker: Breaker) -> None:
        """How the destination fares according to whoever posts to it, while this process does not."""
        if not self.held:
            self._health.set(breaker)

    def wake(self) -> None:
        """Something is owed now."""
        self._window.wake()
        self._kick.set()

    def hurry(self) -> None:
        """Somebody wishes that what is owed is tried now: a destination that is down gets one to show."""
        self._health.hurry()
        self.wake()

    def forget(self, delivery_ids: Collection[str]) -> None:
        """These were cancelled; one whose POST is under way cannot be called back."""
        self._window.forget(delivery_ids)

    async def run(self) -> None:
        """Post what is due until stop() is called; posts under way then go on, see drain()."""
        while not self._stopping:
            self._kick.clear()
            try:
                if self.held:
                    await self._tell_if_down()
                    self._alarm.set(await self._start_due())
                    self._alarm.set(self._health.alert_in_s)
            except Exception as error:  # noqa: BLE001 - a store in trouble: it is asked again, and the process lives
                log.warning("store.unavailable", undone="reading", destination=self._destination.name, error=str(error))
                self._window.wake()
                self._alarm.set(RECORD_PAUSE_S)
            await self._kick.wait()

    def stop(self) -> None:
        """Start no more posts."""
        self._stopping = True
        self._kick.set()

    async def drain(self) -> None:
        """Return when no post is under way; cancelling this cancels them, and they stay owed."""
        while self._under_way:
            await asyncio.gather(*self._under_way.values())
            await asyncio.sleep(0)  # from Python 3.12 on gather() may be done at once: let what is done leave
        if (looking := self._looking) is not None:
            await asyncio.wait([looking])
            if not looking.cancelled():
                looking.exception()  # what it found is not needed any more

    async def _start_due(self) -> float | None:
        """Start what may start now; returns the seconds until more may, None if only a kick brings more."""
        while self._may_start:
            pause_s = self._pause_s()
            if pause_s > 0:
                return pause_s
            if self._looking is None and self._window.wants_more:
                self._looking = asyncio.create_task(
                    self._window.look(self._under_way), name=f"look {self._destination.name}"
                )
            if self._looking is not None and (self._looking.done() or self._window.must_wait):
                looking = self._looking
                try:
                    await looking
                finally:
                    self._looking = None
                continue  # an answer may have come while the store was read
            if not self._window.ready:
                wait_s = self._window.wait_s
                return None if wait_s is None else max(wait_s, SHORTEST_PAUSE_S)
            self._start(self._window.take())
        return None

    @property
    def _may_start(self) -> bool:
        """Whether there is room for one more; also among those that the store has yet to take."""
        most = 1 if self._health.breaker.open else self._ramp.limit
        has_room = self._posts < most and self._recording < self._destination.concurrency
        return has_room and self.held and not self._stopping

    def _pause_s(self) -> float:
        """How long the receiver, our breaker or the rate have us wait."""
        now_s = self._clock.monotonic()
        return max(self._health.pause_s, self._bucket.wait_s(now_s) if self._bucket else 0)

    def _start(self, first: Owed) -> None:
        """Post *first*, and in the same message what is to be told with it."""
        if self._bucket:
            self._bucket.take(self._clock.monotonic())
        told, message = self._compose(first)
        post = asyncio.create_task(
            self._deliver(told, message, probe=self._health.breaker.open, epoch=self._ramp.epoch),
            name=f"post {self._destination.name}",
        )
        for delivery, _ in told:
            self._under_way[delivery.id] = post
        self._posts += 1
        post.add_done_callback(partial(self._ended, [delivery.id for delivery, _ in told]))

    def _ended(self, delivery_ids: Sequence[str], _post: asyncio.Task[None]) -> None:
        for delivery_id in delivery_ids:
            del self._under_way[delivery_id]
        self._recording -= 1
        self._kick.set()

    def _compose(self, first: Owed) -> tuple[list[Owed], Message | Attempt]:
        """*first*, with what is told in the same message; and that message, or why there is none."""
        now = self._clock.now()

        def fits(delivery: Delivery) -> bool:
            return joins(delivery, self._destination, now)

        if fits(first[0]) and (others := self._window.take_all(fits, MOST_IN_DIGEST - 1)):
            owed = sorted([first, *others], key=lambda one: one[1].finished_at)
            if digest := compose_digest(owed, self._destination, now):
                message, count = digest
                self._window.put_back(owed[count:])
                return owed[:count], message
            self._window.put_back(others)
        return [first], compose(*first, self._destination, now)

    async def _deliver(self, told: Sequence[Owed], message: Message | Attempt, *, probe: bool, epoch: int) -> None:
        first, event = told[0]
        number = first.attempts + 1
        try:
            attempt, posted = (message, False) if isinstance(message, Attempt) else await self._post(message, number)
        finally:
            self._posts -= 1
            self._recording += 1
            self._kick.set()
        now, chance = self._clock.now(), self._clock.chance()
        self.last = PastAttempt(now, attempt)
        tried = [self._tried(delivery, attempt, len(told), now=now, chance=chance) for delivery, _ in told]
        # What was never posted says nothing of the receiver.
        turn = self._health.take_in(attempt, probe=probe, now=now, chance=chance) if posted else None
        if attempt.outcome is Outcome.RATE_LIMITED:
            self._ramp.rate_limited()
        elif attempt.outcome in ACCEPTED:
            self._ramp.succeeded(epoch)
        self._log_attempt(tried, attempt, event.type)
        self._meter.attempted(self._destination.name, tried, posted=posted, now=now)
        await self._record(tried, turn, now)
        self._after_record(tried, turn)

    def _log_attempt(self, tried: Sequence[Tried], attempt: Attempt, event_type: str) -> None:
        """Log an attempt: an error if a delivery is given up, a warning for the first failure since a success."""
        shown = next((one for one in tried if isinstance(one.verdict, GiveUp)), tried[0])
        fields = {
            "delivery_id": shown.delivery.id,
            "destination": self._destination.name,
            "attempt": shown.attempt.number,
            "event_type": event_type,
            "outcome": attempt.outcome,
            "http_status": attempt.http_status,
            "took_ms": attempt.took_ms,
            "verdict": type(shown.verdict).__name__,
            "next_attempt_at": shown.verdict.at.isoformat() if isinstance(shown.verdict, RetryAt) else None,
            "detail": None if attempt.outcome is Outcome.ACCEPTED else attempt.detail,
            **({"together": len(tried)} if len(tried) > 1 else {}),
        }
        first_failure = not self._failing and attempt.outcome not in ACCEPTED | {Outcome.RATE_LIMITED}
        self._failing = attempt.outcome not in ACCEPTED and (self._failing or first_failure)
        if isinstance(shown.verdict, GiveUp):
            log.error("delivery.attempted", **fields)
        elif first_failure:
            log.warning("delivery.attempted", **fields)
        else:
            log.info("delivery.attempted", **fields)
        if attempt.reading is not None:
            log_reading(attempt.reading, destination=self._destination.name)

    async def _post(self, message: Message, number: int) -> tuple[Attempt, bool]:
        """What came of it, and whether the receiver had to do with it."""
        try:
            return await self._sender.post(self._destination, message, number=number), True
        except Exception as error:  # a bug with one message must not take the others' lane with it
            log.exception("delivery.broken", destination=self._destination.name)
            return Attempt(number, Outcome.OURS, took_ms=0, detail=describe_bug(error)), False

    def _tried(self, delivery: Delivery, attempt: Attempt, together: int, *, now: datetime, chance: float) -> Tried:
        own = replace(attempt, number=delivery.attempts + 1, together=together)
        return Tried(delivery, own, verdict(delivery, own, self._destination, now=now, chance=chance))

    async def _tell_if_down(self) -> None:
        """Owe it to the fallback, once, that the destination has been down for too long."""
        turn = self._health.down()
        if turn is None:
            return
        try:
            await self._book.turn(turn, now=self._clock.now())
        except Exception:
            self._health.unsaid()
            raise
        self._tell_owed(turn)

    def _tell_owed(self, turn: Turn | None) -> None:
        if turn is not None and turn.alert is not None and turn.hears is not None:
            self._owed([turn.hears])

    async def _record(self, tried: Sequence[Tried], turn: Turn | None, now: datetime) -> None:
        """
        Write the outcomes down, however long the store takes to be there again.

        Held in memory meanwhile, with their place in the lane: posting the same again
        because the disk is full would be worse than waiting. The end of the process ends it.
        """
        pause_s = RECORD_PAUSE_S
        while True:
            try:
                # As it stands by now: what another post has shown meanwhile must not be written over.
                latest = None if turn is None else replace(turn, breaker=self._health.breaker)
                await self._book.record(tried, latest, now=now)
            except Exception as error:  # noqa: BLE001 - logged and tried again, as said above
                log.warning(
                    "store.unavailable",
                    undone="attempt",
                    destination=self._destination.name,
                    delivery_id=tried[0].delivery.id,
                    error=str(error),
                    next_try_s=pause_s,
                )
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RECORD_PAUSE_MAX_S)
            else:
                return

    def _after_record(self, tried: Sequence[Tried], turn: Turn | None) -> None:
        for one in tried:
            if isinstance(one.verdict, RetryAt):
                self._window.expect(one.verdict.at)
        if turn is not None and turn.released:
            self._window.wake()
        self._tell_owed(turn)

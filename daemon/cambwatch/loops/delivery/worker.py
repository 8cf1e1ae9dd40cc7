"""
Delivers to one destination, as fast as its rate limit, concurrency and breaker allow.

1. Read due deliveries from the store into the window, those never attempted first.
2. Stop if the breaker is open (unless a probe is due), the rate limit is reached or enough posts are in flight.
3. Compose one message of one delivery, or of several as a digest.
4. Post it. The outcome is a value, never an exception.
5. Decide: delivered, retry at a time, or give up; and what it means for the breaker.
6. Record attempt, decision and breaker in one transaction. Until the store accepts, the record is offered again.
7. Sleep until the next delivery is due, or until something is queued.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Protocol

import structlog

from cambwatch.core.cadence.policy import TokenBucket
from cambwatch.core.delivery.attempts import AttemptRecord, BreakerChange, PendingDelivery
from cambwatch.core.delivery.breaker import Breaker, BreakerState
from cambwatch.core.delivery.retry import ConcurrencyRamp
from cambwatch.core.formats import FORMATS, MOST_IN_DIGEST, Message
from cambwatch.core.lifecycle import decide_after_attempt
from cambwatch.core.model import ACCEPTED, Attempt, Delivery, GiveUp, Outcome, PastAttempt, RetryAt
from cambwatch.core.routing import Destination
from cambwatch.loops.delivery.health import DestinationHealth
from cambwatch.loops.delivery.senders import Sender, can_join_digest, compose, compose_digest, describe_bug
from cambwatch.loops.delivery.window import DueDeliveryStore, Window
from cambwatch.loops.pause_log import log_reading
from cambwatch.loops.scheduler import Clock, Wakeup

RECORD_PAUSE_S = 1.0  # until an outcome that the store did not take is offered to it again
RECORD_PAUSE_MAX_S = 4.0  # a store that is back is to be used within 5 s
MIN_PAUSE_S = 0.001  # a pause of zero would query the store in a loop

log = structlog.get_logger()


class OutboxStore(DueDeliveryStore, Protocol):
    """Where it is written down what is owed, and what came of it."""

    async def record(
        self, attempt_records: Sequence[AttemptRecord], breaker_change: BreakerChange | None, *, now: datetime
    ) -> int: ...
    async def record_breaker_change(self, breaker_change: BreakerChange, *, now: datetime) -> None: ...


class DeliveryMeter(Protocol):
    """Who counts attempts."""

    def attempted(
        self, destination: str, attempt_records: Sequence[AttemptRecord], *, posted: bool, now: datetime
    ) -> None: ...


class DestinationWorker:
    """The deliveries to one destination; only a few of them are in memory at a time."""

    def __init__(
        self,
        destination: Destination,
        store: OutboxStore,
        sender: Sender,
        *,
        breaker: Breaker,
        meter: DeliveryMeter,
        clock: Clock,
        wakeup: Wakeup,
        queued: Callable[[Iterable[str]], None],
    ) -> None:
        """
        *breaker* is as the last process left it; *queued* is called with the destinations for which this
        one queues an alert.

        Nothing is posted until acquire() is called.
        """
        self._destination = destination
        self._store = store
        self._sender = sender
        self._meter = meter
        self._clock = clock
        self._wakeup_event = wakeup.wakeup_event
        self._wakeup = wakeup
        self._queued = queued
        self.last: PastAttempt | None = None  # of all its deliveries
        rate = destination.rate or FORMATS[destination.type].rate
        self._bucket = rate and TokenBucket(rate.per_second, burst=rate.burst, now_s=clock.monotonic())
        self._window = Window(destination, store, clock=clock)
        self._ramp = ConcurrencyRamp(destination.concurrency)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        # Messages, of which one may tell of several deliveries: on their way, and answered but not written down yet.
        self._posts = self._recording = 0
        self._read_task: asyncio.Task[None] | None = None
        self._health = DestinationHealth(destination, breaker, clock=clock)
        self._failing = False  # a failure was logged as a warning, and nothing was accepted since
        self._stopping = False
        self._acquired = False
        self.lease_until_s = inf
        """When this process is no longer the one to post, by a clock that only grows; it may be put off."""

    @property
    def held(self) -> bool:
        """Whether this process posts to the destination; of several that share a database one does."""
        return self._acquired and self._clock.monotonic() < self.lease_until_s

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

    def acquire(self) -> None:
        """
        Post from now on what the destination is owed.

        An open breaker lets one delivery through at once: what was wrong may have been
        put right since it was opened, such as with a restart. After a rate limit that
        another process met, or this one before its restart, the first goes alone as well.
        """
        self._acquired = True
        if self.breaker.paused_until is not None:
            self._ramp.rate_limited()
        self._health.retry_now()
        self.reload_window()

    def reload_window(self) -> None:
        """What was read ahead may not be owed any more, or not yet: look again, for all of it."""
        self._window = Window(self._destination, self._store, clock=self._clock)
        self.wake()

    async def release_when_idle(self) -> None:
        """Post no more; returns when no post is under way, and all that came of them is written down."""
        self._acquired = False
        self.wake()
        await self.drain()

    def set_breaker(self, breaker: Breaker) -> None:
        """How the destination fares according to whoever posts to it, while this process does not."""
        if not self.held:
            self._health.set(breaker)

    def wake(self) -> None:
        """Something is owed now."""
        self._window.wake()
        self._wakeup_event.set()

    def retry_now(self) -> None:
        """Somebody wishes that what is owed is tried now: a destination that is down gets one to show."""
        self._health.retry_now()
        self.wake()

    def discard(self, delivery_ids: Collection[str]) -> None:
        """These were cancelled; one whose POST is under way cannot be called back."""
        self._window.discard(delivery_ids)

    async def run(self) -> None:
        """Post what is due until stop() is called; posts under way then go on, see drain()."""
        while not self._stopping:
            self._wakeup_event.clear()
            try:
                if self.held:
                    await self._alert_if_down()
                    self._wakeup.set(await self._start_due())
                    self._wakeup.set(self._health.alert_in_s)
            except Exception as error:  # noqa: BLE001 - a store in trouble: it is asked again, and the process lives
                log.warning(
                    "store.unavailable", operation="reading", destination=self._destination.name, error=str(error)
                )
                self._window.wake()
                self._wakeup.set(RECORD_PAUSE_S)
            await self._wakeup_event.wait()

    def stop(self) -> None:
        """Start no more posts."""
        self._stopping = True
        self._wakeup_event.set()

    async def drain(self) -> None:
        """Return when no post is under way; cancelling this cancels them, and they stay owed."""
        while self._under_way:
            await asyncio.gather(*self._under_way.values())
            await asyncio.sleep(0)  # from Python 3.12 on gather() may be done at once: let what is done leave
        if (read_task := self._read_task) is not None:
            await asyncio.wait([read_task])
            if not read_task.cancelled():
                read_task.exception()  # what it found is not needed any more

    async def _start_due(self) -> float | None:
        """Start what may start now; returns the seconds until more may, None if only a kick brings more."""
        while self._can_start:
            pause_s = self._pause_s()
            if pause_s > 0:
                return pause_s
            if self._read_task is None and self._window.wants_more:
                self._read_task = asyncio.create_task(
                    self._window.read_due(self._under_way), name=f"look {self._destination.name}"
                )
            if self._read_task is not None and (self._read_task.done() or self._window.must_read_first):
                read_task = self._read_task
                try:
                    await read_task
                finally:
                    self._read_task = None
                continue  # an answer may have come while the store was read
            if not self._window.ready:
                wait_s = self._window.wait_s
                return None if wait_s is None else max(wait_s, MIN_PAUSE_S)
            self._start(self._window.take())
        return None

    @property
    def _can_start(self) -> bool:
        """Whether there is room for one more; also among those that the store has yet to take."""
        most = 1 if self._health.breaker.open else self._ramp.limit
        has_room = self._posts < most and self._recording < self._destination.concurrency
        return has_room and self.held and not self._stopping

    def _pause_s(self) -> float:
        """How long the receiver, our breaker or the rate have us wait."""
        now_s = self._clock.monotonic()
        return max(self._health.pause_s, self._bucket.wait_s(now_s) if self._bucket else 0)

    def _start(self, first: PendingDelivery) -> None:
        """Post *first*, and in the same message what is to be told with it."""
        if self._bucket:
            self._bucket.take(self._clock.monotonic())
        batch, message = self._compose(first)
        post = asyncio.create_task(
            self._deliver(batch, message, probe=self._health.breaker.open, epoch=self._ramp.epoch),
            name=f"post {self._destination.name}",
        )
        for delivery, _ in batch:
            self._under_way[delivery.id] = post
        self._posts += 1
        post.add_done_callback(partial(self._post_done, [delivery.id for delivery, _ in batch]))

    def _post_done(self, delivery_ids: Sequence[str], _post: asyncio.Task[None]) -> None:
        for delivery_id in delivery_ids:
            del self._under_way[delivery_id]
        self._recording -= 1
        self._wakeup_event.set()

    def _compose(self, first: PendingDelivery) -> tuple[list[PendingDelivery], Message | Attempt]:
        """*first*, with what is told in the same message; and that message, or why there is none."""
        now = self._clock.now()

        def fits(delivery: Delivery) -> bool:
            return can_join_digest(delivery, self._destination, now)

        if fits(first[0]) and (others := self._window.take_matching(fits, MOST_IN_DIGEST - 1)):
            queued = sorted([first, *others], key=lambda one: one[1].finished_at)
            if digest := compose_digest(queued, self._destination, now):
                message, count = digest
                self._window.put_back(queued[count:])
                return queued[:count], message
            self._window.put_back(others)
        return [first], compose(*first, self._destination, now)

    async def _deliver(
        self, batch: Sequence[PendingDelivery], message: Message | Attempt, *, probe: bool, epoch: int
    ) -> None:
        first, event = batch[0]
        number = first.attempts + 1
        try:
            attempt, posted = (message, False) if isinstance(message, Attempt) else await self._post(message, number)
        finally:
            self._posts -= 1
            self._recording += 1
            self._wakeup_event.set()
        now, chance = self._clock.now(), self._clock.chance()
        self.last = PastAttempt(now, attempt)
        attempt_records = [
            self._attempt_record(delivery, attempt, len(batch), now=now, chance=chance) for delivery, _ in batch
        ]
        # What was never posted says nothing of the receiver.
        breaker_change = self._health.record_attempt(attempt, probe=probe, now=now, chance=chance) if posted else None
        if attempt.outcome is Outcome.RATE_LIMITED:
            self._ramp.rate_limited()
        elif attempt.outcome in ACCEPTED:
            self._ramp.succeeded(epoch)
        self._log_attempt(attempt_records, attempt, event.type)
        self._meter.attempted(self._destination.name, attempt_records, posted=posted, now=now)
        await self._record(attempt_records, breaker_change, now)
        self._after_record(attempt_records, breaker_change)

    def _log_attempt(self, attempt_records: Sequence[AttemptRecord], attempt: Attempt, event_type: str) -> None:
        """Log an attempt: an error if a delivery is given up, a warning for the first failure since a success."""
        shown = next((one for one in attempt_records if isinstance(one.decision, GiveUp)), attempt_records[0])
        fields = {
            "delivery_id": shown.delivery.id,
            "destination": self._destination.name,
            "attempt": shown.attempt.number,
            "event_type": event_type,
            "outcome": attempt.outcome,
            "http_status": attempt.http_status,
            "took_ms": attempt.took_ms,
            "decision": type(shown.decision).__name__,
            "next_attempt_at": shown.decision.at.isoformat() if isinstance(shown.decision, RetryAt) else None,
            "detail": None if attempt.outcome is Outcome.ACCEPTED else attempt.detail,
            **({"delivery_count": len(attempt_records)} if len(attempt_records) > 1 else {}),
        }
        first_failure = not self._failing and attempt.outcome not in ACCEPTED | {Outcome.RATE_LIMITED}
        self._failing = attempt.outcome not in ACCEPTED and (self._failing or first_failure)
        if isinstance(shown.decision, GiveUp):
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
            log.exception("delivery.internal_error", destination=self._destination.name)
            return Attempt(number, Outcome.OURS, took_ms=0, detail=describe_bug(error)), False

    def _attempt_record(
        self, delivery: Delivery, attempt: Attempt, delivery_count: int, *, now: datetime, chance: float
    ) -> AttemptRecord:
        own = replace(attempt, number=delivery.attempts + 1, delivery_count=delivery_count)
        return AttemptRecord(
            delivery, own, decide_after_attempt(delivery, own, self._destination, now=now, chance=chance)
        )

    async def _alert_if_down(self) -> None:
        """Owe it to the fallback, once, that the destination has been down for too long."""
        breaker_change = self._health.mark_down()
        if breaker_change is None:
            return
        try:
            await self._store.record_breaker_change(breaker_change, now=self._clock.now())
        except Exception:
            self._health.alert_not_written()
            raise
        self._wake_alert_destination(breaker_change)

    def _wake_alert_destination(self, breaker_change: BreakerChange | None) -> None:
        if (
            breaker_change is not None
            and breaker_change.alert is not None
            and breaker_change.alert_destination is not None
        ):
            self._queued([breaker_change.alert_destination])

    async def _record(
        self, attempt_records: Sequence[AttemptRecord], breaker_change: BreakerChange | None, now: datetime
    ) -> None:
        """
        Write the outcomes down, however long the store takes to be there again.

        Held in memory meanwhile, with their place in the lane: posting the same again
        because the disk is full would be worse than waiting. The end of the process ends it.
        """
        pause_s = RECORD_PAUSE_S
        while True:
            try:
                # As it stands by now: what another post has shown meanwhile must not be written over.
                latest = None if breaker_change is None else replace(breaker_change, breaker=self._health.breaker)
                await self._store.record(attempt_records, latest, now=now)
            except Exception as error:  # noqa: BLE001 - logged and tried again, as said above
                log.warning(
                    "store.unavailable",
                    operation="attempt",
                    destination=self._destination.name,
                    delivery_id=attempt_records[0].delivery.id,
                    error=str(error),
                    retry_in_s=pause_s,
                )
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RECORD_PAUSE_MAX_S)
            else:
                return

    def _after_record(self, attempt_records: Sequence[AttemptRecord], breaker_change: BreakerChange | None) -> None:
        for one in attempt_records:
            if isinstance(one.decision, RetryAt):
                self._window.note_due_at(one.decision.at)
        if breaker_change is not None and breaker_change.retries_due_now:
            self._window.wake()
        self._wake_alert_destination(breaker_change)

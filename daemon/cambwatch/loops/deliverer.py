"""Posts what is owed: a lane for each destination, so that none waits for another."""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import structlog

from cambwatch.core.cadence import TokenBucket
from cambwatch.core.destinations import Destination
from cambwatch.core.events import Event
from cambwatch.core.formats import FORMATS, Message
from cambwatch.core.lifecycle import in_plain_words, verdict
from cambwatch.core.model import Attempt, Delivery, Outcome, PastAttempt, RetryAt, Verdict
from cambwatch.core.templates import TemplateError
from cambwatch.loops.clock import Clock
from cambwatch.loops.scheduler import Alarm, Scheduler

WINDOW = 4  # deliveries read ahead, for each that may be under way
RECORD_PAUSE_S = 1.0  # until an outcome that the store did not take is offered to it again
RECORD_PAUSE_MAX_S = 30.0
SHORTEST_PAUSE_S = 0.001  # a wish of nothing at all would ask the store again in the same breath

log = structlog.get_logger()


class DeliveryBook(Protocol):
    """Where it is written down what is owed, and what came of it."""

    async def due(
        self, destination: str, *, now: datetime, limit: int, besides: Collection[str]
    ) -> list[tuple[Delivery, Event]]: ...
    async def next_due_at(self, destination: str, *, after: datetime) -> datetime | None: ...
    async def record(self, delivery: Delivery, attempt: Attempt, verdict: Verdict, *, now: datetime) -> bool: ...


class Sender(Protocol):
    """What carries a message to its receiver."""

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt: ...


class Lane:
    """The deliveries to one destination; only a few of them are in memory at a time."""

    def __init__(
        self,
        destination: Destination,
        book: DeliveryBook,
        sender: Sender,
        *,
        clock: Clock,
        kick: asyncio.Event,
        alarm: Alarm,
    ) -> None:
        self._destination = destination
        self._book = book
        self._sender = sender
        self._clock = clock
        self._kick = kick
        self._alarm = alarm
        self.last: PastAttempt | None = None  # of all its deliveries
        self._format = FORMATS[destination.type]
        rate = destination.rate or self._format.rate
        self._bucket = rate and TokenBucket(rate.per_second, burst=rate.burst, now_s=clock.monotonic())
        self._window: deque[tuple[Delivery, Event]] = deque()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._forgotten: set[str] = set()  # while the store is read
        self._held_until_s = 0.0
        self._stopping = False

    @property
    def paused_until(self) -> datetime | None:
        """Until when nothing is posted, because the receiver has said that we are too fast; None: it has not."""
        left_s = self._held_until_s - self._clock.monotonic()
        return self._clock.now() + timedelta(seconds=left_s) if left_s > 0 else None

    def wake(self) -> None:
        """Something is owed now."""
        self._kick.set()

    def forget(self, delivery_ids: Collection[str]) -> None:
        """These were cancelled; one whose POST is under way cannot be called back."""
        self._forgotten.update(delivery_ids)
        self._window = deque(one for one in self._window if one[0].id not in delivery_ids)

    async def run(self) -> None:
        """Post what is due until stop() is called; posts under way then go on, see drain()."""
        while not self._stopping:
            self._kick.clear()
            try:
                self._alarm.set(await self._start_due())
            except Exception as error:  # noqa: BLE001 - a store in trouble: it is asked again, and the process lives
                log.warning("store.unavailable", undone="reading", destination=self._destination.name, error=str(error))
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

    async def _start_due(self) -> float | None:
        """Start what may start now; returns the seconds until more may, None if only a kick brings more."""
        while len(self._under_way) < self._destination.concurrency and not self._stopping:
            if not self._window:
                read_at = self._clock.now()
                await self._read_ahead(read_at)
                if not self._window:
                    # From the same instant on: what falls due while the store is read must not lie between the two.
                    at = await self._book.next_due_at(self._destination.name, after=read_at)
                    return None if at is None else max((at - self._clock.now()).total_seconds(), SHORTEST_PAUSE_S)
            now_s = self._clock.monotonic()
            wait_s = max(self._held_until_s - now_s, self._bucket.wait_s(now_s) if self._bucket else 0)
            if wait_s > 0:
                return wait_s
            if self._bucket:
                self._bucket.take(now_s)
            delivery, event = self._window.popleft()
            post = asyncio.create_task(self._deliver(delivery, event), name=f"post {self._destination.name}")
            self._under_way[delivery.id] = post
            post.add_done_callback(partial(self._ended, delivery.id))
        return None

    def _ended(self, delivery_id: str, _post: asyncio.Task[None]) -> None:
        del self._under_way[delivery_id]
        self._kick.set()

    async def _read_ahead(self, now: datetime) -> None:
        limit = WINDOW * self._destination.concurrency
        self._forgotten.clear()
        # A copy from before the read: what ends and is recorded while the store is
        # read may still look pending to it, and must not be posted twice.
        besides = frozenset(self._under_way)
        due = await self._book.due(self._destination.name, now=now, limit=limit, besides=besides)
        self._window.extend(one for one in due if one[0].id not in self._forgotten)

    async def _deliver(self, delivery: Delivery, event: Event) -> None:
        number = delivery.attempts + 1
        with structlog.contextvars.bound_contextvars(
            delivery_id=delivery.id, destination=self._destination.name, attempt=number
        ):
            attempt = await self._attempt(delivery, event, number)
            now = self._clock.now()
            self.last = PastAttempt(now, attempt)
            decided = verdict(delivery, attempt, self._destination, now=now, chance=self._clock.chance())
            if attempt.outcome is Outcome.RATE_LIMITED and isinstance(decided, RetryAt):
                # The service limits the webhook, not the message: whatever else waits would make it worse.
                until_s = self._clock.monotonic() + (decided.at - now).total_seconds()
                self._held_until_s = max(self._held_until_s, until_s)
            log.info(
                "delivery.attempted",
                event_type=event.type,
                outcome=attempt.outcome,
                http_status=attempt.http_status,
                took_ms=attempt.took_ms,
                verdict=type(decided).__name__,
                next_attempt_at=decided.at.isoformat() if isinstance(decided, RetryAt) else None,
                detail=None if attempt.outcome is Outcome.ACCEPTED else attempt.detail,
            )
            await self._record(delivery, attempt, decided, now)

    async def _attempt(self, delivery: Delivery, event: Event, number: int) -> Attempt:
        try:
            plain = self._format.plain(event, self._destination) if in_plain_words(delivery) else None
            message = plain or self._format.render(
                event, self._destination, delivery_id=delivery.id, at=self._clock.now()
            )
            return await self._sender.post(self._destination, message, number=number)
        except TemplateError as error:
            return Attempt(number, Outcome.PAYLOAD_REJECTED, took_ms=0, detail=f"the template: {error}")
        except Exception as error:  # a bug with one event must not take the others' lane with it
            log.exception("delivery.broken")
            return Attempt(number, Outcome.OURS, took_ms=0, detail=f"{type(error).__name__}: {error}")

    async def _record(self, delivery: Delivery, attempt: Attempt, decided: Verdict, now: datetime) -> None:
        """
        Write the outcome down, however long the store takes to be there again.

        Held in memory meanwhile, with its place in the lane: posting the same again
        because the disk is full would be worse than waiting. The end of the process ends it.
        """
        pause_s = RECORD_PAUSE_S
        while True:
            try:
                await self._book.record(delivery, attempt, decided, now=now)
            except Exception as error:  # noqa: BLE001 - logged and tried again, as said above
                log.warning("store.unavailable", undone="attempt", error=str(error), next_try_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RECORD_PAUSE_MAX_S)
            else:
                return


class Deliverer:
    """The lanes of all destinations."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        book: DeliveryBook,
        sender: Sender,
        *,
        clock: Clock,
        scheduler: Scheduler,
    ) -> None:
        self.lanes: dict[str, Lane] = {}
        for name, destination in destinations.items():
            kick = asyncio.Event()
            alarm = scheduler.alarm(f"lane {name}", kick)
            self.lanes[name] = Lane(destination, book, sender, clock=clock, kick=kick, alarm=alarm)

    def wake(self, destinations: Iterable[str]) -> None:
        """These destinations are owed something now."""
        for name in destinations:
            if name in self.lanes:
                self.lanes[name].wake()

    def forget(self, delivery_ids: Collection[str]) -> None:
        """These deliveries were cancelled."""
        for lane in self.lanes.values():
            lane.forget(delivery_ids)

    async def run(self) -> None:
        """Run every lane until stop() is called."""
        async with asyncio.TaskGroup() as group:
            for name, lane in self.lanes.items():
                group.create_task(lane.run(), name=f"lane {name}")

    def stop(self) -> None:
        """Start no more posts."""
        for lane in self.lanes.values():
            lane.stop()

    async def drain(self) -> None:
        """Return when no post is under way."""
        await asyncio.gather(*(lane.drain() for lane in self.lanes.values()))

"""Posts what is owed: a lane for each destination, so that none waits for another."""

import asyncio
from collections.abc import Collection, Iterable, Mapping

from cambwatch.core.breaker import Breaker
from cambwatch.core.destinations import Destination
from cambwatch.loops.clock import Clock
from cambwatch.loops.lane import DeliveryBook, DeliveryMeter, Lane, Sender
from cambwatch.loops.scheduler import Scheduler


class Deliverer:
    """The lanes of all destinations."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        book: DeliveryBook,
        sender: Sender,
        *,
        breakers: Mapping[str, Breaker],
        meter: DeliveryMeter,
        clock: Clock,
        scheduler: Scheduler,
    ) -> None:
        """*breakers* are as the last process left them; a destination without one fares well."""
        self.lanes: dict[str, Lane] = {}
        for name, destination in destinations.items():
            self.lanes[name] = Lane(
                destination,
                book,
                sender,
                breaker=breakers.get(name, Breaker()),
                meter=meter,
                clock=clock,
                alarm=scheduler.alarm(f"lane {name}", asyncio.Event()),
                owed=self.wake,
            )

    def wake(self, destinations: Iterable[str]) -> None:
        """These destinations are owed something now."""
        for name in destinations:
            if name in self.lanes:
                self.lanes[name].wake()

    def hurry(self, destinations: Iterable[str]) -> None:
        """Somebody wishes that what these destinations are owed is tried now."""
        for name in destinations:
            if name in self.lanes:
                self.lanes[name].hurry()

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

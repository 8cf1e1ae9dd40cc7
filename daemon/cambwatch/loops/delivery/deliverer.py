"""Posts what is owed: a lane for each destination, so that none waits for another."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

from cambwatch.core.cluster import News
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.destinations import Destination
from cambwatch.loops.clock import Clock
from cambwatch.loops.delivery.worker import DeliveryBook, DeliveryMeter, Lane, Sender
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
        elsewhere: Callable[[News], None] = lambda _: None,
    ) -> None:
        """
        *breakers* are as the last process left them; a destination without one fares well.

        *elsewhere* hears what concerns lanes that are not held here. None is until take_up().
        """
        self._elsewhere = elsewhere
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

    def take_up(self, destinations: Iterable[str]) -> None:
        """Post to *destinations* from now on."""
        for name in destinations:
            self.lanes[name].take_up()

    def wake(self, destinations: Iterable[str]) -> None:
        """These destinations are owed something now."""
        here, others = self._held(destinations)
        for lane in here:
            lane.wake()
        if others:
            self._elsewhere(News(owed=frozenset(others)))

    def hurry(self, destinations: Iterable[str]) -> None:
        """Somebody wishes that what these destinations are owed is tried now."""
        here, others = self._held(destinations)
        for lane in here:
            lane.hurry()
        if others:
            self._elsewhere(News(hurry=frozenset(others)))

    def forget(self, delivery_ids: Collection[str]) -> None:
        """These deliveries were cancelled."""
        self._forget(delivery_ids)
        if delivery_ids:
            self._elsewhere(News(cancelled=frozenset(delivery_ids)))

    def hear(self, news: News) -> None:
        """What was told elsewhere, of lanes that may be held here."""
        for lane in self._held(news.owed)[0]:
            lane.wake()
        for lane in self._held(news.hurry)[0]:
            lane.hurry()
        self._forget(news.cancelled)

    def _forget(self, delivery_ids: Collection[str]) -> None:
        if delivery_ids:
            for lane in self.lanes.values():
                lane.forget(delivery_ids)

    def _held(self, destinations: Iterable[str]) -> tuple[list[Lane], list[str]]:
        """The lanes of *destinations* that are held here, and the names of the others."""
        here: list[Lane] = []
        others: list[str] = []
        for name in destinations:
            lane = self.lanes.get(name)
            if lane is not None and lane.held:
                here.append(lane)
            else:
                others.append(name)
        return here, others

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

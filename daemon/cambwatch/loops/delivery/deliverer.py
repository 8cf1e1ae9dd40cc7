"""Delivers pending deliveries with one worker per destination, so that no destination waits for another."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping

from cambwatch.core.cluster import ClusterEvent
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.routing import Destination
from cambwatch.loops.delivery.senders import Sender
from cambwatch.loops.delivery.worker import DeliveryMeter, DestinationWorker, OutboxStore
from cambwatch.loops.scheduler import Clock, Scheduler


class Deliverer:
    """The workers of all destinations."""

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        store: OutboxStore,
        sender: Sender,
        *,
        breakers: Mapping[str, Breaker],
        meter: DeliveryMeter,
        clock: Clock,
        scheduler: Scheduler,
        publish: Callable[[ClusterEvent], None] = lambda _: None,
    ) -> None:
        """
        *breakers* are as the last process left them; a destination without one fares well.

        *publish* sends what concerns destinations that other nodes hold. No destination is held before acquire().
        """
        self._publish = publish
        self.workers: dict[str, DestinationWorker] = {}
        for name, destination in destinations.items():
            self.workers[name] = DestinationWorker(
                destination,
                store,
                sender,
                breaker=breakers.get(name, Breaker()),
                meter=meter,
                clock=clock,
                wakeup=scheduler.wakeup(f"destination {name}", asyncio.Event()),
                queued=self.wake,
            )

    def acquire(self, destinations: Iterable[str]) -> None:
        """Post to *destinations* from now on."""
        for name in destinations:
            self.workers[name].acquire()

    def wake(self, destinations: Iterable[str]) -> None:
        """Deliver what was queued for *destinations*."""
        here, others = self._split_by_lease(destinations)
        for worker in here:
            worker.wake()
        if others:
            self._publish(ClusterEvent(queued=frozenset(others)))

    def retry_now(self, destinations: Iterable[str]) -> None:
        """Retry the pending deliveries of *destinations* now, at the operator's request."""
        here, others = self._split_by_lease(destinations)
        for worker in here:
            worker.retry_now()
        if others:
            self._publish(ClusterEvent(retry_now=frozenset(others)))

    def discard(self, delivery_ids: Collection[str]) -> None:
        """These deliveries were cancelled."""
        self._discard(delivery_ids)
        if delivery_ids:
            self._publish(ClusterEvent(cancelled=frozenset(delivery_ids)))

    def apply_event(self, cluster_event: ClusterEvent) -> None:
        """Apply what another node published about destinations that may be held here."""
        for worker in self._split_by_lease(cluster_event.queued)[0]:
            worker.wake()
        for worker in self._split_by_lease(cluster_event.retry_now)[0]:
            worker.retry_now()
        self._discard(cluster_event.cancelled)

    def _discard(self, delivery_ids: Collection[str]) -> None:
        if delivery_ids:
            for worker in self.workers.values():
                worker.discard(delivery_ids)

    def _split_by_lease(self, destinations: Iterable[str]) -> tuple[list[DestinationWorker], list[str]]:
        """The workers of *destinations* that are held here, and the names of the others."""
        here: list[DestinationWorker] = []
        others: list[str] = []
        for name in destinations:
            worker = self.workers.get(name)
            if worker is not None and worker.held:
                here.append(worker)
            else:
                others.append(name)
        return here, others

    async def run(self) -> None:
        """Run every worker until stop() is called."""
        async with asyncio.TaskGroup() as group:
            for name, worker in self.workers.items():
                group.create_task(worker.run(), name=f"destination {name}")

    def stop(self) -> None:
        """Start no more posts."""
        for worker in self.workers.values():
            worker.stop()

    async def drain(self) -> None:
        """Return when no post is under way."""
        await asyncio.gather(*(worker.drain() for worker in self.workers.values()))

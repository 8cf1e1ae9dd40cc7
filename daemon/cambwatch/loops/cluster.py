"""Shares the work with the other nodes on the same database: holds what is its own by a lease, and no more."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.cluster import ClusterEvent, ClusterNode, ClusterSnapshot, LeasePlan, plan_leases
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.model import Task
from cambwatch.loops.delivery.deliverer import Deliverer
from cambwatch.loops.polling.poller import Poller
from cambwatch.loops.scheduler import Clock, Scheduler

RENEWALS_PER_LEASE = 3  # in the length of a lease: two may fail
BATCH_SIZE = 1000  # tasks that change hands in one transaction: more would keep the polls waiting
LEASE_END_MARGIN_S = 0.1  # the end of another's lease, until it is looked at
STORE_RETRY_S = 0.5  # while the database cannot be had

log = structlog.get_logger()


class ClusterStore(Protocol):
    """Where it is written down who holds what."""

    async def join(self) -> None: ...
    async def renew(self) -> ClusterSnapshot | None: ...
    async def acquire(self, account: str, most: int, *, gone: Collection[str]) -> list[Task]: ...
    async def release(self, account: str, most: int) -> list[int]: ...
    async def held(self, *, after: int, most: int) -> list[Task]: ...
    async def acquire_destinations(self, destinations: Collection[str], *, gone: Collection[str]) -> Sequence[str]: ...
    async def release_destinations(self, destinations: Collection[str]) -> None: ...
    async def breakers(self) -> Mapping[str, Breaker]: ...
    async def leave(self) -> None: ...


class Cluster:
    """What *this_node*, one of the nodes, asks for and posts."""

    def __init__(
        self,
        this_node: ClusterNode,
        store: ClusterStore,
        *,
        poller: Poller,
        deliverer: Deliverer,
        publish: Callable[[ClusterEvent], None],
        lease: timedelta,
        clock: Clock,
        scheduler: Scheduler,
    ) -> None:
        self._this_node = this_node
        self._store = store
        self._poller = poller
        self._deliverer = deliverer
        self._publish = publish
        self._lease_s = lease.total_seconds()
        self._clock = clock
        # A machine that was suspended may have lost its lease: it must know before it posts again.
        every_s = self._lease_s / RENEWALS_PER_LEASE
        self.loop = scheduler.repeat("cluster", self._renew, every_s=every_s, first_s=0, run_after_jump=True)
        """Renews the lease until it is stopped; leave() then gives everything to the other nodes."""
        self._releasing: dict[str, asyncio.Task[None]] = {}
        self._node_ids: frozenset[str] = frozenset()
        self._events_missed = False  # news, perhaps
        self.on_node_gone: Callable[[], None] = lambda: None
        """Called when another node is gone, so that this one continues its work."""
        self.lease_lost = asyncio.Event()
        """Set when others have taken this node for gone: nothing that it does counts any more."""

    async def join(self) -> None:
        """Be one of the nodes, with all that this one held before. Raises StoreUnavailableError."""
        await self._store.join()
        after = 0
        while tasks := await self._store.held(after=after, most=BATCH_SIZE):
            self._poller.watch(tasks, spread=True)
            after = tasks[-1].id
        await self._renew_and_rebalance()
        self._publish(ClusterEvent(rebalance=True))

    async def _renew(self) -> float:
        """Renew the lease, acquire and release. Returns the seconds until the next renewal."""
        if self.lease_lost.is_set():
            return self._lease_s
        try:
            return await self._renew_and_rebalance()
        except StoreUnavailableError as error:
            log.warning("store.unavailable", operation="lease", error=str(error))
            return STORE_RETRY_S

    def rebalance(self) -> None:
        """Renew now, because tasks or destinations may be free."""
        self.loop.run_now()

    def events_missed(self) -> None:
        """News of the others may have been missed: what is watched here may not be held any more."""
        self._events_missed = True
        self.rebalance()

    async def leave(self) -> None:
        """Let the others have everything at once; without it they would wait for the lease to end."""
        try:
            await self._store.leave()
            self._publish(ClusterEvent(rebalance=True))
        except StoreUnavailableError as error:  # then they wait for it
            log.warning("store.unavailable", operation="lease", error=str(error))

    async def _renew_and_rebalance(self) -> float:
        """Do what is to be done now; returns the seconds until the next look."""
        # From before it is renewed: the database counts from later on.
        lease_until_s = self._clock.monotonic() + self._lease_s
        snapshot = await self._store.renew()
        if snapshot is None:
            log.warning(
                "lease.lost",
                node=self._this_node.id,
                hint="it was not renewed in time: the node restarts its work with what is free",
            )
            self.lease_lost.set()
            return 0.0
        self._update_nodes(snapshot)
        for worker in self._deliverer.workers.values():
            worker.lease_until_s = lease_until_s
        actions = plan_leases(snapshot, self._this_node)
        now_s = self._clock.monotonic()
        for account, nodes_sharing in actions.nodes_sharing.items():
            self._poller.queues[account].divide_budget(nodes_sharing, now_s)
        gone = snapshot.gone()
        await self._acquire_destinations(actions, gone)
        await self._release_tasks(actions)
        await self._acquire_tasks(actions, gone)
        if self._events_missed:
            self._events_missed = False
            await self._stop_watching_unheld()
        waits_s = [self._lease_s / RENEWALS_PER_LEASE]
        if snapshot.next_lease_end_s is not None:
            waits_s.append(max(snapshot.next_lease_end_s, 0.0) + LEASE_END_MARGIN_S)
        return min(waits_s)

    async def _stop_watching_unheld(self) -> None:
        """Tasks that were removed elsewhere; those that begin to be watched meanwhile are left alone."""
        watched, after = set(self._poller.row_ids()), 0
        while tasks := await self._store.held(after=after, most=BATCH_SIZE):
            watched.difference_update(task.id for task in tasks)
            after = tasks[-1].id
        for row_id in watched:
            self._poller.stop_watching(row_id)

    def _update_nodes(self, snapshot: ClusterSnapshot) -> None:
        nodes = frozenset(node.id for node in snapshot.nodes)
        if nodes != self._node_ids:
            log.info("nodes.changed", node=self._this_node.id, nodes=len(nodes), gone=len(self._node_ids - nodes))
        if self._node_ids - nodes:
            self.on_node_gone()
        self._node_ids = nodes

    async def _acquire_destinations(self, actions: LeasePlan, gone: Collection[str]) -> None:
        workers = self._deliverer.workers
        # Also those that it holds already by what is written down, as after a reload.
        mine = {name for name in actions.acquire_destinations if not workers[name].held}
        taken = await self._store.acquire_destinations(mine, gone=gone) if mine else ()
        breakers = await self._store.breakers()
        for name, worker in workers.items():
            worker.set_breaker(breakers.get(name, Breaker()))
        self._deliverer.acquire(taken)
        for name in actions.release_destinations - self._releasing.keys():
            self._releasing[name] = asyncio.create_task(self._release_destination(name), name=f"give back {name}")
        for worker in workers.values():
            if worker.held:
                worker.reload_window()  # the net under NOTIFY

    async def _release_destination(self, name: str) -> None:
        """Once no post is under way any more."""
        try:
            if name in self._deliverer.workers:  # else a reload has taken it away
                await self._deliverer.workers[name].release_when_idle()
            await self._store.release_destinations([name])
            self._publish(ClusterEvent(rebalance=True))
        except StoreUnavailableError as error:  # the next look tries again
            log.warning("store.unavailable", operation="destination", destination=name, error=str(error))
        finally:
            del self._releasing[name]

    async def _release_tasks(self, actions: LeasePlan) -> None:
        for account, count in actions.release.items():
            left = count
            while left > 0 and (row_ids := await self._store.release(account, min(left, BATCH_SIZE))):
                for row_id in row_ids:
                    self._poller.stop_watching(row_id)
                left -= len(row_ids)
            self._publish(ClusterEvent(rebalance=True))

    async def _acquire_tasks(self, actions: LeasePlan, gone: Collection[str]) -> None:
        for account, count in actions.acquire.items():
            left = count
            while left > 0 and (tasks := await self._store.acquire(account, min(left, BATCH_SIZE), gone=gone)):
                self._poller.watch(tasks, spread=True)
                left -= len(tasks)
            if left < count:
                log.info("tasks.acquired", account=account, tasks=count - left)

    def apply_event(self, cluster_event: ClusterEvent) -> None:
        """Apply what another node published."""
        self._deliverer.apply_event(cluster_event)
        for row_id in cluster_event.removed:
            self._poller.stop_watching(row_id)
        for row_id in cluster_event.poll_requested:
            self._poller.poll_now(row_id)
        if cluster_event.rebalance:
            self.rebalance()


class ClusterPoller:
    """The poller for the HTTP API where another node may poll a task."""

    def __init__(self, poller: Poller, publish: Callable[[ClusterEvent], None]) -> None:
        self._poller = poller
        self._publish = publish
        self.watch, self.with_next_poll, self.limited = poller.watch, poller.with_next_poll, poller.limited

    def stop_watching(self, row_id: int) -> None:
        """Stop polling the task with the id *row_id*, on whichever node."""
        self._poller.stop_watching(row_id)
        self._publish(ClusterEvent(removed=frozenset({row_id})))

    def poll_now(self, row_id: int) -> bool:
        """Make a task due at once, here or, if it is not watched here, wherever it is; False then."""
        here = self._poller.poll_now(row_id)
        if not here:
            self._publish(ClusterEvent(poll_requested=frozenset({row_id})))
        return here

"""Shares the work with the other nodes on the same database: holds what is its own by a lease, and no more."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.cluster import News, Node, Plan, Standing, plan
from cambwatch.core.delivery.breaker import Breaker
from cambwatch.core.model import Task
from cambwatch.loops.clock import Clock
from cambwatch.loops.delivery.deliverer import Deliverer
from cambwatch.loops.polling.poller import Poller
from cambwatch.loops.scheduler import Alarm

RENEWALS = 3  # in the length of a lease: two may fail
AT_ONCE = 1000  # tasks that change hands in one transaction: more would keep the polls waiting
AFTER_S = 0.1  # the end of another's lease, until it is looked at
TRY_AGAIN_S = 0.5  # while the database cannot be had

log = structlog.get_logger()


class NodeBook(Protocol):
    """Where it is written down who holds what."""

    async def join(self) -> None: ...
    async def renew(self) -> Standing | None: ...
    async def take(self, account: str, most: int, *, gone: Collection[str]) -> list[Task]: ...
    async def give_back(self, account: str, most: int) -> list[int]: ...
    async def held(self, *, after: int, most: int) -> list[Task]: ...
    async def take_lanes(self, destinations: Collection[str], *, gone: Collection[str]) -> Sequence[str]: ...
    async def give_back_lanes(self, destinations: Collection[str]) -> None: ...
    async def breakers(self) -> Mapping[str, Breaker]: ...
    async def leave(self) -> None: ...


class Sharing:
    """What *me*, one of the nodes, asks for and posts."""

    def __init__(
        self,
        me: Node,
        book: NodeBook,
        *,
        poller: Poller,
        deliverer: Deliverer,
        tell: Callable[[News], None],
        lease: timedelta,
        clock: Clock,
        alarm: Alarm,
    ) -> None:
        self._me = me
        self._book = book
        self._poller = poller
        self._deliverer = deliverer
        self._tell = tell
        self._lease_s = lease.total_seconds()
        self._clock = clock
        self._alarm = alarm
        self._kick = alarm.kick
        self._giving_back: dict[str, asyncio.Task[None]] = {}
        self._nodes: frozenset[str] = frozenset()
        self._stopping = False
        self._missed = False  # news, perhaps
        self.others_gone: Callable[[], None] = lambda: None
        """Called when another node is gone, so that this one continues its work."""
        self.lost = asyncio.Event()
        """Set when others have taken this node for gone: nothing that it does counts any more."""

    async def join(self) -> None:
        """Be one of the nodes, with all that this one held before. Raises StoreUnavailableError."""
        await self._book.join()
        after = 0
        while tasks := await self._book.held(after=after, most=AT_ONCE):
            self._poller.watch(tasks, spread=True)
            after = tasks[-1].id
        await self._look()
        self._tell(News(look=True))

    async def run(self) -> None:
        """Renew the lease, take and give back, until stop() is called or the lease is lost."""
        while not self._stopping and not self.lost.is_set():
            self._kick.clear()
            try:
                self._alarm.set(await self._look())
            except StoreUnavailableError as error:
                log.warning("store.unavailable", undone="lease", error=str(error))
                self._alarm.set(TRY_AGAIN_S)
            await self._kick.wait()

    def look(self) -> None:
        """Something may be to take."""
        self._alarm.set(0)

    def miss(self) -> None:
        """News of the others may have been missed: what is watched here may not be held any more."""
        self._missed = True
        self.look()

    def stop(self) -> None:
        """Take and give back no more; leave() then lets the others have it all."""
        self._stopping = True
        self._kick.set()

    async def leave(self) -> None:
        """Let the others have everything at once; without it they would wait for the lease to end."""
        try:
            await self._book.leave()
            self._tell(News(look=True))
        except StoreUnavailableError as error:  # then they wait for it
            log.warning("store.unavailable", undone="lease", error=str(error))

    async def _look(self) -> float:
        """Do what is to be done now; returns the seconds until the next look."""
        # From before it is renewed: the database counts from later on.
        until_s = self._clock.monotonic() + self._lease_s
        standing = await self._book.renew()
        if standing is None:
            log.warning(
                "lease.lost", node=self._me.id, hint="it was not renewed in time: begun anew, with what is free"
            )
            self.lost.set()
            return 0.0
        self._note(standing)
        for lane in self._deliverer.lanes.values():
            lane.until_s = until_s
        steps = plan(standing, self._me)
        now_s = self._clock.monotonic()
        for account, parts in steps.parts.items():
            self._poller.lanes[account].share_budget(parts, now_s)
        gone = standing.gone()
        await self._take_lanes(steps, gone)
        await self._give_back(steps)
        await self._take(steps, gone)
        if self._missed:
            self._missed = False
            await self._forget_what_is_not_held()
        waits_s = [self._lease_s / RENEWALS]
        if standing.next_end_s is not None:
            waits_s.append(max(standing.next_end_s, 0.0) + AFTER_S)
        return min(waits_s)

    async def _forget_what_is_not_held(self) -> None:
        """Tasks that were removed elsewhere; those that begin to be watched meanwhile are left alone."""
        watched, after = set(self._poller.numbers()), 0
        while tasks := await self._book.held(after=after, most=AT_ONCE):
            watched.difference_update(task.id for task in tasks)
            after = tasks[-1].id
        for number in watched:
            self._poller.forget(number)

    def _note(self, standing: Standing) -> None:
        nodes = frozenset(node.id for node in standing.nodes)
        if nodes != self._nodes:
            log.info("nodes.changed", node=self._me.id, nodes=len(nodes), gone=len(self._nodes - nodes))
        if self._nodes - nodes:
            self.others_gone()
        self._nodes = nodes

    async def _take_lanes(self, steps: Plan, gone: Collection[str]) -> None:
        lanes = self._deliverer.lanes
        # Also those that it holds already by what is written down, as after a reload.
        mine = {name for name in steps.take_lanes if not lanes[name].held}
        taken = await self._book.take_lanes(mine, gone=gone) if mine else ()
        breakers = await self._book.breakers()
        for name, lane in lanes.items():
            lane.show(breakers.get(name, Breaker()))
        self._deliverer.take_up(taken)
        for name in steps.give_back_lanes - self._giving_back.keys():
            self._giving_back[name] = asyncio.create_task(self._give_back_lane(name), name=f"give back {name}")
        for lane in lanes.values():
            if lane.held:
                lane.read_anew()  # the net under NOTIFY

    async def _give_back_lane(self, name: str) -> None:
        """Once no post is under way any more."""
        try:
            if name in self._deliverer.lanes:  # else a reload has taken it away
                await self._deliverer.lanes[name].lay_down()
            await self._book.give_back_lanes([name])
            self._tell(News(look=True))
        except StoreUnavailableError as error:  # the next look tries again
            log.warning("store.unavailable", undone="lane", destination=name, error=str(error))
        finally:
            del self._giving_back[name]

    async def _give_back(self, steps: Plan) -> None:
        for account, count in steps.give_back.items():
            left = count
            while left > 0 and (numbers := await self._book.give_back(account, min(left, AT_ONCE))):
                for number in numbers:
                    self._poller.forget(number)
                left -= len(numbers)
            self._tell(News(look=True))

    async def _take(self, steps: Plan, gone: Collection[str]) -> None:
        for account, count in steps.take.items():
            left = count
            while left > 0 and (tasks := await self._book.take(account, min(left, AT_ONCE), gone=gone)):
                self._poller.watch(tasks, spread=True)
                left -= len(tasks)
            if left < count:
                log.info("tasks.taken", account=account, tasks=count - left)

    def hear(self, news: News) -> None:
        """What another node tells."""
        self._deliverer.hear(news)
        for number in news.removed:
            self._poller.forget(number)
        for number in news.asked:
            self._poller.ask_now(number)
        if news.look:
            self.look()


class SharedPoller:
    """The poller as the intake sees it, where another node may be the one who asks for a task."""

    def __init__(self, poller: Poller, tell: Callable[[News], None]) -> None:
        self._poller = poller
        self._tell = tell
        self.watch, self.seen, self.limited = poller.watch, poller.seen, poller.limited

    def forget(self, number: int) -> None:
        """Nobody is to ask any more for the task with the id *number*."""
        self._poller.forget(number)
        self._tell(News(removed=frozenset({number})))

    def ask_now(self, number: int) -> bool:
        """Make a task due at once, here or, if it is not watched here, wherever it is; False then."""
        here = self._poller.ask_now(number)
        if not here:
            self._tell(News(asked=frozenset({number})))
        return here

"""The parts of the daemon under one configuration, and what each needs of the others."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from aiohttp import web

from cambwatch.adapters import systemd
from cambwatch.adapters.metrics.counters import Metrics
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.delivery_listing import DeliveryLedger
from cambwatch.adapters.store.durations import DurationStore
from cambwatch.adapters.store.missed_results import LateResultStore
from cambwatch.adapters.store.opening import OpenDatabase, Peers, Store
from cambwatch.adapters.store.retention import RetentionStore
from cambwatch.adapters.store.stats import CensusTaker
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.app.sockets import only_unix
from cambwatch.config import Config
from cambwatch.core.cluster import News, Node
from cambwatch.core.events import Routed
from cambwatch.core.routing import hear
from cambwatch.loops.clock import Clock
from cambwatch.loops.cluster import SharedPoller, Sharing
from cambwatch.loops.delivery.deliverer import Deliverer
from cambwatch.loops.delivery.test_message import try_out
from cambwatch.loops.delivery.worker import Sender
from cambwatch.loops.garbage_collection import Garbage
from cambwatch.loops.polling.conclusion import Concluder
from cambwatch.loops.polling.known_tasks import KnownTasks
from cambwatch.loops.polling.late_results import LateResults
from cambwatch.loops.polling.learner import Learning
from cambwatch.loops.polling.poller import LONG_SILENCE, Poller
from cambwatch.loops.polling.task_waiters import Endings
from cambwatch.loops.redacting import DiscreetSource
from cambwatch.loops.retention import Retention
from cambwatch.loops.scheduler import Alarm, Scheduler
from cambwatch.loops.watchdog import Watchdog, Works
from cambwatch.web import server
from cambwatch.web.api.deliveries import DeliveryEndpoints
from cambwatch.web.api.destinations import DestinationEndpoints
from cambwatch.web.api.kinds import KindEndpoints
from cambwatch.web.api.metrics import MetricsEndpoint, Subjects
from cambwatch.web.api.registration import Registrar
from cambwatch.web.api.tasks import TaskEndpoints
from cambwatch.web.guard import guard
from cambwatch.web.rate_limit import rate_limit


class Loop(Protocol):
    """What is at work until it is told to stop."""

    async def run(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """What the parts do their work with."""

    config: Config
    database: OpenDatabase
    peers: Peers
    scheduler: Scheduler
    camb: DiscreetSource
    sender: Sender
    metrics: Metrics
    clock: Clock
    started_at: datetime
    log_lines_dropped: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Parts:
    """What is at work; *sharing* is None where this process is the only one. *loops* are all that have to run."""

    tasks: TaskStore
    deliveries: DeliveryStore
    poller: Poller
    concluder: Concluder
    deliverer: Deliverer
    learning: Learning
    known_tasks: KnownTasks
    retention: Retention
    sharing: Sharing | None
    endings: Endings
    intake: web.Application
    loops: Mapping[str, Loop]
    alarm: Callable[[str, asyncio.Event], Alarm]


async def assemble(
    outside: Outside,
    store: Store,
    *,
    sockets: Sequence[socket.socket],
    watchdog_s: float | None,
    reloaded: Callable[[], None],
) -> Parts:
    """All parts, none of them at work yet; *reloaded* is called when another node was. Raises StoreUnavailableError."""
    config, database, scheduler, clock = outside.config, outside.database, outside.scheduler, outside.clock
    peers, metrics = outside.peers, outside.metrics
    tasks = TaskStore(database, node=store.node)
    deliveries = DeliveryStore(database, node=store.node)
    endings = Endings(told=lambda number: peers.tell(News(ended=frozenset({number}))))

    def hear_of(event: Routed, notify: tuple[str, ...] | None) -> tuple[str, ...]:
        return hear(event, routes=config.routes, destinations=config.destinations, notify=notify)

    deliverer = Deliverer(
        config.destinations,
        deliveries,
        outside.sender,
        breakers=await deliveries.breakers(),
        meter=metrics,
        clock=clock,
        scheduler=scheduler,
        elsewhere=peers.tell,
    )
    late: LateResults | None = None
    if config.results.fetch:
        late = LateResults(
            outside.camb,
            LateResultStore(database, node=store.node),
            accounts=config.accounts,
            lane=lambda account: poller.lanes[account],
            clock=clock,
            alarm=scheduler.alarm("late results", asyncio.Event()),
        )
    concluder = Concluder(
        outside.camb,
        tasks,
        hear=hear_of,
        owed=deliverer.wake,
        endings=endings,
        late=late,
        clock=clock,
        repeat_alt_format=config.results.repeat_alt_format,
    )
    kick = asyncio.Event()
    learning = Learning(
        config.poll_policy,
        DurationStore(database),
        clock=clock,
        kick=kick,
        alarm=scheduler.alarm("learning", kick),
    )
    await learning.load()
    kick = asyncio.Event()
    retention = Retention(
        RetentionStore(database),
        keep=config.store.keep_finished,
        spare=frozenset(registration.key for registration in config.registrations),
        clock=clock,
        kick=kick,
        alarm=scheduler.alarm("retention", kick),
    )
    kick = asyncio.Event()
    garbage = Garbage(clock=clock, kick=kick, alarm=scheduler.alarm("garbage", kick))
    known_tasks = KnownTasks(tasks, alarm=scheduler.alarm("known tasks", asyncio.Event()))
    poller = Poller(
        outside.camb,
        concluder,
        accounts=config.accounts,
        cadence=learning,
        meter=metrics,
        clock=clock,
        alarm=scheduler.alarm("poller", asyncio.Event()),
        first_known=known_tasks.add,
    )
    sharing = None
    if store.node is not None:
        sharing = _sharing(outside, store.node, poller, deliverer)
        if late is not None:
            sharing.others_gone = late.look
        peers.heard = partial(_hear, sharing, endings, reloaded)
        peers.deaf = sharing.miss
    endpoints = TaskEndpoints(
        tasks,
        poller if sharing is None else SharedPoller(poller, peers.tell),
        Registrar(
            accounts=config.accounts,
            destinations=config.destinations,
            deadline=lambda kind: config.poll_policy(kind).deadline,
        ),
        endings=endings,
        desk=concluder,
        cancelled=deliverer.forget,
        woken=partial(deliverer.wake, config.destinations),
        now=clock.now,
    )
    intake = server.application(
        _endpoints(outside, store, endpoints, poller=poller, deliverer=deliverer, learning=learning),
        limit=rate_limit(config.http.requests_per_second, monotonic=clock.monotonic),
        guard=guard(
            allowed_hosts=config.http.allowed_hosts,
            token=config.http.bearer,
            unix=only_unix(sockets),
        ),
    )
    loops: dict[str, Loop] = {
        "poller": poller,
        "deliverer": deliverer,
        "learning": learning,
        "retention": retention,
        "garbage": garbage,
        "known tasks": known_tasks,
    }
    if late is not None:
        loops["late results"] = late
    if sharing is not None:
        loops["sharing"] = sharing
    if systemd.asked():
        # The last, because it watches over all that there is.
        loops["watchdog"] = _watchdog(outside, poller, deliverer, deliveries, watchdog_s)
    return Parts(
        tasks,
        deliveries,
        poller,
        concluder,
        deliverer,
        learning,
        known_tasks,
        retention,
        sharing,
        endings,
        intake,
        loops,
        scheduler.alarm,
    )


def _endpoints(
    outside: Outside,
    store: Store,
    endpoints: TaskEndpoints,
    *,
    poller: Poller,
    deliverer: Deliverer,
    learning: Learning,
) -> Sequence[server.Endpoint]:
    config, database, clock = outside.config, outside.database, outside.clock
    ledger = DeliveryLedger(database)

    async def reasons() -> list[str]:
        paused = [
            f"account {name}: Camb refuses its API key (HTTP {lane.refused}); its tasks stay watched"
            for name, lane in poller.lanes.items()
            if lane.refused is not None
        ]
        now_s = clock.monotonic()
        silent = [
            f"account {name}: Camb wants to be asked nothing for {lane.silence_s(now_s):.0f} s (429)"
            for name, lane in poller.lanes.items()
            if lane.refused is None and lane.silence_s(now_s) >= LONG_SILENCE.total_seconds()
        ]
        trouble = await database.probe()  # so that it shows that it is over, also where nothing else is written
        return paused + silent + ([f"database: {trouble}"] if trouble else [])

    subjects = Subjects(
        watching=lambda: poller.watching,
        accounts=poller.lanes,
        lanes=deliverer.lanes,
        trouble=lambda: database.trouble,
        census=CensusTaker(database).take,
        room=store.room,
        log_lines_dropped=outside.log_lines_dropped,
    )
    return server.endpoints(
        endpoints,
        DeliveryEndpoints(ledger, config.destinations, woken=deliverer.hurry, now=clock.now),
        DestinationEndpoints(
            config.destinations,
            ledger,
            lanes=deliverer.lanes,
            try_out=partial(try_out, sender=outside.sender, clock=clock),
            hurry=deliverer.hurry,
        ),
        kinds=KindEndpoints(learning),
        metrics=MetricsEndpoint(outside.metrics, subjects, started_at=outside.started_at, clock=clock),
        reasons=reasons,
    )


def _sharing(outside: Outside, node: str, poller: Poller, deliverer: Deliverer) -> Sharing:
    """What shares the work with the other nodes."""
    # Imported here: who has a file needs nothing of it.
    from cambwatch.adapters.store.leases import NodeStore  # noqa: PLC0415

    config = outside.config
    me = Node(node, accounts=frozenset(config.accounts), destinations=frozenset(config.destinations))
    return Sharing(
        me,
        NodeStore(outside.database, me, lease=config.store.lease),
        poller=poller,
        deliverer=deliverer,
        tell=outside.peers.tell,
        lease=config.store.lease,
        clock=outside.clock,
        alarm=outside.scheduler.alarm("sharing", asyncio.Event()),
    )


def _hear(sharing: Sharing, endings: Endings, reloaded: Callable[[], None], news: News) -> None:
    sharing.hear(news)
    for number in news.ended:
        endings.tell_here(number)
    if news.reload:
        reloaded()


def _watchdog(
    outside: Outside, poller: Poller, deliverer: Deliverer, deliveries: DeliveryStore, limit_s: float | None
) -> Watchdog:
    works = Works(
        watching=lambda: poller.watching,
        accounts=poller.lanes,
        timeouts={name: account.timeout for name, account in outside.config.accounts.items()},
        lanes=deliverer.lanes,
        prove=outside.database.prove,
        waiting=deliveries.waiting,
    )
    return Watchdog(works, notify=systemd.notify, limit_s=limit_s, clock=outside.clock, scheduler=outside.scheduler)

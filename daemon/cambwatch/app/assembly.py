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
from cambwatch.adapters.store.delivery_listing import DeliveryAdmin
from cambwatch.adapters.store.durations import DurationStore
from cambwatch.adapters.store.missed_results import LateResultStore
from cambwatch.adapters.store.opening import ClusterEvents, OpenDatabase, Store
from cambwatch.adapters.store.retention import RetentionStore
from cambwatch.adapters.store.stats import StoreStatsReader
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.app.sockets import only_unix
from cambwatch.config import Config
from cambwatch.core.cluster import ClusterEvent, ClusterNode
from cambwatch.core.events import RoutedEvent
from cambwatch.core.routing import destinations_for
from cambwatch.loops.cluster import Cluster, ClusterPoller
from cambwatch.loops.delivery.deliverer import Deliverer
from cambwatch.loops.delivery.senders import Sender, send_test_message
from cambwatch.loops.garbage_collection import MIN_PAUSE_S, collect_garbage
from cambwatch.loops.polling.conclusion import Concluder, TaskWaiters
from cambwatch.loops.polling.known_tasks import KnownTasks
from cambwatch.loops.polling.late_results import LateResults
from cambwatch.loops.polling.learner import SAVE_EVERY_S, CadenceLearner
from cambwatch.loops.polling.poller import LONG_PAUSE, Poller
from cambwatch.loops.redacting import RedactingStatusSource
from cambwatch.loops.retention import FIRST_RUN_S, RUN_EVERY_S, Retention
from cambwatch.loops.scheduler import Clock, Scheduler, Wakeup
from cambwatch.loops.watchdog import Watchdog, WatchdogSources
from cambwatch.web import server
from cambwatch.web.api.deliveries import DeliveryEndpoints
from cambwatch.web.api.destinations import DestinationEndpoints
from cambwatch.web.api.kinds import KindEndpoints
from cambwatch.web.api.metrics import MetricsEndpoint, MetricsSources
from cambwatch.web.api.registration import RegistrationParser
from cambwatch.web.api.tasks import TaskEndpoints
from cambwatch.web.guard import guard
from cambwatch.web.limits import rate_limit


class Loop(Protocol):
    """A loop that runs until stop() is called."""

    async def run(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Resources:
    """What the parts do their work with."""

    config: Config
    database: OpenDatabase
    cluster_events: ClusterEvents
    scheduler: Scheduler
    camb: RedactingStatusSource
    sender: Sender
    metrics: Metrics
    clock: Clock
    started_at: datetime
    log_lines_dropped: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Components:
    """What is at work; *cluster* is None where this process is the only one. *loops* are all that have to run."""

    tasks: TaskStore
    deliveries: DeliveryStore
    poller: Poller
    concluder: Concluder
    deliverer: Deliverer
    cadence_learner: CadenceLearner
    known_tasks: KnownTasks
    cluster: Cluster | None
    task_waiters: TaskWaiters
    intake: web.Application
    loops: Mapping[str, Loop]
    wakeup: Callable[[str, asyncio.Event], Wakeup]


async def assemble(
    resources: Resources,
    store: Store,
    *,
    sockets: Sequence[socket.socket],
    watchdog_s: float | None,
    on_cluster_reload: Callable[[], None],
) -> Components:
    """
    All parts, none of them at work yet; *on_cluster_reload* is called when another node was. Raises
    StoreUnavailableError.
    """
    config, database, scheduler, clock = resources.config, resources.database, resources.scheduler, resources.clock
    cluster_events, metrics = resources.cluster_events, resources.metrics
    tasks = TaskStore(database, node=store.node)
    deliveries = DeliveryStore(database, node=store.node)
    task_waiters = TaskWaiters(
        on_finished=lambda row_id: cluster_events.publish(ClusterEvent(finished=frozenset({row_id})))
    )

    def route(event: RoutedEvent, notify: tuple[str, ...] | None) -> tuple[str, ...]:
        return destinations_for(event, routes=config.routes, destinations=config.destinations, notify=notify)

    deliverer = Deliverer(
        config.destinations,
        deliveries,
        resources.sender,
        breakers=await deliveries.breakers(),
        meter=metrics,
        clock=clock,
        scheduler=scheduler,
        publish=cluster_events.publish,
    )
    result_retries: LateResults | None = None
    if config.results.fetch:
        result_retries = LateResults(
            resources.camb,
            LateResultStore(database, node=store.node),
            accounts=config.accounts,
            queue_of=lambda account: poller.queues[account],
            clock=clock,
            wakeup=scheduler.wakeup("late results", asyncio.Event()),
        )
    concluder = Concluder(
        resources.camb,
        tasks,
        destinations_for=route,
        queued=deliverer.wake,
        task_waiters=task_waiters,
        result_retries=result_retries,
        clock=clock,
        repeat_alt_format=config.results.repeat_alt_format,
    )
    cadence_learner = CadenceLearner(config.poll_policy, DurationStore(database), clock=clock)
    await cadence_learner.load()
    known_tasks = KnownTasks(tasks, wakeup=scheduler.wakeup("known tasks", asyncio.Event()))
    poller = Poller(
        resources.camb,
        concluder,
        accounts=config.accounts,
        cadence=cadence_learner,
        meter=metrics,
        clock=clock,
        wakeup=scheduler.wakeup("poller", asyncio.Event()),
        on_first_status=known_tasks.add,
    )
    cluster = None
    if store.node is not None:
        cluster = _cluster(resources, store.node, poller, deliverer)
        if result_retries is not None:
            cluster.on_node_gone = result_retries.load_missing
        cluster_events.heard = partial(_apply_cluster_event, cluster, task_waiters, on_cluster_reload)
        cluster_events.disconnected = cluster.events_missed
    endpoints = TaskEndpoints(
        tasks,
        poller if cluster is None else ClusterPoller(poller, cluster_events.publish),
        RegistrationParser(
            accounts=config.accounts,
            destinations=config.destinations,
            deadline=lambda kind: config.poll_policy(kind).deadline,
        ),
        task_waiters=task_waiters,
        concluder=concluder,
        deliverer=deliverer,
        now=clock.now,
    )
    intake = server.application(
        _endpoints(resources, store, endpoints, poller=poller, deliverer=deliverer, cadence_learner=cadence_learner),
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
        "known tasks": known_tasks,
        "learning": scheduler.repeat("learning", cadence_learner.save, every_s=SAVE_EVERY_S),
        "garbage": scheduler.repeat("garbage", partial(collect_garbage, clock), every_s=MIN_PAUSE_S),
    }
    if config.store.keep_finished is not None:
        exclude = frozenset(registration.key for registration in config.registrations)
        retention = Retention(RetentionStore(database), keep=config.store.keep_finished, exclude=exclude, clock=clock)
        loops["retention"] = scheduler.repeat(
            "retention", retention.prune_batch, every_s=RUN_EVERY_S, first_s=FIRST_RUN_S, on_stop=retention.end_run
        )
    if result_retries is not None:
        loops["late results"] = result_retries
    if cluster is not None:
        loops["cluster"] = cluster.loop
    if systemd.expects_notifications():
        # The last, because it watches over all that there is.
        watchdog = _watchdog(resources, poller, deliverer, deliveries, watchdog_s)
        loops["watchdog"] = scheduler.repeat(
            "watchdog", watchdog.check, every_s=watchdog.check_every_s, first_s=0, on_stop=watchdog.cancel_probe
        )
    return Components(
        tasks,
        deliveries,
        poller,
        concluder,
        deliverer,
        cadence_learner,
        known_tasks,
        cluster,
        task_waiters,
        intake,
        loops,
        scheduler.wakeup,
    )


def _endpoints(
    resources: Resources,
    store: Store,
    endpoints: TaskEndpoints,
    *,
    poller: Poller,
    deliverer: Deliverer,
    cadence_learner: CadenceLearner,
) -> Sequence[server.Endpoint]:
    config, database, clock = resources.config, resources.database, resources.clock
    delivery_admin = DeliveryAdmin(database)

    async def reasons() -> list[str]:
        paused = [
            f"account {name}: Camb refuses its API key (HTTP {queue.refused}); its tasks stay watched"
            for name, queue in poller.queues.items()
            if queue.refused is not None
        ]
        now_s = clock.monotonic()
        silent = [
            f"account {name}: Camb wants to be asked nothing for {queue.paused_s(now_s):.0f} s (429)"
            for name, queue in poller.queues.items()
            if queue.refused is None and queue.paused_s(now_s) >= LONG_PAUSE.total_seconds()
        ]
        trouble = await database.recheck_write()  # so that it shows that it is over, also where nothing else is written
        return paused + silent + ([f"database: {trouble}"] if trouble else [])

    subjects = MetricsSources(
        watching=lambda: poller.watching,
        accounts=poller.queues,
        workers=deliverer.workers,
        trouble=lambda: database.trouble,
        store_stats=StoreStatsReader(database).read,
        disk_space=store.disk_space,
        log_lines_dropped=resources.log_lines_dropped,
    )
    return server.endpoints(
        endpoints,
        DeliveryEndpoints(delivery_admin, config.destinations, wake_deliverer=deliverer.retry_now, now=clock.now),
        DestinationEndpoints(
            config.destinations,
            delivery_admin,
            workers=deliverer.workers,
            send_test_message=partial(send_test_message, sender=resources.sender, clock=clock),
            retry_now=deliverer.retry_now,
        ),
        kinds=KindEndpoints(cadence_learner),
        metrics=MetricsEndpoint(resources.metrics, subjects, started_at=resources.started_at, clock=clock),
        reasons=reasons,
    )


def _cluster(resources: Resources, node: str, poller: Poller, deliverer: Deliverer) -> Cluster:
    """What shares the work with the other nodes."""
    # Imported here: who has a file needs nothing of it.
    from cambwatch.adapters.store.leases import LeaseStore  # noqa: PLC0415

    config = resources.config
    me = ClusterNode(node, accounts=frozenset(config.accounts), destinations=frozenset(config.destinations))
    return Cluster(
        me,
        LeaseStore(resources.database, me, lease=config.store.lease),
        poller=poller,
        deliverer=deliverer,
        publish=resources.cluster_events.publish,
        lease=config.store.lease,
        clock=resources.clock,
        scheduler=resources.scheduler,
    )


def _apply_cluster_event(
    cluster: Cluster, task_waiters: TaskWaiters, on_cluster_reload: Callable[[], None], cluster_event: ClusterEvent
) -> None:
    cluster.apply_event(cluster_event)
    for row_id in cluster_event.finished:
        task_waiters.wake_local(row_id)
    if cluster_event.reload:
        on_cluster_reload()


def _watchdog(
    resources: Resources, poller: Poller, deliverer: Deliverer, deliveries: DeliveryStore, limit_s: float | None
) -> Watchdog:
    sources = WatchdogSources(
        watching=lambda: poller.watching,
        accounts=poller.queues,
        timeouts={name: account.timeout for name, account in resources.config.accounts.items()},
        workers=deliverer.workers,
        check_write=resources.database.check_write,
        pending_counts=deliveries.pending_counts,
    )
    return Watchdog(
        sources, notify=systemd.notify, limit_s=limit_s, clock=resources.clock, wakeups=resources.scheduler.wakeups
    )

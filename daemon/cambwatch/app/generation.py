"""The life of one configuration: it begins out of the database, works, and ends when another takes its place."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

import cambwatch
from cambwatch.adapters.apprise import AppriseSender
from cambwatch.adapters.camb import CambClient
from cambwatch.adapters.metrics.counters import Metrics
from cambwatch.adapters.open_files import MOST_CONNECTIONS, RESERVE, connection_limit, limit
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.opening import ClusterEvents, Store
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.adapters.webhook import WebhookSender
from cambwatch.app.assembly import Components, Resources, assemble
from cambwatch.app.sockets import serving
from cambwatch.config import Config
from cambwatch.config.load import ConfigChange
from cambwatch.core.cluster import ClusterEvent
from cambwatch.core.redaction import Redactor, Secret
from cambwatch.core.routing import Destination
from cambwatch.loops.cluster import Cluster
from cambwatch.loops.delivery.deliverer import Deliverer
from cambwatch.loops.delivery.senders import SenderByType
from cambwatch.loops.polling.poller import Poller
from cambwatch.loops.redacting import RedactingSender, RedactingStatusSource
from cambwatch.loops.scheduler import Clock, Scheduler

GRACE_S = 10.0  # to finish what is in flight at a stop or reload
USER_AGENT = f"cambwatch/{cambwatch.__version__}"
RAISE_LIMIT_HINT = "raise the hard limit on open files (LimitNOFILE= in the unit, ulimit -Hn in a shell)"
FIRST_TICK_S = 0.001  # the shortest that an alarm can be set to

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Environment:
    """
    What outlives a configuration.

    *metrics* count from *started_at*, the start of the process. *pauses* has the seconds for which Camb asked to pause,
    by API key. *on_started* is called with the number of watched tasks once everything runs. *next_change* waits for
    the configuration that replaces this one; None: the process stops. *on_cluster_reload* is called when another node
    was reloaded. *log_lines_dropped* returns the number of dropped log lines.
    """

    store: Store
    sockets: Sequence[socket.socket]
    clock: Clock
    started_at: datetime
    metrics: Metrics
    watchdog_s: float | None
    pauses: dict[Secret, float]
    on_started: Callable[[int], None]
    next_change: Callable[[], Awaitable[ConfigChange | None]]
    on_cluster_reload: Callable[[], None]
    log_lines_dropped: Callable[[], int]


async def generation(change: ConfigChange, environment: Environment) -> ConfigChange | None:
    """
    Watch, poll and deliver with the configuration of *change* until the next change; then drain for at most GRACE_S.

    Returns the next change. Raises StoreUnavailableError if the database is unavailable; then nothing was polled.
    """
    config, clock, metrics = change.config, environment.clock, environment.metrics
    metrics.initialize_labels(destinations=config.destinations, accounts=config.accounts)
    async with (
        environment.store.cluster_events() as cluster_events,
        environment.store.open(metrics) as database,
        Scheduler(now=clock.now, lagged=metrics.lagged) as scheduler,
        CambClient(config.accounts, user_agent=USER_AGENT, now=clock.now) as camb,
        WebhookSender(config.destinations, user_agent=USER_AGENT, now=clock.now, proxy=config.proxy) as webhook,
        AppriseSender(config.destinations) as apprise,
    ):
        redactor = Redactor(config.secrets())
        source = RedactingStatusSource(camb, redactor)
        sender = RedactingSender(SenderByType(webhook, own={"apprise": apprise}), redactor)
        resources = Resources(
            config,
            database,
            cluster_events,
            scheduler,
            source,
            sender,
            metrics,
            clock,
            environment.started_at,
            environment.log_lines_dropped,
        )
        components = await assemble(
            resources,
            environment.store,
            sockets=environment.sockets,
            watchdog_s=environment.watchdog_s,
            on_cluster_reload=environment.on_cluster_reload,
        )
        return await _run_components(components, change, environment, cluster_events)


async def _run_components(
    components: Components, change: ConfigChange, environment: Environment, cluster_events: ClusterEvents
) -> ConfigChange | None:
    config = change.config
    poller, deliverer, cadence_learner, cluster = (
        components.poller,
        components.deliverer,
        components.cadence_learner,
        components.cluster,
    )
    if cluster is None:
        deliverer.acquire(config.destinations)
        poller.watch(await components.tasks.watched(), spread=True)
    else:
        await cluster.join()
    await _watch_configured(config, poller, components.tasks, environment.clock)
    _warn_about_unknown_destinations(await components.deliveries.pending_counts(), config.destinations)
    _restore_pauses(config, poller, environment.pauses, environment.clock)
    connections = _connection_limit(config)
    async with serving(components.intake, environment.sockets, connections=connections), asyncio.TaskGroup() as group:
        for name, loop in components.loops.items():
            group.create_task(loop.run(), name=name)
        first_tick = asyncio.Event()
        components.wakeup("first tick", first_tick).set(FIRST_TICK_S)
        await first_tick.wait()
        if not config.destinations:
            log.warning("config.warning", hint="there are no destinations: no notification will be sent")
        environment.on_started(poller.watching)
        if change.reload_others:
            cluster_events.publish(ClusterEvent(reload=True))
        # A crash of a loop cancels this wait.
        following = await (
            environment.next_change() if cluster is None else _next_change_or_lease_loss(config, environment, cluster)
        )
        until_s = asyncio.get_running_loop().time() + GRACE_S
        for working in (poller, components.concluder, deliverer):
            working.stop()
        for name in ("learning", "retention"):  # other writes come first now; "learning" saves once more below
            if name in components.loops:
                components.loops[name].stop()
        if following is not None:
            await _drain(poller, deliverer, until_s=until_s)  # while callers are still answered
        for loop in components.loops.values():
            loop.stop()
        components.task_waiters.wake_all()  # clients that wait for a task get its current state
    await _drain(poller, deliverer, until_s=until_s)
    await cadence_learner.save()  # also what finished during the drain
    await components.known_tasks.save()
    await _save_poll_counts(poller, components.tasks)
    if cluster is not None and following is None:
        await cluster.leave()
        await cluster_events.flush()
    now_s = environment.clock.monotonic()
    environment.pauses.update(
        {config.accounts[name].api_key: queue.paused_s(now_s) for name, queue in poller.queues.items()}
    )
    return following


def _connection_limit(config: Config) -> int:
    """How many connections the intake may hold, so that polls and deliveries never lack a descriptor."""
    open_files = limit()
    polls = sum(account.concurrency for account in config.accounts.values())
    posts = sum(destination.concurrency for destination in config.destinations.values())
    connections = connection_limit(open_files, polls=polls, posts=posts)
    if connections < MOST_CONNECTIONS:
        log.info("connections.limited", open_files=open_files, polls=polls, posts=posts, connections=connections,
                 hint=RAISE_LIMIT_HINT)  # fmt: skip
    if open_files < RESERVE + polls + posts + connections:
        log.warning("config.warning", hint=f"{polls + posts} requests may be under way at once (concurrency), but the "
                    f"limit on open files is {open_files}: lower concurrency, or {RAISE_LIMIT_HINT}")  # fmt: skip
    return connections


async def _watch_configured(config: Config, poller: Poller, tasks: TaskStore, clock: Clock) -> None:
    """Watch what *config* has new."""
    registered = await tasks.register(config.registrations, now=clock.now(), restart_statuses=())
    new = [one.task for one in registered if one.new]
    poller.watch(new)
    for task in new:
        log.info("task.registered", kind=task.key.kind, task_id=task.key.task_id, account=task.key.account,
                 name=task.name, source="yaml")  # fmt: skip


async def _next_change_or_lease_loss(config: Config, environment: Environment, cluster: Cluster) -> ConfigChange | None:
    """What is to come next: *config* once more, under another id, where others have taken all that was held."""
    changed, lost = asyncio.ensure_future(environment.next_change()), asyncio.ensure_future(cluster.lease_lost.wait())
    try:
        await asyncio.wait((changed, lost), return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            environment.store.renew_node_id()
        return changed.result() if changed.done() else ConfigChange(config)
    finally:
        changed.cancel()
        lost.cancel()


def _restore_pauses(config: Config, poller: Poller, pauses: Mapping[Secret, float], clock: Clock) -> None:
    """What Camb asked for, it asked for with a key, whatever has changed since."""
    now_s = clock.monotonic()
    for name, queue in poller.queues.items():
        if left_s := pauses.get(config.accounts[name].api_key):
            queue.pause_until(now_s + left_s)


async def _save_poll_counts(poller: Poller, tasks: TaskStore) -> None:
    try:
        await tasks.record_polls(poller.polled())
    except StoreUnavailableError as error:  # only counts are lost
        log.warning("store.unavailable", operation="polls", error=str(error))


def _warn_about_unknown_destinations(waiting: Mapping[str, int], known: Mapping[str, Destination]) -> None:
    for name, count in waiting.items():
        if name not in known:
            log.warning("deliveries.unknown_destination", destination=name, pending=count,
                        hint="not in the configuration: they stay queued until you add it back")  # fmt: skip


async def _drain(poller: Poller, deliverer: Deliverer, *, until_s: float) -> None:
    """Wait for what is in flight, at most until *until_s* of the event loop's clock; what is not done then is cut."""
    try:
        async with asyncio.timeout_at(until_s):
            await asyncio.gather(poller.drain(), deliverer.drain())
    except TimeoutError:
        log.warning("service.cut_short", hint="what was in flight is done again after the next start")

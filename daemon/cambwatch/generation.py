"""Everything that one configuration makes of the daemon, wired; another one takes its place while the process runs."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

import cambwatch
from cambwatch.adapters import systemd
from cambwatch.adapters.apprise import Apprise
from cambwatch.adapters.camb import Camb
from cambwatch.adapters.metrics.counted import Metrics
from cambwatch.adapters.store.census import CensusTaker, room
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.durations import DurationStore
from cambwatch.adapters.store.ledger import DeliveryLedger
from cambwatch.adapters.store.retention import RetentionStore
from cambwatch.adapters.store.sqlite import SqliteDatabase
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.adapters.webhook import Webhook
from cambwatch.config import Config
from cambwatch.core.concealment import Concealment
from cambwatch.core.destinations import Destination
from cambwatch.core.events import Routed
from cambwatch.core.routing import hear
from cambwatch.core.secret import Secret
from cambwatch.listening import only_unix, serving
from cambwatch.loops.clock import Clock
from cambwatch.loops.conclusion import Concluder
from cambwatch.loops.deliverer import Deliverer
from cambwatch.loops.discretion import DiscreetSender, DiscreetSource
from cambwatch.loops.endings import Endings
from cambwatch.loops.lane import Sender
from cambwatch.loops.learning import Learning
from cambwatch.loops.poller import LONG_SILENCE, Poller
from cambwatch.loops.retention import Retention
from cambwatch.loops.scheduler import Scheduler
from cambwatch.loops.senders import ByType
from cambwatch.loops.trial import try_out
from cambwatch.loops.watchdog import Watchdog, Works
from cambwatch.web import server
from cambwatch.web.bodies import Registrar
from cambwatch.web.deliveries import DeliveryEndpoints
from cambwatch.web.destinations import DestinationEndpoints
from cambwatch.web.guard import guard
from cambwatch.web.kinds import KindEndpoints
from cambwatch.web.metrics import MetricsEndpoint, Subjects
from cambwatch.web.rates import rate_limit
from cambwatch.web.tasks import TaskEndpoints

GRACE_S = 10.0  # for what is in flight when we are told to stop
USER_AGENT = f"cambwatch/{cambwatch.__version__}"
TICK_S = 0.001  # the shortest that an alarm can be set to

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Around:
    """
    What outlives a configuration.

    *silences* is how long, in seconds, Camb wants to be asked nothing with a key.
    *begun* hears that all is at work, with the number of tasks that are watched.
    *change* gives the configuration that is to take the place of this one, None
    when the process is to end.
    """

    path: Path
    sockets: Sequence[socket.socket]
    clock: Clock
    watchdog_s: float | None
    silences: dict[Secret, float]
    begun: Callable[[int], None]
    change: Callable[[], Awaitable[Config | None]]


async def generation(config: Config, around: Around) -> Config | None:
    """
    Watch, poll and deliver as *config* says until it is to change; then finish what is in flight, in at most GRACE_S.

    Returns what is to come after it. Raises StoreUnavailableError when the database
    cannot be had; then nothing was polled.
    """
    clock = around.clock
    metrics = Metrics(destinations=config.destinations, accounts=config.accounts)
    async with (
        SqliteDatabase(around.path, meter=metrics) as database,
        Scheduler(now=clock.now, lagged=metrics.lagged) as scheduler,
        Camb(config.accounts, user_agent=USER_AGENT, now=clock.now) as camb,
        Webhook(config.destinations, user_agent=USER_AGENT, now=clock.now, proxy=config.proxy) as webhook,
        Apprise(config.destinations) as apprise,
    ):
        concealment = Concealment(config.secrets())
        source = DiscreetSource(camb, concealment)
        sender = DiscreetSender(ByType(webhook, own={"apprise": apprise}), concealment)
        return await _work(config, database, scheduler, source, sender, metrics, around)


async def _work(
    config: Config,
    database: SqliteDatabase,
    scheduler: Scheduler,
    camb: DiscreetSource,
    sender: Sender,
    metrics: Metrics,
    around: Around,
) -> Config | None:
    clock = around.clock
    # One straight line on purpose: split, it would only hand a wide state from helper to helper.
    tasks = TaskStore(database)
    deliveries = DeliveryStore(database)
    ledger = DeliveryLedger(database)
    endings = Endings()

    def hear_of(event: Routed, notify: tuple[str, ...] | None) -> tuple[str, ...]:
        return hear(event, routes=config.routes, destinations=config.destinations, notify=notify)

    deliverer = Deliverer(
        config.destinations,
        deliveries,
        sender,
        breakers=await deliveries.breakers(),
        meter=metrics,
        clock=clock,
        scheduler=scheduler,
    )
    concluder = Concluder(
        camb,
        tasks,
        hear=hear_of,
        owed=deliverer.wake,
        endings=endings,
        clock=clock,
        repeat_alt_format=config.results.repeat_alt_format if config.results.fetch else None,
    )
    learning = await _learning(config, database, scheduler, clock)
    retention = _retention(config, database, scheduler, clock)
    kick = asyncio.Event()
    poller = Poller(
        camb,
        concluder,
        accounts=config.accounts,
        cadence=learning,
        meter=metrics,
        clock=clock,
        kick=kick,
        alarm=scheduler.alarm("poller", kick),
    )
    endpoints = TaskEndpoints(
        tasks,
        poller,
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
        room=partial(room, database.path),
    )
    intake = server.application(
        server.endpoints(
            endpoints,
            DeliveryEndpoints(ledger, config.destinations, woken=deliverer.hurry, now=clock.now),
            DestinationEndpoints(
                config.destinations,
                ledger,
                lanes=deliverer.lanes,
                try_out=partial(try_out, sender=sender, clock=clock),
                hurry=deliverer.hurry,
            ),
            kinds=KindEndpoints(learning),
            metrics=MetricsEndpoint(metrics, subjects, clock=clock),
            reasons=reasons,
        ),
        limit=rate_limit(config.http.requests_per_second, monotonic=clock.monotonic),
        guard=guard(
            allowed_hosts=config.http.allowed_hosts,
            token=config.http.bearer,
            unix=only_unix(around.sockets),
        ),
    )
    watchdog = Watchdog(
        Works(
            watching=lambda: poller.watching,
            accounts=poller.lanes,
            timeouts={name: account.timeout for name, account in config.accounts.items()},
            lanes=deliverer.lanes,
            prove=database.prove,
            waiting=deliveries.waiting,
        ),
        notify=systemd.notify,
        limit_s=around.watchdog_s,
        clock=clock,
        scheduler=scheduler,
    )

    await _watch(config, poller, tasks, clock)
    _warn_of_stranded(await deliveries.waiting(), config.destinations)
    _keep_silent(config, poller, around.silences, clock)
    async with serving(intake, around.sockets), asyncio.TaskGroup() as group:
        for name, loop in (
            ("poller", poller),
            ("deliverer", deliverer),
            ("learning", learning),
            ("retention", retention),
        ):
            group.create_task(loop.run(), name=name)
        if systemd.asked():
            group.create_task(watchdog.run(), name="watchdog")
        ticked = asyncio.Event()
        scheduler.alarm("first tick", ticked).set(TICK_S)
        await ticked.wait()
        if not config.destinations:
            log.warning("config.doubtful", hint="there are no destinations: nobody will hear of anything")
        around.begun(poller.watching)
        following = await around.change()  # a crash of a loop cancels this wait
        until_s = asyncio.get_running_loop().time() + GRACE_S
        for working in (poller, deliverer, learning, retention):
            working.stop()
        if following is not None:
            await _drain(poller, deliverer, until_s=until_s)  # while callers are still answered
        watchdog.stop()
        endings.tell_all()  # whoever waits for an end hears how it stands
    await _drain(poller, deliverer, until_s=until_s)
    await learning.save()  # also of what has ended since it was told to stop
    await _note_polls(poller, tasks)
    now_s = clock.monotonic()
    around.silences.update(
        {config.accounts[name].api_key: lane.silence_s(now_s) for name, lane in poller.lanes.items()}
    )
    return following


async def _watch(config: Config, poller: Poller, tasks: TaskStore, clock: Clock) -> None:
    """Watch what is watched already, and what *config* has new."""
    poller.watch(await tasks.watched(), spread=True)
    registered = await tasks.register(config.registrations, now=clock.now(), anew=())
    new = [one.task for one in registered if one.new]
    poller.watch(new)
    for task in new:
        log.info("task.registered", kind=task.key.kind, task_id=task.key.task_id, account=task.key.account,
                 name=task.name, source="yaml")  # fmt: skip


def _keep_silent(config: Config, poller: Poller, silences: Mapping[Secret, float], clock: Clock) -> None:
    """What Camb asked for, it asked for with a key, whatever has changed since."""
    now_s = clock.monotonic()
    for name, lane in poller.lanes.items():
        if left_s := silences.get(config.accounts[name].api_key):
            lane.hold(now_s + left_s)


async def _note_polls(poller: Poller, tasks: TaskStore) -> None:
    try:
        await tasks.note_polls(poller.polled())
    except StoreUnavailableError as error:  # only counts are lost
        log.warning("store.unavailable", undone="polls", error=str(error))


def _warn_of_stranded(waiting: Mapping[str, int], known: Mapping[str, Destination]) -> None:
    for name, count in waiting.items():
        if name not in known:
            log.warning("deliveries.stranded", destination=name, waiting=count,
                        hint="no such destination in the configuration; they wait until it is there again")  # fmt: skip


async def _learning(config: Config, database: SqliteDatabase, scheduler: Scheduler, clock: Clock) -> Learning:
    """What was learned before, ready to learn more."""
    kick = asyncio.Event()
    alarm = scheduler.alarm("learning", kick)
    learning = Learning(config.poll_policy, DurationStore(database), clock=clock, kick=kick, alarm=alarm)
    await learning.load()
    return learning


def _retention(config: Config, database: SqliteDatabase, scheduler: Scheduler, clock: Clock) -> Retention:
    """What forgets old tasks."""
    kick = asyncio.Event()
    return Retention(
        RetentionStore(database),
        keep=config.store.keep_finished,
        spare=frozenset(registration.key for registration in config.registrations),
        clock=clock,
        kick=kick,
        alarm=scheduler.alarm("retention", kick),
    )


async def _drain(poller: Poller, deliverer: Deliverer, *, until_s: float) -> None:
    """Wait for what is in flight, at most until *until_s* of the event loop's clock; what is not done then is cut."""
    try:
        async with asyncio.timeout_at(until_s):
            await asyncio.gather(poller.drain(), deliverer.drain())
    except TimeoutError:
        log.warning("service.cut_short", hint="what was in flight is done again after the next start")

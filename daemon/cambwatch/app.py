"""The one place where everything is wired: settings in, a running daemon, and in good order out again."""

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog
from aiohttp import web

import cambwatch
from cambwatch.adapters import systemd
from cambwatch.adapters.apprise import Apprise
from cambwatch.adapters.camb import Camb
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.deliveries import DeliveryStore
from cambwatch.adapters.store.ledger import DeliveryLedger
from cambwatch.adapters.store.sqlite import SqliteDatabase, sole_process
from cambwatch.adapters.store.steps import migrate
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.adapters.webhook import Webhook
from cambwatch.config import Config, UnixListen
from cambwatch.core.events import Routed
from cambwatch.core.routing import hear
from cambwatch.loops.conclusion import Concluder
from cambwatch.loops.deliverer import Deliverer
from cambwatch.loops.endings import Endings
from cambwatch.loops.lane import Sender
from cambwatch.loops.poller import LONG_SILENCE, Poller
from cambwatch.loops.scheduler import Scheduler
from cambwatch.loops.senders import ByType
from cambwatch.loops.trial import try_out
from cambwatch.loops.watchdog import Watchdog, Works
from cambwatch.web import server
from cambwatch.web.bodies import Registrar
from cambwatch.web.deliveries import DeliveryEndpoints
from cambwatch.web.destinations import DestinationEndpoints
from cambwatch.web.guard import guard
from cambwatch.web.tasks import TaskEndpoints

GRACE_S = 10.0  # for what is in flight when we are told to stop
USER_AGENT = f"cambwatch/{cambwatch.__version__}"
SOCKET_MODE = 0o660
BACKLOG = 4096  # of a socket of systemd's, whose own is forgotten when we listen; the kernel may cut it
LAST_WORDS_S = 0.1  # for who was accepted and not heard yet; who comes later waits in systemd's socket
TICK_S = 0.001  # the shortest that an alarm can be set to

log = structlog.get_logger()


class SystemClock:
    """The machine's clocks and dice."""

    def __init__(self) -> None:
        self._dice = random.Random()  # noqa: S311 - spreads load, guards nothing

    def now(self) -> datetime:
        """The instant."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def chance(self) -> float:
        """A number in [0, 1)."""
        return self._dice.random()


async def run(config: Config, *, stop: asyncio.Event, ready: Callable[[str], None] = lambda _address: None) -> None:
    """
    Watch, poll and deliver until *stop* is set; then finish what is in flight, in at most GRACE_S.

    Calls *ready* with the intake's address as soon as it answers. Raises
    StoreBusyError, StoreTooNewError or StoreUnavailableError when the database cannot
    be had, OSError when the address cannot; then nothing was polled.
    """
    path = Path(config.store.url.removeprefix("sqlite:///"))
    with sole_process(path):
        migrate(path)
        clock = SystemClock()
        async with (
            SqliteDatabase(path) as database,
            Scheduler(now=clock.now) as scheduler,
            Camb(config.accounts, user_agent=USER_AGENT, now=clock.now) as camb,
            Webhook(config.destinations, user_agent=USER_AGENT, now=clock.now, proxy=config.proxy) as webhook,
            Apprise(config.destinations) as apprise,
        ):
            sender = ByType(webhook, own={"apprise": apprise})
            await _work(config, database, scheduler, camb, sender, clock=clock, stop=stop, ready=ready)
    log.info("service.stopped")


async def _work(
    config: Config,
    database: SqliteDatabase,
    scheduler: Scheduler,
    camb: Camb,
    sender: Sender,
    *,
    clock: SystemClock,
    stop: asyncio.Event,
    ready: Callable[[str], None],
) -> None:
    # One straight line on purpose: split, it would only hand a wide state from helper to helper.
    sockets = _take_sockets(config)
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
    kick = asyncio.Event()
    poller = Poller(
        camb,
        concluder,
        accounts=config.accounts,
        policy=config.poll_policy,
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

    def pace(kind: str) -> tuple[timedelta, timedelta]:
        policy = config.poll_policy(kind)
        return policy.interval, policy.deadline

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
            reasons=reasons,
            pace=pace,
        ),
        guard=guard(
            allowed_hosts=config.http.allowed_hosts,
            token=config.http.bearer,
            unix=_only_unix(config, sockets),
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
        limit_s=systemd.take_watchdog_s(os.environ, pid=os.getpid()),
        clock=clock,
        scheduler=scheduler,
    )

    poller.watch(await tasks.watched(), spread=True)
    registered = await tasks.register(config.registrations, now=clock.now(), anew=())
    new = [one.task for one in registered if one.new]
    poller.watch(new)
    for task in new:
        log.info("task.registered", kind=task.key.kind, task_id=task.key.task_id, account=task.key.account,
                 name=task.name, source="yaml")  # fmt: skip
    for name, count in (await deliveries.waiting()).items():
        if name not in config.destinations:
            log.warning("deliveries.stranded", destination=name, waiting=count,
                        hint="no such destination in the configuration; they wait until it is there again")  # fmt: skip

    # In this order: where the address is taken, nothing has begun, and OSError is not wrapped into a group.
    async with _listening(config, intake, sockets) as address, asyncio.TaskGroup() as group:
        group.create_task(poller.run(), name="poller")
        group.create_task(deliverer.run(), name="deliverer")
        if systemd.asked():
            group.create_task(watchdog.run(), name="watchdog")
        ticked = asyncio.Event()
        scheduler.alarm("first tick", ticked).set(TICK_S)
        await ticked.wait()
        log.info("service.started", address=address, watching=poller.watching,
                 destinations=list(config.destinations), accounts=list(config.accounts))  # fmt: skip
        if not config.destinations:
            log.warning("config.doubtful", hint="there are no destinations: nobody will hear of anything")
        systemd.notify("READY=1")
        ready(address)
        await stop.wait()  # a crash of a loop cancels this wait
        log.info("service.stopping")
        systemd.notify("STOPPING=1")
        poller.stop()
        deliverer.stop()
        watchdog.stop()
        endings.tell_all()  # whoever waits for an end hears how it stands
        until_s = asyncio.get_running_loop().time() + GRACE_S
    await _finish(poller, deliverer, tasks, until_s=until_s)


async def _finish(poller: Poller, deliverer: Deliverer, tasks: TaskStore, *, until_s: float) -> None:
    """Wait for what is in flight, at most until *until_s* of the event loop's clock."""
    try:
        async with asyncio.timeout_at(until_s):
            await asyncio.gather(poller.drain(), deliverer.drain())  # both are cut, should the time be up
    except TimeoutError:
        log.warning("service.cut_short", hint="what was in flight is done again after the next start")
    try:
        await tasks.note_polls(poller.polled())
    except StoreUnavailableError as error:  # only counts are lost, and we were told to stop
        log.warning("store.unavailable", undone="polls", error=str(error))


def _take_sockets(config: Config) -> list[socket.socket]:
    """The sockets that systemd holds for us; they take the place of http.listen, and its rules hold for them."""
    sockets = systemd.take_sockets(os.environ, pid=os.getpid())
    outside = systemd.exposed(sockets)
    if outside is not None and config.http.bearer is None:
        raise systemd.ExposedError(
            f"the socket unit listens at {outside}, which other machines can reach: "
            "set http.token, or give it a loopback address (ListenStream=)"
        )
    addresses = [systemd.address(one) for one in sockets]
    if sockets and str(config.http.listen) not in addresses:
        log.warning("config.doubtful", hint=f"the socket unit listens at {', '.join(addresses)}, where no command "
                    f"looks for us: http.listen says {config.http.listen}")  # fmt: skip
    return sockets


def _only_unix(config: Config, sockets: Sequence[socket.socket]) -> bool:
    if sockets:
        return all(one.family == socket.AF_UNIX for one in sockets)
    return isinstance(config.http.listen, UnixListen)


@asynccontextmanager
async def _listening(config: Config, intake: web.Application, sockets: Sequence[socket.socket]) -> AsyncIterator[str]:
    listen = config.http.listen
    if sockets:
        sites = [partial(web.SockSite, sock=one, backlog=BACKLOG) for one in sockets]
        async with server.serve(intake, *sites, last_words_s=LAST_WORDS_S) as name:
            yield name
    elif isinstance(listen, UnixListen):
        path = Path(listen.path)
        if path.is_socket():
            path.unlink()  # ours from before: the lock on the database says that its process is gone
        async with server.serve(intake, lambda runner: web.UnixSite(runner, listen.path)):
            path.chmod(SOCKET_MODE)  # the usual umask has kept others out until here
            yield str(listen)
    else:
        async with server.serve(intake, lambda runner: web.TCPSite(runner, listen.host, listen.port)) as name:
            yield name

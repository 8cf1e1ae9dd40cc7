"""The life of one configuration: it begins out of the database, works, and ends when another takes its place."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

import cambwatch
from cambwatch.adapters.apprise import Apprise
from cambwatch.adapters.camb import Camb
from cambwatch.adapters.metrics.counters import Metrics
from cambwatch.adapters.open_files import limit
from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.adapters.store.opening import Peers, Store
from cambwatch.adapters.store.tasks import TaskStore
from cambwatch.adapters.webhook import Webhook
from cambwatch.app.assembly import Outside, Parts, assemble
from cambwatch.app.sockets import serving
from cambwatch.config import Config
from cambwatch.config.reloading import Change
from cambwatch.core.cluster import News
from cambwatch.core.destinations import Destination
from cambwatch.core.open_files import MOST_CONNECTIONS, RESERVE, connection_limit
from cambwatch.core.redaction import Concealment
from cambwatch.core.secret import Secret
from cambwatch.loops.clock import Clock
from cambwatch.loops.cluster import Sharing
from cambwatch.loops.delivery.deliverer import Deliverer
from cambwatch.loops.delivery.senders import ByType
from cambwatch.loops.polling.poller import Poller
from cambwatch.loops.redacting import DiscreetSender, DiscreetSource
from cambwatch.loops.scheduler import Scheduler

GRACE_S = 10.0  # for what is in flight when we are told to stop
USER_AGENT = f"cambwatch/{cambwatch.__version__}"
RAISE = "raise the hard limit on open files (LimitNOFILE= in the unit, ulimit -Hn in a shell)"
TICK_S = 0.001  # the shortest that an alarm can be set to

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Around:
    """
    What outlives a configuration.

    *metrics* count from *started_at* on, the start of the process.
    *silences* is how long, in seconds, Camb wants to be asked nothing with a key.
    *begun* hears that all is at work, with the number of tasks that are watched.
    *change* gives the configuration that is to take the place of this one, None
    when the process is to end. *heard* is called when another node was given another one.
    *log_lines_dropped* returns the number of dropped log lines.
    """

    store: Store
    sockets: Sequence[socket.socket]
    clock: Clock
    started_at: datetime
    metrics: Metrics
    watchdog_s: float | None
    silences: dict[Secret, float]
    begun: Callable[[int], None]
    change: Callable[[], Awaitable[Change | None]]
    heard: Callable[[], None]
    log_lines_dropped: Callable[[], int]


async def generation(begun: Change, around: Around) -> Change | None:
    """
    Watch, poll and deliver as *begun* says until it is to change; then finish what is in flight, in at most GRACE_S.

    Returns what is to come after it. Raises StoreUnavailableError when the database
    cannot be had; then nothing was polled.
    """
    config, clock, metrics = begun.config, around.clock, around.metrics
    metrics.expect(destinations=config.destinations, accounts=config.accounts)
    async with (
        around.store.peers() as peers,
        around.store.open(metrics) as database,
        Scheduler(now=clock.now, lagged=metrics.lagged) as scheduler,
        Camb(config.accounts, user_agent=USER_AGENT, now=clock.now) as camb,
        Webhook(config.destinations, user_agent=USER_AGENT, now=clock.now, proxy=config.proxy) as webhook,
        Apprise(config.destinations) as apprise,
    ):
        concealment = Concealment(config.secrets())
        source = DiscreetSource(camb, concealment)
        sender = DiscreetSender(ByType(webhook, own={"apprise": apprise}), concealment)
        outside = Outside(
            config,
            database,
            peers,
            scheduler,
            source,
            sender,
            metrics,
            clock,
            around.started_at,
            around.log_lines_dropped,
        )
        parts = await assemble(
            outside, around.store, sockets=around.sockets, watchdog_s=around.watchdog_s, reloaded=around.heard
        )
        return await _work(parts, begun, around, peers)


async def _work(parts: Parts, begun: Change, around: Around, peers: Peers) -> Change | None:
    config = begun.config
    poller, deliverer, learning, sharing = parts.poller, parts.deliverer, parts.learning, parts.sharing
    if sharing is None:
        deliverer.take_up(config.destinations)
        poller.watch(await parts.tasks.watched(), spread=True)
    else:
        await sharing.join()
    await _watch_configured(config, poller, parts.tasks, around.clock)
    _warn_of_stranded(await parts.deliveries.waiting(), config.destinations)
    _keep_silent(config, poller, around.silences, around.clock)
    connections = _connections(config)
    async with serving(parts.intake, around.sockets, connections=connections), asyncio.TaskGroup() as group:
        for name, loop in parts.loops.items():
            group.create_task(loop.run(), name=name)
        ticked = asyncio.Event()
        parts.alarm("first tick", ticked).set(TICK_S)
        await ticked.wait()
        if not config.destinations:
            log.warning("config.doubtful", hint="there are no destinations: nobody will hear of anything")
        around.begun(poller.watching)
        if begun.tell:
            peers.tell(News(reload=True))
        # A crash of a loop cancels this wait.
        following = await (around.change() if sharing is None else _change_or_loss(config, around, sharing))
        until_s = asyncio.get_running_loop().time() + GRACE_S
        for working in (poller, parts.concluder, deliverer, learning, parts.retention):
            working.stop()
        if following is not None:
            await _drain(poller, deliverer, until_s=until_s)  # while callers are still answered
        for loop in parts.loops.values():
            loop.stop()
        parts.endings.tell_all()  # whoever waits for an end hears how it stands
    await _drain(poller, deliverer, until_s=until_s)
    await learning.save()  # also of what has ended since it was told to stop
    await parts.known_tasks.save()
    await _note_polls(poller, parts.tasks)
    if sharing is not None and following is None:
        await sharing.leave()
        await peers.flush()
    now_s = around.clock.monotonic()
    around.silences.update(
        {config.accounts[name].api_key: lane.silence_s(now_s) for name, lane in poller.lanes.items()}
    )
    return following


def _connections(config: Config) -> int:
    """How many connections the intake may hold, so that polls and deliveries never lack a descriptor."""
    open_files = limit()
    polls = sum(account.concurrency for account in config.accounts.values())
    posts = sum(destination.concurrency for destination in config.destinations.values())
    connections = connection_limit(open_files, polls=polls, posts=posts)
    if connections < MOST_CONNECTIONS:
        log.info("descriptors.limited", open_files=open_files, polls=polls, posts=posts, connections=connections,
                 hint=RAISE)  # fmt: skip
    if open_files < RESERVE + polls + posts + connections:
        log.warning("config.doubtful", hint=f"{polls + posts} requests may be under way at once (concurrency), but the "
                    f"limit on open files is {open_files}: lower concurrency, or {RAISE}")  # fmt: skip
    return connections


async def _watch_configured(config: Config, poller: Poller, tasks: TaskStore, clock: Clock) -> None:
    """Watch what *config* has new."""
    registered = await tasks.register(config.registrations, now=clock.now(), anew=())
    new = [one.task for one in registered if one.new]
    poller.watch(new)
    for task in new:
        log.info("task.registered", kind=task.key.kind, task_id=task.key.task_id, account=task.key.account,
                 name=task.name, source="yaml")  # fmt: skip


async def _change_or_loss(config: Config, around: Around, sharing: Sharing) -> Change | None:
    """What is to come next: *config* once more, under another id, where others have taken all that was held."""
    changed, lost = asyncio.ensure_future(around.change()), asyncio.ensure_future(sharing.lost.wait())
    try:
        await asyncio.wait((changed, lost), return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            around.store.renounce()
        return changed.result() if changed.done() else Change(config)
    finally:
        changed.cancel()
        lost.cancel()


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


async def _drain(poller: Poller, deliverer: Deliverer, *, until_s: float) -> None:
    """Wait for what is in flight, at most until *until_s* of the event loop's clock; what is not done then is cut."""
    try:
        async with asyncio.timeout_at(until_s):
            await asyncio.gather(poller.drain(), deliverer.drain())
    except TimeoutError:
        log.warning("service.cut_short", hint="what was in flight is done again after the next start")

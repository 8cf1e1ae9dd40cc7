"""Alarms ring in time and once; thousands of wishes cost nothing; nobody wakes up for nothing."""

import asyncio
import logging
import time
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, EVENT_JOB_MODIFIED
from events import hook, settings, watch
from structlog.testing import capture_logs

from cambwatch.app.process import SystemClock
from cambwatch.core.cluster import ClusterNode, ClusterSnapshot
from cambwatch.loops.cluster import Cluster
from cambwatch.loops.delivery.deliverer import Deliverer
from cambwatch.loops.scheduler import Scheduler

NODE = ClusterNode("a", accounts=frozenset(), destinations=frozenset())


class WallClock:
    """The machine's clock, which the test may set."""

    def __init__(self):
        self.ahead = timedelta(0)

    def __call__(self):
        return datetime.now(UTC) + self.ahead


@pytest.fixture
async def scheduler():
    level = logging.getLogger("apscheduler").level
    async with Scheduler(now=lambda: datetime.now(UTC)) as made:
        yield made
    logging.getLogger("apscheduler").setLevel(level)


def counted(scheduler, mask):
    """The events of APScheduler of the kinds in *mask*, from now on."""
    found = []
    scheduler._scheduler.add_listener(found.append, mask)
    return found


async def rings(wakeup_event):
    """When the kick comes, which is taken back; seconds of the loop's clock."""
    async with asyncio.timeout(10):
        await wakeup_event.wait()
    wakeup_event.clear()
    return asyncio.get_running_loop().time()


async def test_an_alarm_rings_at_the_earliest_instant_it_was_set_to(scheduler):
    """Later wishes, and wishes for nothing, leave that as it is; and it does not ring before."""
    wakeup_event = asyncio.Event()
    wakeup = scheduler.wakeup("it", wakeup_event)
    now_s = asyncio.get_running_loop().time()
    for pause_s in (60, 0.3, None, 0.2, 5):
        wakeup.set(pause_s)
    assert not wakeup_event.is_set()
    rung_s = await rings(wakeup_event)
    assert 0.2 <= rung_s - now_s < 5


async def test_it_is_told_how_late_the_event_loop_comes():
    """With every look at the clocks; whoever keeps the loop from turning shows."""
    lags, some = [], asyncio.Event()

    def lagged(lag_s):
        lags.append(lag_s)
        if len(lags) == 1:
            asyncio.get_running_loop().call_later(0.04, time.sleep, 0.3)  # which blocks the loop past the next look
        if len(lags) == 3:
            some.set()

    async with Scheduler(now=lambda: datetime.now(UTC), clock_check_s=0.05, lagged=lagged), asyncio.timeout(10):
        await some.wait()
    assert all(lag_s >= 0 for lag_s in lags)
    assert max(lags) > 0.2


async def test_an_alarm_that_has_rung_can_be_set_again(scheduler):
    """Also to a later instant than before, and any number of times."""
    wakeup_event = asyncio.Event()
    wakeup = scheduler.wakeup("it", wakeup_event)
    lost = counted(scheduler, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_ERROR)
    for pause_s in (*[0.001] * 50, 0.1):
        set_s = asyncio.get_running_loop().time()
        wakeup.set(pause_s)
        assert await rings(wakeup_event) - set_s >= pause_s
    assert lost == []


@pytest.mark.parametrize("pause_s", [0, -1, -1e9])
async def test_what_is_due_rings_at_once(scheduler, pause_s):
    """Without a way through the scheduler."""
    wakeup_event = asyncio.Event()
    scheduler.wakeup("it", wakeup_event).set(pause_s)
    assert wakeup_event.is_set()


async def test_alarms_do_not_ring_for_each_other(scheduler):
    first, second = asyncio.Event(), asyncio.Event()
    scheduler.wakeup("first", first).set(3600)
    scheduler.wakeup("second", second).set(0.05)
    await rings(second)
    assert not first.is_set()


async def test_thousands_of_wishes_move_the_job_a_few_times(scheduler):
    """A job is moved only when the new instant is the earliest; moving it is what costs."""
    wakeup_event = asyncio.Event()
    wakeup = scheduler.wakeup("it", wakeup_event)
    moved = counted(scheduler, EVENT_JOB_MODIFIED)
    for number in range(10_000):
        wakeup.set(100 + number % 100)
    assert len(moved) == 1


async def test_a_stalled_loop_loses_no_ring(scheduler):
    """However late the scheduler comes to look, there is no grace that is missed."""
    wakeup_event = asyncio.Event()
    lost = counted(scheduler, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES | EVENT_JOB_ERROR)
    scheduler.wakeup("it", wakeup_event).set(0.01)
    until_s = asyncio.get_running_loop().time() + 1.2
    while asyncio.get_running_loop().time() < until_s:
        pass
    await rings(wakeup_event)
    assert lost == []


async def test_a_clock_that_is_set_back_wakes_every_loop():
    """Each knows by another clock what is due; without this it would sleep on for as long as the clock was set back."""
    clock = WallClock()
    async with Scheduler(now=clock, clock_check_s=0.1) as scheduler:
        kicks = [asyncio.Event() for _ in range(3)]
        for number, wakeup_event in enumerate(kicks):
            scheduler.wakeup(str(number), wakeup_event).set(3600)
        clock.ahead = timedelta(hours=-1)
        with capture_logs() as logs:
            async with asyncio.timeout(10):
                await asyncio.gather(*(wakeup_event.wait() for wakeup_event in kicks))
    assert [(line["event"], line["seconds"]) for line in logs] == [("clock.jumped", -3600.0)]


async def test_a_ring_that_was_lost_is_made_up_for():
    """Should APScheduler forget a job, its loop is woken a little later, and only then."""
    async with Scheduler(now=lambda: datetime.now(UTC), clock_check_s=0.1) as scheduler:
        lost, later = asyncio.Event(), asyncio.Event()
        scheduler.wakeup("lost", lost).set(0.01)
        scheduler.wakeup("later", later).set(3600)
        scheduler._scheduler.remove_job("lost")
        async with asyncio.timeout(10):
            await lost.wait()
        assert not later.is_set()


async def test_a_repeated_function_chooses_its_next_run_or_keeps_the_interval(scheduler, until):
    ticks, pauses = [], iter((0.05, None, 60))

    async def work():
        ticks.append(asyncio.get_running_loop().time())
        return next(pauses)

    loop = scheduler.repeat("it", work, every_s=0.2, first_s=0)
    task = asyncio.create_task(loop.run())
    await until(lambda: len(ticks) == 3)
    loop.stop()
    await task
    first, second, third = ticks
    assert second - first >= 0.05
    assert third - second >= 0.2


async def test_a_repeated_function_is_not_run_by_a_wakeup_that_comes_too_early(scheduler, until):
    ticks = []

    async def work():
        ticks.append(None)

    loop = scheduler.repeat("it", work, every_s=60, first_s=0)
    task = asyncio.create_task(loop.run())
    for wakeup in scheduler.wakeups * 3:
        await asyncio.sleep(0)
        wakeup.wake()
    loop.run_now()
    await until(lambda: len(ticks) == 2)
    loop.stop()
    await task
    assert len(ticks) == 2


class NodesThatTakeOver:
    """A cluster's store for one node without tasks, whose lease others end once it has joined."""

    def __init__(self):
        self.renewals = 0

    async def renew(self):
        self.renewals += 1
        return ClusterSnapshot([NODE], tasks={}, destination_leases={}) if self.renewals == 1 else None

    async def breakers(self):
        return {}


async def test_a_lost_lease_is_noticed_as_soon_as_the_clock_jumps(until):
    """As after a suspend, which the monotonic clock does not count: the next renewal would come in an hour."""
    clock, store = WallClock(), NodesThatTakeOver()
    async with Scheduler(now=clock, clock_check_s=0.05) as scheduler:
        deliverer = Deliverer({}, None, None, breakers={}, meter=None, clock=SystemClock(), scheduler=scheduler)
        cluster = Cluster(
            NODE, store, poller=None, deliverer=deliverer, publish=lambda _: None, lease=timedelta(hours=3),
            clock=SystemClock(), scheduler=scheduler,
        )  # fmt: skip
        task = asyncio.create_task(cluster.loop.run())
        await until(lambda: store.renewals == 1)
        clock.ahead = timedelta(hours=1)
        with capture_logs():
            await until(cluster.lease_lost.is_set)
        cluster.loop.stop()
        await task


async def test_a_repeated_function_that_fails_ends_its_loop_and_what_it_holds(scheduler):
    released = asyncio.Event()

    async def work():
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one above
        await scheduler.repeat("it", work, every_s=60, first_s=0, on_stop=released.set).run()
    assert released.is_set()


async def test_an_idle_daemon_sleeps(daemon, camb, receivers, until):
    """A thousand tasks an hour from due: at most two rounds of the event loop a second, whatever asks for them."""
    made = await daemon(
        settings(polling={"interval": "1h", "max_interval": "2h"}, destinations={"hook": hook(receivers)})
    )
    tasks = [camb.add("dub", status="PENDING") for _ in range(1000)]
    await watch(made.api, "dub", *tasks)
    await until(lambda: all(camb.polls(task) for task in tasks))
    loop = asyncio.get_running_loop()
    # What follows from the last polls is over when nothing is ready for once.
    rounds = 0
    wait = loop._selector.select

    def count(timeout=None):
        nonlocal rounds
        rounds += 1
        return wait(timeout)

    async def quiet():
        nonlocal rounds
        rounds = 0
        await asyncio.sleep(2)
        return rounds <= 2 * 2 + 2  # and two of the test itself

    loop._selector.select = count
    try:
        await until(quiet, 20)
    finally:
        loop._selector.select = wait

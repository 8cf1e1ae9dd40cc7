"""What a poll costs the event loop, and when an end is looked at again that could not be written down."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from task_samples import START, pending, unasked
from test_poller_ages import NOON_S, Bench, until_then

from cambwatch.adapters.store.database import StoreUnavailableError
from cambwatch.core.cadence.policy import PollPolicy
from cambwatch.core.model import PendingReply
from cambwatch.loops.polling.account_queue import AccountQueue, WatchedTask
from cambwatch.loops.polling.poller import STORE_RETRY_S


async def test_polls_that_follow_each_other_share_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was begun goes on with whatever is due next."""
    bench = Bench(lambda _: PendingReply(), PollPolicy(interval=timedelta(hours=1), max_interval=timedelta(hours=1)))
    bench.poller.queues["default"] = AccountQueue(per_second=1e6, concurrency=4, now_s=NOON_S)
    answer = bench.camb.status

    async def takes_a_moment(key: object) -> object:
        await asyncio.sleep(0)
        return await answer(key)

    monkeypatch.setattr(bench.camb, "status", takes_a_moment)
    begun: set[str] = set()
    create_task = asyncio.create_task

    def counted(work: object, *, name: str) -> object:
        begun.add(f"{name} {len(begun)}")
        return create_task(work, name=name)  # type: ignore[arg-type]

    bench.poller.watch([pending(number=number) for number in range(1000)])
    working = create_task(bench.poller.run())
    monkeypatch.setattr("cambwatch.loops.polling.poller.asyncio.create_task", counted)
    async with asyncio.timeout(30):
        while len(bench.camb.asked) < 1000:  # noqa: ASYNC110 - a plain list has no event
            await asyncio.sleep(0)
        await bench.poller.drain()
    bench.poller.stop()
    await working
    assert len(begun) <= 4


@pytest.mark.parametrize(("interval_s", "again_s"), [(1, 1), (600, STORE_RETRY_S)])
async def test_an_end_that_could_not_be_written_is_looked_at_again_soon(interval_s: float, again_s: float) -> None:
    """Within seconds, however long the pauses of the task are: the database may be back by then."""
    interval = timedelta(seconds=interval_s)
    bench = Bench(until_then(0), PollPolicy(interval=interval, max_interval=timedelta(hours=1)))
    trouble = [StoreUnavailableError("locked", hint="wait")] * 3
    conclude = bench.concluder.conclude

    async def unless_in_trouble(*args: object, **more: object) -> bool:
        if trouble:
            raise trouble.pop()
        return await conclude(*args, **more)  # type: ignore[arg-type]

    bench.concluder.conclude = unless_in_trouble  # type: ignore[method-assign,assignment]
    bench.poller.watch([pending()])
    await bench.run(2000)
    assert bench.camb.asked == pytest.approx([0, again_s, 2 * again_s, 3 * again_s])
    assert len(bench.concluder.steps) == 1


def test_many_that_are_put_at_once_come_as_if_put_one_by_one() -> None:
    """Whatever their paces, and beside those that were there before."""
    entries = [(float(number * 37 % 101), float(1 + number * 13 % 50)) for number in range(200)]
    orders = []
    for together in (True, False):
        lane = AccountQueue(per_second=1e6, concurrency=1000, now_s=0)
        watches = [WatchedTask(pending(number=number), unasked()) for number in range(200)]
        due = [
            (watch, due_s, poll_interval_s) for watch, (due_s, poll_interval_s) in zip(watches, entries, strict=True)
        ]
        for watch, due_s, poll_interval_s in due[:50] if together else due:
            lane.put(watch, due_s=due_s, poll_interval_s=poll_interval_s)
        if together:
            lane.put_many(due[50:])
        order = []
        for now_s in range(102):
            while (taken := lane.take(float(now_s))) is not None:
                order.append(taken.task.id)
                lane.record_reply(taken, PendingReply(), now_s=0)
        orders.append(order)
    assert len(orders[0]) == 200
    assert orders[0] == orders[1]


async def test_of_a_task_that_is_watched_twice_in_one_go_the_last_counts() -> None:
    """As of one that is watched anew."""
    bench = Bench(until_then(1000))
    older = replace(pending(), registered_at=START - timedelta(hours=1))
    bench.poller.watch([older, pending()])
    await bench.run(12)
    assert bench.camb.asked == [0, 5, 10]

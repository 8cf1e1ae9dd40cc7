"""A stopped poller finishes the poll under way and starts no other."""

import asyncio

import pytest
from task_samples import pending
from test_poller_ages import NOON_S, Bench

from cambwatch.core.model import FinishedReply, PendingReply, PollReply, Status
from cambwatch.loops.polling.account_queue import AccountQueue


@pytest.mark.parametrize("reply", [PendingReply(), FinishedReply(Status.SUCCESS, 1)], ids=["pending", "finished"])
async def test_a_stopped_poller_starts_no_further_poll(reply: PollReply) -> None:
    bench: Bench

    def reply_after_stop(_: float) -> PollReply:
        bench.poller.stop()
        return reply

    bench = Bench(reply_after_stop)
    bench.poller.queues["default"] = AccountQueue(per_second=1e6, concurrency=1, now_s=NOON_S)
    bench.poller.watch([pending(number=number) for number in range(3)])
    async with asyncio.timeout(5):
        await bench.poller.run()
        await bench.poller.drain()
    assert len(bench.camb.asked) == 1

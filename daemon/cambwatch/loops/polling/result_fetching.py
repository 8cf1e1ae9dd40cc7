"""One request to a result endpoint, within the limits of the account."""

import asyncio
from typing import Protocol

from cambwatch.core.camb.result_replies import ResultReply
from cambwatch.core.camb.result_requests import ResultRequest
from cambwatch.core.camb.result_schedule import request_timeout_s
from cambwatch.core.model import Fault, UnavailableReply
from cambwatch.loops.clock import Clock
from cambwatch.loops.pause_log import log_reading
from cambwatch.loops.polling.account_queue import AccountQueue


class ResultSource(Protocol):
    """Makes the request."""

    async def result(self, account: str, request: ResultRequest) -> ResultReply: ...


async def request_result(
    source: ResultSource, account: str, request: ResultRequest, queue: AccountQueue, *, clock: Clock, until_s: float
) -> ResultReply:
    """
    Camb's reply to *request*. Unavailable where none comes by *until_s* of the monotonic clock.

    Spends the account's budget. Holds one of the account's places for results only for the
    time of the request.
    """
    async with queue.result_slots:
        now_s = clock.monotonic()
        wait_s = queue.reserve(now_s, within_s=until_s - now_s)
        while wait_s is None or wait_s > 0:
            if wait_s is None or clock.monotonic() + wait_s > until_s:
                return UnavailableReply(
                    Fault.RATE_LIMITED, detail="the request budget of the account does not allow it in time"
                )
            await asyncio.sleep(wait_s)
            wait_s = queue.paused_s(clock.monotonic())  # a 429 may have come meanwhile
        try:
            async with asyncio.timeout(request_timeout_s(until_s - clock.monotonic())):
                reply = await source.result(account, request)
        except TimeoutError:
            return UnavailableReply(Fault.TIMEOUT, detail="no answer in time")
    if isinstance(reply, UnavailableReply) and reply.reading is not None:
        log_reading(reply.reading, account=account)
    if isinstance(reply, UnavailableReply) and reply.fault is Fault.RATE_LIMITED:
        queue.slow_down(clock.monotonic())
        if reply.retry_after is not None:
            queue.pause_until(clock.monotonic() + reply.retry_after.total_seconds())
    return reply

"""One request to a result endpoint, within the limits of the account."""

import asyncio
from typing import Protocol

from cambwatch.core.camb.result_replies import ResultReply
from cambwatch.core.camb.result_requests import ResultRequest
from cambwatch.core.camb.result_schedule import try_limit_s
from cambwatch.core.model import Fault, Unavailable
from cambwatch.loops.clock import Clock
from cambwatch.loops.pause_log import log_reading
from cambwatch.loops.polling.account_queue import AccountLane


class ResultSource(Protocol):
    """Makes the request."""

    async def result(self, account: str, request: ResultRequest) -> ResultReply: ...


async def ask_once(
    source: ResultSource, account: str, request: ResultRequest, lane: AccountLane, *, clock: Clock, until_s: float
) -> ResultReply:
    """
    Camb's reply to *request*. Unavailable where none comes by *until_s* of the monotonic clock.

    Spends the account's budget. Holds one of the account's places for results only for the
    time of the request.
    """
    async with lane.result_places:
        now_s = clock.monotonic()
        wait_s = lane.reserve(now_s, within_s=until_s - now_s)
        while wait_s is None or wait_s > 0:
            if wait_s is None or clock.monotonic() + wait_s > until_s:
                return Unavailable(
                    Fault.RATE_LIMITED, detail="the request budget of the account does not allow it in time"
                )
            await asyncio.sleep(wait_s)
            wait_s = lane.silence_s(clock.monotonic())  # a 429 may have come meanwhile
        try:
            async with asyncio.timeout(try_limit_s(until_s - clock.monotonic())):
                reply = await source.result(account, request)
        except TimeoutError:
            return Unavailable(Fault.TIMEOUT, detail="no answer in time")
    if isinstance(reply, Unavailable) and reply.reading is not None:
        log_reading(reply.reading, account=account)
    if isinstance(reply, Unavailable) and reply.fault is Fault.RATE_LIMITED:
        lane.slow_down(clock.monotonic())
        if reply.retry_after is not None:
            lane.hold(clock.monotonic() + reply.retry_after.total_seconds())
    return reply

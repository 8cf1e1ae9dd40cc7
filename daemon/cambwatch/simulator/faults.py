"""Which polls go wrong, and how that looks on the wire."""

import asyncio
import contextlib
import hashlib
import socket
import struct
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from math import ceil
from typing import Literal, assert_never

from aiohttp import web

from cambwatch.simulator.script import FaultReply
from cambwatch.simulator.settings import Faults, RetryAfterForm, SimulatedFault

_OVERSIZE_BYTES = (1 << 20) + 1024
_PAGE = "<!doctype html><html><head><title>502 Bad Gateway</title></head><body>Please come back later.</body></html>"


def chance(seed: int, task_id: str, poll: int) -> float:
    """
    A number in [0, 1) that depends on nothing but the arguments.

    So the fate of the n-th poll of a task is the same whatever else is polled meanwhile.
    """
    digest = hashlib.blake2b(f"{seed} {poll} {task_id}".encode(errors="replace"), digest_size=6).digest()
    return int.from_bytes(digest) / (1 << 48)


def draw(shares: Sequence[tuple[SimulatedFault, float]], *, chance: float) -> SimulatedFault | None:
    """The mishap that *chance* in [0, 1) chooses among *shares*; None for the rest up to 1."""
    for fault, share in shares:
        if chance < share:
            return fault
        chance -= share
    return None


def retry_after(faults: Faults, *, now: datetime) -> dict[str, str]:
    """The header Retry-After, if there is to be one; a date is rounded up to its second."""
    seconds = faults.retry_after_seconds
    if seconds is None:
        return {}
    match faults.retry_after_form:
        case RetryAfterForm.SECONDS:
            return {"Retry-After": f"{seconds:.6g}"}
        case RetryAfterForm.DATE:
            until = now.timestamp() + seconds
            date = now.replace(microsecond=0) + timedelta(seconds=ceil(until) - int(now.timestamp()))
            return {"Retry-After": format_datetime(date, usegmt=True)}
    assert_never(faults.retry_after_form)


async def apply_fault(
    reply: FaultReply,
    request: web.Request,
    *,
    faults: Faults,
    closing: asyncio.Event,
    now: datetime,
) -> web.Response | None:
    """
    Let what *reply* names befall *request*.

    None means that the right answer is to follow (slow). *closing* ends every wait.
    Where the connection is gone, the answer goes nowhere.
    """
    match reply.fault:
        case SimulatedFault.RESET:
            _reset(request)
        case SimulatedFault.TRUNCATED:
            _truncate(request)
        case SimulatedFault.SLOW:
            await _wait(faults.slow_seconds if reply.seconds is None else reply.seconds, closing)
            return None
        case SimulatedFault.HANG:
            await _wait(reply.seconds, closing)
            if request.transport is not None:
                request.transport.abort()
        case fault:
            return _wrong_answer(fault, faults, now=now)
    return web.Response()


WrongAnswerFault = Literal[
    SimulatedFault.RATE_LIMITED,
    SimulatedFault.SERVER_ERROR,
    SimulatedFault.HTML,
    SimulatedFault.OVERSIZED,
    SimulatedFault.UNKNOWN_WORD,
]


def _wrong_answer(fault: WrongAnswerFault, faults: Faults, *, now: datetime) -> web.Response:
    """A whole answer that says nothing about the task."""
    match fault:
        case SimulatedFault.RATE_LIMITED:
            return web.json_response({"detail": "Too many requests"}, status=429, headers=retry_after(faults, now=now))
        case SimulatedFault.SERVER_ERROR:
            document = {"detail": "Service unavailable"}
            return web.json_response(document, status=503, headers=retry_after(faults, now=now))
        case SimulatedFault.HTML:
            return web.Response(text=_PAGE, content_type="text/html")
        case SimulatedFault.OVERSIZED:
            padding = b" " * _OVERSIZE_BYTES  # legal in JSON: only the size is wrong
            return web.Response(body=b'{"status": "PENDING"}' + padding, content_type="application/json")
        case SimulatedFault.UNKNOWN_WORD:
            return web.json_response({"status": "REFRACTING", "run_id": None})
    assert_never(fault)


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock.family != socket.AF_UNIX:
        # Closing with a linger time of 0 discards what is unsent and sends RST instead of FIN.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _truncate(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    transport.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 400\r\n\r\n" + b'{"status": "PEND'
    )
    transport.close()  # sends what is written, then FIN


async def _wait(seconds: float | None, closing: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closing.wait(), seconds)

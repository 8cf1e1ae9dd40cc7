"""Limits what clients may use: the memory of request bodies and the requests per second."""

import math
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cambwatch.core.addresses import is_loopback
from cambwatch.web.problem_details import ProblemError


class MemoryLimit:
    """*reserved* connection has so many bytes for itself; beyond that all have *shared* bytes together."""

    def __init__(self, *, reserved: int, shared: int) -> None:
        self._each = reserved
        self._left = shared

    def resize(self, before: int, after: int) -> bool:
        """One has *after* bytes instead of *before*; False, and nothing changed, where that is too much."""
        more = max(after - self._each, 0) - max(before - self._each, 0)
        if more > self._left:
            return False
        self._left -= more
        return True


class MemoryReservation:
    """What one connection has of a room."""

    __slots__ = ("_limit", "_size")

    def __init__(self, limit: MemoryLimit) -> None:
        self._limit = limit
        self._size = 0

    def grow(self, size: int) -> bool:
        """Have so many bytes more; False, and none of them, where there is no room."""
        if not self._limit.resize(self._size, self._size + size):
            return False
        self._size += size
        return True

    def shrink(self, size: int | None = None) -> None:
        """Have so many bytes less, at least none; None: have none."""
        rest = 0 if size is None else max(self._size - size, 0)
        self._limit.resize(self._size, rest)
        self._size = rest


DEFAULT_PER_SECOND = 200.0  # for clients of other machines
BURST_S = 1.0  # the requests of so long may come at once
MOST_CLIENTS = 10_000  # that are remembered


class RateLimiter:
    """
    A bucket of tokens for each client, filled *per_second*, holding those of BURST_S.

    What is kept of a client is the instant at which its bucket will be full again.
    """

    def __init__(self, per_second: float, *, monotonic: Callable[[], float]) -> None:
        self._token_s = 1 / per_second
        self._burst_s = max(BURST_S, self._token_s)  # at least one token, however rare they are
        self._monotonic = monotonic
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def take(self, client: str) -> float:
        """Take a token of *client*; returns the seconds until there is one, 0 where it was taken."""
        now_s = self._monotonic()
        full_at_s = max(self._full_at_s.get(client, now_s), now_s) + self._token_s
        missing_s = full_at_s - now_s - self._burst_s
        if missing_s > 1e-9:  # sums of fractions are not exact
            return missing_s
        self._full_at_s[client] = full_at_s
        self._full_at_s.move_to_end(client)
        if len(self._full_at_s) > MOST_CLIENTS:
            self._full_at_s.popitem(last=False)
        return 0.0


def client_of(peer: object) -> str | None:
    """
    The machine that is connected from *peer*, an address as sockets have it; None: this one.

    Of IPv6 it is the network of 64 bits, because a machine has all of its addresses.
    """
    match peer:
        case (str() as host, *_):
            address = ip_address(host.partition("%")[0])
        case _:  # a Unix socket
            return None
    if is_loopback(str(address)):
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, 64), strict=False))


def rate_limit(per_second: float | None, *, monotonic: Callable[[], float]) -> Middleware:
    """
    The middleware that lets *per_second* requests of each client through.

    None: DEFAULT_PER_SECOND for other machines, and no limit for this one, whose
    programs all come from one address: one of them would keep out all others.
    """
    limiter = RateLimiter(per_second or DEFAULT_PER_SECOND, monotonic=monotonic)
    allowed = per_second or DEFAULT_PER_SECOND

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = None if request.transport is None else request.transport.get_extra_info("peername")
        client = client_of(peer)
        if client is None and per_second is not None:
            client = "this machine"
        if client is not None and (wait_s := limiter.take(client)):
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"more than {allowed:g} requests a second (http.requests_per_second): one request takes 1000 tasks",
                headers={"retry-after": str(math.ceil(wait_s))},
            )
        return await handler(request)

    return limit

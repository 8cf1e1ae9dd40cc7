"""Outbound HTTP: one POST to a receiver, one attempt to tell of."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Self

import aiohttp
from yarl import URL

from cambwatch.core.addresses import is_public
from cambwatch.core.classify import classify
from cambwatch.core.destinations import Destination
from cambwatch.core.formats import Message
from cambwatch.core.model import Attempt, Outcome
from cambwatch.core.replies import text
from cambwatch.core.retry import http_date, retry_after

LONGEST_ANSWER = 64 << 10  # bytes read of a receiver's answer
EXCERPT = 1000  # characters of it that are kept


class RefusedAddressError(OSError):
    """
    The receiver's name leads to *address*, which its destination may not reach.

    The text never differs: of several errors with one text the dialler raises the
    first, of others a summary in which this class is lost.
    """

    def __init__(self, address: str) -> None:
        super().__init__("not a public address")
        self.address = address


class Webhook:
    """
    Posts to *destinations*; use as a context manager.

    Redirects are not followed; neither proxy variables nor .netrc change where a
    request goes; a destination without allow_private reaches public addresses only,
    checked where the socket is made, whatever a name resolved to before.
    """

    def __init__(
        self, destinations: Mapping[str, Destination], *, user_agent: str, now: Callable[[], datetime]
    ) -> None:
        self._destinations = destinations
        self._user_agent = user_agent
        self._now = now
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        for name, destination in self._destinations.items():
            factory = None if destination.allow_private else _public_socket
            self._sessions[name] = aiohttp.ClientSession(
                # A session for each: a receiver that hangs holds nobody else's connections.
                connector=aiohttp.TCPConnector(limit=destination.concurrency, ttl_dns_cache=60, socket_factory=factory),
                headers={"user-agent": self._user_agent, "accept-encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=destination.timeout.total_seconds()),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions.values():
            await session.close()

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt:
        """
        Make attempt *number*, in at most the destination's timeout, body of the answer included.

        Never raises for anything that the receiver or the network does.
        """
        started = time.perf_counter()

        def attempt(outcome: Outcome, **more: Any) -> Attempt:
            return Attempt(number, outcome, took_ms=round((time.perf_counter() - started) * 1000), **more)

        try:
            async with self._sessions[destination.name].post(
                URL(destination.url.reveal()), data=message.body, headers=message.headers, allow_redirects=False
            ) as response:
                body = await _read(response)
                wish = response.headers.get("retry-after")
                return attempt(
                    classify(destination.type, response.status, body, has_retry_after=wish is not None),
                    http_status=response.status,
                    # By the receiver's own clock: a date in Retry-After means nothing by another.
                    retry_after=retry_after(wish, now=http_date(response.headers.get("date")) or self._now()),
                    detail=_excerpt(body),
                )
        except TimeoutError:
            return attempt(
                Outcome.TRANSIENT, detail=f"no complete answer within {destination.timeout.total_seconds():g} s"
            )
        except aiohttp.ClientConnectorDNSError as error:
            return attempt(Outcome.TRANSIENT, detail=f"{error.host} cannot be resolved")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            refused = _cause(error, RefusedAddressError)
            if refused is not None:
                return attempt(
                    Outcome.POLICY,
                    detail=f"{refused.address} is not a public address; "
                    "set allow_private: true on this destination if that is meant",
                )
            return attempt(Outcome.TRANSIENT, detail=_without_url(error))
        except ValueError:  # yarl's word on a URL; its text would show the URL, which is a secret
            return attempt(Outcome.POLICY, detail="the URL of this destination is not one that can be posted to")


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    """The socket for an address out of getaddrinfo, if it may be dialled; raises RefusedAddressError."""
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise RefusedAddressError(address[0])
    return socket.socket(family, kind, protocol)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The first LONGEST_ANSWER bytes of the body; the connection is given up where there are more."""
    chunks = []
    size = 0
    while size < LONGEST_ANSWER and (chunk := await response.content.read(LONGEST_ANSWER - size)):
        chunks.append(chunk)
        size += len(chunk)
    if size >= LONGEST_ANSWER:
        response.close()
    return b"".join(chunks)


def _excerpt(body: bytes) -> str | None:
    words = text(body[: 4 * EXCERPT].decode("utf-8", "replace"))
    return None if words is None else words[:EXCERPT]


def _cause(error: BaseException | None, wanted: type[RefusedAddressError]) -> RefusedAddressError | None:
    """The *wanted* error somewhere behind *error*: aiohttp and its dialler wrap what a socket raises."""
    waiting = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, wanted):
            return one
        seen.add(id(one))
        waiting += [one.__cause__, one.__context__, getattr(one, "os_error", None)]
        waiting += getattr(one, "exceptions", [])
    return None


def _without_url(error: BaseException) -> str:
    """What went wrong, in words that hold no URL: the path of a webhook is its secret."""
    if isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or str(error.os_error) or type(error.os_error).__name__
        return f"cannot connect to {error.host}:{error.port} ({why})"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the receiver closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the receiver's answer was cut off"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the receiver's answer is no HTTP that we understand"
    return getattr(error, "strerror", None) or type(error).__name__

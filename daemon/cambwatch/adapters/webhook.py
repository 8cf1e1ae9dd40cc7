"""Outbound HTTP: one POST to a receiver, one attempt to tell of."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import aiohttp
from yarl import URL

from cambwatch.adapters.http.network_errors import as_configured, describe, not_http, reason, too_large
from cambwatch.adapters.http.response_head import (
    LARGEST_HEAD,
    MOST_FIELDS,
    ResponseHead,
    WatchedRequest,
    decode,
    name_encoding,
    read_body,
)
from cambwatch.core.addresses import is_public, private_host
from cambwatch.core.delivery.classification import classify, classify_connect, explain_redirect
from cambwatch.core.delivery.retry import read_accepts_again_after, requested_pause
from cambwatch.core.formats import Message
from cambwatch.core.model import Attempt, Outcome
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination
from cambwatch.core.text import one_line, truncate

EXCERPT = 1000  # characters kept of a receiver's answer
ACCEPTED_BODY_TIMEOUT_S = (
    1.0  # for the body of an answer that has accepted the message already, so that its connection can be used again
)

_PROXY_LOGIN_REFUSED = "the egress proxy does not take the user and password in egress_proxy, or wants some (HTTP 407)"


class RefusedAddressError(OSError):
    """
    The receiver's name leads to *address*, which its destination may not reach.

    The text never differs: of several errors with one text the dialler raises the
    first, of others a summary in which this class is lost.
    """

    def __init__(self, address: str) -> None:
        super().__init__("not a public address")
        self.address = address


@dataclass(frozen=True, slots=True)
class _EgressProxy:
    """
    The way out: *url* has neither user nor password, *headers* have them.

    *hidden* are the texts that give the password away.
    """

    url: URL
    headers: Mapping[str, str]
    hidden: Sequence[str]

    @classmethod
    def parse(cls, secret: Secret) -> Self:
        """From `http://user:password@host:port`, of which user and password may be missing."""
        url = URL(secret.reveal())
        if url.user is None and url.password is None:
            return cls(url, {}, ())
        password = url.password or ""
        authorization = aiohttp.encode_basic_auth(url.user or "", password)
        hidden = (authorization.removeprefix("Basic "), *([password] if password else []))
        return cls(url.with_user(None), {"proxy-authorization": authorization}, hidden)

    def request_options(self, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
        """What aiohttp is to be told of a request for *url* with *headers*, so that only the proxy has the password."""
        if url.scheme == "https":
            return {"headers": headers, "proxy": self.url, "proxy_headers": self.headers}
        return {"headers": {**headers, **self.headers}, "proxy": self.url}  # what has no tunnel is read by the proxy


class WebhookSender:
    """
    Posts to *destinations*; use as a context manager.

    Redirects are not followed; neither proxy variables nor .netrc change where a
    request goes; a destination without allow_private reaches public addresses only,
    checked where the socket is made, whatever a name resolved to before.

    With *proxy* every request goes through that: an https one in a tunnel (CONNECT), a
    plain one in absolute form. Then names are resolved there and judged there; here
    only an address that stands in a URL itself is.
    """

    def __init__(
        self,
        destinations: Mapping[str, Destination],
        *,
        user_agent: str,
        now: Callable[[], datetime],
        proxy: Secret | None = None,
    ) -> None:
        self._destinations = destinations
        self._user_agent = user_agent
        self._now = now
        self._proxy = _EgressProxy.parse(proxy) if proxy else None
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        for name, destination in self._destinations.items():
            # With a proxy the socket leads to that, which may well be private.
            factory = None if destination.allow_private or self._proxy else _public_socket
            self._sessions[name] = aiohttp.ClientSession(
                # A session for each: a receiver that hangs holds nobody else's connections.
                connector=aiohttp.TCPConnector(limit=destination.concurrency, ttl_dns_cache=60, socket_factory=factory),
                headers={"user-agent": self._user_agent, "accept-encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=destination.timeout.total_seconds()),
                cookie_jar=aiohttp.DummyCookieJar(),
                request_class=WatchedRequest,
                auto_decompress=False,  # with an unknown encoding, aiohttp would drop the whole answer
                max_line_size=LARGEST_HEAD,
                max_field_size=LARGEST_HEAD,
                max_headers=MOST_FIELDS,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions.values():
            await session.close()

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt:
        """
        Make attempt *number*, in at most the destination's timeout, body of the answer included.

        For the type webhook, a complete response head decides, whatever happens to the body. For a chat, the body
        counts as well, as far as it arrives. The attempt has the status of every complete head. Never raises for
        anything that the receiver or the network does.
        """
        started = time.perf_counter()

        def attempt(outcome: Outcome, **more: Any) -> Attempt:
            return Attempt(number, outcome, took_ms=round((time.perf_counter() - started) * 1000), **more)

        response = ResponseHead()
        body = b""
        trouble: str | None = "only the head of the response could be read: the rest is not valid HTTP"
        try:
            url = as_configured(destination.url.reveal())
            request_options: dict[str, Any] = {"headers": message.headers}
            if self._proxy:
                if not destination.allow_private:
                    _check_literal(url)
                request_options = self._proxy.request_options(url, message.headers)
            async with self._sessions[destination.name].post(
                url, data=message.body, allow_redirects=False, middlewares=(response.watch,), **request_options
            ) as incoming:
                accepted = destination.type == "webhook" and 200 <= incoming.status < 300
                body, trouble = await read_body(
                    incoming, response, within_s=ACCEPTED_BODY_TIMEOUT_S if accepted else None
                )
        except (TimeoutError, aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            if response.status is None:
                outcome, detail = self._failure(error, destination, response)
                return attempt(outcome, detail=detail)
        if response.status is None:  # aiohttp also accepts a head that starts with RTSP/
            return attempt(Outcome.TRANSIENT, detail=not_http(self._peer))
        decoded = decode(body, response.headers.get("content-encoding"))
        words = body if decoded is None else decoded
        requested = requested_pause(response.headers, service=destination.type, now=self._now())
        has_retry_after = "retry-after" in response.headers
        return attempt(
            classify(destination.type, response.status, words, has_retry_after=has_retry_after),
            http_status=response.status,
            retry_after=requested.pause,
            reading=requested.reading,
            detail=self._detail(destination, response, decoded) or trouble,
            accepts_again_after=read_accepts_again_after(response.headers),
        )

    def _detail(self, destination: Destination, response: ResponseHead, body: bytes | None) -> str | None:
        """The explanation of a redirect, else the beginning of the *body*; None if it is empty."""
        url, status = destination.url.reveal(), response.status or 0
        if redirect := explain_redirect(status, response.headers.get("location"), url=url):
            return redirect
        hidden: Sequence[str] = ()
        if self._proxy and url.lower().startswith("http:"):  # without a tunnel, the proxy itself may answer
            if status == 407:
                return _PROXY_LOGIN_REFUSED
            hidden = self._proxy.hidden
        if body is None:
            return name_encoding(response.headers.get("content-encoding"))
        return _excerpt(body, hidden=hidden)

    @property
    def _peer(self) -> str:
        return "the egress proxy or the receiver" if self._proxy else "the receiver"

    def _failure(self, error: Exception, destination: Destination, response: ResponseHead) -> tuple[Outcome, str]:
        """The outcome and detail of an attempt that ended with *error*, without a response status."""
        refused = _cause(error, RefusedAddressError)
        if refused is not None:
            words = "is not a public address; set allow_private: true on this destination if that is meant"
            return Outcome.POLICY, f"{refused.address} {words}"
        if response.too_large:
            return Outcome.TRANSIENT, too_large(self._peer)
        match error:
            case TimeoutError():
                through = " through the egress proxy" if self._proxy else ""
                within = f"{destination.timeout.total_seconds():g} s"
                return Outcome.TRANSIENT, f"no complete answer{through} within {within}"
            case aiohttp.ClientConnectorDNSError() if self._proxy:  # only the proxy's own name is resolved here
                return Outcome.OURS, f"{error.host}, the name of the egress proxy, cannot be resolved"
            case aiohttp.ClientProxyConnectionError():
                why = reason(error.os_error)
                return Outcome.OURS, f"cannot connect to the egress proxy at {error.host}:{error.port} ({why})"
            case aiohttp.ClientHttpProxyError():
                url = as_configured(destination.url.reveal())
                return _connect_refusal(error.status, f"{url.host}:{url.port}")
            case aiohttp.ClientConnectorError():  # includes certificate errors, which are also ValueErrors
                return Outcome.TRANSIENT, describe(error, self._peer)
            case ValueError() | aiohttp.NonHttpUrlClientError():
                return Outcome.POLICY, describe(error, self._peer)
        return Outcome.TRANSIENT, describe(error, self._peer)


def _connect_refusal(http_status: int, receiver: str) -> tuple[Outcome, str]:
    """What it means that the proxy answered CONNECT for *receiver* with *http_status*."""
    outcome = classify_connect(http_status)
    match outcome:
        case Outcome.OURS:
            return outcome, _PROXY_LOGIN_REFUSED
        case Outcome.POLICY:
            return outcome, f"the egress proxy refuses to lead to {receiver} (HTTP {http_status}): allow it there"
    return outcome, f"the egress proxy does not reach {receiver} (HTTP {http_status})"


def _check_literal(url: URL) -> None:
    """Raise RefusedAddressError where the host of *url* is private by its text; other names only the proxy resolves."""
    if (private := private_host(url.raw_host or "")) is not None:
        raise RefusedAddressError(private)


def _public_socket(info: tuple[Any, ...]) -> socket.socket:
    """The socket for an address out of getaddrinfo, if it may be dialled; raises RefusedAddressError."""
    family, kind, protocol, _, address = info
    if not is_public(address[0]):
        raise RefusedAddressError(address[0])
    return socket.socket(family, kind, protocol)


def _excerpt(body: bytes, *, hidden: Sequence[str] = ()) -> str | None:
    words = one_line(body[: 4 * EXCERPT].decode("utf-8", "replace"))
    if words is None:
        return None
    for secret in hidden:
        words = words.replace(secret, "<secret>")
    return truncate(words, EXCERPT)


def _cause(error: BaseException | None, wanted: type[RefusedAddressError]) -> RefusedAddressError | None:
    """The *wanted* error somewhere behind *error*: aiohttp and its dialler wrap what a socket raises."""
    unvisited = [error]
    seen: set[int] = set()
    while unvisited:
        one = unvisited.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, wanted):
            return one
        seen.add(id(one))
        unvisited += [one.__cause__, one.__context__, getattr(one, "os_error", None)]
        unvisited += getattr(one, "exceptions", [])
    return None

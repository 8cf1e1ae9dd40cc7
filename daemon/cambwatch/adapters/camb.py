"""Camb's API over HTTP: one request, one reply, within one time limit."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp.hdrs import DATE, RETRY_AFTER
from yarl import URL

from cambwatch.adapters.http.network_errors import as_configured, describe
from cambwatch.adapters.http.response_head import LARGEST_HEAD
from cambwatch.core.accounts import Account
from cambwatch.core.camb import replies
from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.link_scan import SLICE, LinkScan
from cambwatch.core.camb.result_requests import LONGEST_DOCUMENT, ResultRead, ResultReply, ResultRequest, read_result
from cambwatch.core.delivery.retry import http_date
from cambwatch.core.model import Fault, Json, PollReply, TaskKey, UnavailableReply

RESOLUTION_S = 0.005  # limits that run out so close together are one wake-up


class TimeoutPool:
    """
    Gives each thing that is begun *limit_s* seconds.

    All have the same limit, so they reach it in the order in which they began, and only
    the first needs a timer of the event loop. Thousands a second then cost hardly one.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._active: dict[PooledTimeout, None] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Cut nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, timeout: "PooledTimeout", loop: asyncio.AbstractEventLoop) -> None:
        """*timeout* is under way from now on."""
        self._active[timeout] = None
        if self._timer is None:
            self._timer = loop.call_at(timeout.expires_at_s, self._cancel_expired, loop)

    def remove(self, timeout: "PooledTimeout") -> None:
        """*timeout* is over."""
        self._active.pop(timeout, None)

    def _cancel_expired(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        expires_at_s = loop.time() + RESOLUTION_S
        while self._active:
            first = next(iter(self._active))
            if (
                first.expires_at_s > expires_at_s
            ):  # what was under way when the timer was set has come to its end meanwhile
                self._timer = loop.call_at(first.expires_at_s, self._cancel_expired, loop)
                return
            del self._active[first]
            first.cancel_task()


class PooledTimeout:
    """A block, for `with`, once: TimeoutError out of it where it takes too long, as out of asyncio.timeout()."""

    __slots__ = ("_cancelling", "_expired", "_task", "_timeouts", "expires_at_s")

    def __init__(self, timeouts: TimeoutPool) -> None:
        self._timeouts = timeouts
        self._expired = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("there is no task that could be cut")
        self._task, self._cancelling = task, task.cancelling()
        self.expires_at_s = loop.time() + self._timeouts.limit_s
        self._timeouts.add(self, loop)

    def cancel_task(self) -> None:
        """Its time is over."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._expired:
            self._timeouts.remove(self)
        # Where somebody else has cancelled the task as well, it is theirs to say what follows.
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


MOST_READ = 64 << 20  # bytes of one result; the rest is not read


async def read_result_body(response: aiohttp.ClientResponse) -> bytes | ResultRead | UnavailableReply:
    """
    The body where it has at most LONGEST_DOCUMENT bytes, else its links.

    Holds at most LONGEST_DOCUMENT bytes and yields to the event loop after each slice.
    """
    announced = response.content_length
    chunks: list[bytes] = []
    if announced is None or announced <= LONGEST_DOCUMENT:
        size = 0
        while size <= LONGEST_DOCUMENT and not response.content.at_eof():
            chunk = await response.content.readany()
            chunks.append(chunk)
            size += len(chunk)
        if size <= LONGEST_DOCUMENT:
            return b"".join(chunks)
    scan, pending = LinkScan(), bytearray()
    chunks.reverse()
    while chunks:
        pending += chunks.pop()
        await _feed(scan, pending)
    while not (scan.broken or response.content.at_eof() or scan.size > MOST_READ):
        pending += await response.content.readany()
        await _feed(scan, pending)
    scan.feed(bytes(pending))
    whole = response.content.at_eof()
    response.close()  # the rest is not read
    return scan.result(announced=announced, longest=LONGEST_DOCUMENT, whole=whole)


async def _feed(scan: LinkScan, pending: bytearray) -> None:
    """Feed whole slices: a body that arrives byte by byte would be scanned again with each byte."""
    while len(pending) >= SLICE:
        scan.feed(bytes(pending[:SLICE]))
        del pending[:SLICE]
        await asyncio.sleep(0)


MAX_HEADERS = 256  # of the head of an answer, each of LARGEST_HEAD bytes at most
LARGE_RESULT_BYTES = 256 * 1024  # bytes of a result that are not worked through in the event loop

_NO_AIOHTTP_TIMEOUT = aiohttp.ClientTimeout(total=None)  # aiohttp sets a timer for each request; we have one for all


Body = TypeVar("Body")


class _HttpAnswer(NamedTuple, Generic[Body]):
    """*retry_after_header* is its Retry-After, *at* when it was given."""

    http_status: int
    body: Body
    retry_after_header: str | None
    at: datetime


class _AccountSession(NamedTuple):
    """How one account asks; *prefix* is the path of *base* without a slash at its end."""

    session: aiohttp.ClientSession
    base: URL
    prefix: str
    timeouts: TimeoutPool


class CambClient:
    """
    Asks Camb on behalf of *accounts*; use as a context manager.

    Redirects are not followed, because the key would go with them; neither proxy
    variables nor .netrc change where a request goes.
    """

    def __init__(self, accounts: Mapping[str, Account], *, user_agent: str, now: Callable[[], datetime]) -> None:
        self._accounts = accounts
        self._user_agent = user_agent
        self._now = now
        self._account_sessions: dict[str, _AccountSession] = {}

    async def __aenter__(self) -> Self:
        for name, account in self._accounts.items():
            session = aiohttp.ClientSession(
                # Polls and results together: who comes when all are under way waits in line here.
                connector=aiohttp.TCPConnector(limit=account.concurrency, ttl_dns_cache=60),
                headers={
                    "x-api-key": account.api_key.reveal(),
                    "user-agent": self._user_agent,
                    "accept-encoding": "identity",  # a status is smaller than its compression is worth
                },
                timeout=_NO_AIOHTTP_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=LARGEST_HEAD,
                max_field_size=LARGEST_HEAD,
                max_headers=MAX_HEADERS,
            )
            timeouts = TimeoutPool(account.timeout.total_seconds())
            base = as_configured(account.base_url)
            self._account_sessions[name] = _AccountSession(session, base, base.raw_path.rstrip("/"), timeouts)
        return self

    async def __aexit__(self, *_: object) -> None:
        for account_session in self._account_sessions.values():
            account_session.timeouts.close()
            await account_session.session.close()

    async def status(self, key: TaskKey) -> PollReply:
        """
        What Camb says of the task, in at most the account's timeout.

        Never raises for anything that Camb or the network does.
        """
        kind = KINDS[key.kind]
        account_session = self._account_sessions[key.account]
        path = account_session.prefix + kind.status_path.replace("{task_id}", _quote_task_id(key.task_id))
        # Half of what it costs to parse the whole; no two of many tasks have one URL, so that no cache would help.
        url = account_session.base.with_path(path, encoded=True)
        answer = await self._request(account_session, "GET", url, _read)
        if isinstance(answer, UnavailableReply):
            return answer
        return replies.parse_poll_reply(
            kind, answer.http_status, answer.body, retry_after_header=answer.retry_after_header, now=answer.at
        )

    async def result(self, account: str, request: ResultRequest) -> ResultReply:
        """
        What Camb says of one result, in at most the account's timeout.

        Never raises for what Camb or the network does.
        """
        url = URL(self._accounts[account].base_url + request.target, encoded=True)
        answer = await self._request(
            self._account_sessions[account], request.method, url, _read_result, body=dict(request.body) or None
        )
        if isinstance(answer, UnavailableReply):
            return answer
        body = answer.body
        if not isinstance(body, bytes):
            return body
        if len(body) < LARGE_RESULT_BYTES:
            return read_result(answer.http_status, body, retry_after_header=answer.retry_after_header, now=answer.at)
        return await asyncio.to_thread(
            read_result, answer.http_status, body, retry_after_header=answer.retry_after_header, now=answer.at
        )

    def endpoint(self, account: str, request: ResultRequest) -> str | None:
        """The absolute URL of *request*; None for an account that the configuration does not have any more."""
        known = self._accounts.get(account)
        return None if known is None else known.base_url + request.target

    async def _request(
        self,
        account_session: _AccountSession,
        method: str,
        url: URL,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Body]],
        *,
        body: Json = None,
    ) -> _HttpAnswer[Body] | UnavailableReply:
        """The answer, with what *read* makes of its body, or why there is none."""
        try:
            with PooledTimeout(account_session.timeouts):
                response = await account_session.session.request(method, url, json=body, allow_redirects=False)
                try:
                    content = await read(response)
                except BaseException:
                    response.close()
                    raise
            retry_after_header = response.headers.get(RETRY_AFTER)
            # By Camb's own clock: a date in Retry-After means nothing by another.
            at = http_date(response.headers.get(DATE)) if retry_after_header else None
            return _HttpAnswer(response.status, content, retry_after_header, at or self._now())
        except TimeoutError:
            return UnavailableReply(Fault.TIMEOUT, detail="no answer in time")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return UnavailableReply(_fault(error), detail=describe(error, "Camb"))


def _quote_task_id(task_id: str) -> str:
    """*task_id* as a part of a path. Camb's are UUIDs, which need no look at each character."""
    plain = task_id.isascii() and task_id.replace("-", "").isalnum()
    return task_id if plain else quote(task_id, safe="")


async def _read_result(response: aiohttp.ClientResponse) -> bytes | ResultRead | UnavailableReply:
    """The body of an error, else the result."""
    return await (read_result_body(response) if 200 <= response.status < 300 else _read(response))


async def _read(response: aiohttp.ClientResponse, largest: int = replies.LONGEST_BODY) -> bytes:
    """The body, or its first *largest* + 1 bytes: what is larger than allowed is not read on."""
    content = response.content
    if content.is_eof():  # all of it came with the head, and is no more than aiohttp reads at once
        return content.read_nowait()
    announced = response.content_length
    if announced is not None and announced > largest:
        response.close()
        return b" " * (largest + 1)
    chunks = []
    size = 0
    while size <= largest and not response.content.at_eof():
        chunk = await response.content.readany()
        chunks.append(chunk)
        size += len(chunk)
    if size > largest:
        response.close()  # the rest is not needed
    return b"".join(chunks)


def _fault(error: BaseException) -> Fault:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return Fault.DNS
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Fault.TLS
        case aiohttp.ClientPayloadError():
            return Fault.UNREADABLE
    return Fault.CONNECTION

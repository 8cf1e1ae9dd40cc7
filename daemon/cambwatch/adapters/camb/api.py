"""Camb.ai over HTTP: one request, one report."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Generic, NamedTuple, Self, TypeVar
from urllib.parse import quote

import aiohttp
from aiohttp.hdrs import DATE, RETRY_AFTER
from yarl import URL

from cambwatch.adapters.camb.large_results import read_result_body
from cambwatch.adapters.camb.timeouts import Timeout, Timeouts
from cambwatch.adapters.http.errors import describe
from cambwatch.adapters.http.response_head import LARGEST_HEAD
from cambwatch.adapters.http.target_url import as_configured
from cambwatch.core.accounts import Account
from cambwatch.core.camb import replies
from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.result_replies import ResultRead, ResultReply, read_result
from cambwatch.core.camb.result_requests import ResultRequest
from cambwatch.core.delivery.retry import http_date
from cambwatch.core.model import Fault, Json, Report, TaskKey, Unavailable

MAX_HEADERS = 256  # of the head of an answer, each of LARGEST_HEAD bytes at most
LARGE = 256 * 1024  # bytes of a result that are not worked through in the event loop

_OWN_TIMEOUT = aiohttp.ClientTimeout(total=None)  # aiohttp sets a timer for each request; we have one for all


Body = TypeVar("Body")


class _Answer(NamedTuple, Generic[Body]):
    """*wish* is its Retry-After, *at* when it was given."""

    http_status: int
    body: Body
    wish: str | None
    at: datetime


class _Line(NamedTuple):
    """How one account asks; *prefix* is the path of *base* without a slash at its end."""

    session: aiohttp.ClientSession
    base: URL
    prefix: str
    timeouts: Timeouts


class Camb:
    """
    Asks Camb on behalf of *accounts*; use as a context manager.

    Redirects are not followed, because the key would go with them; neither proxy
    variables nor .netrc change where a request goes.
    """

    def __init__(self, accounts: Mapping[str, Account], *, user_agent: str, now: Callable[[], datetime]) -> None:
        self._accounts = accounts
        self._user_agent = user_agent
        self._now = now
        self._lines: dict[str, _Line] = {}

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
                timeout=_OWN_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                max_line_size=LARGEST_HEAD,
                max_field_size=LARGEST_HEAD,
                max_headers=MAX_HEADERS,
            )
            timeouts = Timeouts(account.timeout.total_seconds())
            base = as_configured(account.base_url)
            self._lines[name] = _Line(session, base, base.raw_path.rstrip("/"), timeouts)
        return self

    async def __aexit__(self, *_: object) -> None:
        for line in self._lines.values():
            line.timeouts.close()
            await line.session.close()

    async def status(self, key: TaskKey) -> Report:
        """
        What Camb says of the task, in at most the account's timeout.

        Never raises for anything that Camb or the network does.
        """
        kind = KINDS[key.kind]
        line = self._lines[key.account]
        path = line.prefix + kind.status_path.replace("{task_id}", _quoted(key.task_id))
        # Half of what it costs to parse the whole; no two of many tasks have one URL, so that no cache would help.
        url = line.base.with_path(path, encoded=True)
        answer = await self._ask(line, "GET", url, _read)
        if isinstance(answer, Unavailable):
            return answer
        return replies.read_answer(kind, answer.http_status, answer.body, wish=answer.wish, now=answer.at)

    async def result(self, account: str, request: ResultRequest) -> ResultReply:
        """
        What Camb says of one result, in at most the account's timeout.

        Never raises for what Camb or the network does.
        """
        url = URL(self._accounts[account].base_url + request.target, encoded=True)
        answer = await self._ask(
            self._lines[account], request.method, url, _read_result, body=dict(request.body) or None
        )
        if isinstance(answer, Unavailable):
            return answer
        body = answer.body
        if not isinstance(body, bytes):
            return body
        if len(body) < LARGE:
            return read_result(answer.http_status, body, wish=answer.wish, now=answer.at)
        return await asyncio.to_thread(read_result, answer.http_status, body, wish=answer.wish, now=answer.at)

    def endpoint(self, account: str, request: ResultRequest) -> str | None:
        """The absolute URL of *request*; None for an account that the configuration does not have any more."""
        known = self._accounts.get(account)
        return None if known is None else known.base_url + request.target

    async def _ask(
        self,
        line: _Line,
        method: str,
        url: URL,
        read: Callable[[aiohttp.ClientResponse], Awaitable[Body]],
        *,
        body: Json = None,
    ) -> _Answer[Body] | Unavailable:
        """The answer, with what *read* makes of its body, or why there is none."""
        try:
            with Timeout(line.timeouts):
                response = await line.session.request(method, url, json=body, allow_redirects=False)
                try:
                    said = await read(response)
                except BaseException:
                    response.close()
                    raise
            wish = response.headers.get(RETRY_AFTER)
            # By Camb's own clock: a date in Retry-After means nothing by another.
            at = http_date(response.headers.get(DATE)) if wish else None
            return _Answer(response.status, said, wish, at or self._now())
        except TimeoutError:
            return Unavailable(Fault.TIMEOUT, detail="no answer in time")
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Unavailable(_fault(error), detail=describe(error, "Camb"))


def _quoted(task_id: str) -> str:
    """*task_id* as a part of a path. Camb's are UUIDs, which need no look at each character."""
    plain = task_id.isascii() and task_id.replace("-", "").isalnum()
    return task_id if plain else quote(task_id, safe="")


async def _read_result(response: aiohttp.ClientResponse) -> bytes | ResultRead | Unavailable:
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
        response.close()  # nobody reads the rest
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

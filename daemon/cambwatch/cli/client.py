"""The daemon as the command line sees it: its intake over HTTP."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from cambwatch.core.model import Json
from cambwatch.core.redaction import Secret

TIMEOUT_S = 30.0


class UnreachableError(Exception):
    """No daemon answers there."""


class RefusedError(Exception):
    """The daemon refused; the text says why, for a person."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class DaemonClient:
    """Where the daemon listens: an http URL, or the path of a Unix socket."""

    url: str
    token: Secret | None = None
    socket: str | None = None

    async def call(
        self,
        method: str,
        *path: str,
        query: Mapping[str, str | int | list[str]] | None = None,
        body: Json = None,
        wait_s: float = 0,
    ) -> Json:
        """
        The answer's document, None where it has none; *path* are segments, encoded here.

        *wait_s* is how much longer than usual the answer may take. Raises
        UnreachableError or RefusedError.
        """
        if not all(path):
            raise RefusedError(422, "an argument is empty, perhaps a variable was not set: give the id or name")
        # Not joinpath: it would resolve a task_id like ../x. In a locale other than UTF-8, Python decodes the bytes of
        # arguments to surrogates: they are sent as the original bytes.
        steps = "".join(f"/{quote(step, safe='', errors='surrogateescape')}" for step in path)
        asked = urlencode(_pairs(query or {}), errors="surrogateescape")
        url = URL(f"{self.url}{steps}?{asked}" if asked else self.url + steps, encoded=True)
        sent = None if body is None else json.dumps(body, ensure_ascii=False).encode(errors="surrogateescape")
        connector = aiohttp.UnixConnector(self.socket) if self.socket else aiohttp.TCPConnector()
        headers = {"authorization": f"Bearer {self.token.reveal()}"} if self.token else {}
        if method != "GET":
            headers["content-type"] = "application/json"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S + wait_s)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session,
                session.request(method, url, data=sent) as response,
            ):
                document = await response.json(content_type=None) if response.status != 204 else None
                if response.status >= 400:
                    raise RefusedError(response.status, explain(document))
                return document
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            where = self.socket or self.url
            raise UnreachableError(f"no cambwatch answers at {where} ({error or type(error).__name__})") from error

    def call_sync(self, method: str, *path: str, **more: Any) -> Json:
        """The same for a caller outside an event loop."""
        return asyncio.run(self.call(method, *path, **more))


def explain(problem: Json) -> str:
    """Problem details (RFC 9457) in words."""
    match problem:
        case {"detail": str(detail), "errors": [_, *_] as mistakes}:
            lines = [f"{one.get('pointer') or one.get('parameter')}: {one.get('detail')}" for one in mistakes]
            return lines[0] if len(lines) == 1 else "\n".join([detail, *lines])
        case {"detail": str(detail)}:
            return detail
    return "the daemon refused, without a reason"


def _pairs(query: Mapping[str, str | int | list[str]]) -> list[tuple[str, str]]:
    return [
        (name, str(value))
        for name, values in query.items()
        for value in (values if isinstance(values, list) else [values])
    ]

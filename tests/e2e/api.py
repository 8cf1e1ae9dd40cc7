"""A client of the intake that holds every answer against /openapi.json."""

import io
import json
import re
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from jsonschema import Draft202012Validator
from multidict import CIMultiDictProxy
from yarl import URL

TIMEOUT = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True)
class Answer:
    """What came back; *document* is None where the body is no JSON."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    document: Any

    @property
    def pointers(self) -> list[str]:
        """Where the mistakes are, as problem details name them."""
        return [mistake.get("pointer") or mistake["parameter"] for mistake in self.document.get("errors", [])]


class Api:
    """The intake at *url* (http), or behind the Unix socket *socket*."""

    def __init__(self, url: str, *, socket: str | None = None, token: str | None = None) -> None:
        self.url = url
        self.socket = socket
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._described: Any = None

    async def ask(
        self,
        method: str,
        path: str,
        document: Any = None,
        *,
        body: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] = {},
    ) -> Answer:
        """
        One request on a connection of its own; *path*, with its query, goes out as it is.

        Asserts that /openapi.json describes the answer. *body* goes out as it is, otherwise
        *document* as JSON.
        """
        answer = await self._send(method, path, document, body, headers)
        if self._described is None:
            self._described = (await self._send("GET", "/openapi.json", None, None, {})).document
        self._check(method, path.partition("?")[0], answer)
        return answer

    async def post(self, document: Any, **more: Any) -> Answer:
        """POST /v1/tasks."""
        return await self.ask("POST", "/v1/tasks", document, **more)

    async def get(self, path: str, **more: Any) -> Answer:
        """GET *path*."""
        return await self.ask("GET", path, **more)

    def described_by(self, other: "Api") -> None:
        """Take the description that *other* has read: it may be allowed what we are not."""
        self._described = other._described

    async def _send(
        self,
        method: str,
        path: str,
        document: Any,
        body: bytes | AsyncIterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        sent = dict(self._headers)
        if method not in {"GET", "HEAD", "OPTIONS"}:
            sent["content-type"] = "application/json"
        sent |= headers
        data = body if body is not None else json.dumps(document).encode() if document is not None else None
        connector = aiohttp.UnixConnector(self.socket) if self.socket else aiohttp.TCPConnector()
        async with (
            aiohttp.ClientSession(connector=connector, timeout=TIMEOUT) as session,
            session.request(
                method,
                URL(self.url + path, encoded=True),
                data=io.BytesIO(data) if isinstance(data, bytes) else data,  # aiohttp warns of large bytes
                headers=sent,
                allow_redirects=False,
                skip_auto_headers={"content-type"},
            ) as response,
        ):
            raw = await response.read()
        is_json = response.headers.get("content-type", "").partition(";")[0].endswith("json") and raw
        return Answer(response.status, response.headers, raw, json.loads(raw) if is_json else None)

    def _check(self, method: str, path: str, answer: Answer) -> None:
        operation = self._operation(method, path)
        if operation is None:  # nothing is promised of what is not there, but that it is refused in the usual form
            assert answer.status in {400, 401, 403, 404, 405, 413, 415, 421}, answer
            if method != "HEAD":
                self._conforms(answer.document, {"$ref": "#/components/schemas/ProblemDetails"})
            return
        described = operation["responses"].get(str(answer.status))
        assert described is not None, f"{method} {path}: /openapi.json knows no {answer.status}: {answer.body[:300]!r}"
        content = described.get("content")
        if content is None or method == "HEAD":
            assert answer.body == b""
            return
        media_type = answer.headers["content-type"].partition(";")[0]
        assert media_type in content, f"{method} {path}: {answer.status} as {media_type}"
        shown = answer.document if media_type.endswith("json") else answer.body.decode()
        self._conforms(shown, content[media_type]["schema"])

    def _operation(self, method: str, path: str) -> Any:
        for template, item in self._described["paths"].items():
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
                return item.get("get" if method == "HEAD" else method.lower())
        return None

    def _conforms(self, document: Any, schema: Mapping[str, Any]) -> None:
        whole = {**schema, "components": self._described["components"]}
        Draft202012Validator(whole).validate(document)

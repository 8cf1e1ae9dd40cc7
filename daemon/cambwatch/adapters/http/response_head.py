"""Reads responses that violate HTTP: a complete head counts, and so does the beginning of a broken body."""

import asyncio
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

LARGEST_HEAD = 66 << 10  # bytes: 64 KB of header fields and 2 KB for the status line
MOST_FIELDS = LARGEST_HEAD // len("a:\r\n")  # the most that fit into such a head: only its size is limited

_STATUS_LINE = re.compile(rb"HTTP/[0-9](?:\.[0-9])? ([1-9][0-9]{2})(?=[ \r\n])")
_BLANK_LINE = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r?\n")
_BODILESS = frozenset({b"204", b"304"})  # an answer of these ends with its head (RFC 9112, 6.3)
_CHUNKED = re.compile(rb"(?im)^transfer-encoding[ \t]*:[^\r\n]*chunked[ \t]*\r?\n")


@dataclass
class ResponseHead:
    """
    The head of one response; *status* is None until the head is complete.

    A 1xx response does not count, except 101, which ends the exchange. *too_large*: the head has more than
    LARGEST_HEAD bytes. *body_broken*: the body cannot be parsed. *parsed* and *body* are aiohttp's, if it accepts the
    head.
    """

    status: int | None = None
    too_large: bool = False
    body_broken: bool = False
    body: aiohttp.StreamReader | None = None
    parsed: Mapping[str, str] | None = None
    _raw: bytes = b""

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The header fields, case-insensitive, also if aiohttp rejects the head; empty until it is complete."""
        if self.parsed is not None:
            return self.parsed
        lines = self._raw.decode("utf-8", "replace").splitlines()[1:]
        fields = (line.partition(":") for line in lines if ":" in line)
        return CIMultiDict((name.strip(), value.strip()) for name, _, value in fields)

    def complete(self, raw: bytes, status: int) -> None:
        """Record the complete head."""
        self._raw, self.status = raw, status

    def break_body(self) -> None:
        """Make readers of an unparsable body fail; aiohttp would let them wait for ever."""
        self.body_broken = True
        if self.body is not None and not self.body.is_eof():
            self.body.set_exception(aiohttp.ClientPayloadError("the body breaks the rules of HTTP"))

    async def watch(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """An aiohttp middleware that fills this head with the response to one WatchedRequest."""
        if isinstance(request, WatchedRequest):
            request.head = self
        response = await handler(request)
        self.parsed, self.body = response.headers, response.content
        return response


class WatchedRequest(aiohttp.ClientRequest):
    """A request whose response a HeadReader reads: the `request_class` of a session."""

    head: ResponseHead | None = None

    async def send(self, conn: "Connection") -> aiohttp.ClientResponse:
        """Send the request, after telling the HeadReader to expect a response."""
        if self.head is not None and conn.transport is not None and conn.protocol is not None:
            reader = conn.transport.get_protocol()
            if not isinstance(reader, HeadReader):  # the first request on this connection
                reader = HeadReader(conn.transport, conn.protocol)
                conn.transport.set_protocol(reader)
            reader.expect(self.head)
        return await super().send(conn)


class HeadReader(asyncio.Protocol):
    """Passes data from *transport* on to *inner*: first the head of a response, then the rest."""

    def __init__(self, transport: asyncio.Transport, inner: "ResponseHandler") -> None:
        self._transport = transport
        self._inner = inner
        self._head: ResponseHead | None = None
        self._head_so_far = bytearray()  # the head so far
        self._reading_head = False

    def expect(self, head: ResponseHead) -> None:
        """Fill *head* with the next response."""
        self._head = head
        self._head_so_far.clear()
        self._reading_head = True

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if not self._reading_head:
            self._pass_on(data)
            return
        searched = max(0, len(self._head_so_far) - 3)
        self._head_so_far += data
        if not searched:
            blank = len(self._head_so_far) - len(self._head_so_far.lstrip(b"\r\n"))  # llhttp skips them as well
            del self._head_so_far[:blank]
        self._read_heads(searched)

    def _read_heads(self, searched: int) -> None:
        """Pass on complete heads, up to the final one; look for a blank line from *searched* on."""
        start = 0
        while found := _BLANK_LINE.search(self._head_so_far, max(start, searched)):
            raw = bytes(self._head_so_far[start : found.end()])
            line = _STATUS_LINE.match(raw)
            if line is None or line[1][:1] != b"1" or line[1] == b"101" or len(raw) > LARGEST_HEAD:
                self._finish(raw, found.end(), line)
                return
            start = found.end()  # after a 1xx head
        if start:
            self._pass_on(bytes(self._head_so_far[:start]))
            del self._head_so_far[:start]
        if not b"HTTP/".startswith(self._head_so_far[:5]):
            self._stop_reading()
        elif len(self._head_so_far) > LARGEST_HEAD:
            self._refuse()

    def _finish(self, raw: bytes, end: int, line: re.Match[bytes] | None) -> None:
        """Pass on the data before the final head *raw*, then the head, then the data after its *end*."""
        if len(raw) > LARGEST_HEAD:
            self._refuse()
            return
        before, after = bytes(self._head_so_far[: end - len(raw)]), bytes(self._head_so_far[end:])
        self._stop_reading(keep=False)
        normalized = normalize_content_length(raw)
        if line is not None and self._head is not None:
            self._head.complete(raw, int(line[1]))
        if normalized is not raw or (line is not None and line[1] in _BODILESS and announces_body(raw)):
            self._inner.force_close()  # such a server may disagree on where the body ends
        for part in (before, normalized, after):
            if part:
                self._pass_on(part)

    def _refuse(self) -> None:
        """Abort the connection because the head is too large."""
        if self._head is not None:
            self._head.too_large = True
        self._stop_reading(keep=False)
        self._transport.abort()

    def _stop_reading(self, *, keep: bool = True) -> None:
        """Leave the rest to aiohttp; *keep*: pass on the data that was held back."""
        head_so_far = bytes(self._head_so_far)
        self._head_so_far.clear()
        self._reading_head = False
        if keep and head_so_far:
            self._pass_on(head_so_far)

    def _pass_on(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._inner.data_received(data)
        if self._inner.exception() is not None and self._head is not None:
            self._head.break_body()

    def eof_received(self) -> None:
        """Called by the transport."""
        self._stop_reading()
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Called by the transport."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Called by the transport."""
        self._inner.resume_writing()


def normalize_content_length(head: bytes) -> bytes:
    """
    *head* with at most one Content-Length if the standards define which one counts; else *head* itself.

    Equal repeated lengths count as one (RFC 9110, 8.6). With `chunked`, none counts (RFC 9112, 6.3).
    """
    lengths = [one.strip() for field in _LENGTH.findall(head) for one in field.split(b",")]
    chunked = bool(lengths) and _CHUNKED.search(head) is not None
    if len(lengths) < 2 and not chunked:
        return head
    without = _LENGTH.sub(b"", head)
    if chunked:
        return without
    if len(set(lengths)) > 1 or not lengths[0].isdigit():
        return head
    line, _, rest = without.partition(b"\n")
    return b"%s\ncontent-length: %s\r\n%s" % (line, lengths[0], rest)


def announces_body(head: bytes) -> bool:
    """Whether a body is to follow *head*, as far as it says so: it may come later, and would begin the next answer."""
    return _CHUNKED.search(head) is not None or any(length.strip(b"0, ") for length in _LENGTH.findall(head))


LONGEST_ANSWER = 64 << 10  # bytes read from a body, and bytes decoded at most

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_WINDOWS = {"gzip": _GZIP_OR_ZLIB, "x-gzip": _GZIP_OR_ZLIB, "deflate": _GZIP_OR_ZLIB}
_STEP = 1024  # bytes; a broken encoding keeps what was decoded before the broken step
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,30}")


async def read_body(
    response: aiohttp.ClientResponse, head: ResponseHead, *, within_s: float | None
) -> tuple[bytes, str | None]:
    """
    The first LONGEST_ANSWER bytes of the body, and why the rest is missing (None if nothing is).

    Waits at most *within_s*, and never longer than the session's timeout. Closes the connection unless the body was
    complete.
    """
    content = response.content
    if content.is_eof() and content.total_bytes < LONGEST_ANSWER:  # the common case: all of it came with the head
        return content.read_nowait(), None
    chunks: list[bytes] = []
    size = 0
    trouble = None
    try:
        async with asyncio.timeout(within_s):
            if head.body_broken and not content.is_eof():  # broken before this call
                chunks.append(content.read_nowait())
                raise aiohttp.ClientPayloadError
            while size < LONGEST_ANSWER and (chunk := await content.read(LONGEST_ANSWER - size)):
                chunks.append(chunk)
                size += len(chunk)
    except TimeoutError:
        trouble = "the response body did not end in time"
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
        trouble = "the response body was truncated"
    if trouble or size >= LONGEST_ANSWER:
        response.close()
    return b"".join(chunks), trouble


def decode(body: bytes, content_encoding: str | None) -> bytes | None:
    """
    The decoded *body*, up to LONGEST_ANSWER bytes; None for an unknown encoding.

    cambwatch requests no encoding, so the receiver made a mistake. A body that is not encoded as its head says is
    returned unchanged.
    """
    name = (content_encoding or "identity").strip().lower()
    if name in {"", "identity"}:
        return body
    window = _WINDOWS.get(name)
    if window is None:
        return None
    return _inflate(body, window) or (_inflate(body, -zlib.MAX_WBITS) if name == "deflate" else b"") or body


def name_encoding(content_encoding: str | None) -> str:
    """The text to show in place of a body with an unknown encoding."""
    name = (content_encoding or "").strip()
    return f"({name}-encoded body)" if _TOKEN.fullmatch(name) else "(encoded body)"


def _inflate(body: bytes, window: int) -> bytes:
    """The beginning of *body*, as far as it can be decoded."""
    decompressor = zlib.decompressobj(window)
    decoded = b""
    for start in range(0, len(body), _STEP):
        try:
            decoded += decompressor.decompress(
                decompressor.unconsumed_tail + body[start : start + _STEP], LONGEST_ANSWER - len(decoded)
            )
        except zlib.error:
            break
        if len(decoded) >= LONGEST_ANSWER:
            break
    return decoded

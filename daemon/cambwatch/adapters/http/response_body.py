"""Reads and decodes the beginning of a receiver's response body, even if the rest is broken."""

import asyncio
import re
import zlib

import aiohttp

from cambwatch.adapters.http.response_head import ResponseHead

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

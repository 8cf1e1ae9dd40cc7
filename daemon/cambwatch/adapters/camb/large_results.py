"""Reads the body of a result in bounded memory: up to 8 MB as a document, beyond that only its links."""

import asyncio

import aiohttp

from cambwatch.core.camb.link_scan import SLICE, LinkScan
from cambwatch.core.camb.result_replies import LONGEST_DOCUMENT, ResultRead
from cambwatch.core.model import UnavailableReply

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

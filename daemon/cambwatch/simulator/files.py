"""Media files and the signed links that lead to them."""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote

from aiohttp import web

from cambwatch.simulator import transcripts


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What a client downloads."""

    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class MediaLinks:
    """Makes links to files at *origin* (scheme, host and port) that look presigned, and are the same for one seed."""

    origin: str
    seed: int

    def url(self, run_id: int, name: str) -> str:
        """A link to the file *name* of a run."""
        path = f"/files/{run_id}/{quote(name, safe='')}"
        query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        return f"{self.origin}{path}?{query}&X-Amz-Signature={self.signature(run_id, name)}"

    def signature(self, run_id: int, name: str) -> str:
        """What a link must carry to be honoured."""
        return hashlib.sha256(f"{self.seed}/{run_id}/{name}".encode()).hexdigest()


def links_for(request: web.Request, *, seed: int) -> MediaLinks:
    """Links to where *request* came in."""
    return MediaLinks(f"{request.scheme}://{request.host}", seed)


def content(name: str) -> MediaFile:
    """A small file that fits the suffix of *name*."""
    match PurePosixPath(name).suffix:
        case ".wav":
            return WAV
        case ".flac":
            return FLAC
        case ".txt" | ".srt" | ".vtt" as suffix:
            return MediaFile("text/plain", transcripts.text(suffix[1:]).encode())
        case ".html":
            return MediaFile("text/html", b"<!doctype html><title>Simulated studio</title>")
        case ".mp4":
            return MediaFile("video/mp4", b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom")
    return MediaFile("application/octet-stream", b"simulated media")


async def download(request: web.Request, *, seed: int) -> web.Response:
    """Answer a request for a file: 403 without the right signature, as S3 does it."""
    try:
        run_id = int(request.match_info["run_id"])
    except ValueError:
        raise web.HTTPNotFound from None
    name = request.match_info["name"]
    if request.query.get("X-Amz-Signature") != MediaLinks("", seed).signature(run_id, name):
        error = "<Error><Code>SignatureDoesNotMatch</Code></Error>"
        return web.Response(status=403, text=error, content_type="application/xml")
    file = content(name)
    return web.Response(body=file.body, content_type=file.content_type)


def _wav() -> bytes:
    """A tenth of a second of silence: PCM, mono, 16 bit, 8 kHz."""
    samples = bytes(2 * 800)
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    chunks = b"WAVE" + layout + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(chunks)) + chunks


def _flac() -> bytes:
    """A stream without frames: marker and STREAMINFO (last block, 34 bytes) for mono, 16 bit, 8 kHz."""
    rate_channels_bits_samples = (8000 << 44) | (0 << 41) | (15 << 36)
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + rate_channels_bits_samples.to_bytes(8) + bytes(16)
    return b"fLaC" + (0x80_00_00_00 | len(info)).to_bytes(4) + info


WAV = MediaFile("audio/wav", _wav())
FLAC = MediaFile("audio/flac", _flac())

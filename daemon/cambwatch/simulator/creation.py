"""The bodies of create calls: JSON or multipart, checked only for what must be there."""

import json
from collections.abc import Mapping
from types import MappingProxyType

from aiohttp import BodyPartReader, web

from cambwatch.core.model import Json
from cambwatch.simulator import refusals

LONGEST_BODY = 64 << 20  # bytes; files are read and dropped, they do not count

REQUIRED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "dub": ("video_url", "source_language"),
        "dub-alt-format": ("output_format",),
        "tts": ("text", "voice_id", "language"),
        "translated-tts": ("text", "voice_id", "source_language", "target_language"),
        "translation": ("texts", "source_language", "target_language"),
        "transcription": ("language",),
        "subtitles": ("media_url", "source_language", "target_languages"),
        "text-to-sound": ("prompt",),
        "text-to-voice": ("text", "voice_description"),
        "audio-separation": (),
        "story": ("file", "source_language"),
        "story-setup": ("file", "source_language"),
        "translated-story": ("target_language",),
        "project-setup": ("media_url", "source_language", "target_languages"),
    }
)
"""By kind, the fields without which camb-sdk 1.6.6 cannot make the call."""


async def read(request: web.Request, kind: str) -> dict[str, Json]:
    """The fields of the body; of files the name only. Raises Refusal."""
    if request.content_type == "multipart/form-data":
        fields = await _read_multipart(request)
    elif request.content_type == "application/x-www-form-urlencoded":
        fields = dict(await request.post())
    else:
        fields = await read_object(request)
    absent = [name for name in REQUIRED[kind] if fields.get(name) is None]
    if absent:
        raise refusals.missing(absent)
    return fields


async def read_object(request: web.Request) -> dict[str, Json]:
    """The JSON object in the body. Raises Refusal."""
    try:
        document = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise refusals.invalid(["body"], f"JSON decode error: {error}", "json_invalid") from error
    if not isinstance(document, dict):
        raise refusals.invalid(["body"], "Input should be a valid dictionary", "dict_type")
    return document


async def _read_multipart(request: web.Request) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                continue
            if part.filename is None:
                fields[part.name] = await part.text()
            else:
                fields[part.name] = part.filename
                await part.release()
    except ValueError as error:  # of a broken body, or of text that is not in its charset
        raise refusals.invalid(["body"], f"There was an error parsing the body: {error}", "value_error") from error
    return fields

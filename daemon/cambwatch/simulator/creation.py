"""Requests to the simulator: bodies of create calls, and which runs and which form a result request asks for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aiohttp import BodyPartReader, web

from cambwatch.core.model import Json
from cambwatch.simulator import statuses

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
        raise statuses.missing(absent)
    return fields


async def read_object(request: web.Request) -> dict[str, Json]:
    """The JSON object in the body. Raises Refusal."""
    try:
        document = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise statuses.invalid(["body"], f"JSON decode error: {error}", "json_invalid") from error
    if not isinstance(document, dict):
        raise statuses.invalid(["body"], "Input should be a valid dictionary", "dict_type")
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
        raise statuses.invalid(["body"], f"There was an error parsing the body: {error}", "value_error") from error
    return fields


_QUERY = {
    "output_type": ("raw_bytes", "file_url"),
    "format_type": ("txt", "srt", "vtt"),
    "data_type": ("raw_data", "file"),
    "include_transcript": ("true", "false"),
}


@dataclass(frozen=True, slots=True)
class ResultOptions:
    """
    How the caller wants the result.

    *format_type* and *as_file* are None where the caller said nothing; *language* is that of the path.
    """

    file_url: bool = False
    format_type: str | None = None
    as_file: bool | None = None
    include_transcript: bool = False
    language: str = ""


def run_id(request: web.Request) -> int:
    """The run in the path. Raises Refusal."""
    text = request.match_info["run_id"]
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise statuses.invalid(["path", "run_id"], "Input should be a valid integer", "int_parsing")
    return int(text)


def run_ids(document: dict[str, Json]) -> list[int]:
    """The runs in the body of a bulk request. Raises Refusal."""
    match document.get("run_ids"):
        case [_, *_] as given if all(type(each) is int for each in given):
            return list(given)
    raise statuses.invalid(["body", "run_ids"], "Input should be a list of integers, not empty", "list_type")


def language(request: web.Request) -> str:
    """The language in the path, empty where the path has none."""
    return request.match_info.get("language") or request.match_info.get("target_language") or ""


def options(request: web.Request) -> ResultOptions:
    """What path and query ask for. Raises Refusal."""
    query = request.query
    for name, allowed in _QUERY.items():
        if query.get(name, allowed[0]) not in allowed:
            raise statuses.invalid(["query", name], f"Input should be one of {', '.join(allowed)}", "enum")
    data_type = query.get("data_type")
    return ResultOptions(
        file_url=query.get("output_type") == "file_url",
        format_type=query.get("format_type"),
        as_file=None if data_type is None else data_type == "file",
        include_transcript=query.get("include_transcript") == "true",
        language=language(request),
    )

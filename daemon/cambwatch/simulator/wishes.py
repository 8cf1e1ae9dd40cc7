"""What a request for a result asks for: which runs, in which form."""

from dataclasses import dataclass

from aiohttp import web

from cambwatch.core.model import Json
from cambwatch.simulator import refusals

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
        raise refusals.invalid(["path", "run_id"], "Input should be a valid integer", "int_parsing")
    return int(text)


def run_ids(document: dict[str, Json]) -> list[int]:
    """The runs in the body of a bulk request. Raises Refusal."""
    match document.get("run_ids"):
        case [_, *_] as given if all(type(each) is int for each in given):
            return list(given)
    raise refusals.invalid(["body", "run_ids"], "Input should be a list of integers, not empty", "list_type")


def language(request: web.Request) -> str:
    """The language in the path, empty where the path has none."""
    return request.match_info.get("language") or request.match_info.get("target_language") or ""


def options(request: web.Request) -> ResultOptions:
    """What path and query ask for. Raises Refusal."""
    query = request.query
    for name, allowed in _QUERY.items():
        if query.get(name, allowed[0]) not in allowed:
            raise refusals.invalid(["query", name], f"Input should be one of {', '.join(allowed)}", "enum")
    data_type = query.get("data_type")
    return ResultOptions(
        file_url=query.get("output_type") == "file_url",
        format_type=query.get("format_type"),
        as_file=None if data_type is None else data_type == "file",
        include_transcript=query.get("include_transcript") == "true",
        language=language(request),
    )

"""Reads what a client sends: query parameters and JSON bodies, each refused with its place and reason."""

import base64
import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from http import HTTPStatus
from math import isfinite
from typing import Any
from urllib.parse import quote

from aiohttp import web
from pydantic_core import from_json

from cambwatch.core.camb import kinds
from cambwatch.core.instants import parse_duration
from cambwatch.core.model import DeliveryFilter, DeliveryState, Json, Status, TaskFilter
from cambwatch.web.problem_details import Mistake, ProblemError, unprocessable

LARGEST_PAGE = 1000
DEFAULT_PAGE = 100
LONGEST_WAIT = timedelta(minutes=10)
SPAN_PATTERN = r"^( *[0-9]+(\.[0-9]+)? *(ms|s|m|h|d))+ *$"
"""What parse_duration() reads, for the description."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter of an endpoint, as /openapi.json describes it."""

    name: str
    description: str
    example: str | int
    repeated: bool = False
    schema: Mapping[str, Json] = field(default_factory=lambda: {"type": "string"})  # of one value


ACCOUNT = Parameter("account", "the account of the task; `default` if not given", "studio-b")
WAIT = Parameter(
    "wait",
    "answer when the task has ended or this time is up, at most 10m",
    "60s",
    schema={"type": "string", "pattern": SPAN_PATTERN},
)
STATUS = Parameter("status", "several, separated by commas or repeated", "ERROR,TIMEOUT", repeated=True)
KIND = Parameter("kind", "several, separated by commas or repeated", "dub", repeated=True)
GROUP = Parameter("group", "the group of the tasks", "season-1")
LABEL = Parameter(
    "label",
    "name:value; repeated, all must match",
    "show:pilot",
    repeated=True,
    schema={"type": "string", "pattern": "^[^:]+:"},
)
LIMIT = Parameter(
    "limit",
    f"1 to {LARGEST_PAGE}; {DEFAULT_PAGE} if not given",
    50,
    schema={"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": DEFAULT_PAGE},
)
STATE = Parameter("state", "several, separated by commas or repeated", "dead,pending", repeated=True)
DESTINATION = Parameter("destination", "a name out of the configuration", "team-chat")
TASK_ID = Parameter("task_id", "of any kind and account", "c8b8e3cd-ad17-4458-83ad-349432da117b")
CURSOR = Parameter("cursor", "`next_cursor` of the page before", "MTIzNA")


def reject_unknown_parameters(request: web.Request, parameters: Collection[Parameter]) -> None:
    """Raises ProblemError for a query parameter that is none of *parameters*, or that is given twice and may not be."""
    known = {parameter.name: parameter for parameter in parameters}
    mistakes = []
    for name in dict.fromkeys(request.query):
        if name not in known:
            close = get_close_matches(name[:64], known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known) or 'none'}"
            mistakes.append(Mistake(parameter=name[:64], detail=f"is not known here ({hint})"))
        elif not known[name].repeated and len(request.query.getall(name)) > 1:
            mistakes.append(Mistake(parameter=name, detail="is given more than once"))
    if mistakes:
        raise unprocessable(mistakes)


def read_task_filter(request: web.Request) -> TaskFilter:
    """Which tasks a listing is to show; raises ProblemError with every mistake."""
    mistakes: list[Mistake] = []
    statuses = set()
    for word in _split_values(request, STATUS):
        try:
            statuses.add(Status(word.upper()))
        except ValueError:
            mistakes.append(Mistake(parameter="status", detail=f"{word[:40]!r} is none of {', '.join(Status)}"))
    found = set()
    for word in _split_values(request, KIND):
        kind = kinds.find_kind(word)
        if kind is None:
            close = kinds.suggest_kind(word)
            hint = f" (did you mean {close}?)" if close else ""
            mistakes.append(Mistake(parameter="kind", detail=f"{word[:40]!r} is no kind of task{hint}"))
        else:
            found.add(kind.name)
    labels: dict[str, str] = {}
    for label in request.query.getall("label", []):
        name, colon, value = label.partition(":")
        if not colon or not name:
            mistakes.append(Mistake(parameter="label", detail="write name:value"))
        elif labels.setdefault(name, value) != value:
            mistakes.append(Mistake(parameter="label", detail=f"{name[:40]!r} cannot have two values at once"))
    if mistakes:
        raise unprocessable(mistakes)
    return TaskFilter(
        statuses=frozenset(statuses),
        kinds=frozenset(found),
        group=request.query.get("group"),
        labels=labels,
        account=request.query.get("account"),
    )


def read_limit(query: Mapping[str, str]) -> int:
    """How many items a page is to have."""
    text = query.get("limit", str(DEFAULT_PAGE))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= LARGEST_PAGE):
        raise unprocessable([Mistake(parameter="limit", detail=f"must be a number from 1 to {LARGEST_PAGE}")])
    return int(text)


def read_cursor(query: Mapping[str, str]) -> int | None:
    """The id that the last page ended with; None for the first page."""
    text = query.get("cursor")
    if text is None:
        return None
    try:
        row_id = int(_decoded(text))
    except ValueError:
        row_id = -1
    if not 0 < row_id < 2**63 or write_cursor(row_id) != text:
        raise _invalid_cursor()
    return row_id


def write_cursor(row_id: int) -> str:
    """The cursor of the page after the one that ends with the id *row_id*."""
    return _encoded(str(row_id))


def read_delivery_filter(request: web.Request) -> DeliveryFilter:
    """Which deliveries a listing is to show; raises ProblemError with every mistake."""
    mistakes: list[Mistake] = []
    states = set()
    for word in _split_values(request, STATE):
        try:
            states.add(DeliveryState(word.lower()))
        except ValueError:
            mistakes.append(Mistake(parameter="state", detail=f"{word[:40]!r} is none of {', '.join(DeliveryState)}"))
    if mistakes:
        raise unprocessable(mistakes)
    return DeliveryFilter(
        states=frozenset(states),
        destination=request.query.get("destination"),
        task_id=request.query.get("task_id"),
    )


def read_delivery_cursor(query: Mapping[str, str]) -> tuple[datetime, str] | None:
    """The created_at and the id that the last page ended with; None for the first page."""
    text = query.get("cursor")
    if text is None:
        return None
    try:
        word, _, delivery_id = _decoded(text).decode().partition(" ")
        at = datetime.fromisoformat(word)
        if at.tzinfo is not None and write_delivery_cursor(at, delivery_id) == text:
            return at, delivery_id
    except ValueError:
        pass
    raise _invalid_cursor()


def write_delivery_cursor(created_at: datetime, delivery_id: str) -> str:
    """The cursor of the page after the one that ends with this delivery."""
    return _encoded(f"{created_at.isoformat()} {delivery_id}")


def read_wait(query: Mapping[str, str]) -> timedelta:
    """How long the caller wants to wait for the end; zero: not at all."""
    text = query.get("wait")
    if text is None:
        return timedelta(0)
    try:
        wait = parse_duration(text)
    except ValueError as error:
        raise unprocessable([Mistake(parameter="wait", detail=str(error))]) from None
    if wait > LONGEST_WAIT:
        raise unprocessable([Mistake(parameter="wait", detail="is longer than 10m; ask again when the time is up")])
    return wait


def _split_values(request: web.Request, parameter: Parameter) -> list[str]:
    return [word.strip() for value in request.query.getall(parameter.name, []) for word in value.split(",")]


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    """Raises ValueError for what _encoded() has not made."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _invalid_cursor() -> ProblemError:
    return unprocessable([Mistake(parameter="cursor", detail="is no cursor: take `next_cursor` of the page before")])


def read_json(body: bytes) -> Json:
    """
    The document in *body*: UTF-8, no lone surrogates, at most 200 levels deep, no number that becomes infinite.

    Ignores a byte order mark at the start, as RFC 8259, 8.1 allows: some editors and .NET
    write one. Raises ProblemError; where a name stands twice in an object, and the RFC leaves
    open which of them counts, with a pointer to it.
    """
    body = body.removeprefix(BOM_UTF8)
    try:
        if not (encoding := json.detect_encoding(body)).startswith("utf-8"):
            raise ValueError(f"it is encoded as {encoding.upper()}; send it as UTF-8")  # noqa: TRY301 - as the others
        document = from_json(body, allow_inf_nan=False)
        duplicates: list[_DuplicateKeys] = []
        # The first reader is the stricter one, only the second one sees every member.
        again = json.loads(body, object_pairs_hook=lambda members: _object(members, duplicates), parse_float=_finite)
    except ValueError as error:
        detail = f"is not JSON: {error}"
        raise ProblemError(
            HTTPStatus.BAD_REQUEST, f"the body {detail}", errors=[Mistake(pointer="#", detail=detail)]
        ) from None
    if duplicates:
        raise unprocessable([Mistake(pointer=at, detail="stands here more than once") for at in _pointers(again, "#")])
    return document


def escape_pointer_step(step: str) -> str:
    """A step of a JSON pointer in a URI fragment (RFC 6901, 6), cut to a length that is still of use."""
    return quote(step[:200].replace("~", "~0").replace("/", "~1"), safe="~!$&'()*+,;=:@")


class _DuplicateKeys(dict[str, Any]):
    """An object that has *duplicate_key* more than once."""

    duplicate_key: str


def _object(members: list[tuple[str, Any]], duplicates: list[_DuplicateKeys]) -> dict[str, Any]:
    read = dict(members)
    if len(read) == len(members):
        return read
    counts = Counter(name for name, _ in members)
    marked = _DuplicateKeys(read)
    marked.duplicate_key = counts.most_common(1)[0][0]
    duplicates.append(marked)
    return marked


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(f"{digits[:40]} is out of range")
    return number


def _pointers(value: Any, at: str) -> Iterator[str]:
    match value:
        case dict():
            if isinstance(value, _DuplicateKeys):
                yield f"{at}/{escape_pointer_step(value.duplicate_key)}"
            inner = ((escape_pointer_step(name), one) for name, one in value.items())
        case list():
            inner = ((str(index), one) for index, one in enumerate(value))
        case _:
            return
    for step, one in inner:
        yield from _pointers(one, f"{at}/{step}")

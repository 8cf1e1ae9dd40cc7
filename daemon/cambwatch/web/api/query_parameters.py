"""Query parameters, each checked: one that is not known is a mistake, not a filter that filters nothing."""

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches

from aiohttp import web

from cambwatch.core.camb import kinds
from cambwatch.core.instants import parse_duration
from cambwatch.core.model import DeliveryFilter, DeliveryState, Json, Status, TaskFilter
from cambwatch.web.problem_details import Mistake, ProblemError, unprocessable

LARGEST_PAGE = 1000
DEFAULT_PAGE = 100
LONGEST_WAIT = timedelta(minutes=10)
SPAN_PATTERN = r"^( *[0-9]+(\.[0-9]+)? *(ms|s|m|h|d))+ *$"
"""What parse_span() reads, for the description."""


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

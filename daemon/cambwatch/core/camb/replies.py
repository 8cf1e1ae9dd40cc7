"""What Camb's answer to a poll means, and whether a refusal is Camb's own or a gateway's."""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from cambwatch.core.camb.kinds import Kind, StatusShape
from cambwatch.core.delivery.retry import parse_retry_after
from cambwatch.core.model import (
    Fault,
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    Json,
    PendingReply,
    PollReply,
    Status,
    UnavailableReply,
    UnconfirmedReply,
    UnknownTaskReply,
)
from cambwatch.core.text import loads, one_line, prefix_length

LONGEST_REFUSAL = 1 << 20  # bytes; a longer body does not count as a refusal
REFUSALS = frozenset({401, 403, 404, 410, 422})
"""The HTTP statuses that refuse a key, a task or its task_id."""

_MISSING_ROUTE = "Not Found"
_REASON_PHRASES = frozenset({"", "not found", "gone", "unprocessable entity", "unprocessable content"})
_OTHERS_KEYS = frozenset({"type", "title", "instance", "timestamp", "path"})  # RFC 9457 and Spring


@dataclass(frozen=True, slots=True)
class CambRefusal:
    """
    Camb's own refusal.

    *words* is Camb's explanation, unchanged: a text, or any JSON value. *about_path* is False
    if a validation error (422) is only about a header, the query or the body, and not about
    the task_id in the path.
    """

    words: Json
    about_path: bool = True


def camb_refusal(http_status: int, body: bytes) -> CambRefusal | None:
    """
    Camb's refusal in *http_status* and *body*; None if the answer is not in Camb's form.

    *http_status* is one of REFUSALS, or any other error status. Total over every body.
    """
    match _document(body):
        case dict() as document if document.keys() & _OTHERS_KEYS:
            return None
        case {"detail": str(words)} if words.strip() in {"", _MISSING_ROUTE}:
            return None
        case {"error": str(words), "status": _} if words.strip().lower() in _REASON_PHRASES:
            return None
        case {"detail": list(mistakes)}:
            return _validation(mistakes)
        case {"detail": str() | dict() as words} if words:
            return CambRefusal(words)
        case {"error": str() | dict() as words, "status": int(status)} if words and status == http_status:
            return CambRefusal(words)
    return None


def _document(body: bytes) -> Json:
    try:
        return loads(body) if len(body) <= LONGEST_REFUSAL else None
    except ValueError:
        return None


def _validation(mistakes: list[Json]) -> CambRefusal | None:
    """The refusal that FastAPI's list of validation errors, *mistakes*, stands for."""
    if not mistakes or not all(isinstance(mistake, dict) and "msg" in mistake for mistake in mistakes):
        return None
    places = [mistake["loc"][0] for mistake in mistakes if isinstance(mistake.get("loc"), list) and mistake["loc"]]
    return CambRefusal(mistakes[0]["msg"], about_path=not places or "path" in places)


LONGEST_BODY = 1 << 20  # bytes; a status has some hundred
SHORT_BODY = 256  # bytes; the reports of shorter bodies are cached
CACHED_BODIES = 256  # reports in the cache
LONGEST_WORD = 100  # characters kept of a status word or a reason

_TERMINAL_STATUSES = {
    "SUCCESS": Status.SUCCESS,
    "ERROR": Status.ERROR,
    "TIMEOUT": Status.TIMEOUT,
    "PAYMENT_REQUIRED": Status.PAYMENT_REQUIRED,
    # Never seen from today's Camb, but older official SDKs waited for them.
    "FAILED": Status.ERROR,
    "FAILURE": Status.ERROR,
    "REVOKED": Status.ERROR,
}


def parse_poll_reply(
    kind: Kind, http_status: int, body: bytes, *, retry_after_header: str | None, now: datetime
) -> PollReply:
    """
    What the answer to a status request says; *retry_after_header* is its Retry-After header.

    Total: any status and any body have a report, and none raises.
    """
    if 200 <= http_status < 300:  # as the official SDK does; today's Camb is known to say 200
        return (_read_cached if len(body) <= SHORT_BODY else _read_success)(kind.shape, body)
    if http_status in REFUSALS:
        return _read_refusal(http_status, body, retry_after_header=retry_after_header, now=now)
    return unavailable(http_status, body, retry_after_header=retry_after_header, now=now)


def _read_refusal(http_status: int, body: bytes, *, retry_after_header: str | None, now: datetime) -> PollReply:
    refusal = camb_refusal(http_status, body)
    if refusal is None:
        words = "is not in Camb's form: something between Camb and cambwatch has answered, or camb.base_url is wrong"
        requested = parse_retry_after(retry_after_header, now=now)
        return UnavailableReply(Fault.FOREIGN, requested.pause, f"HTTP {http_status} {words}", requested.reading)
    match http_status:
        case 401 | 403:
            return ForbiddenReply(http_status, one_line(refusal.words))
        case 404 | 410:
            return UnknownTaskReply(one_line(refusal.words))
        case _ if refusal.about_path:
            return InvalidTaskIdReply(one_line(refusal.words))
    return unavailable(http_status, body, retry_after_header=retry_after_header, now=now)


def unavailable(http_status: int, body: bytes, *, retry_after_header: str | None, now: datetime) -> UnavailableReply:
    """The report of an answer whose HTTP status is trouble."""
    if http_status == 429:
        fault = Fault.RATE_LIMITED
    elif http_status == 408:
        fault = Fault.TIMEOUT
    elif http_status >= 500 or http_status in {409, 425}:
        fault = Fault.SERVER_ERROR
    else:
        fault = Fault.UNEXPECTED
    words = error_detail(body)
    requested = parse_retry_after(retry_after_header, now=now)
    return UnavailableReply(
        fault, requested.pause, f"HTTP {http_status}" + (f": {words}" if words else ""), requested.reading
    )


def parse_json(body: bytes, *, longest: int = LONGEST_BODY) -> tuple[Json] | UnavailableReply:
    """The JSON document in *body*, in a tuple of one because the document may be null."""
    if len(body) > longest:
        return UnavailableReply(Fault.OVERSIZED, detail=f"more than {longest} bytes")
    try:
        return (loads(body),)
    except ValueError:
        return UnavailableReply(Fault.UNREADABLE, detail="the answer is not JSON")


def parse_status_document(kind: Kind, document: Json) -> PollReply:
    """What the JSON *document* says of a task of *kind*."""
    return _read_document(kind.shape, document)


def _read_success(shape: StatusShape, body: bytes) -> PollReply:
    """What the *body* of a success says of a task whose kind has *shape*."""
    document = parse_json(body)
    return document if isinstance(document, UnavailableReply) else _read_document(shape, document[0])


# Nearly all answers are the same few bytes. A cache lookup costs a tenth of parsing them.
_read_cached = lru_cache(CACHED_BODIES)(_read_success)


def _read_document(shape: StatusShape, document: Json) -> PollReply:
    match document:
        case {"status": str(word)}:
            return _read_word(word, document)
        case str():
            return _read_word(document, {}, usual=shape is StatusShape.TEXT)
        case {"message": {"status": str(word)} as inner}:  # seen to be read by a client, costs nothing
            return _read_word(word, {**document, "message": None, **inner}, usual=False)
        case {"status": status} if status is not None:
            return UnavailableReply(Fault.MALFORMED, detail="the status is not a text")
        case {"run_id": value} if shape is StatusShape.RUN:
            run_id = _run_id(value)
            return PendingReply() if run_id is None else UnconfirmedReply(run_id)
        case {"run_id": _}:  # a run can be there long before its task is done
            return PendingReply()
        case [*items] if found := next((one for one in items if isinstance(one, dict) and one.get("status")), None):
            return _as_uncertain(_read_document(shape, found))
        case [] if shape is StatusShape.RUNS:
            return PendingReply()
        case [{"run_id": value}, *_] if shape is StatusShape.RUNS:
            run_id = _run_id(value)
            return PendingReply() if run_id is None else FinishedReply(Status.SUCCESS, run_id)
    return UnavailableReply(Fault.MALFORMED, detail="JSON, but no shape of a status")


def _as_uncertain(reply: PollReply) -> PollReply:
    return replace(reply, certain=False) if isinstance(reply, FinishedReply) else reply


def error_detail(body: bytes) -> str | None:
    """The words of an error answer, for people: `detail`, `error` or `message` of a JSON object, cut to size."""
    document = parse_json(body[:LONGEST_BODY])
    match None if isinstance(document, UnavailableReply) else document[0]:
        case {"detail": [{"msg": str(words)}, *_]}:  # FastAPI's validation errors
            return one_line(words)
        case {"detail": words} | {"error": words} | {"message": words}:
            return one_line(words)
    return None


def _read_word(word: str, document: dict[str, Json], *, usual: bool = True) -> PollReply:
    """The report of a status *word*; *usual*: it came in a shape that Camb uses for this kind."""
    normal = word.strip().upper()
    if normal == "PENDING":
        return PendingReply()
    status = _TERMINAL_STATUSES.get(normal)
    if status is None:
        return PendingReply(unknown_status=_word(word) or "(empty)")
    return FinishedReply(
        status,
        _run_id(document.get("run_id")),
        _reason(document.get("exception_reason")),
        one_line(document.get("message")),
        certain=usual and word == status,
    )


def _reason(value: Json) -> str | None:
    words = _word(value)
    return None if words is None or words.upper() == "NONE" else words


def _word(value: Json) -> str | None:
    """*value* as one line, truncated without an ellipsis: it is a code, not a sentence."""
    words = one_line(value)
    return None if words is None else words[: prefix_length(words, LONGEST_WORD, len)]


def _run_id(value: Json) -> int | None:
    """A positive integer that a database can hold, also as digits in a text; None for anything else."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value.strip()) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
        return value
    return None

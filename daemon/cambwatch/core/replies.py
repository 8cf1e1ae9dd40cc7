"""
What an answer of Camb means.

Shapes as collected from camb-sdk 1.6.6, docs.camb.ai and clients that ran against
the live service; where those disagree, every form is understood.
"""

import json
from datetime import datetime
from functools import lru_cache

from cambwatch.core.cutting import beginning
from cambwatch.core.kinds import Kind
from cambwatch.core.model import (
    Ended,
    Fault,
    Forbidden,
    Invalid,
    Json,
    Pending,
    Report,
    Status,
    Unavailable,
    Unconfirmed,
    Unknown,
)
from cambwatch.core.retry import retry_after
from cambwatch.core.text import one_line

LONGEST_BODY = 1 << 20  # bytes; a status has some hundred
SHORT_BODY = 256  # bytes, up to which what was read is remembered
KNOWN_BODIES = 256  # that are remembered at most
LONGEST_WORD = 100  # characters kept of a status word or a reason

_ENDS = {
    "SUCCESS": Status.SUCCESS,
    "ERROR": Status.ERROR,
    "TIMEOUT": Status.TIMEOUT,
    "PAYMENT_REQUIRED": Status.PAYMENT_REQUIRED,
    # Never seen from today's Camb, but older official SDKs waited for them.
    "FAILED": Status.ERROR,
    "FAILURE": Status.ERROR,
    "REVOKED": Status.ERROR,
}


def read_answer(kind: Kind, http_status: int, body: bytes, *, wish: str | None, now: datetime) -> Report:
    """
    What the answer to a status request says; *wish* is its Retry-After header.

    Total: any status and any body have a report, and none raises.
    """
    match http_status:
        case _ if 200 <= http_status < 300:  # as the official SDK does; today's Camb is known to say 200
            return (_read_known if len(body) <= SHORT_BODY else _read_success)(kind.confirm_by_result, body)
        case 401 | 403:
            return Forbidden(http_status)
        case 404 | 410 if body.lstrip()[:1] == b"<":
            # A page for people comes from a gateway or from a wrong base_url, not from what knows tasks.
            return Unavailable(Fault.UNREADABLE, detail=f"HTTP {http_status} with a page: is camb.base_url right?")
        case 404 | 410:
            return Unknown(detail(body))
        case 422:
            return Invalid(detail(body))
    return unavailable(http_status, body, wish=wish, now=now)


def unavailable(http_status: int, body: bytes, *, wish: str | None, now: datetime) -> Unavailable:
    """The report of an answer whose HTTP status is trouble."""
    if http_status == 429:
        fault = Fault.RATE_LIMITED
    elif http_status == 408:
        fault = Fault.TIMEOUT
    elif http_status >= 500 or http_status in {409, 425}:
        fault = Fault.SERVER_ERROR
    else:
        fault = Fault.UNEXPECTED
    words = detail(body)
    return Unavailable(fault, retry_after(wish, now=now), f"HTTP {http_status}" + (f": {words}" if words else ""))


def parse(body: bytes, *, longest: int = LONGEST_BODY) -> tuple[Json] | Unavailable:
    """The JSON document in *body*, in a tuple of one because the document may be null."""
    if len(body) > longest:
        return Unavailable(Fault.OVERSIZED, detail=f"more than {longest} bytes")
    try:
        return (json.loads(body),)
    except (ValueError, RecursionError):
        return Unavailable(Fault.UNREADABLE, detail="the answer is not JSON")


def read_status(kind: Kind, document: Json) -> Report:
    """What the JSON *document* says of a task of *kind*."""
    return _read_document(kind.confirm_by_result, document)


def _read_success(by_result: bool, body: bytes) -> Report:  # noqa: FBT001 - one of what the cache goes by
    """What the *body* of a success says; *by_result*: as Kind.confirm_by_result."""
    document = parse(body)
    return document if isinstance(document, Unavailable) else _read_document(by_result, document[0])


# Nearly all answers are the same few bytes, and a look into a cache is a tenth of what reading them costs.
_read_known = lru_cache(KNOWN_BODIES)(_read_success)


def _read_document(by_result: bool, document: Json) -> Report:  # noqa: FBT001
    match document:
        case str():
            return _read_word(document, {})
        case {"status": str(word)}:
            return _read_word(word, document)
        case {"message": {"status": str(word)} as inner}:  # seen to be read by a client, costs nothing
            return _read_word(word, {**document, "message": None, **inner})
        case {"status": status} if status is not None:
            return Unavailable(Fault.MALFORMED, detail="the status is not a text")
        case {"run_id": value} if by_result:
            run_id = _run_id(value)
            return Pending() if run_id is None else Unconfirmed(run_id)
        case {"run_id": _}:  # a run can be there long before its task is done
            return Pending()
        case []:
            return Pending()
        case [*items] if told := next((one for one in items if isinstance(one, dict) and one.get("status")), None):
            return _read_document(by_result, told)  # never seen, but a failure must not pass for the shape below
        case [{"run_id": value}, *_]:
            run_id = _run_id(value)
            return Pending() if run_id is None else Ended(Status.SUCCESS, run_id)
    return Unavailable(Fault.MALFORMED, detail="JSON, but no shape of a status")


def detail(body: bytes) -> str | None:
    """The words of an error answer, for people: `detail`, `error` or `message` of a JSON object, cut to size."""
    try:
        document = json.loads(body[:LONGEST_BODY])
    except (ValueError, RecursionError):
        return None
    match document:
        case {"detail": [{"msg": str(words)}, *_]}:  # FastAPI's validation errors
            return one_line(words)
        case {"detail": words} | {"error": words} | {"message": words}:
            return one_line(words)
    return None


def _read_word(word: str, document: dict[str, Json]) -> Report:
    normal = word.strip().upper()
    if normal == "PENDING":
        return Pending()
    status = _ENDS.get(normal)
    if status is None:
        return Pending(word=_word(word) or "(empty)")
    return Ended(
        status,
        _run_id(document.get("run_id")),
        _reason(document.get("exception_reason")),
        one_line(document.get("message")),
    )


def _reason(value: Json) -> str | None:
    words = _word(value)
    return None if words is None or words.upper() == "NONE" else words


def _word(value: Json) -> str | None:
    """As a value and not as a sentence: without an ellipsis."""
    words = one_line(value)
    return None if words is None else words[: beginning(words, LONGEST_WORD, len)]


def _run_id(value: Json) -> int | None:
    """A positive integer that a database can hold, also as digits in a text; None for anything else."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit() and len(value.strip()) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
        return value
    return None

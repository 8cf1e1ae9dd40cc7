"""
What Camb's answer to a poll means.

Shapes as collected from camb-sdk 1.6.6, docs.camb.ai and clients that ran against
the live service; where those disagree, every form is understood. What follows from
an answer is decided in lifecycle.py:

    answer                                              report
    2xx, PENDING                                        Pending
    2xx, a status of Camb's in capitals, usual shape    Ended
    2xx, other spelling (`error`, `FAILED`), odd shape  Ended, not certain: the next poll has to say the same
    2xx, a word that is not a status                    Pending(word)
    2xx, anything else                                  Unavailable (unreadable, malformed, oversized)
    401, 403 in Camb's form                             Forbidden
    404, 410 in Camb's form                             Unknown
    422 in Camb's form, about the path                  Invalid
    401, 403, 404, 410, 422 in any other form           Unavailable (foreign)
    everything else                                     Unavailable

The usual shape depends on the kind (kinds.StatusShape). refusals.py defines Camb's form.
"""

from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from cambwatch.core.camb.kinds import Kind, StatusShape
from cambwatch.core.camb.refusals import REFUSALS, camb_refusal
from cambwatch.core.delivery.retry import retry_after
from cambwatch.core.lenient_json import loads
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
from cambwatch.core.text import one_line
from cambwatch.core.text_cutting import prefix_length

LONGEST_BODY = 1 << 20  # bytes; a status has some hundred
SHORT_BODY = 256  # bytes; the reports of shorter bodies are cached
KNOWN_BODIES = 256  # reports in the cache
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
    if 200 <= http_status < 300:  # as the official SDK does; today's Camb is known to say 200
        return (_read_known if len(body) <= SHORT_BODY else _read_success)(kind.shape, body)
    if http_status in REFUSALS:
        return _read_refusal(http_status, body, wish=wish, now=now)
    return unavailable(http_status, body, wish=wish, now=now)


def _read_refusal(http_status: int, body: bytes, *, wish: str | None, now: datetime) -> Report:
    refusal = camb_refusal(http_status, body)
    if refusal is None:
        words = "is not in Camb's form: something between Camb and cambwatch has answered, or camb.base_url is wrong"
        asked = retry_after(wish, now=now)
        return Unavailable(Fault.FOREIGN, asked.pause, f"HTTP {http_status} {words}", asked.reading)
    match http_status:
        case 401 | 403:
            return Forbidden(http_status, one_line(refusal.words))
        case 404 | 410:
            return Unknown(one_line(refusal.words))
        case _ if refusal.about_path:
            return Invalid(one_line(refusal.words))
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
    asked = retry_after(wish, now=now)
    return Unavailable(fault, asked.pause, f"HTTP {http_status}" + (f": {words}" if words else ""), asked.reading)


def parse(body: bytes, *, longest: int = LONGEST_BODY) -> tuple[Json] | Unavailable:
    """The JSON document in *body*, in a tuple of one because the document may be null."""
    if len(body) > longest:
        return Unavailable(Fault.OVERSIZED, detail=f"more than {longest} bytes")
    try:
        return (loads(body),)
    except ValueError:
        return Unavailable(Fault.UNREADABLE, detail="the answer is not JSON")


def read_status(kind: Kind, document: Json) -> Report:
    """What the JSON *document* says of a task of *kind*."""
    return _read_document(kind.shape, document)


def _read_success(shape: StatusShape, body: bytes) -> Report:
    """What the *body* of a success says of a task whose kind has *shape*."""
    document = parse(body)
    return document if isinstance(document, Unavailable) else _read_document(shape, document[0])


# Nearly all answers are the same few bytes. A cache lookup costs a tenth of parsing them.
_read_known = lru_cache(KNOWN_BODIES)(_read_success)


def _read_document(shape: StatusShape, document: Json) -> Report:
    match document:
        case {"status": str(word)}:
            return _read_word(word, document)
        case str():
            return _read_word(document, {}, usual=shape is StatusShape.TEXT)
        case {"message": {"status": str(word)} as inner}:  # seen to be read by a client, costs nothing
            return _read_word(word, {**document, "message": None, **inner}, usual=False)
        case {"status": status} if status is not None:
            return Unavailable(Fault.MALFORMED, detail="the status is not a text")
        case {"run_id": value} if shape is StatusShape.RUN:
            run_id = _run_id(value)
            return Pending() if run_id is None else Unconfirmed(run_id)
        case {"run_id": _}:  # a run can be there long before its task is done
            return Pending()
        case [*items] if told := next((one for one in items if isinstance(one, dict) and one.get("status")), None):
            return _unusual(_read_document(shape, told))
        case [] if shape is StatusShape.RUNS:
            return Pending()
        case [{"run_id": value}, *_] if shape is StatusShape.RUNS:
            run_id = _run_id(value)
            return Pending() if run_id is None else Ended(Status.SUCCESS, run_id)
    return Unavailable(Fault.MALFORMED, detail="JSON, but no shape of a status")


def _unusual(report: Report) -> Report:
    return replace(report, certain=False) if isinstance(report, Ended) else report


def detail(body: bytes) -> str | None:
    """The words of an error answer, for people: `detail`, `error` or `message` of a JSON object, cut to size."""
    document = parse(body[:LONGEST_BODY])
    match None if isinstance(document, Unavailable) else document[0]:
        case {"detail": [{"msg": str(words)}, *_]}:  # FastAPI's validation errors
            return one_line(words)
        case {"detail": words} | {"error": words} | {"message": words}:
            return one_line(words)
    return None


def _read_word(word: str, document: dict[str, Json], *, usual: bool = True) -> Report:
    """The report of a status *word*; *usual*: it came in a shape that Camb uses for this kind."""
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

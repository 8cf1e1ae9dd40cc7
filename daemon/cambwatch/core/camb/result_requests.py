"""Results of finished runs: which requests read them, when to repeat one, and what the answers mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

from cambwatch.core.camb import replies
from cambwatch.core.camb.kinds import Kind, ResultCall
from cambwatch.core.camb.replies import camb_refusal
from cambwatch.core.camb.results import LinkCollector, find_links, trim_result
from cambwatch.core.delivery.retry import parse_retry_after
from cambwatch.core.events import Link
from cambwatch.core.model import Fault, Json, Status, UnavailableReply
from cambwatch.core.text import one_line


@dataclass(frozen=True, slots=True)
class ResultRequest:
    """A request relative to the base URL of Camb; *target* is percent-encoded, with its query."""

    method: str
    target: str
    body: Mapping[str, Json] = field(default_factory=dict)


def result_requests(
    kind: Kind, run_id: int | None, extra: Mapping[str, Json], *, repeat_alt_format: bool
) -> tuple[ResultRequest, ...]:
    """
    The requests that together give the result; none where it cannot be read.

    That is the case without a run_id, where *extra* lacks a field that the path
    needs or has one that would make another path of it, and where reading means a
    POST, which might start and bill a new conversion, unless *repeat_alt_format*
    allows that.
    """
    requests = (_request(call, run_id, extra) for call in kind.results if call.method == "GET" or repeat_alt_format)
    return tuple(request for request in requests if request is not None)


def _request(call: ResultCall, run_id: int | None, extra: Mapping[str, Json]) -> ResultRequest | None:
    # A POST repeats the call that created the task, so its run_id is the one that the caller gave then.
    values = {"run_id": run_id, **{name: extra.get(name) for name in call.required_fields}}
    if call.method == "POST":
        values["run_id"] = extra.get("run_id")
    if not all(_fits(value) for value in values.values()):
        return None
    path = "/".join(
        quote(str(values[part[1:-1]]), safe="") if part.startswith("{") else part for part in call.path.split("/")
    )
    query = f"?{urlencode(call.query)}" if call.query else ""
    return ResultRequest(call.method, path + query, {name: values[name] for name in call.body_fields})


def _fits(value: Json) -> bool:
    """Whether *value* can stand in a path and leave it the path that it is."""
    match value:
        case bool():
            return False
        case int():
            return 0 <= value < 2**63
        case str():
            return value not in {"", ".", ".."} and value.isprintable()  # also no lone surrogate: it has no encoding
    return False


RESULT_TIME_S = 20.0  # by which a result may delay the notification
PAUSE_S = 0.5
MIN_REQUEST_S = 0.5  # with less time left, no request starts
MOST_POSTS = 3

LATE_FOR = timedelta(hours=1)
LATE_PAUSE_S = 15.0
LONGEST_LATE_PAUSE_S = 300.0
LATE_REQUEST_S = 60.0  # for one request in the background: half of it to wait for the budget
LATE_BUDGET_SHARE = 4  # the background spends one of so many requests of the account's budget
MOST_LATE_RESULTS = 1000  # missed results in memory; further ones wait in the database


def pause_s(tries: int, *, left_s: float, retry_after: timedelta | None) -> float | None:
    """Seconds to wait after *tries* (>= 1) requests without a result; None where *left_s* allows no further one."""
    wait_s = max(PAUSE_S * 2.0 ** min(tries - 1, 16), _seconds(retry_after))
    return None if wait_s + MIN_REQUEST_S > left_s else wait_s


def request_timeout_s(left_s: float) -> float:
    """Seconds that one request may take when *left_s* remain for all of them."""
    return left_s if left_s <= 2 * MIN_REQUEST_S else left_s / 2


def late_pause_s(tries: int, *, retry_after: timedelta | None, chance: float) -> float:
    """
    Seconds to wait in the background after *tries* (>= 0) requests there; *chance* in [0, 1).

    Jitter shortens the pause by up to a quarter, so that an outage does not end in a burst.
    """
    wait_s = min(LATE_PAUSE_S * 2.0 ** min(tries, 16), LONGEST_LATE_PAUSE_S)
    return max(wait_s * (1 - chance / 4), _seconds(retry_after))


def _seconds(span: timedelta | None) -> float:
    return 0.0 if span is None else span.total_seconds()


LONGEST_DOCUMENT = 8 << 20  # bytes; of a larger result cambwatch keeps the links, see link_scan.py

NOT_READY = frozenset({202, 204, 205})
REFUSED = frozenset({400, 401, 403, 410, 422})

_STATUS_KEYS = frozenset({"status", "message", "detail", "error", "code", "run_id", "task_id", "exception_reason"})


@dataclass(frozen=True, slots=True)
class ResultRead:
    """A result as results.trim_result() leaves it, never null, and the links of the whole result."""

    document: Json
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class ResultRefused:
    """Camb itself refuses this result; *detail* is for people and never empty."""

    detail: str


ResultReply = ResultRead | ResultRefused | UnavailableReply


def read_result(http_status: int, body: bytes, *, retry_after_header: str | None, now: datetime) -> ResultReply:
    """
    What the response of a result endpoint means; *retry_after_header* is its Retry-After header.

    Total: every status and every body has a reply, and none raises.
    """
    requested = parse_retry_after(retry_after_header, now=now)
    if http_status in REFUSED:
        refusal = camb_refusal(http_status, body)
        if refusal is None:
            words = f"HTTP {http_status} in a form that is not Camb's"
            return UnavailableReply(Fault.FOREIGN, requested.pause, words, requested.reading)
        said = one_line(refusal.words)
        return ResultRefused(f"HTTP {http_status}" + (f": {said}" if said else ""))
    if not 200 <= http_status < 300:
        return replies.unavailable(http_status, body, retry_after_header=retry_after_header, now=now)
    reply = _read_success(http_status, body)
    return (
        replace(reply, retry_after=requested.pause, reading=requested.reading)
        if isinstance(reply, UnavailableReply)
        else reply
    )


def _read_success(http_status: int, body: bytes) -> ResultRead | UnavailableReply:
    not_ready = UnavailableReply(Fault.NOT_READY, detail=f"not ready yet (HTTP {http_status})")
    if http_status in NOT_READY or not body.strip():
        return not_ready
    found = replies.parse_json(body, longest=LONGEST_DOCUMENT)
    if isinstance(found, UnavailableReply):
        return found
    document, opened = trim_result(found[0]), find_links(found[0])
    if document is None:
        return not_ready
    if not opened and _is_about_itself(document):
        return replace(not_ready, detail=replies.error_detail(body) or not_ready.detail)
    return ResultRead(document, opened)


def merge_results(read: Sequence[ResultRead]) -> ResultRead | None:
    """One result of several: an object with the keys of all, or the first where one is not an object."""
    if len(read) < 2:
        return read[0] if read else None
    if not all(isinstance(one.document, dict) for one in read):
        return read[0]
    document = {name: value for one in read for name, value in one.document.items()}
    return ResultRead(trim_result(document), _merged_links(read))


def _merged_links(read: Sequence[ResultRead]) -> tuple[Link, ...]:
    found = LinkCollector()
    for one in read:
        for link in one.links:
            found.add(link.url, link.label, ())
    return found.links()


def _is_about_itself(document: Json) -> bool:
    if not isinstance(document, dict) or not document or not document.keys() <= _STATUS_KEYS:
        return False
    return str(document.get("status")).upper() != Status.SUCCESS

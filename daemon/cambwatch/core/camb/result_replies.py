"""
What a response of a result endpoint means.

    response                                            meaning
    2xx with a document (200, 201, 203, 206, ...)       ResultRead
    202, 204, 205; 2xx with an empty body, null, or     not ready yet: retry
    an object about itself
    2xx with anything else: HTML, text, audio, a half   retry
    400, 401, 403, 410, 422 in Camb's form              ResultRefused: Camb would refuse again
    the same statuses in any other form                 a gateway answers: retry
    429                                                 retry, and slow the account down
    404, 409, 425, 5xx, redirects, every other status   retry
    none: timeout, connection, DNS, TLS                 retry

cambwatch retries a 404 in every form, because clients have seen it for results that "might not
be ready yet" (Camb's n8n node). An object about itself is `{"status": "PENDING"}`,
`{"message": "no Route matched"}` or `{"detail": "..."}`: gateways send those with 200 too.
"Retry" is Unavailable, with the Retry-After of the response. refusals.py says which form is Camb's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cambwatch.core.camb import replies
from cambwatch.core.camb.refusals import camb_refusal
from cambwatch.core.camb.results import LinkCollector, find_links, trim_result
from cambwatch.core.delivery.retry import parse_retry_after
from cambwatch.core.events import Link
from cambwatch.core.model import Fault, Json, Status, UnavailableReply
from cambwatch.core.text import one_line

LONGEST_DOCUMENT = 8 << 20  # bytes; of a larger result cambwatch keeps the links, see result_scan.py

NOT_READY = frozenset({202, 204, 205})
REFUSED = frozenset({400, 401, 403, 410, 422})

_STATUS_KEYS = frozenset({"status", "message", "detail", "error", "code", "run_id", "task_id", "exception_reason"})


@dataclass(frozen=True, slots=True)
class ResultRead:
    """A result as results.trimmed() leaves it, never null, and the links of the whole result."""

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

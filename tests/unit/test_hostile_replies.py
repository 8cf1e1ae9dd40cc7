"""Answers that no Camb would give: whatever comes, there is a report."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lines import is_line

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.replies import (
    LONGEST_BODY,
    LONGEST_WORD,
    error_detail,
    parse_json,
    parse_poll_reply,
    parse_status_document,
)
from cambwatch.core.model import (
    Fault,
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    PendingReply,
    PollReply,
    Status,
    UnavailableReply,
    UnconfirmedReply,
    UnknownTaskReply,
)
from cambwatch.core.text import LONGEST_TEXT, one_line

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
DUB = KINDS["dub"]

any_text = st.text(st.characters(exclude_categories=()))
words = st.sampled_from(["SUCCESS", "PENDING", "ERROR", "error", "NONE", "", "FAILED", "what"])
names = st.sampled_from(["status", "run_id", "message", "exception_reason", "detail", "error", "msg"])
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names | any_text, inner, max_size=5),
    max_leaves=20,
)
kinds = st.sampled_from(list(KINDS.values()))
http_statuses = st.just(200) | st.sampled_from([401, 404, 422, 429, 500]) | st.integers(100, 599)


def printable(words: str | None, longest: int) -> bool:
    """Whether *words* can go into a log line, a database and a message."""
    return words is None or (0 < len(words) <= longest and is_line(words))


def sound(reply: PollReply) -> bool:
    """Whether everything in *reply* keeps the promises of its type."""
    match reply:
        case PendingReply(word):
            return printable(word, LONGEST_WORD)
        case FinishedReply(status, run_id, reason, message, _):
            camb_says = {Status.SUCCESS, Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED}
            fits = run_id is None or 0 < run_id < 2**63
            return status in camb_says and fits and printable(reason, LONGEST_WORD) and printable(message, LONGEST_TEXT)
        case UnconfirmedReply(run_id):
            return 0 < run_id < 2**63
        case UnknownTaskReply(why) | InvalidTaskIdReply(why):
            return printable(why, LONGEST_TEXT)
        case ForbiddenReply(http_status, why):
            return http_status in {401, 403} and printable(why, LONGEST_TEXT)
        case UnavailableReply(_, _, why):
            return printable(why, LONGEST_TEXT + 20)
    return False


@given(kinds, http_statuses, st.binary(max_size=300), st.none() | any_text)
def test_any_bytes_have_a_report(kind: object, http_status: int, body: bytes, retry_after_header: str | None) -> None:
    """And none raises."""
    assert sound(parse_poll_reply(kind, http_status, body, retry_after_header=retry_after_header, now=NOW))


@given(kinds, http_statuses, documents)
@example(DUB, 200, {"status": "ERROR", "message": {"message": "\ud800"}})
def test_any_json_has_a_report(kind: object, http_status: int, document: object) -> None:
    """As the whole document or as a part of a status."""
    for whole in (document, {"status": "ERROR", "message": document, "run_id": document}, {"detail": document}):
        body = json.dumps(whole).encode()
        assert sound(parse_poll_reply(kind, http_status, body, retry_after_header=None, now=NOW))


@given(kinds, documents)
def test_only_words_of_success_are_a_success(kind: object, document: object) -> None:
    """Nothing else makes a task succeed: a text, a status, or a list of runs."""
    reply = parse_status_document(kind, document)
    if isinstance(reply, FinishedReply) and reply.status is Status.SUCCESS:
        shown = json.dumps(document)
        assert "SUCCESS" in shown or (isinstance(document, list) and '"run_id"' in shown)


@given(st.integers(0, 200), documents)
def test_a_truncated_answer_ends_nothing(cut: int, document: object) -> None:
    """The half of a status is none."""
    body = json.dumps({"status": "SUCCESS", "run_id": 123, "message": document}).encode()
    reply = parse_poll_reply(DUB, 200, body[: min(cut, len(body) - 1)], retry_after_header=None, now=NOW)
    assert reply == UnavailableReply(Fault.UNREADABLE, detail="the answer is not JSON")


UNREADABLE = {
    "empty": b"",
    "blank": b" \n",
    "html": b"<!doctype html><html><body>SUCCESS</body></html>",
    "bare word": b"SUCCESS",
    "two documents": b'{"status": "SUCCESS"}{"status": "SUCCESS"}',
    "single quotes": b"{'status': 'SUCCESS'}",
    "binary": bytes(range(256)),
    "gzip": bytes.fromhex("1f8b0800000000000003"),
    "endless number": b'{"status": "SUCCESS", "run_id": ' + b"9" * 5000 + b"}",
    "100,000 lists": b"[" * 100_000,
    "100,000 objects": b'{"status":' * 100_000,
    "100,000 closed lists": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_not_json_is_unreadable(body: bytes) -> None:
    """Proxies answer with it; the task goes on."""
    assert parse_poll_reply(DUB, 200, body, retry_after_header=None, now=NOW) == UnavailableReply(
        Fault.UNREADABLE, detail="the answer is not JSON"
    )
    for http_status in (404, 422, 500):
        assert error_detail(body) is None
        assert sound(parse_poll_reply(DUB, http_status, body, retry_after_header=None, now=NOW))


@pytest.mark.parametrize("place", ["message", "exception_reason", "unheard_of"])
@pytest.mark.parametrize("byte", [b"\xff", b"\xe9", b"\xc3(", b"\xed\xa0\x80", b"\x80"])
def test_an_undecodable_byte_hides_no_status(place: str, byte: bytes) -> None:
    body = b'{"status": "ERROR", "run_id": 7, "%s": "caf%s"}' % (place.encode(), byte)
    reply = parse_poll_reply(DUB, 200, body, retry_after_header=None, now=NOW)
    assert isinstance(reply, FinishedReply)
    assert (reply.status, reply.run_id, reply.certain) == (Status.ERROR, 7, True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_json_is_read_in_every_encoding_it_may_have(encoding: str) -> None:
    """With a byte order mark or without."""
    body = '{"status": "ERROR", "message": "größer 😀"}'.encode(encoding)
    assert parse_poll_reply(DUB, 200, body, retry_after_header=None, now=NOW) == FinishedReply(
        Status.ERROR, message="größer 😀"
    )


def test_oversized_answers_are_not_read() -> None:
    """One byte over the limit says nothing, whatever it says."""
    body = b'{"status": "SUCCESS", "message": "' + b"x" * LONGEST_BODY + b'"}'
    reply = parse_poll_reply(DUB, 200, body, retry_after_header=None, now=NOW)
    assert reply == UnavailableReply(Fault.OVERSIZED, detail="more than 1048576 bytes")
    assert sound(parse_poll_reply(DUB, 404, body, retry_after_header=None, now=NOW))


def test_the_largest_answer_is_read() -> None:
    """Up to the last byte."""
    frame = b'{"status": "SUCCESS", "message": ""}'
    body = frame.replace(b'""', b'"' + b"x" * (LONGEST_BODY - len(frame)) + b'"')
    assert len(body) == LONGEST_BODY
    reply = parse_poll_reply(DUB, 200, body, retry_after_header=None, now=NOW)
    assert isinstance(reply, FinishedReply)
    assert reply.status is Status.SUCCESS


def test_a_limit_of_its_own_holds() -> None:
    """Results may be larger than statuses."""
    assert parse_json(b"[1]", longest=3) == ([1],)
    assert parse_json(b"[1] ", longest=3) == UnavailableReply(Fault.OVERSIZED, detail="more than 3 bytes")
    assert parse_json(b"null") == (None,)


@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")], ids=["lists", "objects"])
def test_no_depth_is_too_deep(brackets: tuple[bytes, bytes]) -> None:
    """Nor that which can just be read and then not be written any more, wherever the stack ends."""
    opening, closing = brackets
    for depth in [*range(0, 3000, 100), *range(850, 1050)]:
        nested = opening * depth + b"1" + closing * depth
        for http_status, body in (
            (200, nested),
            (200, b'{"status":"ERROR","message":' + nested + b"}"),
            (422, b'{"detail":' + nested + b"}"),
            (500, b'{"error":' + nested + b"}"),
        ):
            assert sound(parse_poll_reply(DUB, http_status, body, retry_after_header=None, now=NOW)), depth


@given(documents)
def test_a_text_is_a_line_or_none(document: object) -> None:
    """Whatever it is made of."""
    assert printable(one_line(document), LONGEST_TEXT)

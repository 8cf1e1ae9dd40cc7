"""What an answer of a result endpoint means."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.result_requests import ResultRead, ResultRefused, ResultReply, merge_results, read_result
from cambwatch.core.camb.results import LONGEST_RESULT, MOST_LINKS
from cambwatch.core.events import Link
from cambwatch.core.model import Fault, Json, UnavailableReply

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
RESULT = {"audio_url": "https://cdn.example/a"}
PAGE = b"<html><body>502 Bad Gateway</body></html>"
READ, REFUSED = "read", "refused"

# (HTTP status, body, what it means: read, refused or the fault with which it is tried again)
ANSWERS = [
    (200, RESULT, READ),
    (201, RESULT, READ),
    (203, RESULT, READ),
    (206, RESULT, READ),
    (200, [], READ),
    (200, {}, READ),
    (200, "a transcript", READ),
    (200, {"status": "SUCCESS", "run_id": 5}, READ),
    (200, {"message": "https://cdn.example/a"}, READ),
    (202, RESULT, Fault.NOT_READY),
    (202, b"", Fault.NOT_READY),
    (204, b"", Fault.NOT_READY),
    (205, b"", Fault.NOT_READY),
    (200, b"", Fault.NOT_READY),
    (206, b" \r\n", Fault.NOT_READY),
    (200, None, Fault.NOT_READY),
    (200, b"NaN", Fault.NOT_READY),  # which would be stored as null
    (200, {"status": "PENDING", "run_id": None}, Fault.NOT_READY),
    (200, {"status": "error"}, Fault.NOT_READY),
    (200, {"message": "no Route matched with those values"}, Fault.NOT_READY),
    (200, {"detail": "Not ready"}, Fault.NOT_READY),
    (200, {"task_id": "6a1f"}, Fault.NOT_READY),
    (200, PAGE, Fault.UNREADABLE),
    (200, b"ID3\x04\x00\xff\xfe", Fault.UNREADABLE),
    (200, b'{"audio_url": "https://cd', Fault.UNREADABLE),
    (200, b"[" * 100_000, Fault.UNREADABLE),
    *[(status, {"detail": "no"}, REFUSED) for status in (400, 401, 403, 410)],
    (401, {"error": "Invalid API key", "status": 401}, REFUSED),
    (422, {"detail": [{"loc": ["path", "run_id"], "msg": "not an integer", "type": "int"}]}, REFUSED),
    *[(status, PAGE, Fault.FOREIGN) for status in (400, 401, 403, 410, 422)],
    *[(status, b"", Fault.FOREIGN) for status in (400, 401, 403, 410, 422)],
    (403, {"message": "Forbidden"}, Fault.FOREIGN),
    (403, {"error": "Forbidden", "status": "403"}, Fault.FOREIGN),
    (410, {"detail": "Not Found"}, Fault.FOREIGN),
    (404, {"detail": "Run 5 not found"}, Fault.UNEXPECTED),
    (404, b"404 page not found", Fault.UNEXPECTED),
    (302, b"", Fault.UNEXPECTED),
    (408, b"", Fault.TIMEOUT),
    (409, {"detail": "busy"}, Fault.SERVER_ERROR),
    (425, b"", Fault.SERVER_ERROR),
    (429, b"", Fault.RATE_LIMITED),
    (500, {"detail": "oops"}, Fault.SERVER_ERROR),
    (503, PAGE, Fault.SERVER_ERROR),
]


def read(http_status: int, body: Json, retry_after_header: str | None = None) -> ResultReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_result(http_status, raw, retry_after_header=retry_after_header, now=NOW)


@pytest.mark.parametrize(("http_status", "body", "meaning"), ANSWERS)
def test_what_an_answer_means(http_status: int, body: Json, meaning: str) -> None:
    reply = read(http_status, body)
    match reply:
        case ResultRead():
            assert meaning == READ
        case ResultRefused(detail):
            assert meaning == REFUSED
            assert detail.startswith(f"HTTP {http_status}")
        case UnavailableReply(fault, _, detail):
            assert meaning == fault
            assert detail


@pytest.mark.parametrize(("http_status", "body", "meaning"), ANSWERS)
def test_whatever_is_tried_again_has_its_retry_after(http_status: int, body: Json, meaning: str) -> None:
    if isinstance(reply := read(http_status, body, "7"), UnavailableReply):
        assert reply.retry_after == timedelta(seconds=7)
    assert type(reply) is type(read(http_status, body))


def test_a_result_comes_with_the_links_of_the_whole_and_cut_to_size() -> None:
    document = {"audio_url": "https://cdn.example/a", "transcript": ["word " * 100] * 1000}
    reply = read(200, document)
    assert isinstance(reply, ResultRead)
    assert reply.links == (Link("Audio", "https://cdn.example/a"),)
    assert reply.document["transcript"]["cut"] is True
    assert len(json.dumps(reply.document)) < LONGEST_RESULT


@given(st.integers(100, 599), st.binary(max_size=200), st.none() | st.text(max_size=20))
def test_every_answer_means_something(http_status: int, body: bytes, retry_after_header: str | None) -> None:
    reply = read_result(http_status, body, retry_after_header=retry_after_header, now=NOW)
    if isinstance(reply, ResultRead):
        assert 200 <= http_status < 300
        assert reply.document is not None


def test_several_documents_are_one_result() -> None:
    """With all keys, and links of which no two have one label."""
    sound = ResultRead({"output_url": "https://a"}, (Link("Download", "https://a"),))
    text = ResultRead({"texts": ["ok"], "url": "https://b"}, (Link("Download", "https://b"),))
    assert merge_results([sound, text]) == ResultRead(
        {"output_url": "https://a", "texts": ["ok"], "url": "https://b"},
        (Link("Download", "https://a"), Link("Download 2", "https://b")),
    )
    assert merge_results([sound]) is sound
    assert merge_results([ResultRead(["a"]), text]) == ResultRead(["a"])
    assert merge_results([]) is None
    many = ResultRead({}, tuple(Link(f"Link {number}", f"https://{number}") for number in range(MOST_LINKS)))
    both = merge_results([many, text])
    assert both is not None
    assert len(both.links) == MOST_LINKS

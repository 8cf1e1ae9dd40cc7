"""A head whose length stands there twice is mended where the standards say what it means, and else left alone."""

import pytest

from cambwatch.adapters.http.response_head import normalize_content_length

LINE = b"HTTP/1.1 200 OK\r\n"
ONE = b"content-length: 2\r\n"


@pytest.mark.parametrize(
    ("fields", "mended"),
    [
        (ONE + ONE, ONE),
        (ONE + b"x: y\r\n" + ONE, ONE + b"x: y\r\n"),
        (b"Content-Length : 2\r\nCONTENT-LENGTH:2 \r\n", ONE),
        (b"content-length: 2, 2\r\n", ONE),
        (b"content-length: 2,2, 2\r\n", ONE),
        (ONE + b"transfer-encoding: chunked\r\n", b"transfer-encoding: chunked\r\n"),
        (b"Transfer-Encoding: gzip, chunked\r\n" + ONE + ONE, b"Transfer-Encoding: gzip, chunked\r\n"),
    ],
)
def test_what_has_one_meaning_is_written_in_one_way(fields, mended):
    assert normalize_content_length(LINE + fields + b"\r\n") == LINE + mended + b"\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        ONE,
        b"x-content-length: 2\r\n" + ONE,
        b"x: content-length: 2\r\n" + ONE,
        b"transfer-encoding: chunked\r\n",
        ONE + b"content-length: 3\r\n",
        b"content-length: 2, 3\r\n",
        b"content-length: -2, -2\r\n",
        b"content-length:\r\ncontent-length:\r\n",
        b"date: Mon, 30 Nov 2026 21:00:00 GMT\r\n" + ONE,
    ],
)
def test_every_other_head_stays_as_it_is(fields):
    """Also one that contradicts itself: aiohttp refuses that, and its status is known all the same."""
    head = LINE + fields + b"\r\n"
    assert normalize_content_length(head) is head

"""Answers that were seen before are remembered, and mean what they meant."""

from datetime import UTC, datetime

import pytest

from cambwatch.core.camb.kinds import KINDS, Kind, StatusShape
from cambwatch.core.camb.replies import CACHED_BODIES, SHORT_BODY, parse_json, parse_poll_reply, parse_status_document
from cambwatch.core.model import PendingReply, PollReply, UnconfirmedReply

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
BY_RESULT = next(kind for kind in KINDS.values() if kind.shape is StatusShape.RUN)
BY_WORD = next(kind for kind in KINDS.values() if kind.shape is StatusShape.OBJECT)


def read(kind: Kind, body: bytes) -> PollReply:
    return parse_poll_reply(kind, 200, body, retry_after_header=None, now=NOW)


@pytest.mark.parametrize("padding", [0, SHORT_BODY])
def test_the_same_bytes_may_mean_something_else_to_another_kind(padding: int) -> None:
    """Also where they were just read for the one."""
    body = b'{"run_id": 7}' + b" " * padding
    for _ in range(2):
        assert read(BY_RESULT, body) == UnconfirmedReply(7)
        assert read(BY_WORD, body) == PendingReply()


@pytest.mark.parametrize("kind", [BY_RESULT, BY_WORD], ids=lambda kind: kind.name)
def test_what_is_remembered_is_what_would_be_read(kind: Kind) -> None:
    """Of more answers than are remembered, each of them twice."""
    for _ in range(2):
        for number in range(CACHED_BODIES + 10):
            for body in (b'{"status":"SUCCESS","run_id":%d}' % number, b'{"run_id":%d}' % number, b"{%d" % number):
                document = parse_json(body)
                expected = parse_status_document(kind, document[0]) if isinstance(document, tuple) else document
                assert read(kind, body) == expected

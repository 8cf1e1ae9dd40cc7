"""What Camb's answer means: its shapes, its words, its HTTP status."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cambwatch.core.camb.kinds import KINDS, Kind, StatusShape
from cambwatch.core.camb.replies import parse_poll_reply, parse_status_document
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

NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
DUB = KINDS["dub"]
STORY = KINDS["translated-story"]
DONE = FinishedReply(Status.SUCCESS, 123)


def doubted(*said: object) -> FinishedReply:
    return FinishedReply(*said, certain=False)


def answer(http_status: int, document: object, *, kind: Kind = DUB, retry_after_header: str | None = None) -> PollReply:
    return parse_poll_reply(
        kind, http_status, json.dumps(document).encode(), retry_after_header=retry_after_header, now=NOW
    )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("document", "reply"),
    [
        # An object, with what else may be there or not.
        ({"status": "PENDING"}, PendingReply()),
        ({"status": "PENDING", "run_id": None}, PendingReply()),
        ({"status": "PENDING", "run_id": 123}, PendingReply()),  # a run is allocated long before it is done
        ({"status": "PENDING", "run_id": 123, "message": "done?", "exception_reason": "NONE"}, PendingReply()),
        ({"status": "SUCCESS", "run_id": 123}, DONE),
        ({"status": "SUCCESS", "run_id": 123, "exception_reason": None, "message": None}, DONE),
        ({"status": "SUCCESS", "run_id": 123, "exception_reason": "NONE", "unheard_of": [{}]}, DONE),
        ({"status": "SUCCESS"}, FinishedReply(Status.SUCCESS)),
        ({"status": "ERROR"}, FinishedReply(Status.ERROR)),
        ({"status": "TIMEOUT", "run_id": None}, FinishedReply(Status.TIMEOUT)),
        ({"status": "PAYMENT_REQUIRED"}, FinishedReply(Status.PAYMENT_REQUIRED)),
        (
            {"status": "ERROR", "run_id": 123, "exception_reason": "PAYMENT_REQUIRED", "message": "No credits"},
            FinishedReply(Status.ERROR, 123, "PAYMENT_REQUIRED", "No credits"),
        ),
        # In any other shape Camb is not known to say it, so a second poll has to say the same.
        ("PENDING", PendingReply()),
        ([{"status": "PENDING", "run_id": 123}], PendingReply()),
        ([{"status": "ERROR", "run_id": 123, "message": "Bad"}], doubted(Status.ERROR, 123, None, "Bad")),
        ({"message": {"status": "PENDING"}}, PendingReply()),
        ({"message": {"status": "SUCCESS"}, "run_id": 123}, doubted(Status.SUCCESS, 123)),
        ({"message": {"status": "SUCCESS", "run_id": 123}}, doubted(Status.SUCCESS, 123)),
        ({"message": {"status": "ERROR", "message": "Bad"}}, doubted(Status.ERROR, None, None, "Bad")),
        ({"status": None, "message": {"status": "TIMEOUT"}}, doubted(Status.TIMEOUT)),
    ],
)
def test_every_shape_of_a_status_is_understood(kind: Kind, document: object, reply: PollReply) -> None:
    """For every kind, because the sources disagree about which kind has which."""
    assert answer(200, document, kind=kind) == reply


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("status", [Status.SUCCESS, Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED])
def test_a_bare_status_is_certain_where_the_docs_show_one(kind: Kind, status: Status) -> None:
    assert answer(200, status.value, kind=kind) == FinishedReply(status, certain=kind.shape is StatusShape.TEXT)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("document", "reply"),
    [
        ([], PendingReply()),
        ([{"run_id": 123, "project_details": {"studio_url": "https://studio.example/1"}}], DONE),
        ([{"run_id": 123}, {"run_id": 124}], DONE),
        ([{"run_id": "123", "project_details": None}], DONE),
        ([{"run_id": None}], PendingReply()),
    ],
)
def test_a_list_without_a_status_means_something_for_project_setup_only(
    kind: Kind, document: object, reply: PollReply
) -> None:
    malformed = UnavailableReply(Fault.MALFORMED, detail="JSON, but no shape of a status")
    assert answer(200, document, kind=kind) == (reply if kind.shape is StatusShape.RUNS else malformed)


@pytest.mark.parametrize(
    ("document", "reply"),
    [
        ({"run_id": 123}, UnconfirmedReply(123)),
        ({"run_id": "123"}, UnconfirmedReply(123)),
        ({"run_id": 123, "status": None}, UnconfirmedReply(123)),
        ({"run_id": 123, "status": "PENDING"}, PendingReply()),
        ({"run_id": 123, "status": "SUCCESS"}, DONE),
        ({"run_id": None}, PendingReply()),
        ({"run_id": 0}, PendingReply()),
        ({"run_id": "soon"}, PendingReply()),
    ],
)
def test_a_run_without_a_status_finishes_a_translated_story_once_confirmed(document: object, reply: PollReply) -> None:
    """Its status may come without a status word."""
    assert parse_status_document(STORY, document) == reply


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind is not STORY], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "document", [{"run_id": 123}, {"run_id": "123"}, {"run_id": None}, {"run_id": 123, "status": None}]
)
def test_a_run_without_a_status_finishes_nothing_else(kind: Kind, document: object) -> None:
    """The test of completion is the status, not the run."""
    assert parse_status_document(kind, document) == PendingReply()


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("success", Status.SUCCESS),
        ("Success", Status.SUCCESS),
        (" SUCCESS\n", Status.SUCCESS),
        ("error", Status.ERROR),
        ("ERROR ", Status.ERROR),
        ("FAILED", Status.ERROR),
        ("failure", Status.ERROR),
        ("Revoked", Status.ERROR),
        ("timeout", Status.TIMEOUT),
        ("payment_required", Status.PAYMENT_REQUIRED),
    ],
)
def test_another_spelling_of_a_status_is_understood_and_not_certain(word: str, status: Status) -> None:
    """A gateway says `{"status": "error"}`; Camb's own words are in capitals."""
    for kind in KINDS.values():
        assert parse_status_document(kind, {"status": word}) == FinishedReply(status, certain=False)
        assert parse_status_document(kind, word) == FinishedReply(status, certain=False)


@pytest.mark.parametrize("word", ["pending", "Pending", " PENDING "])
def test_pending_is_pending_in_any_case(word: str) -> None:
    """And no unknown word."""
    assert parse_status_document(DUB, word) == PendingReply()


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("PROCESSING", "PROCESSING"),
        ("COMPLETED", "COMPLETED"),
        ("EXPIRED", "EXPIRED"),  # our own words are none of Camb's
        ("NOT_FOUND", "NOT_FOUND"),
        ("REMOVED", "REMOVED"),
        ("SUCCESS!", "SUCCESS!"),
        ("", "(empty)"),
        (" \n", "(empty)"),
        ("a\nb\tc", "a b c"),
        ("\ud800", "?"),
        ("x" * 5000, "x" * 100),
    ],
)
def test_unknown_words_keep_the_task_pending(word: str, shown: str) -> None:
    """And are handed on in a form that a log can take."""
    assert parse_status_document(DUB, {"status": word, "run_id": 123}) == PendingReply(unknown_status=shown)


@pytest.mark.parametrize(
    ("value", "run_id"),
    [
        (1, 1),
        (123, 123),
        (2**63 - 1, 2**63 - 1),
        ("123", 123),
        (" 123 ", 123),
        ("00123", 123),
        (None, None),
        (0, None),
        (-1, None),
        (2**63, None),
        (10**30, None),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        ("1.0", None),
        ("٣", None),
        ("²", None),
        ("0x1f", None),
        ("abc", None),
        (1.0, None),
        (True, None),
        ([1], None),
        ({"id": 1}, None),
    ],
)
def test_run_ids_are_positive_integers(value: object, run_id: int | None) -> None:
    """Also as digits in a text; anything else is no run_id, and the end is the end all the same."""
    assert parse_status_document(DUB, {"status": "SUCCESS", "run_id": value}) == FinishedReply(Status.SUCCESS, run_id)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("SOURCE_TOO_LONG", "SOURCE_TOO_LONG"),
        ("NEVER_HEARD_OF", "NEVER_HEARD_OF"),
        ("NONE", None),
        ("none", None),
        (" None ", None),
        ("", None),
        (" ", None),
        (None, None),
        ({"message": "SOURCE_TOO_LONG"}, "SOURCE_TOO_LONG"),
        (7, "7"),
        ("x" * 5000, "x" * 100),
    ],
)
def test_a_reason_is_a_word_or_none(value: object, reason: str | None) -> None:
    """The text NONE means that there is none."""
    assert parse_status_document(DUB, {"status": "ERROR", "exception_reason": value}) == FinishedReply(
        Status.ERROR, None, reason
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Source too long", "Source too long"),
        ("  two\n lines\t", "two lines"),
        ("", None),
        (" \n", None),
        (None, None),
        ({"message": "inner"}, "inner"),
        ({"msg": "inner"}, "inner"),
        ({"detail": "inner"}, "inner"),
        ({"error": "inner"}, "inner"),
        ({"code": 5}, '{"code": 5}'),
        (["a", 1], '["a", 1]'),
        (5, "5"),
        ({}, "{}"),
        ("nul\0bell\a", "nulbell"),
        ("0\x85\x1b", "0"),
        ("\x1b \x1b", None),
        ("right\u202eleft", "rightleft"),
        ("half \ud83d", "half ?"),
        ("whole \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "whole 😀"),
        ("x" * 2000, "x" * 2000),
        ("x" * 2001, "x" * 1999 + "…"),
    ],
)
def test_a_message_is_one_line_for_people(value: object, message: str | None) -> None:
    """Whether it comes as a text or as an object, and never longer than a message can be."""
    assert parse_status_document(DUB, {"status": "ERROR", "message": value}) == FinishedReply(
        Status.ERROR, None, None, message
    )


@pytest.mark.parametrize(
    "document",
    [
        None,
        True,
        5,
        1.5,
        {},
        {"task_id": "x"},
        {"status": 5},
        {"status": True},
        {"status": ["SUCCESS"]},
        {"status": {}},
        {"status": 200, "run_id": 123},
        {"status": None},
        [None],
        ["SUCCESS"],
        [[]],
        [{}],
        [[{"run_id": 1}]],
        {"message": "SUCCESS"},
        {"message": {"status": 5}},
        {"detail": "Not Found"},
        {"error": "oops", "status": 500},
    ],
)
def test_json_without_a_shape_of_a_status_is_malformed(document: object) -> None:
    """It says nothing about the task, so it must not end it."""
    for kind in (DUB, STORY, KINDS["project-setup"]):
        reply = answer(200, document, kind=kind)
        assert isinstance(reply, UnavailableReply)
        assert reply.fault is Fault.MALFORMED


FAULTS = {408: Fault.TIMEOUT, 409: Fault.SERVER_ERROR, 425: Fault.SERVER_ERROR, 429: Fault.RATE_LIMITED}


@pytest.mark.parametrize("http_status", range(100, 600))
def test_every_http_status_has_its_meaning(http_status: int) -> None:
    """A body that says SUCCESS is believed where the request succeeded, and nowhere else."""
    reply = answer(http_status, {"status": "SUCCESS", "run_id": 123}, retry_after_header="7")
    match http_status:
        case _ if 200 <= http_status < 300:
            assert reply == DONE
        case 401 | 403 | 404 | 410 | 422:
            assert isinstance(reply, UnavailableReply)
            assert (reply.fault, reply.retry_after) == (Fault.FOREIGN, timedelta(seconds=7))
        case _:
            unexpected = Fault.SERVER_ERROR if http_status >= 500 else Fault.UNEXPECTED
            fault = FAULTS.get(http_status, unexpected)
            assert reply == UnavailableReply(fault, timedelta(seconds=7), f"HTTP {http_status}")


@pytest.mark.parametrize(
    ("http_status", "reply"),
    [
        (401, ForbiddenReply(401, "no")),
        (403, ForbiddenReply(403, "no")),
        (404, UnknownTaskReply("no")),
        (410, UnknownTaskReply("no")),
        (422, InvalidTaskIdReply("no")),
    ],
)
def test_a_refusal_in_the_form_of_the_api_is_believed(http_status: int, reply: PollReply) -> None:
    assert answer(http_status, {"detail": "no"}) == reply
    assert answer(http_status, {"error": "no", "status": http_status}) == reply


def test_a_validation_error_about_the_request_says_nothing_about_the_task() -> None:
    mistake = {"loc": ["header", "x-api-key"], "msg": "Field required", "type": "missing"}
    assert answer(422, {"detail": [mistake]}) == UnavailableReply(Fault.UNEXPECTED, detail="HTTP 422: Field required")


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"detail": "Task not found"}, "Task not found"),
        ({"error": "Invalid API key", "status": 401}, "Invalid API key"),
        ({"message": "Slow down"}, "Slow down"),
        ({"detail": [{"loc": ["path", "task_id"], "msg": "not a UUID", "type": "uuid"}]}, "not a UUID"),
        ({"detail": {"msg": "inner"}}, "inner"),
        ({"detail": []}, "[]"),
        ({"detail": None}, None),
        ({"other": "x"}, None),
        ("Task not found", None),
        ([], None),
        (None, None),
    ],
)
def test_error_answers_are_told_in_their_own_words(document: object, words: str | None) -> None:
    """In each form that Camb's framework has for them."""
    assert answer(500, document) == UnavailableReply(
        Fault.SERVER_ERROR, detail=f"HTTP 500: {words}" if words else "HTTP 500"
    )


@pytest.mark.parametrize(
    ("retry_after_header", "span"),
    [
        (None, None),
        ("5", timedelta(seconds=5)),
        ("Sun, 22 Nov 2026 06:02:00 GMT", timedelta(minutes=2)),
        ("999999", timedelta(hours=24)),
        ("-5", None),
        ("soon", None),
    ],
)
@pytest.mark.parametrize("http_status", [408, 409, 425, 429, 500, 502, 503, 504])
def test_a_retry_after_is_handed_on(http_status: int, retry_after_header: str | None, span: timedelta | None) -> None:
    """With every answer that asks to come again."""
    reply = answer(http_status, None, retry_after_header=retry_after_header)
    assert isinstance(reply, UnavailableReply)
    assert reply.retry_after == span

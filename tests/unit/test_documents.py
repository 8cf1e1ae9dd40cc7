"""Events as JSON."""

import json
from datetime import timedelta
from math import inf, nan

import pytest
from event_samples import START, complete, ended, events
from hypothesis import given

from cambwatch.core.event_json import event_from_json, event_to_json, notification_body
from cambwatch.core.events import Event, Link
from cambwatch.core.model import Status


@given(events)
def test_event_survives_its_document(event: Event) -> None:
    """Through JSON text, to the microsecond, with keys of a later version."""
    document = json.loads(json.dumps(event_to_json(event)))
    assert event_from_json(document) == event
    assert event_from_json({**document, "of_tomorrow": 1}) == event


@pytest.mark.parametrize("document", [{}, {"event": "digest"}, {"event": "task"}, {"event": "group", "group": "g"}])
def test_foreign_document_is_refused(document: dict[str, str]) -> None:
    """No event is made up of what is missing."""
    with pytest.raises((KeyError, ValueError)):
        event_from_json(document)


def test_body_of_a_task_is_the_contract() -> None:
    """Keys, order and values of the documented example."""
    event = ended(
        kind="text-to-voice",
        name="Narrator",
        run_id=123,
        polls=9,
        result_endpoint="https://client.camb.ai/apis/text-to-voice-result/123",
        result={"previews": ["https://a"]},
        links=(Link("Preview 1", "https://a"),),
    )
    expected = {
        "type": "camb.task.success",
        "timestamp": "2026-11-22T06:00:41.200Z",
        "data": {
            "account": "default",
            "kind": "text-to-voice",
            "task_id": "6a1f0c9e-58b5-4b8e",
            "name": "Narrator",
            "labels": {},
            "group": None,
            "status": "SUCCESS",
            "run_id": 123,
            "exception_reason": None,
            "message": None,
            "icon": "✅",
            "action": "download_voice",
            "summary": 'Text to voice "Narrator" succeeded after 41 s',
            "registered_at": "2026-11-22T06:00:00.000Z",
            "finished_at": "2026-11-22T06:00:41.200Z",
            "duration_seconds": 41.2,
            "polls": 9,
            "result_endpoint": "https://client.camb.ai/apis/text-to-voice-result/123",
            "result": {"previews": ["https://a"]},
            "links": [{"label": "Preview 1", "url": "https://a"}],
            "result_pending": False,
        },
    }
    assert json.dumps(notification_body(event)) == json.dumps(expected)  # as text, because order is part of the promise


def test_body_of_a_group_is_the_contract() -> None:
    """Keys, order and values."""
    expected = {
        "type": "camb.group.complete",
        "timestamp": "2026-11-22T06:03:00.000Z",
        "data": {
            "group": "season-1",
            "counts": {"SUCCESS": 2},
            "tasks": 2,
            "summary": 'Group "season-1" is complete: 2 succeeded',
            "registered_at": "2026-11-22T06:00:00.000Z",
            "finished_at": "2026-11-22T06:03:00.000Z",
            "duration_seconds": 180.0,
        },
    }
    assert json.dumps(notification_body(complete({"SUCCESS": 2}))) == json.dumps(expected)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.PENDING])
def test_type_is_the_status_in_lower_case(status: Status) -> None:
    """`camb.task.payment_required`, for example."""
    assert notification_body(ended(status))["type"] == f"camb.task.{status.value.lower()}"


def test_duration_has_one_decimal_and_is_never_negative() -> None:
    """A clock that was set back meanwhile makes it 0."""
    assert notification_body(ended(after=timedelta(seconds=1.26)))["data"]["duration_seconds"] == 1.3
    assert notification_body(ended(registered_at=START + timedelta(hours=1)))["data"]["duration_seconds"] == 0


@given(events)
def test_body_is_strict_json_of_instants_in_utc(event: Event) -> None:
    """Nothing in it needs a lenient parser."""
    document = notification_body(event)
    json.dumps(document, allow_nan=False)
    assert document["timestamp"].endswith("Z")
    assert document["data"]["duration_seconds"] >= 0


def test_body_has_no_number_that_json_does_not_know() -> None:
    """NaN and infinity, which Python's parser lets in, become null."""
    assert notification_body(ended(result=[nan, inf, -inf, 1.5]))["data"]["result"] == [None, None, None, 1.5]

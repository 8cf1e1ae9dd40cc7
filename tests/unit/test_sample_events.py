"""Samples look like events of Camb: each status with the fields that it has there, and no others."""

from datetime import UTC, datetime, timedelta

import pytest

from cambwatch.core.events import RoutingAttributes, sample_event, sample_test_message
from cambwatch.core.model import Status

AT = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "has"),
    [
        (Status.SUCCESS, {"run_id", "result", "links"}),
        (Status.ERROR, {"exception_reason", "message"}),
        (Status.TIMEOUT, {"message"}),
        (Status.PAYMENT_REQUIRED, {"message"}),
    ],
)
def test_a_sample_has_the_fields_of_its_status(status: Status, has: set[str]) -> None:
    sample = sample_event("dub", status, at=AT)
    fields = ("run_id", "result", "links", "exception_reason", "message")
    assert {name for name in fields if getattr(sample, name)} == has
    assert sample.registered_at < sample.finished_at == AT


def test_a_sample_has_the_attributes_that_routes_look_at() -> None:
    plain = sample_event("dub", Status.SUCCESS, at=AT)
    assert (plain.account, plain.group, plain.labels) == ("default", None, {})
    attributes = RoutingAttributes(account="studio", group="g", labels={"show": "pilot"})
    chosen = sample_event("dub", Status.SUCCESS, at=AT, attributes=attributes)
    assert (chosen.account, chosen.group, chosen.labels) == ("studio", "g", {"show": "pilot"})


def test_no_two_test_messages_are_taken_for_the_same() -> None:
    first, second = sample_test_message(AT), sample_test_message(AT + timedelta(microseconds=1))
    assert first.task_id != second.task_id

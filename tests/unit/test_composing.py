"""What one POST says: which deliveries share one, and what becomes of those that cannot be said."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from delivery_samples import owed
from event_samples import START, ended, receiver
from structlog.testing import capture_logs

from cambwatch.core.delivery.attempts import PendingDelivery
from cambwatch.core.events import TaskEnded
from cambwatch.core.formats import FORMATS, MOST_IN_DIGEST, Message
from cambwatch.core.lifecycle import LATE_AFTER
from cambwatch.core.model import Attempt, Delivery, Outcome
from cambwatch.core.templates import BodyTemplate
from cambwatch.loops.delivery.senders import can_join_digest, compose, compose_digest

MICROSECOND = timedelta(microseconds=1)
SLACK = receiver("slack")
LATER = START + LATE_AFTER


def one(number: int, **event: object) -> PendingDelivery:
    return owed(number=number), ended(task_id=f"task-{number}", **event)


def broken() -> TaskEnded:
    """An event that nothing can be said of; none such is made, but bugs happen."""
    return replace(ended(), finished_at=None)


@pytest.mark.parametrize(
    ("kind", "digest", "late", "before", "together"),
    [
        ("slack", None, False, None, False),
        ("slack", None, True, None, True),
        ("slack", None, True, Outcome.TRANSIENT, True),
        ("slack", timedelta(minutes=1), False, None, True),
        ("slack", timedelta(minutes=1), False, Outcome.TRANSIENT, True),
        ("slack", timedelta(minutes=1), True, Outcome.PAYLOAD_REJECTED, False),
        ("webhook", None, True, None, False),
        ("webhook", timedelta(minutes=1), True, None, False),
    ],
)
def test_who_goes_with_others(
    kind: str, digest: timedelta | None, *, late: bool, before: Outcome | None, together: bool
) -> None:
    """What is late, or what a chat wants in digests; never what was refused for its form, nor a program's."""
    now = LATER if late else LATER - MICROSECOND
    assert can_join_digest(owed(attempts=1, outcome=before), receiver(kind, digest=digest), now) == together


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"webhook"}))
def test_every_chat_has_digests(kind: str) -> None:
    """Of several; a single one goes by itself."""
    message, count = compose_digest([one(number) for number in range(5)], receiver(kind), LATER)
    assert count == 5
    assert message.body
    assert compose_digest([one(1)], receiver(kind), LATER) is None


def test_a_digest_has_as_many_as_fit() -> None:
    """The first ones; the others are told after it."""
    several = [one(number) for number in range(MOST_IN_DIGEST + 5)]
    message, count = compose_digest(several, SLACK, LATER)
    assert count == MOST_IN_DIGEST
    assert (message, count) == compose_digest(several[:count], SLACK, LATER)


def test_a_digest_says_if_something_in_it_is_late() -> None:
    """So that nobody takes for new what is old."""
    old, new = one(1), (replace(owed(), created_at=LATER), ended())
    late, _ = compose_digest([old, new], SLACK, LATER)
    assert late == FORMATS["slack"].digest([old[1], new[1]], SLACK, late=True)[0]
    punctual, _ = compose_digest([old, new], SLACK, LATER - MICROSECOND)
    assert punctual == FORMATS["slack"].digest([old[1], new[1]], SLACK, late=False)[0]
    assert late != punctual


def test_one_broken_event_takes_no_others_with_it() -> None:
    """There is no digest then: each goes by itself, and a bug is logged."""
    with capture_logs() as logs:
        assert compose_digest([one(1), (owed(), broken()), one(2)], SLACK, LATER) is None
    assert [(line["event"], line["deliveries"]) for line in logs] == [("delivery.internal_error", 3)]


def test_an_event_is_said_by_itself() -> None:
    """With the id of its delivery, at the instant of the attempt; and with all its ornaments."""
    delivery, event = one(1)
    expected = FORMATS["webhook"].render(event, receiver("webhook"), delivery_id="msg_1", at=LATER)
    assert compose(delivery, event, receiver("webhook"), LATER) == expected
    assert expected.headers["webhook-id"] == "msg_1"
    for before in (None, Outcome.TRANSIENT):
        chatted = compose(owed(attempts=1, outcome=before), event, SLACK, LATER)
        assert chatted == FORMATS["slack"].render(event, SLACK, delivery_id="msg_1", at=LATER)
        assert chatted != FORMATS["slack"].plain(event, SLACK)


def test_what_was_refused_for_its_form_is_said_plainly() -> None:
    """Where the service has a simpler form; else as before."""
    refused = owed(attempts=1, outcome=Outcome.PAYLOAD_REJECTED)
    plain = compose(refused, ended(), SLACK, LATER)
    assert isinstance(plain, Message)
    assert plain == FORMATS["slack"].plain(ended(), SLACK)
    assert "blocks" not in json.loads(plain.body)
    assert compose(refused, ended(), receiver("webhook"), LATER) == compose(owed(), ended(), receiver("webhook"), LATER)


@pytest.mark.parametrize("attempts", [0, 6])
def test_a_template_that_fails_is_a_refusal(attempts: int) -> None:
    """By ourselves, of this event alone; nothing is posted."""
    delivery: Delivery = owed(attempts=attempts)
    failing = receiver("webhook", template=BodyTemplate("{{ type.nothing.at.all }}"))
    attempt = compose(delivery, ended(), failing, LATER)
    assert isinstance(attempt, Attempt)
    assert (attempt.number, attempt.outcome, attempt.took_ms) == (attempts + 1, Outcome.PAYLOAD_REJECTED, 0)
    assert attempt.http_status is None
    assert (attempt.detail or "").startswith("the template: line 1 ")


def test_a_bug_is_trouble_of_our_own() -> None:
    """The receiver is not to blame, and the lane goes on."""
    with capture_logs() as logs:
        attempt = compose(owed(attempts=2), broken(), SLACK, LATER)
    assert isinstance(attempt, Attempt)
    assert (attempt.number, attempt.outcome, attempt.http_status) == (3, Outcome.OURS, None)
    assert (attempt.detail or "").startswith("a bug in cambwatch (TypeError): ")
    assert [line["event"] for line in logs] == ["delivery.internal_error"]

"""What a person is told: icon, action, one line."""

from datetime import timedelta

import pytest
from event_samples import complete, ended, events, tasks
from hypothesis import example, given
from lines import is_line

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.events import Event, TaskEnded
from cambwatch.core.guidance import explanation, group_icon, guidance_for, summary, task_label
from cambwatch.core.model import Status

ALIKE = {
    Status.PENDING: ("⏳", "wait"),
    Status.ERROR: ("❌", "review_inputs"),
    Status.TIMEOUT: ("⏰", "retry_or_contact"),
    Status.PAYMENT_REQUIRED: ("💳", "add_credits"),
    Status.EXPIRED: ("⌛", "check_studio"),
    Status.NOT_FOUND: ("❓", "check_task_id"),
    Status.REMOVED: ("⏹️", "none"),
}
OPENED = {"text-to-voice": "download_voice", "project-setup": "open_studio", "story-setup": "open_studio"}


@pytest.mark.parametrize("kind", [*KINDS, "of-tomorrow"])
@pytest.mark.parametrize("status", Status)
def test_icon_and_action_are_those_of_the_contract(kind: str, status: Status) -> None:
    """Only a success depends on the kind."""
    expected = ("✅", OPENED.get(kind, "download_result")) if status is Status.SUCCESS else ALIKE[status]
    for reason in (None, "SOURCE_TOO_LONG"):
        guidance = guidance_for(kind, status, reason)
        assert (guidance.icon, guidance.action) == expected
        assert guidance.words


@pytest.mark.parametrize("status", Status)
def test_missing_credits_as_the_reason_of_an_error_ask_for_credits(status: Status) -> None:
    """The reason turns an ERROR into a matter of credits, and nothing else."""
    plain = guidance_for("dub", status, None)
    expected = guidance_for("dub", Status.PAYMENT_REQUIRED, None) if status is Status.ERROR else plain
    assert guidance_for("dub", status, "PAYMENT_REQUIRED") == expected


def test_words_of_different_actions_differ() -> None:
    """A person can tell every action from the next."""
    told = {guidance_for(kind, status, None) for kind in KINDS for status in Status}
    assert len({guidance.words for guidance in told}) == len({guidance.action for guidance in told}) == 10


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (ended(kind="text-to-voice", name="Narrator"), 'Text to voice "Narrator" succeeded after 41 s'),
        (ended(), "Dub 6a1f0c9e… succeeded after 41 s"),
        (ended(task_id="short-id"), "Dub short-id succeeded after 41 s"),
        (
            ended(
                Status.ERROR,
                name="Pilot",
                exception_reason="SOURCE_TOO_LONG",
                message="too long",
                after=timedelta(minutes=3),
            ),
            'Dub "Pilot" failed after 3 min: SOURCE_TOO_LONG',
        ),
        (
            ended(Status.ERROR, name="Pilot", exception_reason="SOURCE_TOO_LONG", after=timedelta(minutes=3)),
            'Dub "Pilot" failed after 3 min: SOURCE_TOO_LONG. Contact support',
        ),
        (ended(Status.ERROR, name="Pilot", message="a\nb"), 'Dub "Pilot" failed after 41 s: a b'),
        (ended(Status.ERROR, name="Pilot"), 'Dub "Pilot" failed after 41 s. Contact support'),
        (
            ended(Status.ERROR, name="Pilot", exception_reason="PAYMENT_REQUIRED"),
            'Dub "Pilot" stopped for lack of credits after 41 s. Contact support if there are credits left',
        ),
        (
            ended(Status.PAYMENT_REQUIRED, name="Pilot", message="no credits"),
            'Dub "Pilot" stopped for lack of credits after 41 s: no credits',
        ),
        (
            ended(Status.TIMEOUT, name="Pilot", after=timedelta(hours=3)),
            'Dub "Pilot" timed out at Camb after 3 h. Contact support if it happens again',
        ),
        (
            ended(Status.EXPIRED, name="Pilot", after=timedelta(days=1), message="The last status was X"),
            'Dub "Pilot" showed no end within 1 d: cambwatch stopped watching, Camb may still finish it',
        ),
        (
            ended(Status.NOT_FOUND, name="Pilot", after=timedelta(minutes=2)),
            'Dub "Pilot" was not found after 2 min: Camb does not know its task_id',
        ),
        (ended(name="{span}"), 'Dub "{span}" succeeded after 41 s'),
        (ended(kind="of-tomorrow", name="X"), 'of-tomorrow "X" succeeded after 41 s'),
        (complete({"SUCCESS": 11, "ERROR": 1}), 'Group "season-1" is complete: 11 succeeded, 1 failed'),
        (
            complete({"TIMEOUT": 1, "NOT_FOUND": 2, "EXPIRED": 3, "ERROR": 0, "REMOVED": 1}),
            'Group "season-1" is complete: 1 timed out, 3 expired, 2 not found, 1 removed',
        ),
        (complete({}), 'Group "season-1" is complete: no tasks'),
    ],
)
def test_summary_says_what_happened(event: Event, line: str) -> None:
    """Every status has its own honest words."""
    assert summary(event) == line


@given(events)
@example(ended(Status.ERROR, message="x" * 2000))
@example(ended(kind="x" * 2000))
def test_summary_is_one_short_line(event: Event) -> None:
    """Whatever names, messages and reasons hold, the line fits on one line and into UTF-8."""
    line = summary(event)
    assert 0 < len(line) <= 300
    assert is_line(line)
    line.encode()


@given(tasks)
def test_a_task_is_always_called_something(event: TaskEnded) -> None:
    """A name of nothing but control characters is no name."""
    assert task_label(event).strip()
    assert is_line(task_label(event))


@pytest.mark.parametrize("status", [Status.ERROR, Status.TIMEOUT, Status.PAYMENT_REQUIRED])
def test_failure_without_a_message_says_contact_support(status: Status) -> None:
    """Both in the line and in the explanation; a message takes its place."""
    assert "Contact support" in summary(ended(status))
    assert "Contact support" in (explanation(ended(status, message=" \n")) or "")
    assert explanation(ended(status, message="words")) == "words"
    assert "Contact support" not in summary(ended(status, message="words"))


def test_success_explains_nothing() -> None:
    """Whatever Camb says besides."""
    assert explanation(ended(message="done")) is None


def test_group_has_a_tick_only_where_every_task_succeeded() -> None:
    """A count of zero is no failure."""
    assert group_icon(complete({"SUCCESS": 2, "ERROR": 0})) == "✅"
    assert group_icon(complete({"SUCCESS": 2, "EXPIRED": 1})) == "⚠️"

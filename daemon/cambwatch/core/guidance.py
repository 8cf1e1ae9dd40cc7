"""What an event means for a person: an icon, what to do now, and one line that tells it all."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.events import DestinationAlert, Event, GroupComplete, TaskEnded
from cambwatch.core.instants import format_duration
from cambwatch.core.model import Outcome, Status
from cambwatch.core.text import one_line, truncate

LONGEST_SUMMARY = 300  # characters
LONGEST_NAME = 100  # characters of a name within a summary
SHORT_ID = 8  # characters kept of a task_id that stands for a name


@dataclass(frozen=True, slots=True)
class Guidance:
    """What to show and what to do: *action* is for programs, *words* say the same to a person."""

    icon: str
    action: str
    words: str


@dataclass(frozen=True, slots=True)
class _StatusWording:
    """
    How one status is told.

    *sentence* follows the task's name and holds `{span}`; *count_noun* follows a number of
    tasks; *support_hint* is what a failure says where Camb has left no message.
    """

    icon: str
    action: str
    sentence: str
    count_noun: str
    support_hint: str | None = None


_STATUS_WORDINGS: Mapping[Status, _StatusWording] = MappingProxyType(
    {
        Status.PENDING: _StatusWording("⏳", "wait", "is still pending after {span}", "pending"),
        Status.SUCCESS: _StatusWording("✅", "download_result", "succeeded after {span}", "succeeded"),
        Status.ERROR: _StatusWording("❌", "review_inputs", "failed after {span}", "failed", "Contact support"),
        Status.TIMEOUT: _StatusWording(
            "⏰",
            "retry_or_contact",
            "timed out at Camb after {span}",
            "timed out",
            "Contact support if it happens again",
        ),
        Status.PAYMENT_REQUIRED: _StatusWording(
            "💳",
            "add_credits",
            "stopped for lack of credits after {span}",
            "stopped for lack of credits",
            "Contact support if there are credits left",
        ),
        Status.EXPIRED: _StatusWording(
            "⌛",
            "check_studio",
            "showed no end within {span}: cambwatch stopped watching, Camb may still finish it",
            "expired",
        ),
        Status.NOT_FOUND: _StatusWording(
            "❓", "check_task_id", "was not found after {span}: Camb does not know its task_id", "not found"
        ),
        Status.REMOVED: _StatusWording("⏹️", "none", "is no longer watched after {span}", "removed"),
    }
)

_ACTION_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "download_result": "Download the result",
        "download_voice": "Listen to the previews and download the voice",
        "open_studio": "Open the project in Camb.ai Studio",
        "wait": "Wait: Camb is still at work",
        "retry_or_contact": "Start the task again; contact support if it times out again",
        "review_inputs": "Review the inputs, then start the task again",
        "add_credits": "Add credits in Camb.ai, then start the task again",
        "check_studio": "Look in Camb.ai Studio: Camb may still finish the task",
        "check_task_id": "Check the task_id, its kind and the account it was started with",
        "none": "Nothing to do",
    }
)


_ALERT_WORDS: Mapping[Outcome, str] = MappingProxyType(
    {
        Outcome.RATE_LIMITED: "It wants fewer messages: use a digest, or ask its owner for more",
        Outcome.DESTINATION_GONE: "Make its webhook anew, and put the new URL into the configuration",
        Outcome.AUTH: "Its URL or credentials are refused: put good ones into the configuration",
        Outcome.POLICY: "A rule forbids it: look at its attempts for the reason",
        Outcome.OURS: "The trouble is on our side: look at the log of cambwatch",
    }
)


def guidance_for(kind: str, status: Status, exception_reason: str | None) -> Guidance:
    """The guidance for a task of *kind* in *status*; a kind that nobody knows is guided like most."""
    wording = _wording_for(status, exception_reason)
    known = KINDS.get(kind)
    action = known.action if known and status is Status.SUCCESS else wording.action
    return Guidance(wording.icon, action, _ACTION_WORDS[action])


def group_icon(event: GroupComplete) -> str:
    """A tick only where every task succeeded."""
    others = sum(count for status, count in event.counts.items() if status != Status.SUCCESS)
    return "⚠️" if others else "✅"


def alert_icon(event: DestinationAlert) -> str:
    """A siren while the destination is down, a tick when it is back."""
    return "✅" if event.recovered else "🚨"


def alert_advice(event: DestinationAlert) -> str | None:
    """What to do about a destination that is down; None when it is back."""
    if event.recovered:
        return None
    return _ALERT_WORDS.get(event.outcome, "Look at the receiver: cambwatch tries on, and nothing that waits is lost")


def kind_title(kind: str) -> str:
    """What people call *kind*: `Text to voice`."""
    known = KINDS.get(kind)
    return known.title if known else one_line(kind) or "Task"


def task_label(event: TaskEnded) -> str:
    """What people call the task: its name, else `Dub 6a1f0c9e…`; one line, never empty."""
    return one_line(event.name) or f"{kind_title(event.kind)} {_short(event.task_id)}"


def explanation(event: TaskEnded) -> str | None:
    """Of an end without success: what Camb said, else whom to ask, else None; one line."""
    if event.status is Status.SUCCESS:
        return None
    return one_line(event.message) or _wording_for(event.status, event.exception_reason).support_hint


def summary(event: Event) -> str:
    """*event* in one line of at most LONGEST_SUMMARY characters without control characters; not escaped."""
    match event:
        case TaskEnded():
            line = _task_line(event)
        case GroupComplete():
            line = _group_line(event)
        case DestinationAlert():
            line = _alert_line(event)
        case _:
            assert_never(event)
    return truncate(line, LONGEST_SUMMARY)


def _wording_for(status: Status, exception_reason: str | None) -> _StatusWording:
    # Camb says that credits are missing as a status, or as the reason of an ERROR.
    if status is Status.ERROR and exception_reason == Status.PAYMENT_REQUIRED:
        status = Status.PAYMENT_REQUIRED
    return _STATUS_WORDINGS[status]


def _task_line(event: TaskEnded) -> str:
    wording = _wording_for(event.status, event.exception_reason)
    name = one_line(event.name)
    who = f'"{truncate(name, LONGEST_NAME)}"' if name else _short(event.task_id)
    line = f"{kind_title(event.kind)} {who} " + wording.sentence.format(
        span=format_duration(event.finished_at - event.registered_at)
    )
    if wording.support_hint is None:  # no failure of Camb's: its own words say it all
        return line
    message = one_line(event.message)
    reason = one_line(event.exception_reason)
    reason_words = message if reason in (None, Status.PAYMENT_REQUIRED) else reason
    return line + (f": {reason_words}" if reason_words else "") + ("" if message else f". {wording.support_hint}")


def _group_line(event: GroupComplete) -> str:
    counts = [(event.counts.get(status, 0), wording.count_noun) for status, wording in _STATUS_WORDINGS.items()]
    parts = [f"{count} {count_noun}" for count, count_noun in counts if count]
    group = truncate(one_line(event.group) or "?", LONGEST_NAME)
    return f'Group "{group}" is complete: {", ".join(parts) or "no tasks"}'


def _alert_line(event: DestinationAlert) -> str:
    waits = f"{event.waiting} waiting" if event.waiting else "nothing waits"
    span = format_duration(event.at - event.since)
    name = truncate(one_line(event.destination) or "?", LONGEST_NAME)
    if event.recovered:
        return f'Destination "{name}" takes messages again after {span}: {waits}'
    status = "" if event.http_status is None else f", HTTP {event.http_status}"
    return f'Destination "{name}" has taken nothing for {span} (last: {event.outcome.value}{status}): {waits}'


def _short(task_id: str) -> str:
    line = one_line(task_id) or "?"
    return line if len(line) <= SHORT_ID + 4 else truncate(line, SHORT_ID + 1)

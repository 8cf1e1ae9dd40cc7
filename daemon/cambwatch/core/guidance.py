"""What an event means for a person: an icon, what to do now, and one line that tells it all."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.events import DestinationAlert, Event, GroupComplete, TaskEnded
from cambwatch.core.instants import in_words
from cambwatch.core.model import Outcome, Status
from cambwatch.core.text import one_line
from cambwatch.core.text_cutting import cut

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
class _Telling:
    """
    How one status is told.

    *ended* follows the task's name and holds `{span}`; *counted* follows a number of
    tasks; *contact* is what a failure says where Camb has left no message.
    """

    icon: str
    action: str
    ended: str
    counted: str
    contact: str | None = None


_TELLINGS: Mapping[Status, _Telling] = MappingProxyType(
    {
        Status.PENDING: _Telling("⏳", "wait", "is still pending after {span}", "pending"),
        Status.SUCCESS: _Telling("✅", "download_result", "succeeded after {span}", "succeeded"),
        Status.ERROR: _Telling("❌", "review_inputs", "failed after {span}", "failed", "Contact support"),
        Status.TIMEOUT: _Telling(
            "⏰",
            "retry_or_contact",
            "timed out at Camb after {span}",
            "timed out",
            "Contact support if it happens again",
        ),
        Status.PAYMENT_REQUIRED: _Telling(
            "💳",
            "add_credits",
            "stopped for lack of credits after {span}",
            "stopped for lack of credits",
            "Contact support if there are credits left",
        ),
        Status.EXPIRED: _Telling(
            "⌛",
            "check_studio",
            "showed no end within {span}: cambwatch stopped watching, Camb may still finish it",
            "expired",
        ),
        Status.NOT_FOUND: _Telling(
            "❓", "check_task_id", "was not found after {span}: Camb does not know its task_id", "not found"
        ),
        Status.REMOVED: _Telling("⏹️", "none", "is no longer watched after {span}", "removed"),
    }
)

_WORDS: Mapping[str, str] = MappingProxyType(
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


def guide(kind: str, status: Status, exception_reason: str | None) -> Guidance:
    """The guidance for a task of *kind* in *status*; a kind that nobody knows is guided like most."""
    telling = _telling(status, exception_reason)
    known = KINDS.get(kind)
    action = known.action if known and status is Status.SUCCESS else telling.action
    return Guidance(telling.icon, action, _WORDS[action])


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


def title(kind: str) -> str:
    """What people call *kind*: `Text to voice`."""
    known = KINDS.get(kind)
    return known.title if known else one_line(kind) or "Task"


def subject(event: TaskEnded) -> str:
    """What people call the task: its name, else `Dub 6a1f0c9e…`; one line, never empty."""
    return one_line(event.name) or f"{title(event.kind)} {_short(event.task_id)}"


def explanation(event: TaskEnded) -> str | None:
    """Of an end without success: what Camb said, else whom to ask, else None; one line."""
    if event.status is Status.SUCCESS:
        return None
    return one_line(event.message) or _telling(event.status, event.exception_reason).contact


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
    return cut(line, LONGEST_SUMMARY)


def _telling(status: Status, exception_reason: str | None) -> _Telling:
    # Camb says that credits are missing as a status, or as the reason of an ERROR.
    if status is Status.ERROR and exception_reason == Status.PAYMENT_REQUIRED:
        status = Status.PAYMENT_REQUIRED
    return _TELLINGS[status]


def _task_line(event: TaskEnded) -> str:
    telling = _telling(event.status, event.exception_reason)
    name = one_line(event.name)
    who = f'"{cut(name, LONGEST_NAME)}"' if name else _short(event.task_id)
    line = f"{title(event.kind)} {who} " + telling.ended.format(span=in_words(event.finished_at - event.registered_at))
    if telling.contact is None:  # no failure of Camb's: its own words say it all
        return line
    message = one_line(event.message)
    reason = one_line(event.exception_reason)
    told = message if reason in (None, Status.PAYMENT_REQUIRED) else reason
    return line + (f": {told}" if told else "") + ("" if message else f". {telling.contact}")


def _group_line(event: GroupComplete) -> str:
    counts = [(event.counts.get(status, 0), telling.counted) for status, telling in _TELLINGS.items()]
    parts = [f"{count} {counted}" for count, counted in counts if count]
    group = cut(one_line(event.group) or "?", LONGEST_NAME)
    return f'Group "{group}" is complete: {", ".join(parts) or "no tasks"}'


def _alert_line(event: DestinationAlert) -> str:
    waits = f"{event.waiting} waiting" if event.waiting else "nothing waits"
    span = in_words(event.at - event.since)
    name = cut(one_line(event.destination) or "?", LONGEST_NAME)
    if event.recovered:
        return f'Destination "{name}" takes messages again after {span}: {waits}'
    status = "" if event.http_status is None else f", HTTP {event.http_status}"
    return f'Destination "{name}" has taken nothing for {span} (last: {event.outcome.value}{status}): {waits}'


def _short(task_id: str) -> str:
    line = one_line(task_id) or "?"
    return line if len(line) <= SHORT_ID + 4 else cut(line, SHORT_ID + 1)

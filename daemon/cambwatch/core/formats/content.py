"""What a chat message says of an event, before any service's own form; every text is one line, and none is escaped."""

import re
import shlex
from dataclasses import dataclass
from typing import assert_never

from cambwatch.core.accounts import DEFAULT_ACCOUNT
from cambwatch.core.events import DestinationAlert, Event, GroupComplete, Link, TaskEnded
from cambwatch.core.guidance import (
    alert_advice,
    alert_icon,
    explanation,
    group_icon,
    guidance_for,
    kind_title,
    summary,
    task_label,
)
from cambwatch.core.instants import format_duration
from cambwatch.core.model import Status
from cambwatch.core.text import one_line

RESULT_PENDING_ADVICE = "Read the result later: cambwatch retries for one more hour"
GREEN = 0x2EB67D
RED = 0xE01E5A

LONGEST_COMMAND = 300  # characters; ids longer than Camb's would fill the message
LONGEST_ENDPOINT = 400  # characters
# Characters that every format shows unchanged, so that readers can copy them: no escapes, no mentions.
_COPYABLE = re.compile(r"[A-Za-z0-9 '\"._,:/%+=?&-]+")


@dataclass(frozen=True, slots=True)
class MessageContent:
    """
    The parts of a message, in the order in which people read them.

    *facts* are names and values. *details* is what happened where the facts do not say
    it. *advice* is what to do, in our own words. *notes* are for those who look
    twice. *line* says it all in one. *result_hint* says how to get at the links; formats do
    not escape it, so that it can be copied.
    """

    icon: str
    heading: str
    line: str
    facts: tuple[tuple[str, str], ...]
    details: str | None
    advice: str | None
    links: tuple[Link, ...]
    notes: tuple[str, ...]
    succeeded: bool
    result_hint: str | None = None

    @property
    def title(self) -> str:
        """Icon and heading."""
        return f"{self.icon} {self.heading}"

    @property
    def color(self) -> int:
        """Of what succeeded, or of what did not: 0xRRGGBB."""
        return GREEN if self.succeeded else RED

    @property
    def words(self) -> str:
        """Two lines at most, for notifications and for services that refuse anything else."""
        line = f"{self.icon} {self.line}"
        return line if self.advice is None else f"{line}\n{self.advice}"


def message_content(event: Event) -> MessageContent:
    """What to say of *event*; no text is empty."""
    match event:
        case TaskEnded():
            return _task_content(event)
        case GroupComplete():
            return _group_content(event)
        case DestinationAlert():
            return _alert_content(event)
        case _:
            assert_never(event)


def link_label(link: Link) -> str:
    """What to write on *link*; never empty."""
    return one_line(link.label) or "Download"


def more_links_note(left_out: int, result_hint: str | None = None) -> str:
    """The note about *left_out* links that did not fit; *result_hint* says how to get them."""
    words = f"{left_out} more in the result"
    return words if result_hint is None else f"{words}: {result_hint}"


def describe_result_access(event: TaskEnded) -> str | None:
    """
    How to read the result of the task that *event* is about, without a link: by cambwatch, or at Camb.

    At most LONGEST_COMMAND + LONGEST_ENDPOINT + 30 characters of ASCII, with the command in
    backticks; None where neither the task nor its endpoint can be written so.
    """
    command = show_command(event)
    endpoint = event.result_endpoint
    known = endpoint is not None and len(endpoint) <= LONGEST_ENDPOINT and _COPYABLE.fullmatch(endpoint)
    ways = [f"`{command}` prints it"] if command is not None else []
    ways += [f"GET {endpoint}"] if known else []
    return ", or ".join(ways) or None


def show_command(event: TaskEnded) -> str | None:
    """The command that prints the task of *event* with its result; None where a message cannot hold it as it is."""
    if not event.kind or not event.task_id or event.task_id.startswith("-"):
        return None
    words = ["cambwatch", "show", event.kind, event.task_id]
    if event.account != DEFAULT_ACCOUNT:
        words += ["--account", event.account]
    command = shlex.join(words)
    return command if len(command) <= LONGEST_COMMAND and _COPYABLE.fullmatch(command) else None


def _task_content(event: TaskEnded) -> MessageContent:
    guidance = guidance_for(event.kind, event.status, event.exception_reason)
    succeeded = event.status is Status.SUCCESS
    facts = [
        ("Kind", kind_title(event.kind)),
        ("Status", event.status.value),
        ("Duration", format_duration(event.finished_at - event.registered_at)),
    ]
    if event.account != DEFAULT_ACCOUNT:
        facts.append(("Account", one_line(event.account) or "?"))
    details = [] if succeeded else [words for words in (one_line(event.exception_reason), explanation(event)) if words]
    result_hint = describe_result_access(event)
    if event.result_pending:
        later = "The result could not be read yet. cambwatch retries for one more hour"
        details.append(later if result_hint is None else f"{later}: {result_hint}")
    notes = [f"Task {event.task_id}"]
    if event.group is not None:
        notes.append(f"Group {event.group}")
    notes.extend(f"{label}: {value}" for label, value in event.labels.items())
    return MessageContent(
        icon=guidance.icon,
        heading=task_label(event),
        line=summary(event),
        facts=tuple(facts),
        details=": ".join(details) or None,
        advice=RESULT_PENDING_ADVICE if event.result_pending and not event.links else guidance.words,
        links=event.links,
        notes=tuple(one_line(note) or "?" for note in notes),
        succeeded=succeeded,
        result_hint=result_hint,
    )


def _group_content(event: GroupComplete) -> MessageContent:
    icon = group_icon(event)
    line = summary(event)
    return MessageContent(
        icon=icon,
        heading=one_line(event.group) or "Group",
        line=line,
        facts=(("Tasks", str(event.tasks)), ("Duration", format_duration(event.finished_at - event.registered_at))),
        details=line,
        advice=None,
        links=(),
        notes=(),
        succeeded=icon == "✅",
    )


def _alert_content(event: DestinationAlert) -> MessageContent:
    line = summary(event)
    return MessageContent(
        icon=alert_icon(event),
        heading=f"Destination {'back' if event.recovered else 'down'}: {one_line(event.destination) or '?'}",
        line=line,
        facts=(("Waiting", str(event.waiting)), ("Duration", format_duration(event.at - event.since))),
        details=line,
        advice=alert_advice(event),
        links=(),
        notes=(),
        succeeded=event.recovered,
    )

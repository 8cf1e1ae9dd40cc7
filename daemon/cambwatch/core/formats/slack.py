"""
Slack incoming webhooks: Block Kit that Slack cannot refuse for its form.

Slack answers a message beyond its limits with `invalid_blocks` and no reason, so every
text is cut here, by the size that it has when escaped. Limits are those of
docs.slack.dev; lengths are counted in UTF-16 units, which is never less than Slack counts.

What others have chosen (names, messages, labels) stands in plain_text, where `*`, `_`,
`:skull:` and `@here` are only characters. mrkdwn is used for our own words and for
links, with `verbatim`, so that Slack makes no links and mentions of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never
from urllib.parse import quote, urlsplit

from cambwatch.core.destinations import Destination, Rate
from cambwatch.core.events import Event, GroupComplete, Link, TaskEnded
from cambwatch.core.formats.message import Message, compact, headers_for
from cambwatch.core.guidance import explanation, group_icon, guide, subject, summary, title
from cambwatch.core.instants import in_words
from cambwatch.core.model import Json, Status
from cambwatch.core.replies import text as one_line
from cambwatch.core.results import is_link

HEADER = 150
TEXT = 3000  # of a section, of the fallback, of a URL
FIELD = 2000
BUTTON = 75
BUTTONS = 5
CONTEXT = 10  # elements
CONTEXT_TEXT = 150  # our own: ten longer ones are no footnote
LINK_SECTIONS = 10  # our own: room for all links but unusually long ones

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_AS_IN_URL = "!#$%&'()*+,/:;=?@[]~"  # kept as they are; what is not ASCII, and < > | " \, is percent-encoded


@dataclass(frozen=True, slots=True)
class Slack:
    """Slack takes one message a second of each incoming webhook and disables who does not listen."""

    rate: Rate | None = Rate(1.0, burst=1)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Slack has no use for *delivery_id* and *at*."""
        del delivery_id, at
        match event:
            case TaskEnded():
                message = _task_message(event)
            case GroupComplete():
                message = _group_message(event)
            case _:
                assert_never(event)
        return Message(compact(message), headers_for(destination))


FORMAT = Slack()


def _task_message(event: TaskEnded) -> Json:
    guidance = guide(event.kind, event.status, event.exception_reason)
    facts = [
        ("Kind", title(event.kind)),
        ("Status", event.status.value),
        ("Duration", in_words(event.finished_at - event.registered_at)),
    ]
    if event.account != "default":
        facts.append(("Account", event.account))
    blocks = [_header(f"{guidance.icon} {subject(event)}"), _facts(facts)]
    if event.status is not Status.SUCCESS:
        told = [words for words in (one_line(event.exception_reason), explanation(event)) if words]
        if told:
            blocks.append({"type": "section", "text": _plain(": ".join(told), TEXT)})
    blocks.append({"type": "section", "text": _mrkdwn(f"*What to do:* {fit(guidance.words, TEXT - 20)}")})
    blocks.extend(_links(event.links))
    notes = [f"Task {event.task_id}"]
    if event.group is not None:
        notes.append(f"Group {event.group}")
    notes.extend(f"{label}: {value}" for label, value in event.labels.items())
    blocks.append(_context(notes))
    return {"text": fit(f"{guidance.icon} {summary(event)}\n{guidance.words}", TEXT), "blocks": blocks}


def _group_message(event: GroupComplete) -> Json:
    line = summary(event)
    facts = [("Tasks", str(event.tasks)), ("Duration", in_words(event.finished_at - event.registered_at))]
    blocks = [
        _header(f"{group_icon(event)} {one_line(event.group) or 'Group'}"),
        {"type": "section", "text": _plain(line, TEXT)},
        _facts(facts),
    ]
    return {"text": fit(f"{group_icon(event)} {line}", TEXT), "blocks": blocks}


def _header(words: str) -> Json:
    return {"type": "header", "text": _plain(words, HEADER)}


def _facts(facts: Sequence[tuple[str, str]]) -> Json:
    fields = [_mrkdwn(f"*{name}*\n{fit(one_line(value) or '?', FIELD - 20)}") for name, value in facts]
    return {"type": "section", "fields": fields}


def _context(notes: Sequence[str]) -> Json:
    if len(notes) > CONTEXT:
        notes = [*notes[: CONTEXT - 1], f"and {len(notes) - CONTEXT + 1} more"]
    return {"type": "context", "elements": [_plain(note, CONTEXT_TEXT) for note in notes]}


def _links(links: Sequence[Link]) -> Iterator[Json]:
    """The first links as buttons, further ones as text, and a word about those that have no room."""
    buttons: list[Json] = []
    sections: list[str] = []
    left_out = 0
    for link in links:
        url = _url(link.url)
        if url is None:
            left_out += 1
            continue
        label = one_line(link.label) or "Download"
        if len(buttons) < BUTTONS:
            buttons.append({"type": "button", "text": _plain(label, BUTTON), "url": url})
            continue
        line = f"<{escape(url)}|{fit(label, BUTTON)}>"
        if sections and width(sections[-1]) + 1 + width(line) <= TEXT:
            sections[-1] += f"\n{line}"
        elif width(line) <= TEXT and len(sections) < LINK_SECTIONS:
            sections.append(line)
        else:
            left_out += 1
    if buttons:
        yield {"type": "actions", "elements": buttons}
    for section in sections:
        yield {"type": "section", "text": _mrkdwn(section)}
    if left_out:
        yield {"type": "section", "text": _plain(f"{left_out} more in the result", TEXT)}


def _url(url: str) -> str | None:
    """*url* in ASCII, as Slack takes it; None for what is no link, too long, or has a host that is not ASCII."""
    if not is_link(url) or not urlsplit(url).netloc.isascii():
        return None
    safe = quote(url, safe=_AS_IN_URL)
    return safe if len(safe) <= TEXT else None


def _plain(words: str, longest: int) -> Json:
    # Slack decodes entities in plain_text as well, so that "&lt;" in a name needs escaping here, too.
    return {"type": "plain_text", "text": fit(one_line(words) or "?", longest), "emoji": False}


def _mrkdwn(escaped: str) -> Json:
    return {"type": "mrkdwn", "text": escaped, "verbatim": True}


def escape(words: str) -> str:
    """*words* with the three characters escaped that Slack gives a meaning to."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def width(words: str) -> int:
    """The length of *words* in UTF-16 units."""
    return len(words) + sum(character > "\uffff" for character in words)


def fit(words: str, longest: int) -> str:
    """*words* escaped, and cut with an ellipsis where that is wider than *longest*; no entity is cut in two."""
    whole = escape(words)
    if width(whole) <= longest:
        return whole
    kept: list[str] = []
    room = longest - 1  # the ellipsis
    for character in words:
        piece = _ENTITIES.get(character, character)
        room -= width(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"

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
from types import MappingProxyType

from cambwatch.core.destinations import Destination, Rate
from cambwatch.core.events import Event, Link
from cambwatch.core.formats.fitting import Escapes, ascii_url, escape, fit, utf16, within
from cambwatch.core.formats.message import Message, compact, headers_for
from cambwatch.core.formats.telling import label_of, more, tell
from cambwatch.core.model import Json

HEADER = 150
TEXT = 3000  # of a section, of the fallback, of a URL
FIELD = 2000
BUTTON = 75
BUTTONS = 5
CONTEXT = 10  # elements
CONTEXT_TEXT = 150  # our own: ten longer ones are no footnote
LINK_SECTIONS = 10  # our own: room for all links but unusually long ones

ESCAPES: Escapes = MappingProxyType({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""The three characters that Slack gives a meaning to; it decodes the entities in plain_text as well."""


@dataclass(frozen=True, slots=True)
class Slack:
    """Slack takes one message a second of each incoming webhook and disables who does not listen."""

    rate: Rate | None = Rate(1.0, burst=1)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Slack has no use for *delivery_id* and *at*."""
        del delivery_id, at
        telling = tell(event)
        blocks = [{"type": "header", "text": _plain(telling.title, HEADER)}, _facts(telling.facts)]
        if telling.told is not None:
            blocks.append({"type": "section", "text": _plain(telling.told, TEXT)})
        if telling.advice is not None:
            blocks.append({"type": "section", "text": _mrkdwn(f"*What to do:* {_fit(telling.advice, TEXT - 20)}")})
        blocks.extend(_links(telling.links))
        if telling.notes:
            blocks.append(_context(telling.notes))
        message = {"text": _fit(telling.words, TEXT), "blocks": blocks}
        return Message(compact(message), headers_for(destination))

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """Text alone, with the links for which there is room."""
        telling = tell(event)
        words = _fit(telling.words, TEXT // 2)
        lines, left_out = within(map(_link, telling.links), TEXT - utf16(words) - 40, lambda line: utf16(line) + 1)
        text = "\n".join([words, *lines, *([more(left_out)] if left_out else [])])
        return Message(compact({"text": text}), headers_for(destination))


FORMAT = Slack()


def _facts(facts: Sequence[tuple[str, str]]) -> Json:
    fields = [_mrkdwn(f"*{name}*\n{_fit(value, FIELD - 20)}") for name, value in facts]
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
        url = ascii_url(link.url, TEXT)
        line = _link(link)
        if url is None or line is None:
            left_out += 1
        elif len(buttons) < BUTTONS:
            buttons.append({"type": "button", "text": _plain(label_of(link), BUTTON), "url": url})
        elif sections and utf16(sections[-1]) + 1 + utf16(line) <= TEXT:
            sections[-1] += f"\n{line}"
        elif utf16(line) <= TEXT and len(sections) < LINK_SECTIONS:
            sections.append(line)
        else:
            left_out += 1
    if buttons:
        yield {"type": "actions", "elements": buttons}
    for section in sections:
        yield {"type": "section", "text": _mrkdwn(section)}
    if left_out:
        yield {"type": "section", "text": _plain(more(left_out), TEXT)}


def _link(link: Link) -> str | None:
    url = ascii_url(link.url, TEXT)
    return None if url is None else f"<{escape(url, ESCAPES)}|{_fit(label_of(link), BUTTON)}>"


def _plain(words: str, longest: int) -> Json:
    return {"type": "plain_text", "text": _fit(words, longest), "emoji": False}


def _mrkdwn(escaped: str) -> Json:
    return {"type": "mrkdwn", "text": escaped, "verbatim": True}


def _fit(words: str, longest: int) -> str:
    return fit(words, longest, escapes=ESCAPES)

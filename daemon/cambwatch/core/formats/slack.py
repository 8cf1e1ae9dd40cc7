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

from cambwatch.core.events import Event, Link
from cambwatch.core.formats.content import MessageContent, link_label, message_content, more_links_note
from cambwatch.core.formats.digests import Digest, build_digest
from cambwatch.core.formats.message import Message, compact_json, headers_for
from cambwatch.core.formats.size_limits import Escapes, ascii_url, escape, fit, fit_items, unformatted, utf16
from cambwatch.core.model import Json
from cambwatch.core.routing import Destination, RateLimit

HEADER = 150
TEXT = 3000  # of a section, of the fallback, of a URL
FIELD = 300  # our own: 2000 are allowed, but all blocks together have a limit
BUTTON = 75
BUTTONS = 5
CONTEXT = 10  # elements
CONTEXT_TEXT = 150  # our own: ten longer ones are no footnote
AROUND = 100  # characters of a block besides its content
BLOCKS = 12_000
"""
Characters of all blocks together, as JSON.

Senders have met `msg_blocks_too_long` from 13,172 characters on (slackapi/bolt-js #2509);
Slack does not say what it counts.
"""

ESCAPES: Escapes = MappingProxyType({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
"""The three characters that Slack gives a meaning to; it decodes the entities in plain_text as well."""


@dataclass(frozen=True, slots=True)
class SlackFormat:
    """Slack takes one message a second of each incoming webhook and disables who does not listen."""

    rate: RateLimit | None = RateLimit(1.0, burst=1)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Slack has no use for *delivery_id* and *at*."""
        del delivery_id, at
        content = message_content(event)
        blocks = [{"type": "header", "text": _plain(content.title, HEADER)}, _facts(content.facts)]
        if content.details is not None:
            blocks.append({"type": "section", "text": _plain(content.details, TEXT)})
        if content.advice is not None:
            blocks.append({"type": "section", "text": _mrkdwn(f"*What to do:* {_fit(content.advice, TEXT - 20)}")})
        notes = [_context(content.notes)] if content.notes else []
        links = _links(content, BLOCKS - _size([*blocks, *notes]))
        message = {"text": _formatted(content.words, TEXT), "blocks": [*blocks, *links, *notes]}
        return Message(compact_json(message), headers_for(destination))

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A section for each event, whose button opens its first link."""

        def fits(digest: Digest) -> bool:
            return _size(_digest(digest)) <= BLOCKS

        digest = build_digest(events, late=late, longest_url=TEXT, fits=fits)
        message = {"text": _formatted(digest.words, TEXT), "blocks": _digest(digest)}
        return Message(compact_json(message), headers_for(destination)), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """Text alone, with the links for which there is room."""
        content = message_content(event)
        words = _formatted(content.words, TEXT // 2)
        rest = _fit(more_links_note(len(content.links), content.result_hint), TEXT)
        space_left = TEXT - utf16(words) - utf16(rest) - 1
        lines, left_out = fit_items(map(_link, content.links), space_left, lambda line: utf16(line) + 1)
        text = "\n".join(
            [words, *lines, *([_fit(more_links_note(left_out, content.result_hint), TEXT)] if left_out else [])]
        )
        return Message(compact_json({"text": text}), headers_for(destination))


FORMAT = SlackFormat()


def _digest(digest: Digest) -> list[Json]:
    blocks: list[Json] = [{"type": "header", "text": _plain(digest.title, HEADER)}]
    blocks.append({"type": "context", "elements": [_plain(digest.lead, TEXT)]})
    for entry in digest.entries:
        rest = "" if entry.rest is None else f" · {entry.rest}"
        words = f"{digest.clock(entry)} {entry.icon} {entry.line}{rest}"
        section: dict[str, Json] = {"type": "section", "text": _plain(words, TEXT)}
        if entry.link is not None:
            section["accessory"] = _button(entry.link.label, entry.link.url)
        blocks.append(section)
    return blocks


def _facts(facts: Sequence[tuple[str, str]]) -> Json:
    fields = [_mrkdwn(f"*{name}*\n{_formatted(value, FIELD)}") for name, value in facts]
    return {"type": "section", "fields": fields}


def _context(notes: Sequence[str]) -> Json:
    if len(notes) > CONTEXT:
        notes = [*notes[: CONTEXT - 1], f"and {len(notes) - CONTEXT + 1} more"]
    return {"type": "context", "elements": [_plain(note, CONTEXT_TEXT) for note in notes]}


def _links(content: MessageContent, space_left: int) -> Iterator[Json]:
    """The first links as buttons, more as text while they fit, and the number of links left out."""
    space_left -= _size(_left_out(content, len(content.links))) + 1
    buttons: list[Json] = []
    sections: list[str] = []
    shown = 0
    for link in content.links:
        url = ascii_url(link.url, TEXT)
        if url is None:
            continue
        line = _line(link_label(link), url)
        as_text = len(buttons) >= BUTTONS and utf16(line) <= TEXT
        section_is_full = not sections or utf16(sections[-1]) + 1 + utf16(line) > TEXT
        opens = section_is_full if as_text else len(buttons) % BUTTONS == 0
        button = _button(link_label(link), url)
        cost = _size(line if as_text else button) + 1 + (AROUND if opens else 0)
        if cost > space_left:
            continue
        space_left -= cost
        shown += 1
        if not as_text:
            buttons.append(button)
        elif opens:
            sections.append(line)
        else:
            sections[-1] += f"\n{line}"
    rows = [buttons[first : first + BUTTONS] for first in range(0, len(buttons), BUTTONS)]
    yield from ({"type": "actions", "elements": row} for row in rows[:1])
    yield from ({"type": "section", "text": _mrkdwn(text)} for text in sections)
    yield from ({"type": "actions", "elements": row} for row in rows[1:])
    if shown < len(content.links):
        yield _left_out(content, len(content.links) - shown)


def _left_out(content: MessageContent, count: int) -> Json:
    return {"type": "section", "text": _plain(more_links_note(count, content.result_hint), TEXT)}


def _size(part: Json) -> int:
    return utf16(compact_json(part).decode())


def _button(label: str, url: str) -> Json:
    return {"type": "button", "text": _plain(label, BUTTON), "url": url}


def _link(link: Link) -> str | None:
    url = ascii_url(link.url, TEXT)
    return None if url is None else _line(link_label(link), url)


def _line(label: str, url: str) -> str:
    return f"<{escape(url, ESCAPES)}|{_formatted(label, BUTTON)}>"


def _plain(words: str, longest: int) -> Json:
    return {"type": "plain_text", "text": _fit(words, longest), "emoji": False}


def _mrkdwn(escaped: str) -> Json:
    return {"type": "mrkdwn", "text": escaped, "verbatim": True}


def _formatted(words: str, longest: int) -> str:
    """*words* for mrkdwn, which cannot escape its formatting."""
    return _fit(unformatted(words), longest)


def _fit(words: str, longest: int) -> str:
    return fit(words, longest, escapes=ESCAPES)

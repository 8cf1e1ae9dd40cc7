"""
Google Chat incoming webhooks: a card, with buttons for the links.

The text of a message knows mentions (`<users/all>`), links and formatting, and has no
escapes; the text of a card is a little HTML, which has. So what others have chosen stands
in the card, and where it has to be text, look-alikes take the place of what has a meaning. A
message may have 32,000 bytes, its text 4096 characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cambwatch.core.events import Event, Link
from cambwatch.core.formats.content import MessageContent, link_label, message_content, more_links_note
from cambwatch.core.formats.digests import Digest, DigestEntry, build_digest
from cambwatch.core.formats.message import Message, compact_json, headers_for
from cambwatch.core.formats.size_limits import Escapes, ascii_url, fit, fit_items, unformatted, utf16
from cambwatch.core.model import Json
from cambwatch.core.routing import Destination, RateLimit

MESSAGE = 30_000  # bytes; our own, as all that follows but TEXT
DIGEST_URL = 2048  # a digest has to hold one entry, whatever that holds
TEXT = 4096
TITLE = 200  # UTF-16 units
VALUE = 400
DETAILS = 6000
NOTES = 2000
LABEL = 80
BUTTONS = 40

HTML: Escapes = MappingProxyType({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
CHAT: Escapes = MappingProxyType({"<": "‹", ">": "›", "|": "¦"})


@dataclass(frozen=True, slots=True)
class GoogleChatFormat:
    """A space takes one message a second, whoever sends it."""

    rate: RateLimit | None = RateLimit(1.0, burst=1)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Google Chat has no use for *delivery_id* and *at*."""
        del delivery_id, at
        content = message_content(event)
        widgets = [
            {"decoratedText": {"topLabel": name, "text": _html(value, VALUE), "wrapText": True}}
            for name, value in content.facts
        ]
        if content.details is not None:
            widgets.append(_paragraph(_html(content.details, DETAILS)))
        if content.advice is not None:
            widgets.append(_paragraph(f"<b>What to do:</b> {_html(content.advice, VALUE)}"))
        notes = [_paragraph(_html(" · ".join(content.notes), NOTES))] if content.notes else []
        header = {"title": fit(content.title, TITLE)}
        fallback = _text(content.words, VALUE)
        space_left = MESSAGE - len(compact_json(_card(header, [*widgets, *notes], fallback)))
        links = _links(content, space_left)
        return Message(compact_json(_card(header, [*widgets, *links, *notes], fallback)), headers_for(destination))

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A widget for each event, whose button opens its first link."""

        def fits(digest: Digest) -> bool:
            return len(compact_json(_digest(digest))) <= MESSAGE

        digest = build_digest(events, late=late, longest_url=DIGEST_URL, fits=fits)
        return Message(compact_json(_digest(digest)), headers_for(destination)), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """Text alone, with the links for which there is room."""
        content = message_content(event)
        words = _text(content.words, TEXT // 2)
        space_left = TEXT - utf16(words) - len(more_links_note(len(content.links), content.result_hint)) - 1
        lines, left_out = fit_items(map(_text_link, content.links), space_left, lambda line: utf16(line) + 1)
        text = "\n".join([words, *lines, *([more_links_note(left_out, content.result_hint)] if left_out else [])])
        return Message(compact_json({"text": text}), headers_for(destination))


FORMAT = GoogleChatFormat()


def _digest(digest: Digest) -> Json:
    entries = (_entry(entry, digest.clock(entry)) for entry in digest.entries)
    widgets = [_paragraph(_html(digest.lead, VALUE)), *entries]
    return _card({"title": fit(digest.title, TITLE)}, widgets, _text(digest.words, VALUE))


def _entry(entry: DigestEntry, clock: str) -> Json:
    text: dict[str, Json] = {"topLabel": clock, "text": f"{entry.icon} {_html(entry.line, DETAILS)}", "wrapText": True}
    if entry.rest is not None:
        text["bottomLabel"] = entry.rest
    if entry.link is not None:
        text["button"] = _opening(entry.link.label, entry.link.url)
    return {"decoratedText": text}


def _card(header: Json, widgets: Sequence[Json], fallback: str) -> Json:
    card = {"header": header, "sections": [{"widgets": widgets}]}
    return {"fallbackText": fallback, "cardsV2": [{"cardId": "event", "card": card}]}


def _links(content: MessageContent, space_left: int) -> list[Json]:
    """The first links as buttons, and a word about those that have no room."""
    links, left = content.links[:BUTTONS], content.links[BUTTONS:]
    around = (
        len(compact_json({"buttonList": {"buttons": []}}))
        + len(compact_json(_left_out(content, len(content.links))))
        + 10
    )
    buttons, left_out = fit_items(
        map(_button, links), space_left - around, lambda button: len(compact_json(button)) + 1
    )
    elements: list[Json] = [{"buttonList": {"buttons": buttons}}] if buttons else []
    left_out += len(left)
    return [*elements, _left_out(content, left_out)] if left_out else elements


def _left_out(content: MessageContent, count: int) -> Json:
    return _paragraph(_html(more_links_note(count, content.result_hint), NOTES))


def _button(link: Link) -> Json | None:
    url = ascii_url(link.url, MESSAGE)
    return None if url is None else _opening(link_label(link), url)


def _opening(label: str, url: str) -> Json:
    return {"text": fit(label, LABEL), "onClick": {"openLink": {"url": url}}}


def _text_link(link: Link) -> str | None:
    url = ascii_url(link.url, TEXT)
    return None if url is None else f"<{url}|{_text(link_label(link), LABEL)}>"


def _paragraph(html: str) -> Json:
    return {"textParagraph": {"text": html}}


def _text(words: str, longest: int) -> str:
    return fit(unformatted(words), longest, escapes=CHAT)


def _html(words: str, longest: int) -> str:
    return fit(words, longest, escapes=HTML)

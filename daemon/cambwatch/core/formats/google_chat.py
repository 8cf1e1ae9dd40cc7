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

from cambwatch.core.destinations import Destination, Rate
from cambwatch.core.events import Event, Link
from cambwatch.core.formats.content import Telling, label_of, more, tell
from cambwatch.core.formats.digests import Digest, Entry, digest_of
from cambwatch.core.formats.message import Message, compact, headers_for
from cambwatch.core.formats.size_limits import Escapes, ascii_url, fit, unformatted, utf16, within
from cambwatch.core.model import Json

MESSAGE = 30_000  # bytes; our own, as all that follows but TEXT
DIGEST_URL = 2048  # a digest has to hold one entry, whatever that holds
TEXT = 4096
TITLE = 200  # UTF-16 units
VALUE = 400
TOLD = 6000
NOTES = 2000
LABEL = 80
BUTTONS = 40

HTML: Escapes = MappingProxyType({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
CHAT: Escapes = MappingProxyType({"<": "‹", ">": "›", "|": "¦"})


@dataclass(frozen=True, slots=True)
class GoogleChat:
    """A space takes one message a second, whoever sends it."""

    rate: Rate | None = Rate(1.0, burst=1)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Google Chat has no use for *delivery_id* and *at*."""
        del delivery_id, at
        telling = tell(event)
        widgets = [
            {"decoratedText": {"topLabel": name, "text": _html(value, VALUE), "wrapText": True}}
            for name, value in telling.facts
        ]
        if telling.told is not None:
            widgets.append(_paragraph(_html(telling.told, TOLD)))
        if telling.advice is not None:
            widgets.append(_paragraph(f"<b>What to do:</b> {_html(telling.advice, VALUE)}"))
        notes = [_paragraph(_html(" · ".join(telling.notes), NOTES))] if telling.notes else []
        header = {"title": fit(telling.title, TITLE)}
        fallback = _text(telling.words, VALUE)
        room = MESSAGE - len(compact(_card(header, [*widgets, *notes], fallback)))
        links = _links(telling, room)
        return Message(compact(_card(header, [*widgets, *links, *notes], fallback)), headers_for(destination))

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A widget for each event, whose button opens its first link."""

        def fits(digest: Digest) -> bool:
            return len(compact(_digest(digest))) <= MESSAGE

        digest = digest_of(events, late=late, longest_url=DIGEST_URL, fits=fits)
        return Message(compact(_digest(digest)), headers_for(destination)), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """Text alone, with the links for which there is room."""
        telling = tell(event)
        words = _text(telling.words, TEXT // 2)
        room = TEXT - utf16(words) - len(more(len(telling.links), telling.where)) - 1
        lines, left_out = within(map(_text_link, telling.links), room, lambda line: utf16(line) + 1)
        text = "\n".join([words, *lines, *([more(left_out, telling.where)] if left_out else [])])
        return Message(compact({"text": text}), headers_for(destination))


FORMAT = GoogleChat()


def _digest(digest: Digest) -> Json:
    entries = (_entry(entry, digest.clock(entry)) for entry in digest.entries)
    widgets = [_paragraph(_html(digest.lead, VALUE)), *entries]
    return _card({"title": fit(digest.title, TITLE)}, widgets, _text(digest.words, VALUE))


def _entry(entry: Entry, clock: str) -> Json:
    text: dict[str, Json] = {"topLabel": clock, "text": f"{entry.icon} {_html(entry.line, TOLD)}", "wrapText": True}
    if entry.rest is not None:
        text["bottomLabel"] = entry.rest
    if entry.link is not None:
        text["button"] = _opening(entry.link.label, entry.link.url)
    return {"decoratedText": text}


def _card(header: Json, widgets: Sequence[Json], fallback: str) -> Json:
    card = {"header": header, "sections": [{"widgets": widgets}]}
    return {"fallbackText": fallback, "cardsV2": [{"cardId": "event", "card": card}]}


def _links(telling: Telling, room: int) -> list[Json]:
    """The first links as buttons, and a word about those that have no room."""
    links, left = telling.links[:BUTTONS], telling.links[BUTTONS:]
    around = len(compact({"buttonList": {"buttons": []}})) + len(compact(_left_out(telling, len(telling.links)))) + 10
    buttons, left_out = within(map(_button, links), room - around, lambda button: len(compact(button)) + 1)
    elements: list[Json] = [{"buttonList": {"buttons": buttons}}] if buttons else []
    left_out += len(left)
    return [*elements, _left_out(telling, left_out)] if left_out else elements


def _left_out(telling: Telling, count: int) -> Json:
    return _paragraph(_html(more(count, telling.where), NOTES))


def _button(link: Link) -> Json | None:
    url = ascii_url(link.url, MESSAGE)
    return None if url is None else _opening(label_of(link), url)


def _opening(label: str, url: str) -> Json:
    return {"text": fit(label, LABEL), "onClick": {"openLink": {"url": url}}}


def _text_link(link: Link) -> str | None:
    url = ascii_url(link.url, TEXT)
    return None if url is None else f"<{url}|{_text(label_of(link), LABEL)}>"


def _paragraph(html: str) -> Json:
    return {"textParagraph": {"text": html}}


def _text(words: str, longest: int) -> str:
    return fit(unformatted(words), longest, escapes=CHAT)


def _html(words: str, longest: int) -> str:
    return fit(words, longest, escapes=HTML)

"""
Microsoft Teams by its Workflows app ("when a webhook request is received"): an Adaptive Card 1.4.

Teams takes about 28 KB of card and says "request entity too large" after it has said 202,
so everything is counted in bytes as they are sent, and kept well below that.
What others have chosen stands in text runs, which know no Markdown and make no mentions.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cambwatch.core.events import Event, Link
from cambwatch.core.formats.content import MessageContent, link_label, message_content, more_links_note
from cambwatch.core.formats.digests import Digest, DigestEntry, build_digest
from cambwatch.core.formats.message import Message, compact_json, headers_for
from cambwatch.core.formats.size_limits import ZERO_WIDTH_SPACE, ascii_url, fit, fit_items
from cambwatch.core.model import Json
from cambwatch.core.routing import Destination, RateLimit

CARD = 20_000  # bytes of the whole message; our own, as all that follows
TITLE = 400  # bytes
VALUE = 400
DETAILS = 3000
NOTES = 1500
LINE = 1000
LABEL = 100
DIGEST_URL = 2048  # a digest has to hold one entry, whatever that holds
BUTTONS = 5  # a reader of cards takes no more in one set, unless its host allows it
VERSION = "1.4"

_FUNCTION = re.compile(r"\{(?=\{)")


@dataclass(frozen=True, slots=True)
class TeamsFormat:
    """
    A workflow accepts more than its connector posts, and what it drops we never hear of.

    So it is half of the sixty in thirty seconds that the connectors before it allowed.
    """

    rate: RateLimit | None = RateLimit(1.0, burst=4)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Teams has no use for *delivery_id* and *at*."""
        del delivery_id, at
        content = message_content(event)
        body = _body(content)
        notes = (
            [_paragraph(_run(" · ".join(content.notes), NOTES, isSubtle=True, size="Small"))] if content.notes else []
        )
        space_left = CARD - _size(_envelope(content.words, [*body, *notes]))
        return Message(
            compact_json(_envelope(content.words, [*body, *_links(content, space_left), *notes])),
            headers_for(destination),
        )

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A paragraph for each event, which ends with its first link."""

        def fits(digest: Digest) -> bool:
            return _size(_digest(digest)) <= CARD

        digest = build_digest(events, late=late, longest_url=DIGEST_URL, fits=fits)
        return Message(compact_json(_digest(digest)), headers_for(destination)), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """A card all the same, for a workflow posts nothing else: with nothing in it that a card could have wrong."""
        content = message_content(event)
        *lines, last = ([_run(line, LINE)] for line in content.words.splitlines())
        if content.links:
            last.append(_run(f" · {more_links_note(len(content.links), content.result_hint)}", LINE))
        body = [_paragraph(*runs) for runs in (*lines, last)]
        return Message(compact_json(_envelope(content.words, body)), headers_for(destination))


FORMAT = TeamsFormat()


def _envelope(words: str, body: Sequence[Json]) -> Json:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": VERSION,
        "fallbackText": _fit(words, LINE),
        "msteams": {"width": "Full"},
        "body": body,
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _digest(digest: Digest) -> Json:
    lead = _paragraph(_run(digest.lead, LINE), spacing="Small")
    entries = (_entry(entry, digest.clock(entry)) for entry in digest.entries)
    return _envelope(digest.words, [_heading(digest.title, succeeded=digest.succeeded), lead, *entries])


def _entry(entry: DigestEntry, clock: str) -> Json:
    runs = [_run(f"{clock} ", LINE, isSubtle=True), _run(f"{entry.icon} {entry.line}", DETAILS)]
    if entry.link is not None:
        opened = {"type": "Action.OpenUrl", "url": entry.link.url}
        runs += [_run(" · ", LINE), _run(entry.link.label, LABEL) | {"selectAction": opened}]
    if entry.rest is not None:
        runs.append(_run(f" · {entry.rest}", LINE))
    return _paragraph(*runs, spacing="Small")


def _heading(words: str, *, succeeded: bool) -> Json:
    return _paragraph(_run(words, TITLE, weight="Bolder", size="Large", color="Good" if succeeded else "Attention"))


def _body(content: MessageContent) -> list[Json]:
    body = [_heading(content.title, succeeded=content.succeeded)]
    body += [
        _paragraph(
            _run(f"{name}: ", VALUE, weight="Bolder"), _run(value, VALUE), spacing="Small" if index else "Default"
        )
        for index, (name, value) in enumerate(content.facts)
    ]
    if content.details is not None:
        body.append(_paragraph(_run(content.details, DETAILS)))
    if content.advice is not None:
        body.append(_paragraph(_run("What to do: ", VALUE, weight="Bolder"), _run(content.advice, VALUE)))
    return body


def _links(content: MessageContent, space_left: int) -> list[Json]:
    """The first links as buttons, further ones as text, and a word about those that have no room."""
    around = _size({"type": "ActionSet", "actions": []}) + _size(_left_out(content, len(content.links))) + 10
    actions, left_out = fit_items(
        map(_open, content.links), space_left - around, lambda action: _size(_line(action)) + 1
    )
    elements: list[Json] = [{"type": "ActionSet", "actions": actions[:BUTTONS]}] if actions else []
    elements += map(_line, actions[BUTTONS:])
    return [*elements, _left_out(content, left_out)] if left_out else elements


def _left_out(content: MessageContent, count: int) -> Json:
    return _paragraph(_run(more_links_note(count, content.result_hint), LINE))


def _open(link: Link) -> dict[str, Json] | None:
    url = ascii_url(link.url, CARD)
    return None if url is None else {"type": "Action.OpenUrl", "title": _fit(link_label(link), LABEL), "url": url}


def _line(action: dict[str, Json]) -> Json:
    run = _run(action["title"], LABEL) | {"selectAction": {"type": action["type"], "url": action["url"]}}
    return _paragraph(run, spacing="Small")


def _paragraph(*runs: Json, spacing: str = "Default") -> Json:
    return {"type": "RichTextBlock", "spacing": spacing, "inlines": list(runs)}


def _run(words: str, longest: int, **style: Json) -> dict[str, Json]:
    return {"type": "TextRun", "text": _fit(words, longest)} | style


def _fit(words: str, longest: int) -> str:
    # Text runs have no Markdown, but they evaluate `{{DATE(...)}}` and `{{TIME(...)}}`.
    return fit(_FUNCTION.sub(f"{{{ZERO_WIDTH_SPACE}", words), longest, width=_bytes)


def _bytes(words: str) -> int:
    """As they are sent: JSON escapes quotes and backslashes."""
    return len(compact_json(words)) - 2


def _size(document: Json | Iterable[Json]) -> int:
    return len(compact_json(document))

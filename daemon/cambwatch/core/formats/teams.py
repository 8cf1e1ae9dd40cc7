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

from cambwatch.core.destinations import Destination, Rate
from cambwatch.core.events import Event, Link
from cambwatch.core.formats.content import Telling, label_of, more, tell
from cambwatch.core.formats.digests import Digest, Entry, digest_of
from cambwatch.core.formats.message import Message, compact, headers_for
from cambwatch.core.formats.size_limits import NOTHING, ascii_url, fit, within
from cambwatch.core.model import Json

CARD = 20_000  # bytes of the whole message; our own, as all that follows
TITLE = 400  # bytes
VALUE = 400
TOLD = 3000
NOTES = 1500
LINE = 1000
LABEL = 100
DIGEST_URL = 2048  # a digest has to hold one entry, whatever that holds
BUTTONS = 5  # a reader of cards takes no more in one set, unless its host allows it
VERSION = "1.4"

_FUNCTION = re.compile(r"\{(?=\{)")


@dataclass(frozen=True, slots=True)
class Teams:
    """
    A workflow accepts more than its connector posts, and what it drops we never hear of.

    So it is half of the sixty in thirty seconds that the connectors before it allowed.
    """

    rate: Rate | None = Rate(1.0, burst=4)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Teams has no use for *delivery_id* and *at*."""
        del delivery_id, at
        telling = tell(event)
        body = _body(telling)
        notes = (
            [_paragraph(_run(" · ".join(telling.notes), NOTES, isSubtle=True, size="Small"))] if telling.notes else []
        )
        room = CARD - _size(_envelope(telling.words, [*body, *notes]))
        return Message(
            compact(_envelope(telling.words, [*body, *_links(telling, room), *notes])), headers_for(destination)
        )

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A paragraph for each event, which ends with its first link."""

        def fits(digest: Digest) -> bool:
            return _size(_digest(digest)) <= CARD

        digest = digest_of(events, late=late, longest_url=DIGEST_URL, fits=fits)
        return Message(compact(_digest(digest)), headers_for(destination)), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """A card all the same, for a workflow posts nothing else: with nothing in it that a card could have wrong."""
        telling = tell(event)
        *lines, last = ([_run(line, LINE)] for line in telling.words.splitlines())
        if telling.links:
            last.append(_run(f" · {more(len(telling.links), telling.where)}", LINE))
        body = [_paragraph(*runs) for runs in (*lines, last)]
        return Message(compact(_envelope(telling.words, body)), headers_for(destination))


FORMAT = Teams()


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


def _entry(entry: Entry, clock: str) -> Json:
    runs = [_run(f"{clock} ", LINE, isSubtle=True), _run(f"{entry.icon} {entry.line}", TOLD)]
    if entry.link is not None:
        opened = {"type": "Action.OpenUrl", "url": entry.link.url}
        runs += [_run(" · ", LINE), _run(entry.link.label, LABEL) | {"selectAction": opened}]
    if entry.rest is not None:
        runs.append(_run(f" · {entry.rest}", LINE))
    return _paragraph(*runs, spacing="Small")


def _heading(words: str, *, succeeded: bool) -> Json:
    return _paragraph(_run(words, TITLE, weight="Bolder", size="Large", color="Good" if succeeded else "Attention"))


def _body(telling: Telling) -> list[Json]:
    body = [_heading(telling.title, succeeded=telling.succeeded)]
    body += [
        _paragraph(
            _run(f"{name}: ", VALUE, weight="Bolder"), _run(value, VALUE), spacing="Small" if index else "Default"
        )
        for index, (name, value) in enumerate(telling.facts)
    ]
    if telling.told is not None:
        body.append(_paragraph(_run(telling.told, TOLD)))
    if telling.advice is not None:
        body.append(_paragraph(_run("What to do: ", VALUE, weight="Bolder"), _run(telling.advice, VALUE)))
    return body


def _links(telling: Telling, room: int) -> list[Json]:
    """The first links as buttons, further ones as text, and a word about those that have no room."""
    around = _size({"type": "ActionSet", "actions": []}) + _size(_left_out(telling, len(telling.links))) + 10
    actions, left_out = within(map(_open, telling.links), room - around, lambda action: _size(_line(action)) + 1)
    elements: list[Json] = [{"type": "ActionSet", "actions": actions[:BUTTONS]}] if actions else []
    elements += map(_line, actions[BUTTONS:])
    return [*elements, _left_out(telling, left_out)] if left_out else elements


def _left_out(telling: Telling, count: int) -> Json:
    return _paragraph(_run(more(count, telling.where), LINE))


def _open(link: Link) -> dict[str, Json] | None:
    url = ascii_url(link.url, CARD)
    return None if url is None else {"type": "Action.OpenUrl", "title": _fit(label_of(link), LABEL), "url": url}


def _line(action: dict[str, Json]) -> Json:
    run = _run(action["title"], LABEL) | {"selectAction": {"type": action["type"], "url": action["url"]}}
    return _paragraph(run, spacing="Small")


def _paragraph(*runs: Json, spacing: str = "Default") -> Json:
    return {"type": "RichTextBlock", "spacing": spacing, "inlines": list(runs)}


def _run(words: str, longest: int, **style: Json) -> dict[str, Json]:
    return {"type": "TextRun", "text": _fit(words, longest)} | style


def _fit(words: str, longest: int) -> str:
    # Text runs have no Markdown, but they evaluate `{{DATE(...)}}` and `{{TIME(...)}}`.
    return fit(_FUNCTION.sub(f"{{{NOTHING}", words), longest, width=_bytes)


def _bytes(words: str) -> int:
    """As they are sent: JSON escapes quotes and backslashes."""
    return len(compact(words)) - 2


def _size(document: Json | Iterable[Json]) -> int:
    return len(compact(document))

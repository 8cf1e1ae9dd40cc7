"""
Discord webhooks: one embed within the limits of docs.discord.com, "Embed Limits".

Lengths are counted in UTF-16 units, which is never less than Discord counts.
`allowed_mentions` keeps everybody from being called; that nobody seems to be called, and
that names stay characters, is done by escapes, because embeds are Markdown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cambwatch.core.destinations import Destination, Rate
from cambwatch.core.events import Event
from cambwatch.core.formats.content import GREEN, RED, Telling, tell
from cambwatch.core.formats.digests import Digest, digest_of
from cambwatch.core.formats.markdown import MARKDOWN, at_line_start, digest_lines, link_lines
from cambwatch.core.formats.message import Message, compact, headers_for
from cambwatch.core.formats.size_limits import Escapes, fit, utf16
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Json

CONTENT = 2000
TITLE = 256
DESCRIPTION = 4096
EMBEDS = 6000  # all texts of a message's embeds together
# Our own, so that all together stay below EMBEDS.
TOLD = 1500
VALUE = 200
FOOTER = 500
DIGEST_URL = 2048  # a digest has to hold one entry, whatever that holds

# Discord lets every character but letters and digits be escaped; `<` begins mentions and times, `:` ends `https`.
ESCAPES: Escapes = MappingProxyType({**MARKDOWN, "&": "\\&", "<": "\\<", ":": "\\:"})


@dataclass(frozen=True, slots=True)
class Discord:
    """Discord says by headers what it allows; thirty a minute and channel is what users have found."""

    rate: Rate | None = Rate(0.5, burst=5)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Discord has no use for *delivery_id* and *at*."""
        del delivery_id, at
        embed = _embed(tell(event)) | {"timestamp": rfc3339(event.finished_at)}
        return _message({"embeds": [embed]}, destination)

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A line for each event, in as many embeds as it takes."""

        def fits(digest: Digest) -> bool:
            return utf16(_title(digest)) + sum(map(utf16, _descriptions(digest))) <= EMBEDS

        digest = digest_of(events, late=late, longest_url=DIGEST_URL, fits=fits)
        color = GREEN if digest.succeeded else RED
        embeds: list[dict[str, Json]] = [{"description": text, "color": color} for text in _descriptions(digest)]
        embeds[0]["title"] = _title(digest)
        return _message({"embeds": embeds}, destination), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """Text alone, with the links for which there is room."""
        telling = tell(event)
        words = fit(telling.words, CONTENT // 2, escapes=ESCAPES)
        lines = _links(telling, CONTENT - utf16(words) - 1)
        return _message({"content": "\n".join([words, *lines])}, destination)


FORMAT = Discord()


def _message(content: dict[str, Json], destination: Destination) -> Message:
    return Message(compact(content | {"allowed_mentions": {"parse": []}}), headers_for(destination))


def _title(digest: Digest) -> str:
    return fit(digest.title, TITLE, escapes=ESCAPES)


def _descriptions(digest: Digest) -> list[str]:
    """The lines of *digest* in texts of at most DESCRIPTION; none of the lines is longer than that."""
    texts = [[digest.lead]]
    room = DESCRIPTION - utf16(digest.lead)
    for line in digest_lines(digest, escapes=ESCAPES):
        price = utf16(line) + 1
        if price > room:
            texts.append([])
            room = DESCRIPTION + 1
        texts[-1].append(line)
        room -= price
    return ["\n".join(lines) for lines in texts]


def _embed(telling: Telling) -> dict[str, Json]:
    paragraphs = []
    if telling.told is not None:
        paragraphs.append(f"{telling.icon} {fit(telling.told, TOLD, escapes=ESCAPES)}")
    if telling.advice is not None:
        paragraphs.append(f"**What to do:** {fit(telling.advice, VALUE, escapes=ESCAPES)}")
    room = DESCRIPTION - sum(utf16(paragraph) + 1 for paragraph in paragraphs)
    lines = _links(telling, room)
    embed: dict[str, Json] = {
        "title": fit(telling.title, TITLE, escapes=ESCAPES),
        "description": "\n".join([*paragraphs, *lines]),
        "color": telling.color,
        "fields": [
            {"name": name, "value": fit(at_line_start(value), VALUE, escapes=ESCAPES), "inline": True}
            for name, value in telling.facts
        ],
    }
    if telling.notes:
        embed["footer"] = {"text": fit(" · ".join(telling.notes), FOOTER)}  # no Markdown there
    return embed


def _links(telling: Telling, room: int) -> list[str]:
    return link_lines(telling.links, room, escapes=ESCAPES, longest_url=DESCRIPTION, width=utf16, where=telling.where)

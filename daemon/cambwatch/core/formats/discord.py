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

from cambwatch.core.events import Event
from cambwatch.core.formats.content import GREEN, RED, MessageContent, message_content
from cambwatch.core.formats.digests import Digest, build_digest
from cambwatch.core.formats.markdown import MARKDOWN, at_line_start, digest_lines, link_lines
from cambwatch.core.formats.message import Message, compact_json, headers_for
from cambwatch.core.formats.size_limits import Escapes, fit, utf16
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Json
from cambwatch.core.routing import Destination, RateLimit

CONTENT = 2000
TITLE = 256
DESCRIPTION = 4096
EMBEDS = 6000  # all texts of a message's embeds together
# Our own, so that all together stay below EMBEDS.
DETAILS = 1500
VALUE = 200
FOOTER = 500
DIGEST_URL = 2048  # a digest has to hold one entry, whatever that holds

# Discord lets every character but letters and digits be escaped; `<` begins mentions and times, `:` ends `https`.
ESCAPES: Escapes = MappingProxyType({**MARKDOWN, "&": "\\&", "<": "\\<", ":": "\\:"})


@dataclass(frozen=True, slots=True)
class DiscordFormat:
    """Discord says by headers what it allows; thirty a minute and channel is what users have found."""

    rate: RateLimit | None = RateLimit(0.5, burst=5)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Discord has no use for *delivery_id* and *at*."""
        del delivery_id, at
        embed = _embed(message_content(event)) | {"timestamp": rfc3339(event.finished_at)}
        return _message({"embeds": [embed]}, destination)

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A line for each event, in as many embeds as it takes."""

        def fits(digest: Digest) -> bool:
            return utf16(_title(digest)) + sum(map(utf16, _descriptions(digest))) <= EMBEDS

        digest = build_digest(events, late=late, longest_url=DIGEST_URL, fits=fits)
        color = GREEN if digest.succeeded else RED
        embeds: list[dict[str, Json]] = [{"description": text, "color": color} for text in _descriptions(digest)]
        embeds[0]["title"] = _title(digest)
        return _message({"embeds": embeds}, destination), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """Text alone, with the links for which there is room."""
        content = message_content(event)
        words = fit(content.words, CONTENT // 2, escapes=ESCAPES)
        lines = _links(content, CONTENT - utf16(words) - 1)
        return _message({"content": "\n".join([words, *lines])}, destination)


FORMAT = DiscordFormat()


def _message(content: dict[str, Json], destination: Destination) -> Message:
    return Message(compact_json(content | {"allowed_mentions": {"parse": []}}), headers_for(destination))


def _title(digest: Digest) -> str:
    return fit(digest.title, TITLE, escapes=ESCAPES)


def _descriptions(digest: Digest) -> list[str]:
    """The lines of *digest* in texts of at most DESCRIPTION; none of the lines is longer than that."""
    texts = [[digest.lead]]
    space_left = DESCRIPTION - utf16(digest.lead)
    for line in digest_lines(digest, escapes=ESCAPES):
        price = utf16(line) + 1
        if price > space_left:
            texts.append([])
            space_left = DESCRIPTION + 1
        texts[-1].append(line)
        space_left -= price
    return ["\n".join(lines) for lines in texts]


def _embed(content: MessageContent) -> dict[str, Json]:
    paragraphs = []
    if content.details is not None:
        paragraphs.append(f"{content.icon} {fit(content.details, DETAILS, escapes=ESCAPES)}")
    if content.advice is not None:
        paragraphs.append(f"**What to do:** {fit(content.advice, VALUE, escapes=ESCAPES)}")
    space_left = DESCRIPTION - sum(utf16(paragraph) + 1 for paragraph in paragraphs)
    lines = _links(content, space_left)
    embed: dict[str, Json] = {
        "title": fit(content.title, TITLE, escapes=ESCAPES),
        "description": "\n".join([*paragraphs, *lines]),
        "color": content.color,
        "fields": [
            {"name": name, "value": fit(at_line_start(value), VALUE, escapes=ESCAPES), "inline": True}
            for name, value in content.facts
        ],
    }
    if content.notes:
        embed["footer"] = {"text": fit(" · ".join(content.notes), FOOTER)}  # no Markdown there
    return embed


def _links(content: MessageContent, space_left: int) -> list[str]:
    return link_lines(
        content.links,
        space_left,
        escapes=ESCAPES,
        longest_url=DESCRIPTION,
        width=utf16,
        result_hint=content.result_hint,
    )

"""
Discord webhooks: one embed within the limits of docs.discord.com, "Embed Limits".

Lengths are counted in UTF-16 units, which is never less than Discord counts.
`allowed_mentions` keeps everybody from being called; that nobody seems to be called, and
that names stay characters, is done by escapes, because embeds are Markdown.
"""

from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cambwatch.core.destinations import Destination, Rate
from cambwatch.core.events import Event
from cambwatch.core.formats.fitting import Escapes, fit, utf16
from cambwatch.core.formats.markdown import MARKDOWN, link_lines
from cambwatch.core.formats.message import Message, compact, headers_for
from cambwatch.core.formats.telling import Telling, tell
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Json

CONTENT = 2000
TITLE = 256
DESCRIPTION = 4096
# Our own, so that all together stay below the 6000 that one message may have.
TOLD = 1500
VALUE = 200
FOOTER = 500
URL = 2048

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

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """Text alone, with the links for which there is room."""
        telling = tell(event)
        words = fit(telling.words, CONTENT // 2, escapes=ESCAPES)
        lines = link_lines(telling.links, CONTENT - utf16(words) - 1, escapes=ESCAPES, longest_url=URL, width=utf16)
        return _message({"content": "\n".join([words, *lines])}, destination)


FORMAT = Discord()


def _message(content: dict[str, Json], destination: Destination) -> Message:
    return Message(compact(content | {"allowed_mentions": {"parse": []}}), headers_for(destination))


def _embed(telling: Telling) -> dict[str, Json]:
    paragraphs = []
    if telling.told is not None:
        paragraphs.append(f"{telling.icon} {fit(telling.told, TOLD, escapes=ESCAPES)}")
    if telling.advice is not None:
        paragraphs.append(f"**What to do:** {fit(telling.advice, VALUE, escapes=ESCAPES)}")
    room = DESCRIPTION - sum(utf16(paragraph) + 1 for paragraph in paragraphs)
    lines = link_lines(telling.links, room, escapes=ESCAPES, longest_url=URL, width=utf16)
    embed: dict[str, Json] = {
        "title": fit(telling.title, TITLE, escapes=ESCAPES),
        "description": "\n".join([*paragraphs, *lines]),
        "color": telling.color,
        "fields": [
            {"name": name, "value": fit(value, VALUE, escapes=ESCAPES), "inline": True} for name, value in telling.facts
        ],
    }
    if telling.notes:
        embed["footer"] = {"text": fit(" · ".join(telling.notes), FOOTER)}  # no Markdown there
    return embed

"""
Mattermost incoming webhooks: Markdown, and nothing of Slack's.

Attachments would be prettier, but older servers refuse more than 8000 characters of them,
counted after their own escaping. Lengths are counted in characters, as the server does;
a longer text would be split, in the middle of a link if need be.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cambwatch.core.events import Event
from cambwatch.core.formats.content import message_content, more_links_note
from cambwatch.core.formats.digests import Digest, build_digest
from cambwatch.core.formats.markdown import MARKDOWN, digest_lines, link_lines
from cambwatch.core.formats.message import Message, compact_json, headers_for
from cambwatch.core.formats.size_limits import ZERO_WIDTH_SPACE, Escapes, fit
from cambwatch.core.routing import Destination, RateLimit

TEXT = 16_383
# Our own: what nobody reads to the end.
TITLE = 300
VALUE = 300
DETAILS = 4000
NOTES = 1000
PLAIN = 1200
DIGEST_URL = 4096  # a digest has to hold one entry, whatever that holds

ESCAPES: Escapes = MappingProxyType(
    {
        **MARKDOWN,
        # Entities, because the server reads `<a|b>` as a Slack link before it handles escapes.
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
        # Entities, because its Markdown has no `\$`, and does not read `\\` before a letter.
        "$": "&#36;",
        "\\": "&#92;",
        ":": f":{ZERO_WIDTH_SPACE}",  # begins an emoji, and ends `https`
    }
)
_EMOTICON = re.compile(r"<(?=/?3)|;(?=-?\))|x-(?=d)", re.IGNORECASE)  # those without a colon


@dataclass(frozen=True, slots=True)
class MattermostFormat:
    """Ten requests a second are what a server takes that limits them and says no more about it."""

    rate: RateLimit | None = RateLimit(10.0, burst=10)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Mattermost has no use for *delivery_id* and *at*."""
        del delivery_id, at
        content = message_content(event)
        facts = (f"**{name}:** {_fit(value, VALUE)}" for name, value in content.facts)
        paragraphs = [f"**{content.icon} {_fit(content.heading, TITLE)}**", " · ".join(facts)]
        if content.details is not None:
            paragraphs.append(f"{content.icon} {_fit(content.details, DETAILS)}")
        if content.advice is not None:
            paragraphs.append(f"**What to do:** {_fit(content.advice, VALUE)}")
        notes = [f"**Details:** {_fit(' · '.join(content.notes), NOTES)}"] if content.notes else []
        space_left = TEXT - sum(len(paragraph) + 2 for paragraph in (*paragraphs, *notes))
        lines = link_lines(
            content.links, space_left, escapes=ESCAPES, longest_url=TEXT, width=len, result_hint=content.result_hint
        )
        links = ["\n".join(lines)] if lines else []
        return Message(compact_json({"text": "\n\n".join([*paragraphs, *links, *notes])}), headers_for(destination))

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A line for each event."""

        def fits(digest: Digest) -> bool:
            return len(_text(digest)) <= TEXT

        digest = build_digest(events, late=late, longest_url=DIGEST_URL, fits=fits)
        return Message(compact_json({"text": _text(digest)}), headers_for(destination)), len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """The shortest message, and where to find the links."""
        content = message_content(event)
        links = f" · {more_links_note(len(content.links), content.result_hint)}" if content.links else ""
        text = _fit(content.words, PLAIN - len(links)) + links
        return Message(compact_json({"text": text}), headers_for(destination))


FORMAT = MattermostFormat()


def _text(digest: Digest) -> str:
    lines = "\n".join(digest_lines(digest, escapes=ESCAPES, prepared=_without_emoticons))
    return f"**{digest.title}**\n\n{digest.lead}\n\n{lines}"


def _fit(words: str, longest: int) -> str:
    return fit(_without_emoticons(words), longest, escapes=ESCAPES, width=len)


def _without_emoticons(words: str) -> str:
    return _EMOTICON.sub(lambda found: found[0] + ZERO_WIDTH_SPACE, words)

"""
What a service behind Apprise is told: a title and plain text.

The body of the message is no request, but what Apprise is called with, as JSON: `title`,
`body`, `type` (success, failure or warning, which many services show as a colour) and
`overflow`, which says what becomes of a text too long for the service: of one event the
end is cut off, a digest is split, because its end is an event like its beginning.

Apprise knows the limits of its services, and escapes plain text for those of which it
knows that they take HTML or Markdown. Mentions are broken up here, for every service.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cambwatch.core.events import Event, GroupComplete
from cambwatch.core.formats.content import MessageContent, link_label, message_content, more_links_note
from cambwatch.core.formats.digests import Digest, DigestEntry, build_digest
from cambwatch.core.formats.message import Message, compact_json
from cambwatch.core.formats.size_limits import ZERO_WIDTH_SPACE, Escapes, ascii_url, fit, fit_items
from cambwatch.core.routing import Destination, RateLimit

# Our own, all of them: what one of a hundred services takes is known to Apprise alone.
TITLE = 200
LINE = 700
DETAILS = 2000
NOTES = 500
LABEL = 100
LINKS = 3000
DIGEST_URL = 1000  # of an entry; three entries with a link of that size fit
DIGEST = 3500  # most chats take it whole

ESCAPES: Escapes = MappingProxyType(
    {"@": f"@{ZERO_WIDTH_SPACE}", "<": f"<{ZERO_WIDTH_SPACE}"}
)  # @all, <!channel>, <@U123>


@dataclass(frozen=True, slots=True)
class AppriseFormat:
    """One message a second is what the strictest chats take; an SMS gateway may need a lower rate."""

    rate: RateLimit | None = RateLimit(1.0, burst=1)  # noqa: RUF009 - frozen

    def render(self, event: Event, destination: Destination, *, delivery_id: str, at: datetime) -> Message:
        """The message; Apprise has no use for *destination*, *delivery_id* and *at*."""
        del destination, delivery_id, at
        content = message_content(event)
        lines = [_fit(content.line, LINE)]
        if content.details is not None and content.details not in content.line:
            lines.append(_fit(content.details, DETAILS))
        if content.advice is not None:
            lines.append(_fit(content.advice, LINE))
        lines += _links(content)
        if content.notes:
            lines.append(_fit(" · ".join(content.notes), NOTES))
        trouble = "warning" if isinstance(event, GroupComplete) else "failure"
        notify_type = "success" if content.succeeded else trouble
        return _message(_fit(content.title, TITLE), lines, notify_type=notify_type, overflow="truncate")

    def digest(self, events: Sequence[Event], destination: Destination, *, late: bool) -> tuple[Message, int] | None:
        """A line for each event."""
        del destination

        def fits(digest: Digest) -> bool:
            return sum(len(line) + 1 for line in _lines(digest)) <= DIGEST

        digest = build_digest(events, late=late, longest_url=DIGEST_URL, fits=fits)
        notify_type = "success" if digest.succeeded else "warning"
        message = _message(digest.title, _lines(digest), notify_type=notify_type, overflow="split")
        return message, len(digest.entries)

    def plain(self, event: Event, destination: Destination) -> Message | None:
        """None: plainer there is not."""
        del event, destination
        return None


FORMAT = AppriseFormat()


def _message(title: str, lines: Sequence[str], *, notify_type: str, overflow: str) -> Message:
    return Message(compact_json({"title": title, "body": "\n".join(lines), "type": notify_type, "overflow": overflow}))


def _lines(digest: Digest) -> list[str]:
    return [digest.lead, *(_entry(entry, digest.clock(entry)) for entry in digest.entries)]


def _entry(entry: DigestEntry, clock: str) -> str:
    line = f"{clock} {entry.icon} {_fit(entry.line, LINE)}"
    if entry.link is not None:
        line += f" · {_fit(entry.link.label, LABEL)}: {_quiet(entry.link.url)}"
    return line if entry.rest is None else f"{line} · {entry.rest}"


def _links(content: MessageContent) -> list[str]:
    urls = ((link, ascii_url(link.url, LINKS)) for link in content.links)
    details = (None if url is None else f"{_fit(link_label(link), LABEL)}: {_quiet(url)}" for link, url in urls)
    lines, left_out = fit_items(details, LINKS, len)
    return [*lines, more_links_note(left_out, content.result_hint)] if left_out else lines


def _quiet(url: str) -> str:
    """*url*, in whose path and query no @ begins a mention."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}{slash}{path.replace('@', '%40')}"


def _fit(words: str, longest: int) -> str:
    return fit(words, longest, escapes=ESCAPES)

"""What a chat message says of several events at once, before any service's own form; no text is escaped."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import assert_never

from cambwatch.core.events import DestinationAlert, Event, GroupComplete, Link, TaskEnded
from cambwatch.core.formats.content import link_label, message_content, more_links_note, show_command
from cambwatch.core.formats.size_limits import ascii_url

MOST_IN_DIGEST = 40
"""Events that one message tells of at most: nobody reads more to the end."""

# What the icon of a task that ended means, in the order of counting.
_ICON_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "⏳": "pending",
        "✅": "succeeded",
        "❌": "failed",
        "⏰": "timed out",
        "💳": "stopped for lack of credits",
        "⌛": "expired",
        "❓": "not found",
        "⏹️": "removed",
    }
)
_GROUPS = ("group complete", "groups complete")
_DOWN = ("destination down", "destinations down")
_BACK = ("destination back", "destinations back")
_COUNTED = (*((words, words) for words in _ICON_MEANINGS.values()), _GROUPS, _DOWN, _BACK)


@dataclass(frozen=True, slots=True)
class DigestEntry:
    """
    One event of a digest.

    *at* is in UTC; *line* is the summary. *link* is the first that the service lets people
    open, with a URL in ASCII and a label that is not empty; *left_out* counts the others,
    and *command* prints them.
    *noun* and *counted* are words for one such event and for several: `task ended`, `succeeded`.
    """

    at: datetime
    icon: str
    line: str
    link: Link | None
    left_out: int
    command: str | None
    succeeded: bool
    noun: tuple[str, str]
    counted: tuple[str, str]

    @property
    def rest(self) -> str | None:
        """What to say of the links that are left out, if any."""
        return more_links_note(self.left_out, self.command and f"`{self.command}`") if self.left_out else None


@dataclass(frozen=True, slots=True)
class Digest:
    """
    *entries*, at least one, between the instants *first* and *last*, and what to say before them.

    *late*: they could not be told when they happened.
    """

    entries: Sequence[DigestEntry]
    first: datetime
    last: datetime
    late: bool

    @property
    def succeeded(self) -> bool:
        """Whether there is nothing in it but good news."""
        return all(entry.succeeded for entry in self.entries)

    @property
    def title(self) -> str:
        """What happened, how often and when: `✅ 7 tasks ended on 2026-11-22 between 08:10 and 09:45 UTC`."""
        nouns = {entry.noun for entry in self.entries}
        noun = nouns.pop() if len(nouns) == 1 else ("event", "events")
        return f"{'✅' if self.succeeded else '⚠️'} {_number(len(self.entries), noun)} {self._when()}"

    @property
    def lead(self) -> str:
        """How it went, and that this is late where it is."""
        counts = Counter(entry.counted for entry in self.entries)
        counted = ", ".join(_number(counts[words], words) for words in _COUNTED if words in counts)
        return f"{counted}. This is late: the channel could not be reached in time" if self.late else counted

    @property
    def words(self) -> str:
        """All of it in one line but the entries, for notifications."""
        return f"{self.title}: {self.lead}"

    def clock(self, entry: DigestEntry) -> str:
        """When *entry* happened, in UTC: with the date where the digest is of several days."""
        return _clock(entry.at) if self.first.date() == self.last.date() else _date_and_clock(entry.at)

    def _when(self) -> str:
        first, last = self.first, self.last
        if first.date() != last.date():
            return f"between {_date_and_clock(first)} and {_date_and_clock(last)} UTC"
        if _clock(first) == _clock(last):
            return f"on {first.date()} at {_clock(first)} UTC"
        return f"on {first.date()} between {_clock(first)} and {_clock(last)} UTC"


def build_digest(events: Sequence[Event], *, late: bool, longest_url: int, fits: Callable[[Digest], bool]) -> Digest:
    """
    The digest of as many of *events*, from the first on, as *fits* allows: one at least, MOST_IN_DIGEST at most.

    *fits* is asked only about digests of two and more: one event has to fit, whatever it
    holds. Of the links only those of at most *longest_url* characters are shown.
    """
    entries = [_entry(event, longest_url) for event in events[:MOST_IN_DIGEST]]
    several = range(2, len(entries) + 1)
    fitting = bisect_right(several, x=False, key=lambda count: not fits(_digest(entries[:count], late=late)))
    return _digest(entries[: 1 + fitting], late=late)


def _digest(entries: Sequence[DigestEntry], *, late: bool) -> Digest:
    instants = [entry.at for entry in entries]
    return Digest(entries, min(instants), max(instants), late)


def _entry(event: Event, longest_url: int) -> DigestEntry:
    content = message_content(event)
    noun, counted = _words(event, content.icon)
    urls = ((link, ascii_url(link.url, longest_url)) for link in content.links)
    link = next((Link(link_label(link), url) for link, url in urls if url is not None), None)
    return DigestEntry(
        at=event.finished_at.astimezone(UTC),
        icon=content.icon,
        line=content.line,
        link=link,
        left_out=len(content.links) - (link is not None),
        command=show_command(event) if isinstance(event, TaskEnded) else None,
        succeeded=content.succeeded,
        noun=noun,
        counted=counted,
    )


def _words(event: Event, icon: str) -> tuple[tuple[str, str], tuple[str, str]]:
    match event:
        case TaskEnded():
            return ("task ended", "tasks ended"), (_ICON_MEANINGS[icon], _ICON_MEANINGS[icon])
        case GroupComplete():
            return ("group completed", "groups completed"), _GROUPS
        case DestinationAlert():
            return ("destination alert", "destination alerts"), _BACK if event.recovered else _DOWN
        case _:
            assert_never(event)


def _number(count: int, words: tuple[str, str]) -> str:
    one, several = words
    return f"{count} {one if count == 1 else several}"


def _clock(at: datetime) -> str:
    return f"{at:%H:%M}"


def _date_and_clock(at: datetime) -> str:
    return f"{at.date()} {_clock(at)}"

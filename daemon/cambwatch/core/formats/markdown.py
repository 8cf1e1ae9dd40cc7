"""What Discord and Mattermost have in common: Markdown in which what others have chosen is only characters."""

import re
from collections.abc import Callable, Sequence
from types import MappingProxyType

from cambwatch.core.events import Link
from cambwatch.core.formats.content import label_of, more
from cambwatch.core.formats.digests import Digest
from cambwatch.core.formats.size_limits import NOTHING, Escapes, ascii_url, escape, fit, within

MARKDOWN: Escapes = MappingProxyType({character: f"\\{character}" for character in r"\`*_[]#~|"} | {"@": f"@{NOTHING}"})
"""
For texts that do not begin a line, so that no list and no quote can begin with them.

A mention is broken up, not escaped, because servers look for mentions in what is left
when Markdown is gone.
"""

LABEL = 100  # our own: of a link

_BLOCK = re.compile(r"[-+>=]|\d+[.)]\s")


def at_line_start(words: str) -> str:
    """*words* for the start of a line, so that they are not read as a list, a quote or a heading."""
    return NOTHING + words if _BLOCK.match(words) else words


def link_lines(
    links: Sequence[Link],
    room: int,
    *,
    escapes: Escapes,
    longest_url: int,
    width: Callable[[str], int],
    where: str | None = None,
) -> list[str]:
    """*links* as a list, at most *room* wide with line breaks, and the number of links left out: see more()."""
    lines, left_out = within(
        (_line(link, escapes=escapes, longest_url=longest_url) for link in links),
        room - len(_left_out(len(links), where)) - 1,
        lambda line: width(line) + 1,
    )
    return [*lines, _left_out(left_out, where)] if left_out else lines


def digest_lines(digest: Digest, *, escapes: Escapes, prepared: Callable[[str], str] = str) -> list[str]:
    """The entries of *digest* as a list, each whole."""
    lines = []
    for entry in digest.entries:
        parts = [f"- {digest.clock(entry)} {entry.icon} {escape(prepared(entry.line), escapes)}"]
        if entry.link is not None:
            parts.append(_link(entry.link.label, entry.link.url, escapes=escapes))
        if entry.rest is not None:
            parts.append(entry.rest)
        lines.append(" · ".join(parts))
    return lines


def _line(link: Link, *, escapes: Escapes, longest_url: int) -> str | None:
    url = ascii_url(link.url, longest_url)
    return None if url is None else f"- {_link(label_of(link), url, escapes=escapes)}"


def _link(label: str, url: str, *, escapes: Escapes) -> str:
    return f"[{fit(label, LABEL, escapes=escapes)}]({url})"


def _left_out(count: int, where: str | None) -> str:
    return f"- {more(count, where)}"

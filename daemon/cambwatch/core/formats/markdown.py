"""What Discord and Mattermost have in common: Markdown in which what others have chosen is only characters."""

import re
from collections.abc import Callable, Sequence
from types import MappingProxyType

from cambwatch.core.events import Link
from cambwatch.core.formats.content import link_label, more_links_note
from cambwatch.core.formats.digests import Digest
from cambwatch.core.formats.size_limits import ZERO_WIDTH_SPACE, Escapes, ascii_url, escape, fit, fit_items

MARKDOWN: Escapes = MappingProxyType(
    {character: f"\\{character}" for character in r"\`*_[]#~|"} | {"@": f"@{ZERO_WIDTH_SPACE}"}
)
"""
For texts that do not begin a line, so that no list and no quote can begin with them.

A mention is broken up, not escaped, because servers look for mentions in what is left
when Markdown is gone.
"""

LABEL = 100  # our own: of a link

_BLOCK = re.compile(r"[-+>=]|\d+[.)]\s")


def at_line_start(words: str) -> str:
    """*words* for the start of a line, so that they are not read as a list, a quote or a heading."""
    return ZERO_WIDTH_SPACE + words if _BLOCK.match(words) else words


def link_lines(
    links: Sequence[Link],
    space_left: int,
    *,
    escapes: Escapes,
    longest_url: int,
    width: Callable[[str], int],
    result_hint: str | None = None,
) -> list[str]:
    """*links* as a list, at most *space_left* wide with line breaks, and the number of links left out: see more()."""
    lines, left_out = fit_items(
        (_line(link, escapes=escapes, longest_url=longest_url) for link in links),
        space_left - len(_left_out(len(links), result_hint)) - 1,
        lambda line: width(line) + 1,
    )
    return [*lines, _left_out(left_out, result_hint)] if left_out else lines


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
    return None if url is None else f"- {_link(link_label(link), url, escapes=escapes)}"


def _link(label: str, url: str, *, escapes: Escapes) -> str:
    return f"[{fit(label, LABEL, escapes=escapes)}]({url})"


def _left_out(count: int, result_hint: str | None) -> str:
    return f"- {more_links_note(count, result_hint)}"

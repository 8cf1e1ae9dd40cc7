"""Texts, lists and URLs in the sizes that a service takes."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote, urlsplit

from cambwatch.core.camb.results import is_link
from cambwatch.core.text import ELLIPSIS, prefix_length

T = TypeVar("T")

Escapes = Mapping[str, str]
"""What stands for a character that a service gives a meaning to."""

NO_ESCAPES: Escapes = MappingProxyType({})
ZERO_WIDTH_SPACE = "\u200b"
"""A space of no width: keeps two characters apart that mean something together."""

_FORMATTING = re.compile(r"[*~`]|(?<![^\W_])_|_(?![^\W_])|:(?=[\w+'-]+:)")
_LOOK_ALIKES = {"*": "∗", "~": "∼", "`": "ˋ", "_": "ˍ", ":": f":{ZERO_WIDTH_SPACE}"}
_AS_IN_URL = "!#$%&'*+,/:;=?@[]~"  # kept as they are; what is not ASCII, and < > | " \ ( ), is percent-encoded


def utf16(words: str) -> int:
    """The length of *words* in UTF-16 units, which is never less than in characters."""
    return len(words) + sum(character > "\uffff" for character in words)


def escape(words: str, escapes: Escapes) -> str:
    """*words* with each of *escapes* in its place."""
    return "".join(escapes.get(character, character) for character in words)


def unformatted(words: str) -> str:
    """*words* with look-alikes for formatting characters, for text with `*bold*` and `:emoji:` but no escapes."""
    return _FORMATTING.sub(lambda found: _LOOK_ALIKES[found[0]], words)


def fit(words: str, longest: int, *, escapes: Escapes = NO_ESCAPES, width: Callable[[str], int] = utf16) -> str:
    """*words* escaped, and truncated to *longest* after a whole character and a whole escape."""
    whole = escape(words, escapes)
    if width(whole) <= longest:
        return whole
    end = prefix_length(words, longest - width(ELLIPSIS), lambda part: width(escape(part, escapes)))
    return escape(words[:end], escapes) + ELLIPSIS


def fit_items(items: Iterable[T | None], space_left: int, cost: Callable[[T], int]) -> tuple[list[T], int]:
    """Those of *items*, in their order, for which there is *space_left*, and how many are left out; None never fits."""
    kept: list[T] = []
    left_out = 0
    for item in items:
        price = space_left + 1 if item is None else cost(item)
        if item is None or price > space_left:
            left_out += 1
        else:
            kept.append(item)
            space_left -= price
    return kept, left_out


def ascii_url(url: str, longest: int) -> str | None:
    """
    *url* in ASCII, without a character that ends a link in Markdown or in Slack's form.

    None for what is no link, longer than *longest*, or has a host that is not ASCII.
    """
    if not is_link(url) or not urlsplit(url).netloc.isascii():
        return None
    safe = quote(url, safe=_AS_IN_URL)
    return safe if len(safe) <= longest else None

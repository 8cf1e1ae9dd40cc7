"""Truncates text between grapheme clusters, never inside what a reader sees as one character."""

from collections.abc import Callable, Iterator

import regex

ELLIPSIS = "…"

_CLUSTER = regex.compile(r"\X")


def truncate(words: str, longest: int, *, width: Callable[[str], int] = len) -> str:
    """*words*, truncated with an ellipsis if they are wider than *longest*."""
    if width(words) <= longest:
        return words
    return words[: prefix_length(words, longest - width(ELLIPSIS), width)] + ELLIPSIS


def prefix_length(words: str, max_width: int, width: Callable[[str], int]) -> int:
    """
    The length in characters of the longest prefix of *words* that is at most *max_width* wide.

    The prefix ends after a whole extended grapheme cluster (UAX #29): an emoji with its joiners,
    a flag, a letter with its marks, a Hangul or Devanagari syllable. Only a cluster that is
    wider than *max_width* by itself is split.

    *width* must be at least 1 per character, and additive over the characters of a text.
    """
    if width is len and words.isascii() and "\r" not in words:  # the common case
        return min(len(words), max(max_width, 0))
    end = 0
    left = max_width
    for cluster in _clusters(words[: 2 * max(max_width, 0) + 2]):  # no later character can matter
        needed = width(cluster)
        if needed > max_width:
            return end + _characters(cluster, left, width)
        if needed > left:
            break
        left -= needed
        end += len(cluster)
    return end


def _clusters(words: str) -> Iterator[str]:
    if words.isascii() and "\r" not in words:  # in ASCII, only CR LF is one cluster
        return iter(words)
    return (found[0] for found in _CLUSTER.finditer(words))


def _characters(words: str, left: int, width: Callable[[str], int]) -> int:
    for count, character in enumerate(words):
        left -= width(character)
        if left < 0:
            return count
    return len(words)

"""Text cut to size: never inside what a reader sees as one character."""

from collections.abc import Callable, Iterator

import regex

ELLIPSIS = "…"

_CLUSTER = regex.compile(r"\X")


def cut(words: str, longest: int, *, width: Callable[[str], int] = len) -> str:
    """*words*, with an ellipsis for the end where they are wider than *longest*."""
    if width(words) <= longest:
        return words
    return words[: prefix_length(words, longest - width(ELLIPSIS), width)] + ELLIPSIS


def prefix_length(words: str, room: int, width: Callable[[str], int]) -> int:
    """
    How many characters of *words*, from the first on, are at most *room* wide.

    The beginning ends after a whole extended grapheme cluster of UAX #29: an emoji with
    its joiners, a flag, a letter with its marks, a Hangul or Devanagari syllable. Only a
    cluster that alone is wider than *room* is cut inside.

    *width* must be at least 1 for each character, and the sum of its characters' for a text.
    """
    if width is len and words.isascii() and "\r" not in words:  # the most usual case by far
        return min(len(words), max(room, 0))
    end = 0
    left = room
    for cluster in _clusters(words[: 2 * max(room, 0) + 2]):  # no later character can matter
        needed = width(cluster)
        if needed > room:
            return end + _characters(cluster, left, width)
        if needed > left:
            break
        left -= needed
        end += len(cluster)
    return end


def _clusters(words: str) -> Iterator[str]:
    if words.isascii() and "\r" not in words:  # of ASCII, only CR LF is a cluster of several
        return iter(words)
    return (found[0] for found in _CLUSTER.finditer(words))


def _characters(words: str, left: int, width: Callable[[str], int]) -> int:
    for count, character in enumerate(words):
        left -= width(character)
        if left < 0:
            return count
    return len(words)

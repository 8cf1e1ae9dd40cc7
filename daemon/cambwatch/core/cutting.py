"""Text cut to size."""

from collections.abc import Callable

ELLIPSIS = "…"


def cut(words: str, longest: int, *, width: Callable[[str], int] = len) -> str:
    """*words*, with an ellipsis for the end where they are wider than *longest*."""
    if width(words) <= longest:
        return words
    return words[: beginning(words, longest - width(ELLIPSIS), width)] + ELLIPSIS


def beginning(words: str, room: int, width: Callable[[str], int]) -> int:
    """How many characters of *words*, from the first on, are at most *room* wide."""
    left = room
    for count, character in enumerate(words):
        left -= width(character)
        if left < 0:
            return count
    return len(words)

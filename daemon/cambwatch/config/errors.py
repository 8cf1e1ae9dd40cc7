"""What is wrong with a configuration, said so that it can be put right at once."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

from cambwatch.core.names import check_name

KeyPath = tuple[str | int, ...]
"""Where a value stands in the document: keys and indexes from the root."""


class Place(NamedTuple):
    """A position in a file, both counted from 1."""

    line: int
    column: int


class Finding(NamedTuple):
    """
    A mistake by its path.

    *at_key*: the key is wrong, not what stands behind it. *place* is given where the
    path alone does not tell it.
    """

    path: KeyPath
    message: str
    at_key: bool = False
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class ConfigMistake:
    """One mistake. *place* is None where the file as a whole is meant, *path* is empty at the root."""

    file: str
    place: Place | None
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.place.line}:{self.place.column}" if self.place else self.file
        return ": ".join(part for part in (where, self.path, self.message) if part)


_MOST_LINES = 100


class ConfigError(Exception):
    """
    The configuration cannot be used.

    Its text has one line for each of *mistakes*, in the order of the file, as far as
    anybody would read them.
    """

    def __init__(self, mistakes: Iterable[ConfigMistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda problem: problem.place or Place(0, 0)))
        lines = [str(problem) for problem in self.mistakes[:_MOST_LINES]]
        if more := len(self.mistakes) - len(lines):
            lines.append(f"... and {more} more")
        super().__init__("\n".join(lines))


def is_name(text: str) -> bool:
    """Whether *text* can be a key or a name; what cannot may be a pasted secret and is not shown."""
    try:
        check_name(text)
    except ValueError:
        return False
    return True


def not_utf8(raw: bytes) -> str:
    """The message for a file that is not UTF-8 and starts with *raw*."""
    if raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):  # of PowerShell's > and of Notepad's "Unicode"
        return "in UTF-16: save it as UTF-8"
    return "not a text in UTF-8"


def format_path(path: KeyPath) -> str:
    """
    *path* as people write it: `routes[0].notify[1]`.

    Stops before a key that is no word, which may be a pasted secret.
    """
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif is_name(step):
            text += f".{step}" if text else step
        else:
            break
    return text


def did_you_mean(word: str, known: Collection[str]) -> str:
    """What to put behind "unknown ...", a space first: the nearest of *known*, else all of them if they are few."""
    if len(known) > 1000 or len(word) > 100:  # the search compares with each of them, letter by letter
        return ""
    candidates = {candidate.lower(): candidate for candidate in known if is_name(candidate)}
    if close := get_close_matches(word.strip().lower(), candidates, n=1):
        return f" (did you mean {candidates[close[0]]}?)"
    if 0 < len(candidates) <= 20:
        return f" (known: {', '.join(candidates.values())})"
    return ""

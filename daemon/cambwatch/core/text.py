"""Cleans and truncates text that people read: control characters, grapheme clusters, and JSON with invalid bytes."""

import json
import re
from collections.abc import Callable, Iterator
from unicodedata import bidirectional, combining

import regex

from cambwatch.core.model import Json

LONGEST_TEXT = 2000  # characters
LONGEST_LOOK = 4 * LONGEST_TEXT  # characters; the rest is dropped unseen

_REORDERING = "\u202a-\u202e\u2066-\u2069"
_DEPRECATED = "\u206a-\u206f\ufff9-\ufffb\U000e0001"
_RESERVED = "\u2065\ufff0-\ufff8\U000e0000\U000e0002-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    map(chr, (p + n for p in range(0, 0x110000, 0x10000) for n in (0xFFFE, 0xFFFF)))
)
_CONTROLS = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # those that are not white space
_SURROGATES = "\ud800-\udfff"

_MARKS = "\u200e\u200f\u061c"
_SELECTORS = "\ufe00-\ufe0f\u180b-\u180d\u180f\U000e0100-\U000e01ef"
_TAGS = "\U000e0020-\U000e007f"
_JOINERS = "\u200c\u200d"
_OTHERS = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2064\u2800\u3164\ufeff\uffa0"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
)
_BLACK_FLAG = "\U0001f3f4"
_VIRAMA = 9  # the combining class

_REMOVED = re.compile(f"[{_CONTROLS}{_REORDERING}{_DEPRECATED}{_RESERVED}{_NONCHARACTERS}]+")
_INVISIBLE = re.compile(f"[{_MARKS}{_SELECTORS}{_TAGS}{_JOINERS}{_OTHERS}]+")
_SELECTOR = re.compile(f"[{_SELECTORS}]")
_REGION = re.compile("[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")  # UTS #51, ED-14a
_OTHER = re.compile(f"[{_OTHERS}]")
_UNFIT = re.compile(rf"[\s{_CONTROLS}{_REORDERING}{_DEPRECATED}{_RESERVED}{_NONCHARACTERS}{_SURROGATES}]")


def one_line(value: Json, *, longest: int = LONGEST_TEXT) -> str | None:
    """
    *value* as one line of 1 to *longest* characters, cleaned by the rules above; None if nothing is left.

    Of an object, its `message`, `msg`, `detail` or `error`, else its JSON. Idempotent.
    """
    match value:
        case None:
            return None
        case str():
            words = value
        case {"message": str(inner)} | {"msg": str(inner)} | {"detail": str(inner)} | {"error": str(inner)}:
            words = inner
        case _:
            try:
                words = json.dumps(value, ensure_ascii=False)
            except RecursionError:  # parsed just below the limit, but too deep to serialize
                return None
    line = clean(words if len(words) <= LONGEST_LOOK else words[:LONGEST_LOOK] + ELLIPSIS)
    return truncate(line, longest) if line else None


def clean(words: str) -> str:
    """*words* cleaned by the rules above, at any length; empty if nothing visible is left."""
    if words.isascii() and words.isprintable():  # the common case
        return " ".join(words.split())
    # JSON escapes can produce lone surrogates, which no database and no UTF-8 accepts.
    known = words.encode("utf-8", "replace").decode("utf-8")
    line = " ".join(_INVISIBLE.sub(_that_stay, _REMOVED.sub("", known)).split())
    return line if line.strip(f"{_MARKS} ") else ""


def is_unbroken(words: str) -> bool:
    """Whether *words* contain no white space and nothing that clean() always removes or replaces."""
    return _UNFIT.search(words) is None


def _that_stay(run: re.Match[str]) -> str:
    """The characters of an invisible *run* that affect the visible characters around it."""
    words, start, end = run.string, run.start(), run.end()
    before = words[start - 1] if start else " "
    after = words[end] if end < len(words) else " "
    kept = ""
    if not before.isspace() and (selector := _SELECTOR.match(words, start)):
        kept = selector[0]
    if before == _BLACK_FLAG and (region := _REGION.match(words, start + len(kept), end)):
        kept += region[0]
    between = not before.isspace() and not after.isspace()
    joined = separated = False
    for character in dict.fromkeys(words[start + len(kept) : end]):
        if character in _JOINERS:
            stays = not joined and (between or _shaped(before) or _shaped(after))
            joined = joined or stays
        elif _OTHER.match(character):
            stays = not separated and between
            separated = separated or stays
        else:
            stays = character in _MARKS
        if stays:
            kept += character
    return kept


def _shaped(character: str) -> bool:
    """Whether a joiner changes the form of *character* even at the end of a word: Arabic, Mongolian, viramas."""
    return bidirectional(character) == "AL" or combining(character) == _VIRAMA or "\u1820" <= character <= "\u18aa"


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


def loads(body: bytes) -> Json:
    """
    The JSON document in *body*; bytes that are not UTF-8 become U+FFFD.

    UTF-16 and UTF-32 are read too, with or without a byte order mark (RFC 4627, section 3).
    Raises ValueError for everything else, including documents that are nested too deeply.
    """
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        pass
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    try:
        return json.loads(body.decode("utf-8-sig", "replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error

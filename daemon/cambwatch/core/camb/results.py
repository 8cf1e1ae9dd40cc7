"""
What is worth telling of a result: links that a person can open, and the rest cut to size.

Shapes vary by kind, by age of the API and by number of languages, so nothing here
depends on one: every value is looked at, known names only make better labels.
"""

import json
from urllib.parse import urlsplit

from cambwatch.core.events import Link
from cambwatch.core.model import Json
from cambwatch.core.text import is_unbroken, one_line

MOST_LINKS = 50
LONGEST_URL = 16_384  # characters; presigned URLs with a session token reach half of it
LONGEST_TRANSCRIPT = 4096  # bytes of JSON
LONGEST_RESULT = 256 * 1024  # bytes of JSON
DEEPEST = 64  # levels of a document; below it a real result has nothing

_BEYOND = 2**1024  # the least power of two that is no float; infinity is more, and NaN is never less
_LONGEST_PLACE = 40  # characters of the brackets in a label
DOWNLOAD = "Download"
"""The label of a link whose keys say nothing better."""

_LABELS = {
    "output_url": DOWNLOAD,
    "file_url": DOWNLOAD,
    "audio_url": "Audio",
    "output_audio_url": "Audio",
    "video_url": "Video",
    "output_video_url": "Video",
    "dialogue_url": "Dialogue",
    "foreground_audio_url": "Foreground audio",
    "background_audio_url": "Background audio",
    "studio_url": "Studio",
    "transcript": "Transcript",
    "previews": "Preview",
}
PREVIEW = _LABELS["previews"]
"""The label of a list whose links are numbered."""

_WRAPPERS = frozenset({"results", "result", "story_details", "project_details", "run_details", "url"})
TEXT_KEYS = frozenset({"text", "texts"})
"""Keys of what somebody said or wrote, which may well be an address."""

_TRANSCRIPTS = frozenset({"transcript", "transcripts", "transcription", "segments"}) | TEXT_KEYS

Place = tuple[str, ...]
"""The keys above a value that say which of several it is: a language, or the number of an item."""


def is_link(value: Json) -> bool:
    """Whether all of *value* is an http or https URL of at most LONGEST_URL, unbroken as by is_unbroken()."""
    if not isinstance(value, str) or len(value) > LONGEST_URL:
        return False
    if not value[:8].lower().startswith(("http://", "https://")) or not is_unbroken(value):
        return False
    try:
        parts = urlsplit(value)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def find_links(result: Json) -> tuple[Link, ...]:
    """
    What of *result* can be opened: in the order of the document, each URL once, at most MOST_LINKS.

    Labels name what it is and, where there are several languages or items, which
    one: `Audio (fr-fr)`. No two labels are the same.
    """
    found = LinkCollector()
    # A stack of our own: no document is too deep for it.
    waiting: list[tuple[Json, str, Place]] = [(result, DOWNLOAD, ())]
    while waiting and not found.full:
        value, label, place = waiting.pop()
        inner: list[tuple[Json, str, Place]] = []
        match value:
            case dict():
                inner = [
                    (child, *child_label(key, label, place)) for key, child in value.items() if key not in TEXT_KEYS
                ]
            case list() if label == PREVIEW:
                inner = [(child, f"{label} {number}", place) for number, child in enumerate(value, 1)]
            case list():
                inner = [(child, label, place) for child in value]
            case str() if is_link(value):
                found.add(value, label, place)
        waiting.extend(reversed(inner))
    return found.links()


class LinkCollector:
    """Links in the order in which they are found: each URL once, at most MOST_LINKS, no two with the same label."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}  # by URL

    @property
    def full(self) -> bool:
        """Whether no further link is taken."""
        return len(self._labels) >= MOST_LINKS

    def add(self, url: str, label: str, place: Place) -> None:
        """Take the link *url*, unless it is known or there are enough."""
        if self.full or url in self._labels:
            return
        whole = f"{label} ({_brackets(place)})" if place else label
        name, number = whole, 1
        while name in self._labels.values():
            number += 1
            name = f"{whole} {number}"
        self._labels[url] = name

    def links(self) -> tuple[Link, ...]:
        """What was taken so far."""
        return tuple(Link(label, url) for url, label in self._labels.items())


def child_label(key: str, label: str, place: Place) -> tuple[str, Place]:
    """The label and the place of what stands under *key* in an object that has *label* and *place*."""
    if key in _LABELS:
        return _LABELS[key], place
    return label, place if key in _WRAPPERS else (*place, key)


def _brackets(place: Place) -> str:
    return one_line(", ".join(place[-2:]), longest=_LONGEST_PLACE) or "?"


def trim_result(result: Json) -> Json:
    """
    *result* as it can be stored and sent: make_storable(), at most LONGEST_RESULT bytes of JSON.

    Transcripts of more than LONGEST_TRANSCRIPT bytes give way to a marker that says
    so; where that is not enough, so does everything of that size. URLs stay, unless
    they alone are too much. Trimming twice changes nothing.
    """
    value = make_storable(result)
    # Nothing but a transcript comes as a bare text or list; of other lists, those with URLs stay.
    value = _cut(value) if isinstance(value, str | list) else _without_transcripts(value)
    if _size(value) > LONGEST_RESULT:
        value = _cut(value)
    size = _size(value)
    return value if size <= LONGEST_RESULT else _marker(size, "256 KiB")


def make_storable(value: Json, *, level: int = 0) -> Json:
    """
    *value* as every parser and every database takes it.

    No NaN and no infinity, no NUL and no lone surrogate, at most DEEPEST levels;
    those are not strict JSON, or not UTF-8, or no text for PostgreSQL.
    """
    match value:
        case str():
            return _storable_text(value)
        case int() | float() if not isinstance(value, bool):
            # Integers beyond every float are as unreadable to others as infinity; Python refuses to print the longest.
            return value if abs(value) < _BEYOND else None
        case dict() | list() if level >= DEEPEST:
            return "(nested too deeply)"
        case dict():
            return {_storable_text(key): make_storable(child, level=level + 1) for key, child in value.items()}
        case list():
            return [make_storable(child, level=level + 1) for child in value]
    return value


def _storable_text(text: str) -> str:
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _without_transcripts(value: Json) -> Json:
    match value:
        case dict():
            return {key: _cut(v) if key in _TRANSCRIPTS else _without_transcripts(v) for key, v in value.items()}
        case [{"text": _}, *_]:  # a transcript under a name that nobody knows, such as that of a language
            return _cut(value)
        case list():
            return [_without_transcripts(child) for child in value]
    return value


def _cut(value: Json) -> Json:
    """*value* with markers for its largest parts that hold more than LONGEST_TRANSCRIPT bytes, but no URL."""
    size = _size(value)
    if size <= LONGEST_TRANSCRIPT:
        return value
    if not _holds_link(value):
        return _marker(size, "4 KB")
    match value:
        case dict():
            return {key: _cut(child) for key, child in value.items()}
        case list():
            return [_cut(child) for child in value]
    return value


def _holds_link(value: Json) -> bool:
    match value:
        case dict():
            return any(key not in TEXT_KEYS and _holds_link(child) for key, child in value.items())
        case list():
            return any(_holds_link(child) for child in value)
    return is_link(value)


def _marker(size: int, limit: str) -> Json:
    return {"cut": True, "bytes": size, "reason": f"larger than {limit}; fetch it from result_endpoint"}


def _size(value: Json) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

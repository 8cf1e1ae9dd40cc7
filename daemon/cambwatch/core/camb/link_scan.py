"""
Finds the links of a result that is too large for memory while its bytes arrive.

A streaming JSON parser, such as ijson, holds each string as a whole, and the transcript of a
film may be one string of 60 MB. This scan holds no string that is longer than a link can be.
It keeps the open brackets and the last key in each of them.

The scan does not validate JSON. It rejects a document that starts with anything but an object,
a list or a string, brackets that do not match, and a document that ends too early.
"""

import json
import re

from cambwatch.core.camb.result_requests import ResultRead
from cambwatch.core.camb.results import (
    DOWNLOAD,
    LONGEST_URL,
    PREVIEW,
    TEXT_KEYS,
    LinkCollector,
    Place,
    child_label,
    is_link,
)
from cambwatch.core.model import Fault, Json, UnavailableReply

SLICE = 32 * 1024
"""Bytes for one feed(): about 2 ms of CPU, or 30 ms where every byte is a bracket."""

DEEPEST_SCAN = 1000  # levels; json.loads() has the same limit
LONGEST_TOKEN = 12 * LONGEST_URL + 2  # bytes of the longest link, if each character is written as two \uXXXX

# Brackets, keys with their colon, and strings. The last string of a slice may continue in the next one.
_TOKEN = re.compile(rb'[{}\[\]]|"(?:[^"\\]++|\\.)*+(?:"[ \t\r\n]*+:?|\\?\Z)', re.DOTALL)
_KEY = re.compile(rb'"(?:[^"\\]++|\\.)*+"[ \t\r\n]*+:', re.DOTALL)
_CLOSED = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_QUOTE, _COLON, _BACKSLASH = b'":\\'
_OPENING = b"{["
_CLOSING = {ord("}"): ord("{"), ord("]"): ord("[")}


class LinkScan:
    """Takes the body in slices of SLICE bytes by feed(), then gives its result()."""

    def __init__(self) -> None:
        self.size = 0
        """Bytes taken in so far."""
        self.broken = False
        """Whether this is not JSON; then the rest need not be read."""
        self._found = LinkCollector()
        self._rest = b""  # the end of the last slice: a string that may continue
        self._skipping = False  # inside a string that is too long for a link
        self._begun = False
        self._done = False  # the document has ended
        self._open: list[int] = []  # the open brackets
        self._keys: list[bytes] = []  # the last key in each of them, as it came; empty in a list
        self._numbers: list[int] = []  # the number of links in each of them

    def feed(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(data)
        if self.broken:
            return
        data = self._rest + data
        if not self._begun and not self._begins(data):
            return
        self._rest = b""
        if self._skipping:
            data = self._skip(data)
        tokens = _TOKEN.findall(data)
        if tokens and data.endswith(tokens[-1]) and tokens[-1][0] == _QUOTE and not _KEY.fullmatch(tokens[-1]):
            self._keep(tokens.pop())
        self._take(tokens)

    def result(self, *, announced: int | None, longest: int, whole: bool) -> ResultRead | UnavailableReply:
        """
        The links, and a marker in place of the document; Unavailable where this is not JSON.

        *announced* is the Content-Length, *longest* the size up to which a result is kept as
        a document. *whole* is False where the body was not read to its end.
        """
        if self._rest and _CLOSED.fullmatch(self._rest):
            self._take([self._rest])
            self._rest = b""
        ended = self._done and not self._rest
        if self.broken or (whole and not ended):
            return UnavailableReply(Fault.UNREADABLE, detail="the answer is not JSON")
        words = "its links were read" if whole else f"the links of its first {_mib(self.size)} were read"
        links = self._found.links()
        marker: dict[str, Json] = {
            "cut": True,
            "bytes": max(self.size, announced or 0),
            "reason": f"larger than {_mib(longest)}: only {words}; fetch it from result_endpoint",
            "links": [{"label": link.label, "url": link.url} for link in links],
        }
        return ResultRead(marker, links)

    def _begins(self, data: bytes) -> bool:
        """Whether the document begins in *data*."""
        start = data.removeprefix(_BOM).lstrip(_SPACE)
        if not start or (_BOM.startswith(data) and data != _BOM):
            self._rest = data if data != _BOM and _BOM.startswith(data) else b""  # it may be cut in two
            return False
        self._begun = True
        self.broken = start[0] not in b'{["'
        return not self.broken

    def _keep(self, text: bytes) -> None:
        """Keep the last string of a slice: the next slice shows where it ends and whether it is a key."""
        if closed := _CLOSED.match(text):
            self._rest = closed.group()
        elif len(text) <= LONGEST_TOKEN:
            self._rest = text
        else:
            self._skipping = True
            self._rest = text[_end_of_text(text, 1) :]  # nothing, or the first half of an escape

    def _skip(self, data: bytes) -> bytes:
        """*data* after the string that it continues, with an empty string in place of that one."""
        end = _end_of_text(data, 0)
        if data[end : end + 1] != b'"':
            self._rest = data[end:]
            return b""
        self._skipping = False
        return b'""' + data[end + 1 :]

    def _take(self, tokens: list[bytes]) -> None:
        for token in tokens:
            first = token[0]
            if self._done:
                self.broken = True  # more than one document
                return
            if first == _QUOTE:
                if token[-1] == _COLON:
                    if self._keys:
                        self._keys[-1] = token
                elif token[1:5].lower() == b"http" or token[1] == _BACKSLASH:
                    self._take_link(token)
                self._done = not self._open
            elif first in _OPENING:
                self._open.append(first)
                self._keys.append(b"")
                self._numbers.append(0)
                self.broken = len(self._open) > DEEPEST_SCAN
            elif not self._open or self._open.pop() != _CLOSING[first]:
                self.broken = True
            else:
                self._keys.pop()
                self._numbers.pop()
                self._done = not self._open
            if self.broken:
                return

    def _take_link(self, token: bytes) -> None:
        url = _text(token)
        if self._found.full or url is None or not is_link(url):
            return
        label, place = DOWNLOAD, Place()
        for token_of_key in self._keys:
            key = _text(token_of_key.rstrip(_SPACE + b":")) if token_of_key else None
            if key in TEXT_KEYS:
                return
            if key is not None:
                label, place = child_label(key, label, place)
        if self._open and self._open[-1] == ord("[") and label == PREVIEW:
            self._numbers[-1] += 1
            label = f"{label} {self._numbers[-1]}"
        self._found.add(url, label, place)


def _end_of_text(data: bytes, start: int) -> int:
    """The end of the string whose content begins at *start*: a quote, an incomplete escape, or the end of *data*."""
    inside = _INSIDE.match(data, start)
    return inside.end() if inside else start


def _text(token: bytes) -> str | None:
    """The string that *token* encodes; None where it is not valid JSON."""
    try:
        text = json.loads(token)
    except ValueError:
        return None
    return text if isinstance(text, str) else None


def _mib(size: int) -> str:
    return f"{size >> 20} MB"

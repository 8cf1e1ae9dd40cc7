"""Removes secrets from text: the type Secret that does not print, every form in which a server may repeat one.

cambwatch stores text from servers, shows it and sends it on, so it is redacted first.
"""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from html import unescape
from html.entities import html5
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Secret:
    """Holds an API key, a token or a URL that is one; only reveal() gives it away."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that has to send it."""
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled")


_ESCAPE_SIGNS = frozenset("%\\&")  # each encoding starts with one of them
_MOST_LAYERS = 5  # nested encodings
_ESCAPE = re.compile(
    r"(?P<percent>(?:%[0-9A-Fa-f]{2})+)"
    r"|(?P<bytes>(?:\\x[0-9A-Fa-f]{2})+)"
    r"|\\(?P<json>(?:u[0-9A-Fa-f]{4}(?:\\u[0-9A-Fa-f]{4})*)|[\"/\\])"
    r"|(?P<html>&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});)"
)
_JSON_CODE = re.compile(r"\\?u([0-9A-Fa-f]{4})")

# Ordinary text and not a secret: words, numbers, versions and dates.
_PLAIN = re.compile(r"(?:[A-Z]?[a-z]{1,12}|v?[0-9]{1,4})(?:[/._ :-]+(?:[A-Z]?[a-z]{1,12}|v?[0-9]{1,4}))*/?")
_SENSITIVE_NAME = re.compile(r"sig|secret|token|key|pass|pwd|auth|code|cred|hash", re.IGNORECASE)


def exposed_parts(secret: str) -> Iterator[str]:
    """*secret*, and if it is a URL the parts that others may show; may repeat a part or yield an empty one."""
    yield secret
    if "://" not in secret:
        return
    try:
        url = urlsplit(secret)
    except ValueError:
        return
    yield _with_idna(secret, url.netloc)
    yield f"{url.path}?{url.query}"
    yield url.path
    yield posixpath.normpath(url.path).replace("//", "/") if url.path else ""
    yield url.query
    last = url.path.rstrip("/").rpartition("/")[2]
    if not _PLAIN.fullmatch(decoded(last)):
        yield last
    for pair in re.split("[&;]", url.query):
        name, _, value = pair.partition("=")
        if not _PLAIN.fullmatch(decoded(value)) or _SENSITIVE_NAME.search(name):
            yield value


def _with_idna(url: str, netloc: str) -> str:
    try:
        return url.replace(netloc, netloc.encode("idna").decode(), 1) if netloc and not netloc.isascii() else ""
    except UnicodeError:
        return ""


def decoded(text: str) -> str:
    """*text* with all nested encodings of the table decoded, and `+` as a space."""
    for _ in range(_MOST_LAYERS):
        if _ESCAPE_SIGNS.isdisjoint(text):
            break
        found = _ESCAPE.sub(_decode, text)
        if found == text:
            break
        text = found
    return text.replace("+", " ")


def _decode(found: re.Match[str]) -> str:
    if written := found["percent"] or found["bytes"]:
        return bytes.fromhex(written.replace("%", "").replace("\\x", "")).decode("utf-8", "surrogateescape")
    if found["html"]:
        return unescape(found["html"])
    code = found["json"]
    if not code.startswith("u"):
        return code
    units = b"".join(int(unit, 16).to_bytes(2, "big") for unit in _JSON_CODE.findall(code))
    return units.decode("utf-16-be", "surrogatepass")


@lru_cache(maxsize=1024)
def encodings_pattern(text: str) -> str:
    """A regular expression for the decoded *text* in every encoding of the table."""
    return "".join(map(_encodings_pattern, text))


def _encodings_pattern(character: str) -> str:
    code = ord(character)
    ways = {re.escape(character)}
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        byte = bytes([code - 0xDC00])
        ways |= {_percent(byte), _literal(byte), "\ufffd", re.escape(chr(code - 0xDC00))}
    elif not 0xD800 <= code <= 0xDFFF:
        ways |= {_percent(character.encode()), _literal(character.encode())}
        ways |= {rf"&#0*{code};", rf"&#[xX]0*{_hex(f'{code:x}')};"}
        ways |= {f"&{name}" for name in _names()[character]}
        units = character.encode("utf-16-be")
        ways.add("".join(rf"\\+u{_hex(units[at : at + 2].hex())}" for at in range(0, len(units), 2)))
    if character == " ":
        ways |= {r"\+", _percent(b"+")}
    if character in '"/':
        ways.add(rf"\\+{character}")
    if character == "\\":
        ways.add(r"\\+")
    return f"(?:{'|'.join(sorted(ways, key=len, reverse=True))})"


def _percent(raw: bytes) -> str:
    return "".join(f"%(?:25)*{_hex(f'{byte:02x}')}" for byte in raw)


def _literal(raw: bytes) -> str:
    return "".join(rf"\\+x{_hex(f'{byte:02x}')}" for byte in raw)


def _hex(digits: str) -> str:
    """*digits* in both cases."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in digits)


@lru_cache(maxsize=1)
def _names() -> Mapping[str, list[str]]:
    """The names that HTML has for a character."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, character in html5.items():
        if name.endswith(";"):
            found[character].append(name)
    return found


SHORTEST_SECRET = 6  # characters; a shorter one would be found in half of all words
SHORTEST_CUT = 1000  # characters; shorter text without an ellipsis was not truncated
REDACTED = "<secret>"

_QUERY = re.compile(r"([a-zA-Z]{2,10}:\\?/\\?/[^\s\"'<>?]*)\?[^\s\"'<>]+")
_PLACEHOLDER = "\ufdd0"  # a character that no text has
_EVERYTHING = r"(?s:.+)"
_SHORTEST_TRUNCATED = 8  # characters that must remain of a truncated secret
_ELLIPSIS = "…"
_HALF_ESCAPE = re.compile(r"(?:%(?:25)*[0-9A-Fa-f]?|\\+(?:u[0-9A-Fa-f]{0,3}|x[0-9A-Fa-f]?)?|&[#A-Za-z0-9]{0,31})\Z")


class _Form(NamedTuple):
    """A part of a secret: as configured, and decoded."""

    written: str
    decoded: str


class SecretFinder:
    """Finds *secrets* in text, in every form of core/redaction.py."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        texts = {part for secret in secrets for part in exposed_parts(secret.reveal()) if len(part) >= SHORTEST_SECRET}
        # The longest first: a short form would leave the rest of a longer one.
        longest_first = sorted(texts, key=lambda text: (-len(text), text))
        self._forms = [_Form(text, decoded(text)) for text in longest_first]
        needles = {text for form in self._forms for text in form if len(text) >= SHORTEST_SECRET}
        self._needles = sorted(needles, key=len, reverse=True)
        self._shortest = len(self._needles[-1]) if needles else 0

    def redact(self, words: str) -> str:
        """*words* with CUT in place of each secret; only CUT if a secret cannot be located."""
        cut, found = self._find(words)
        return cut.replace(_PLACEHOLDER, REDACTED) if found else words

    def expression(self, words: str) -> str:
        """A regular expression for the secrets in *words*; empty if there are none, the common case."""
        return "|".join(self._find(words)[1])

    def _find(self, words: str) -> tuple[str, list[str]]:
        """*words* with _MARK in place of each secret, and the regular expressions that matched."""
        found: list[str] = []
        clear = decoded(words)
        if not self._occur_in(words, clear):
            return words, found
        for form in self._forms:
            for needle, write in ((form.decoded, encodings_pattern), (form.written, re.escape)):
                if len(needle) >= SHORTEST_SECRET and (needle in clear or needle in words):
                    found.append(re.escape(needle) if clear == words else write(needle))
                    words = _compiled(found[-1]).sub(_PLACEHOLDER, words)
                    clear = decoded(words)
                    if needle in clear or needle in words:  # in an encoding that this module does not have
                        return _PLACEHOLDER, [_EVERYTHING]
        return words, found

    def occur_in(self, words: str) -> bool:
        """Whether *words* contain one of the secrets."""
        return self._occur_in(words, decoded(words))

    def _occur_in(self, words: str, clear: str) -> bool:
        return len(words) >= self._shortest and any(
            needle in clear or (clear is not words and needle in words) for needle in self._needles
        )

    def truncated_in(self, words: str) -> str:
        """A regular expression for a secret whose end was truncated at the end of *words*; else empty."""
        found = _HALF_ESCAPE.search(words)
        for half in (found[0], "") if found else ("",):  # what looks like one may belong to the secret itself
            clear = decoded(words.removesuffix(half))
            for needle in self._needles:
                at = clear.find(needle[:_SHORTEST_TRUNCATED], max(0, len(clear) - len(needle)))
                while at >= 0:
                    if len(clear) - at >= _SHORTEST_TRUNCATED and needle.startswith(clear[at:]):
                        return f"{encodings_pattern(clear[at:])}{re.escape(half)}\\Z"
                    at = clear.find(needle[:_SHORTEST_TRUNCATED], at + 1)
        return ""


class Redactor:
    """Puts `<secret>` where one of *secrets* stands."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._finder = SecretFinder(secrets)

    def redact(self, words: str) -> str:
        """*words* with all secrets redacted, also one that was truncated at the end of *words*."""
        clean = self._finder.redact(words)
        return (
            self._without_truncated_secret(clean) if len(words) >= SHORTEST_CUT or words.endswith(_ELLIPSIS) else clean
        )

    def redact_answer(self, words: str) -> str:
        """The same of a receiver's *words*, and of URLs without the query: it may be one of the links that we sent."""
        return _QUERY.sub(r"\1?…", self.redact(words))

    def _without_truncated_secret(self, words: str) -> str:
        said = words.removesuffix(_ELLIPSIS)
        expression = self._finder.truncated_in(said)
        if not expression:
            return words
        found = _compiled(expression).search(said)
        return REDACTED if found is None else said[: found.start()] + REDACTED


@lru_cache(maxsize=256)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression)

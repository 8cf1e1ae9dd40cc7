"""
Redacts secrets in text from servers, some of which repeat what they were sent.

cambwatch stores such text, shows it and sends it on, so it is redacted first.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from cambwatch.core.secret import Secret
from cambwatch.core.secret_forms import decoded, encodings_pattern, exposed_parts

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
    """Finds *secrets* in text, in every form of core/secret_forms.py."""

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
                    if needle in clear or needle in words:  # in an encoding that secret_forms.py does not have
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

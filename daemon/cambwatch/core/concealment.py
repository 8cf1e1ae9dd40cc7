"""
Cuts secrets out of words that others say: some servers show what they were sent.

Such words are kept, shown and told to others, so they are clean before anybody gets them.
"""

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from urllib.parse import unquote, urlsplit

from cambwatch.core.cutting import ELLIPSIS
from cambwatch.core.secret import Secret

SHORTEST_SECRET = 6  # characters; a shorter one would be found in half of all words
SHORTEST_CUT = 1000  # characters; shorter words were not cut to size, in the middle of what they said
_QUERY = re.compile(r"([a-zA-Z]{2,10}:\\?/\\?/[^\s\"'<>?]*)\?[^\s\"'<>]+")
_SHORTEST_REST = 8  # characters of a secret, of which the end was cut off


def hidden_forms(secrets: Iterable[Secret]) -> list[str]:
    """All ways in which others show *secrets*, the longest first, so that no part of a form is left of it."""
    forms = {form for secret in secrets for form in _forms(secret.reveal()) if len(form) >= SHORTEST_SECRET}
    return sorted(forms, key=len, reverse=True)


class Concealment:
    """Puts `<secret>` where one of *secrets* stands."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._forms = hidden_forms(secrets)
        self._pattern = re.compile("|".join(map(re.escape, self._forms)))

    def text(self, words: str) -> str:
        """*words* without the secrets, nor the beginning of one at the end of words that were cut to size."""
        clean = words
        if any(form in words for form in self._forms):  # much faster than the pattern, and nearly always enough
            clean = self._pattern.sub("<secret>", words)
        return self._without_rest(clean) if words.endswith(ELLIPSIS) or len(words) >= SHORTEST_CUT else clean

    def answer(self, words: str) -> str:
        """The same of a receiver's *words*, and of URLs without the query: it may be one of the links that we sent."""
        return _QUERY.sub(r"\1?…", self.text(words))

    def _without_rest(self, words: str) -> str:
        said = words.removesuffix(ELLIPSIS)
        for form in self._forms:
            for length in range(min(len(form), len(said)), _SHORTEST_REST - 1, -1):
                if said.endswith(form[:length]):
                    return said[:-length] + "<secret>"
        return words


def _forms(secret: str) -> Iterator[str]:
    """*secret*, of a URL also its path and its query, and each as JSON and HTML have it."""
    plain = [secret]
    if "://" in secret:
        parts = urlsplit(secret)
        plain += [parts.path, unquote(parts.path), parts.query, unquote(parts.query)]
        if parts.query:
            plain.append(f"{parts.path}?{parts.query}")
    for form in plain:
        yield from (form, json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1], escape(form))
        yield form.replace("/", "\\/")  # as many write it in JSON

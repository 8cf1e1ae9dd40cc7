"""The URL of a request, exactly as the configuration has it."""

import re
from functools import lru_cache

from yarl import URL

_PARTS = re.compile(r"(?P<origin>[^:/?#]+://[^/?#]*)(?P<target>[^#]*)")


@lru_cache(maxsize=512)  # yarl's own, for URLs that are not encoded, is as large
def as_configured(text: str) -> URL:
    """
    The URL of *text*, whose path and query go out byte for byte.

    yarl by itself decodes `%2F` in a query, resolves `/../` and drops an empty query. A receiver that signs or
    routes by the raw target would refuse that. The host is normalised: IDNA, lower case, default port.
    Raises ValueError for what is not a URL; its text may show *text*.
    """
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError("not a URL")
    target = parts["target"]
    # The whole target stands for the path, because a query of its own would lose a "?" with nothing behind it.
    return URL(parts["origin"]).with_path(target if target.startswith("/") else f"/{target}", encoded=True)

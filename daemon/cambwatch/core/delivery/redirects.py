"""Explains redirects. cambwatch does not follow them, because their target was not checked."""

import re
from urllib.parse import urlsplit

_REDIRECTS = frozenset({301, 302, 303, 307, 308})  # RFC 9110, 15.4: those that name another URL to use
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9a-fA-F:.]{2,45}")


def explain_redirect(http_status: int, location: str | None, *, url: str) -> str | None:
    """
    The explanation of a redirect that answered a request for *url*; None for any other status.

    It names the host of *location* but not its path, which may contain a secret.
    """
    if http_status not in _REDIRECTS:
        return None
    return f"redirects are not followed; {_where(location, url)}: set url of this destination to the final URL"


def _where(location: str | None, url: str) -> str:
    if not location or not location.strip():
        return "it has no Location header"
    ours = urlsplit(url)
    try:
        theirs = urlsplit(location.strip())
        host = theirs.hostname
    except ValueError:
        return "it points to something that is not a URL"
    if theirs.scheme not in {"", "http", "https"}:
        return "it points to something that is not a web address"
    if not host or host == ours.hostname:
        if theirs.scheme and theirs.scheme != ours.scheme.lower():
            return f"it points to {theirs.scheme} on the same host"
        return "it points to another path on the same host"
    return f"it points to {host}" if _HOST.fullmatch(host) else "it points to another host"

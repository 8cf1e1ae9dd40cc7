"""What the URL of an Apprise service hides: nearly all of it, and each service has its credentials elsewhere in it."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

_PARTS = re.compile(r"(?P<scheme>[^:/?#]*)://(?P<authority>[^/?#]*)(?P<path>[^?]*)\??(?P<query>.*)", re.DOTALL)
_DIGITS_AND_DOTS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]")
# As people write names; a token between dots has capitals, digits at its end, or a length of its own.
_NAME = re.compile(r"([a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\.)+[a-z]{2,24}|localhost")
# What many URLs say: to hide it would cut holes into every other text.
_PLAIN_WORD = re.compile(r"(?=.{1,24}\Z)[a-z]+([-_.][a-z]+)*")
_OPTIONS = frozenset({"https", "http", "POST", "PUT", "markdown"})


def public_host(url: str) -> str | None:
    """The host that *url* names, in lower case; None where there is a token in its place, as in `tgram://token/chat`."""
    found = _PARTS.fullmatch(url)
    if found is None:
        return None
    host = _split_port(found["authority"].rpartition("@")[2])[0].lower()
    written_so = host in found["authority"]  # capitals are of a token
    return host if written_so and (_DIGITS_AND_DOTS.fullmatch(host) or _NAME.fullmatch(host)) else None


def masked_url(url: str) -> str:
    """*url* for people: its service and, where that is no secret, its host."""
    return f"{url.partition('://')[0]}://{public_host(url) or ''}/..."


def credentials(url: str) -> tuple[str, ...]:
    """
    What of *url* must not be seen by itself, longest first; services take it apart and build other URLs of the pieces.

    User and password, path, query and every piece of them, also percent-decoded. Not
    the host where that is one, nor what is one plain word, as most topics and channels
    are; but a password always.
    """
    found = _PARTS.fullmatch(url)
    if found is None:
        return (url,)
    texts = {url, url.partition("://")[2]} | {text for text in _pieces(found, public_host(url)) if not _plain(text)}
    texts.add(found["authority"].rpartition("@")[0].partition(":")[2])  # a password, whatever word it is
    texts |= {unquote(text) for text in texts}
    return tuple(sorted(filter(None, texts), key=lambda text: (-len(text), text)))


def _pieces(found: re.Match[str], host: str | None) -> Iterator[str]:
    userinfo, _, server = found["authority"].rpartition("@")
    yield userinfo
    yield from userinfo.split(":")
    if host is None:
        yield server
        yield from _split_port(server)
        yield from server.split(":")
    yield found["path"].strip("/")
    yield from re.split("[/,#]", found["path"])
    yield found["query"]
    for pair in found["query"].split("&"):
        yield pair.partition("=")[2]


def _split_port(server: str) -> tuple[str, str]:
    host, colon, port = server.rpartition(":")
    return (host, port) if colon and (not port or port.isdigit()) and not host.isdigit() else (server, "")


def _plain(text: str) -> bool:
    return text in _OPTIONS or any(form.fullmatch(text) for form in (_PLAIN_WORD, _NAME, _DIGITS_AND_DOTS))

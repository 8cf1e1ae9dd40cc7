"""Describes network errors without secrets, and builds the URL of a request byte for byte."""

import os
import re
import ssl
from functools import lru_cache

import aiohttp
from yarl import URL

from cambwatch.adapters.http.response_head import LARGEST_HEAD

_PARTS = re.compile(r"(?P<origin>[^:/?#]+://[^/?#]*)(?P<target>[^#]*)")


@lru_cache(maxsize=512)  # as large as yarl's own cache
def as_configured(text: str) -> URL:
    """
    *text* as a URL whose path and query are sent byte for byte.

    yarl would decode `%2F` in a query, resolve `/../` and drop an empty query. A receiver that signs or routes by
    the raw target would reject that. The host is normalized: IDNA, lower case, default port.
    Raises ValueError if *text* is not a URL. The error may contain *text*.
    """
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError("not a URL")
    target = parts["target"]
    # The whole target is passed as the path: yarl would drop the "?" of an empty query.
    return URL(parts["origin"]).with_path(target if target.startswith("/") else f"/{target}", encoded=True)


_TOO_LARGE = ("Got more than", "Too many headers")  # how aiohttp.http_exceptions start, which all arrive as one class


def describe(error: BaseException, peer: str) -> str:
    """What went wrong between cambwatch and *peer*; shows at most the host and port of a URL."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"{error.host} cannot be resolved"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {error.host}:{error.port} ({reason(error.os_error)})"
        case aiohttp.ServerDisconnectedError():
            return f"{peer} closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return f"the answer from {peer} was truncated"
        case aiohttp.ClientResponseError() if error.message.startswith(_TOO_LARGE):
            return too_large(peer)
        case aiohttp.ClientResponseError():
            return not_http(peer)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError() | ValueError():
            return "the configured URL cannot be requested: check its host and port"
        case TimeoutError():
            return f"no answer from {peer} in time"
        case aiohttp.ClientOSError(errno=None):  # "Can not write request body", wrapped around what broke
            return f"the connection to {peer} broke"
        case OSError():
            return f"the connection to {peer} broke ({reason(error)})"
    return f"the connection to {peer} broke"


def not_http(peer: str) -> str:
    """The description of an answer that is not HTTP."""
    return f"the answer from {peer} is not valid HTTP"


def too_large(peer: str) -> str:
    """The description of a response head that is too large."""
    return f"the head of the answer from {peer} is larger than {LARGEST_HEAD >> 10} KB"


def reason(error: BaseException) -> str:
    """Why a connection failed or broke."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate verify failed: {getattr(error, 'verify_message', None) or 'it is not trusted'}"
        case ssl.CertificateError():
            return "certificate verify failed"
        case ssl.SSLError():
            why = getattr(error, "reason", None) or "handshake failed"
            return f"TLS: {why.replace('_', ' ').lower()}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case ConnectionError():  # has no text if a tunnel closes during the TLS handshake
            return "the connection was closed"
    return "none of its addresses could be reached"

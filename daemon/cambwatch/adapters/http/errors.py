"""
What went wrong on the network, in our own words.

The text of an aiohttp error often holds the URL of the request ("Can not write request body for https://..."), and the
URL of a webhook is its secret. So no text of a library is copied here, but for what TLS says of a certificate.
"""

import os
import ssl

import aiohttp

from cambwatch.adapters.http.response_head import LARGEST_HEAD

_TOO_LARGE = ("Got more than", "Too many headers")  # of aiohttp.http_exceptions, which come out as one class


def describe(error: BaseException, peer: str) -> str:
    """What went wrong between us and *peer*; names at most host and port of a URL."""
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
    """What *peer* answered with."""
    return f"the answer from {peer} is not valid HTTP"


def too_large(peer: str) -> str:
    """What *peer* answered with."""
    return f"the head of the answer from {peer} is larger than {LARGEST_HEAD >> 10} KB"


def reason(error: BaseException) -> str:
    """Why a connection could not be made or kept."""
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
        case ConnectionError():  # without a word, where a tunnel ends in the TLS handshake
            return "the connection was closed"
    return "none of its addresses could be reached"

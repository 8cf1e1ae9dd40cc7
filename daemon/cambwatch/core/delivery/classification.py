"""What a receiver's response means for a delivery, and how a redirect is explained."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from cambwatch.core.delivery.chat_answers import CHAT_SERVICES, ChatService, is_markup
from cambwatch.core.model import Outcome

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


_PROGRAMS: Mapping[str, Outcome] = MappingProxyType(
    {
        "webhook": Outcome.ACCEPTED,
        "apprise": Outcome.ACCEPTED_UNVERIFIED,  # has no HTTP status: its adapter classifies the attempt
    }
)
"""Destination types without words of their own, and what a 2xx from them means."""

_PAYLOAD_STATUSES = frozenset({400, 413, 415, 422})


def classify(destination_type: str, http_status: int, body: bytes, *, has_retry_after: bool = False) -> Outcome:
    """
    The outcome of an attempt that a receiver of *destination_type* answered.

    *body* is at least the beginning of the response body. Total over every HTTP status and
    body. The first matching row decides; the last three are for chats:

        429, 503 with Retry-After        RATE_LIMITED
        407                              OURS
        webhook, apprise                 by the HTTP status alone
        a page (HTML, XML)               TRANSIENT, whatever the HTTP status
        the service's own words          by its table in chat_answers.py
        anything else                    not final, see _foreign()
    """
    if http_status == 429 or (http_status == 503 and has_retry_after):
        return Outcome.RATE_LIMITED
    if http_status == 407:
        return Outcome.OURS  # the egress proxy asks for credentials
    if destination_type in _PROGRAMS:
        return _PROGRAMS[destination_type] if 200 <= http_status < 300 else _refused_with(http_status)
    if is_markup(body) or not _is_about_us(http_status):
        return Outcome.TRANSIENT
    return _chat(CHAT_SERVICES[destination_type], http_status, body)


def classify_connect(http_status: int) -> Outcome:
    """
    The outcome of an attempt whose egress proxy answered CONNECT with *http_status*, other than 200.

    Total over every HTTP status (RFC 9110, 9.3.6): OURS if the proxy wants credentials, POLICY
    if it forbids the connection, TRANSIENT if it could not reach the receiver, or for any other
    reason.
    """
    match http_status:
        case 407:
            return Outcome.OURS
        case 408 | 425 | 429:
            return Outcome.TRANSIENT
        case _ if 300 <= http_status < 500:
            return Outcome.POLICY
    return Outcome.TRANSIENT


def _chat(service: ChatService, http_status: int, body: bytes) -> Outcome:
    answer = service.read(body)
    meaning = service.meaning(http_status, answer)
    if meaning is not None:
        return meaning
    if 200 <= http_status < 300 and answer.relayed_status is not None:
        return _refused_with(answer.relayed_status)
    return _foreign(http_status, refusal=answer.refusal)


def _foreign(http_status: int, *, refusal: bool) -> Outcome:
    """
    The outcome of a chat message whose answer is not in the service's own words.

        2xx                    ACCEPTED_UNVERIFIED; TRANSIENT for a *refusal* without known words
        400, 413, 415, 422     PAYLOAD_REJECTED: sent once more as plain text
        any other              TRANSIENT, redirects to a login page included
    """
    match http_status:
        case _ if 200 <= http_status < 300 and not refusal:
            return Outcome.ACCEPTED_UNVERIFIED
        case _ if http_status in _PAYLOAD_STATUSES:
            return Outcome.PAYLOAD_REJECTED
    return Outcome.TRANSIENT


def _refused_with(http_status: int) -> Outcome:
    """The outcome of an HTTP status other than 2xx, without a look at the body."""
    match http_status:
        case 401 | 403:
            return Outcome.AUTH
        case 404 | 410:
            return Outcome.DESTINATION_GONE
        case 429:
            return Outcome.RATE_LIMITED
        case _ if not _is_about_us(http_status):
            return Outcome.TRANSIENT
        case _ if 300 <= http_status < 400:
            return Outcome.POLICY
        case _ if 400 <= http_status < 500:
            return Outcome.PAYLOAD_REJECTED
    return Outcome.TRANSIENT


def _is_about_us(http_status: int) -> bool:
    """Whether *http_status* may be about our request; otherwise it is about the server's own state."""
    return 200 <= http_status < 500 and http_status not in {408, 425}

"""
What the answer of a receiver means.

A verdict that ends a delivery needs the service's own words: proxies, gateways and login
pages answer 401, 403, 404 and 410 during every redeploy, and sometimes 200. What the chat
services say stands in chat_answers.py. A plain webhook has no words of its own, so there the
HTTP status decides (Standard Webhooks 1.0.0).
"""

from collections.abc import Mapping
from types import MappingProxyType

from cambwatch.core.chat_answers import SERVICES, Service, is_markup
from cambwatch.core.model import Outcome

_PROGRAMS: Mapping[str, Outcome] = MappingProxyType(
    {
        "webhook": Outcome.ACCEPTED,
        "apprise": Outcome.ACCEPTED_UNVERIFIED,  # it gives no HTTP status: its adapter decides
    }
)
"""Destination types without words of their own, and what a 2xx of theirs means."""

_PAYLOAD_STATUSES = frozenset({400, 413, 415, 422})


def classify(destination_type: str, http_status: int, body: bytes, *, has_retry_after: bool = False) -> Outcome:
    """
    The outcome of an attempt that a receiver of *destination_type* answered.

    *body* is at least the first words of the answer. Total over every HTTP status and
    body. The first row that fits counts; the last three are for chats:

        429, 503 with Retry-After        RATE_LIMITED
        407                              OURS
        webhook, apprise                 by the HTTP status alone
        a page (HTML, XML)               TRANSIENT, whatever the HTTP status
        the service's own words          what its table in chat_answers.py says
        anything else                    nothing final, see _foreign()
    """
    if http_status == 429 or (http_status == 503 and has_retry_after):
        return Outcome.RATE_LIMITED
    if http_status == 407:
        return Outcome.OURS  # the proxy on our way out asks for a password
    if destination_type in _PROGRAMS:
        return _PROGRAMS[destination_type] if 200 <= http_status < 300 else _refused_with(http_status)
    if is_markup(body) or not _is_about_us(http_status):
        return Outcome.TRANSIENT
    return _chat(SERVICES[destination_type], http_status, body)


def classify_connect(http_status: int) -> Outcome:
    """
    The outcome of an attempt whose egress proxy answered CONNECT with *http_status*, and that not being 200.

    Total over every HTTP status (RFC 9110, 9.3.6): OURS where the proxy does not know
    us, POLICY where it does not let us through, TRANSIENT where it has not reached the
    receiver, or has said nothing that would mean either.
    """
    match http_status:
        case 407:
            return Outcome.OURS
        case 408 | 425 | 429:
            return Outcome.TRANSIENT
        case _ if 300 <= http_status < 500:
            return Outcome.POLICY
    return Outcome.TRANSIENT


def _chat(service: Service, http_status: int, body: bytes) -> Outcome:
    said = service.read(body)
    meaning = service.meaning(http_status, said)
    if meaning is not None:
        return meaning
    if 200 <= http_status < 300 and said.relayed is not None:
        return _refused_with(said.relayed)
    return _foreign(http_status, refusal=said.refusal)


def _foreign(http_status: int, *, refusal: bool) -> Outcome:
    """
    What an answer to a chat message means that is not in the service's own words.

        2xx                    ACCEPTED_UNVERIFIED: posted once; a *refusal* without known words TRANSIENT
        3xx                    POLICY
        400, 413, 415, 422     PAYLOAD_REJECTED: once more in plain words
        any other              TRANSIENT
    """
    match http_status:
        case _ if 200 <= http_status < 300 and not refusal:
            return Outcome.ACCEPTED_UNVERIFIED
        case _ if 300 <= http_status < 400:
            return Outcome.POLICY  # redirects are not followed: where they lead was not checked
        case _ if http_status in _PAYLOAD_STATUSES:
            return Outcome.PAYLOAD_REJECTED
    return Outcome.TRANSIENT


def _refused_with(http_status: int) -> Outcome:
    """What an HTTP status other than 2xx means where it is all that the receiver says."""
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
    """Whether *http_status* may say something about our request; else it is about the server's own state."""
    return 200 <= http_status < 500 and http_status not in {408, 425}

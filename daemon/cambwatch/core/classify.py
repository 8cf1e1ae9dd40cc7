"""
What the answer of a receiver means.

Facts of Slack from docs.slack.dev, "Sending messages using incoming webhooks"; of
plain webhooks from Standard Webhooks 1.0.0.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cambwatch.core.model import Outcome


@dataclass(frozen=True, slots=True)
class _Manners:
    """
    How receivers of one destination type answer.

    An HTTP status of *successes* means *accepted*, if *ok_body* is None or all that
    the body says. *words*, found anywhere in the body of a refusal, say more than its
    HTTP status; the first one counts.
    """

    successes: Collection[int] = range(200, 300)
    accepted: Outcome = Outcome.ACCEPTED
    ok_body: bytes | None = None
    words: Mapping[bytes, Outcome] = field(default_factory=dict)


_SLACK_WORDS = {
    b"invalid_payload": Outcome.PAYLOAD_REJECTED,
    b"invalid_blocks": Outcome.PAYLOAD_REJECTED,
    b"no_text": Outcome.PAYLOAD_REJECTED,
    b"missing_text_or_fallback_or_attachments": Outcome.PAYLOAD_REJECTED,
    b"too_many_attachments": Outcome.PAYLOAD_REJECTED,
    b"user_not_found": Outcome.DESTINATION_GONE,
    b"channel_not_found": Outcome.DESTINATION_GONE,
    b"channel_is_archived": Outcome.DESTINATION_GONE,
    b"no_service": Outcome.DESTINATION_GONE,  # also no_service_id
    b"no_active_hooks": Outcome.DESTINATION_GONE,
    b"no_team": Outcome.DESTINATION_GONE,
    b"action_prohibited": Outcome.POLICY,
    b"posting_to_general_channel_denied": Outcome.POLICY,
    b"team_disabled": Outcome.POLICY,
    b"invalid_token": Outcome.AUTH,
    b"rate_limited": Outcome.RATE_LIMITED,
    b"rollup_error": Outcome.TRANSIENT,
}

_MANNERS: Mapping[str, _Manners] = MappingProxyType(
    {
        "webhook": _Manners(),
        "slack": _Manners(successes=(200,), ok_body=b"ok", words=_SLACK_WORDS),
    }
)


def classify(destination_type: str, http_status: int, body: bytes, *, has_retry_after: bool = False) -> Outcome:
    """
    The outcome of an attempt that a receiver of *destination_type* answered.

    *body* is at least the first words of the answer. Total over every HTTP status;
    a success that does not say what the type says on success is TRANSIENT, because
    then somebody else has answered.
    """
    manners = _MANNERS[destination_type]
    if http_status in manners.successes and (manners.ok_body is None or body.strip() == manners.ok_body):
        return manners.accepted
    if http_status == 429 or (http_status == 503 and has_retry_after):
        return Outcome.RATE_LIMITED
    if http_status >= 500 or http_status in {408, 425}:
        return Outcome.TRANSIENT
    for word, outcome in manners.words.items():
        if word in body:
            return outcome
    return _by_status(http_status)


def _by_status(http_status: int) -> Outcome:
    match http_status:
        case 401 | 403:
            return Outcome.AUTH
        case 404 | 410:
            return Outcome.DESTINATION_GONE
        case 407:
            return Outcome.OURS  # it is the proxy on our way out that asks for a password
        case _ if 300 <= http_status < 400:
            return Outcome.POLICY  # redirects are not followed: where they lead was not checked
        case _ if 400 <= http_status < 500:
            return Outcome.PAYLOAD_REJECTED
    return Outcome.TRANSIENT

"""
What the answer of a receiver means.

Facts of Slack from docs.slack.dev, "Sending messages using incoming webhooks"; of
Discord from docs.discord.com, "Rate Limits" and "JSON Error Codes"; of Teams from
learn.microsoft.com and from what senders have met; of Google Chat from
developers.google.com/workspace/chat; of Mattermost from the source of its server; of
plain webhooks from Standard Webhooks 1.0.0.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from cambwatch.core.model import Outcome


@dataclass(frozen=True, slots=True)
class _Success:
    """An HTTP status of *statuses* means *outcome* if *proof* is found in the body: no proxy's page has it."""

    statuses: Collection[int]
    proof: re.Pattern[bytes] = re.compile(b"")
    outcome: Outcome = Outcome.ACCEPTED


@dataclass(frozen=True, slots=True)
class _Manners:
    """
    How receivers of one destination type answer.

    Of *successes* the first that fits counts. *words*, found anywhere in the body of a
    refusal, say more than its HTTP status; the first one counts. *relayed* finds in the
    body of a success the HTTP status that the receiver itself was refused with.
    """

    successes: Sequence[_Success]
    words: Mapping[bytes, Outcome] = field(default_factory=dict)
    relayed: re.Pattern[bytes] | None = None


_OK = re.compile(rb"\A\s*ok\s*\Z")
_NOTHING = re.compile(rb"\A\s*\Z")

_SLACK = _Manners(
    (_Success((200,), _OK),),
    {
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
    },
)
_DISCORD = _Manners(
    (_Success((204,), _NOTHING), _Success((200,), re.compile(rb'"id"\s*:'))),  # 200 is the answer to ?wait=true
    {
        b"Unknown Webhook": Outcome.DESTINATION_GONE,  # code 10015
        b"Unknown Channel": Outcome.DESTINATION_GONE,  # code 10003
        b"Invalid Webhook Token": Outcome.AUTH,  # code 50027
        b"must have a thread_name or thread_id": Outcome.POLICY,  # code 220001: a forum; the URL needs ?thread_id=
    },
)
_TEAMS = _Manners(
    (
        _Success((200,), re.compile(rb"\A\s*1?\s*\Z")),  # the connectors before Workflows said 1
        # A workflow that posts has yet to do so; one with an answer of its own may say anything but a page.
        _Success((202,), outcome=Outcome.ACCEPTED_UNVERIFIED),
        _Success(range(200, 300), re.compile(rb"\A\s*[^<\s]"), Outcome.ACCEPTED_UNVERIFIED),
    ),
    {
        b"WorkflowTriggerIsNotEnabled": Outcome.POLICY,  # switched off, by a person or for want of a licence
        b"WorkflowNotFound": Outcome.DESTINATION_GONE,
    },
    relayed=re.compile(rb"returned HTTP error (\d{3})\b"),
)
_GOOGLE_CHAT = _Manners(
    (_Success((200,), re.compile(rb'"name"\s*:')),),  # of the message that was made
    {b"API_KEY_INVALID": Outcome.AUTH, b"API key not valid": Outcome.AUTH},
)
_MATTERMOST = _Manners(
    (_Success((200,), _OK),),
    {
        b"web.incoming_webhook.invalid": Outcome.DESTINATION_GONE,
        b"web.incoming_webhook.channel.app_error": Outcome.DESTINATION_GONE,
        b"web.incoming_webhook.user": Outcome.DESTINATION_GONE,  # who made the webhook is no longer there
        b"web.incoming_webhook.channel_locked": Outcome.POLICY,
        b"web.incoming_webhook.permissions": Outcome.POLICY,
    },
)

_MANNERS: Mapping[str, _Manners] = MappingProxyType(
    {
        "webhook": _Manners((_Success(range(200, 300)),)),
        "slack": _SLACK,
        "discord": _DISCORD,
        "teams": _TEAMS,
        "google_chat": _GOOGLE_CHAT,
        "mattermost": _MATTERMOST,
        # Apprise says True or False, and no status: here for the sake of whoever may know one some day.
        "apprise": _Manners((_Success(range(200, 300), outcome=Outcome.ACCEPTED_UNVERIFIED),)),
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
    if 200 <= http_status < 300:
        if manners.relayed and (found := manners.relayed.search(body)):
            http_status = int(found[1])
        else:
            for success in manners.successes:
                if http_status in success.statuses and success.proof.search(body):
                    return success.outcome
    if http_status == 429 or (http_status == 503 and has_retry_after):
        return Outcome.RATE_LIMITED
    if http_status >= 500 or http_status in {408, 425}:
        return Outcome.TRANSIENT
    for word, outcome in manners.words.items():
        if word in body:
            return outcome
    return _by_status(http_status)


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

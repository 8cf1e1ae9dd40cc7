"""
What the chat services answer in their own words, one table per service.

Sources: docs.slack.dev "Sending messages using incoming webhooks" and the changelog of
2016-05-17; docs.discord.com "JSON Error Codes"; the source of Mattermost's server
(channels/app/webhook.go, channels/web/webhook.go); developers.google.com/workspace/chat and
google.rpc.Code; learn.microsoft.com on the retired Teams connectors. Microsoft does not
document the error codes of a Workflows URL: those here are what senders received.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from cambwatch.core.model import Json, Outcome
from cambwatch.core.text import loads

AnswerCode = str | int
OutcomeTable = Mapping[tuple[int | None, AnswerCode], Outcome]
"""What (HTTP status, word) means."""

ANY_STATUS = None  # any HTTP status
ECHOED_MESSAGE = "(the message)"  # the answer is the message that the service made of the request

_BLANK = b" \t\r\n\v\f\0\xef\xbb\xbf\xff\xfe"  # before the first character, byte order marks included


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """
    What a response body says in the form of its service.

    *words* are the codes in it, the most specific first; empty if it is not in that form.
    *refusal*: it has the form of an error, even if the words are unknown.
    *relayed_status* is the HTTP status that the service got from the server behind it.
    """

    words: tuple[AnswerCode, ...] = ()
    refusal: bool = False
    relayed_status: int | None = None


@dataclass(frozen=True, slots=True)
class ChatService:
    """A chat service: *read* finds the words in a body, *table* maps them to outcomes."""

    read: Callable[[bytes], ChatAnswer]
    table: OutcomeTable

    def meaning(self, http_status: int, answer: ChatAnswer) -> Outcome | None:
        """The outcome of the first word that the table has for *http_status*; None if it has none."""
        for word in answer.words:
            for key in ((http_status, word), (ANY_STATUS, word)):
                if key in self.table:
                    return self.table[key]
        return None


def is_markup(body: bytes) -> bool:
    """Whether *body* is HTML or XML: no chat service answers a webhook with markup."""
    return body.lstrip(_BLANK).startswith(b"<")


def _slack(body: bytes) -> ChatAnswer:
    """One word as plain text, or `{"ok": false, "error": word}`."""
    match _document(body):
        case {"ok": False, "error": str(word)}:
            return ChatAnswer((word,), refusal=True)
        case document if _says_failure(document):
            return ChatAnswer(refusal=True)
    return ChatAnswer((_text(body),))


def _discord(body: bytes) -> ChatAnswer:
    """
    `{"code": number, "message": ...}`; a message with its id after `?wait=true`, else nothing.

    Other servers say `{"code": 0, "message": "success"}`. Discord's own 0 repeats the HTTP
    status in its message: `401: Unauthorized`.
    """
    match _document(body):
        case {"code": int(code), "message": str(words)}:
            return ChatAnswer((code,), refusal=code >= _FIRST_DISCORD_CODE or _GENERAL.match(words) is not None)
        case {"id": str()}:
            return ChatAnswer((ECHOED_MESSAGE,))
        case document if _says_failure(document):
            return ChatAnswer(refusal=True)
    return ChatAnswer((_text(body),))


def _teams(body: bytes) -> ChatAnswer:
    """`{"error": {"code": word}}` from a workflow, or the text of a retired connector."""
    match _document(body):
        case {"error": {"code": str(word)}}:
            return ChatAnswer((word,), refusal=True)
        case dict() as document:  # may echo our message, which can contain anything
            return ChatAnswer(refusal=_says_failure(document))
    if found := _RELAYED.match(body.strip()):
        return ChatAnswer(relayed_status=int(found[1]))
    return ChatAnswer((_text(body),))


def _google_chat(body: bytes) -> ChatAnswer:
    """`{"error": {"status": word, "message": words, "details": [{"reason": word}]}}`, or the message with its name."""
    match _document(body):
        case {"error": dict(error)}:
            words = [f"message={error.get('message')}", error.get("status")]
            if isinstance(details := error.get("details"), list):
                words = [one.get("reason") for one in details if isinstance(one, dict)] + words
            return ChatAnswer(tuple(word for word in words if isinstance(word, str)), refusal=True)
        case {"name": str()}:
            return ChatAnswer((ECHOED_MESSAGE,))
        case document:
            return ChatAnswer(refusal=_says_failure(document))


def _mattermost(body: bytes) -> ChatAnswer:
    """`{"id": "....app_error"}`, else plain text."""
    match _document(body):
        case {"id": str(word)} if word.endswith(".app_error"):
            return ChatAnswer((word,), refusal=True)
        case document if _says_failure(document):
            return ChatAnswer(refusal=True)
    return ChatAnswer((_text(body),))


_FIRST_DISCORD_CODE = 10_000  # all but the general error 0 are larger
_GENERAL = re.compile(r"[45][0-9]{2}: ")
_RELAYED = re.compile(
    rb"(?:Webhook message delivery failed with error: )?Microsoft Teams endpoint returned HTTP error (\d{3})\b"
)

_SLACK: OutcomeTable = {
    (200, "ok"): Outcome.ACCEPTED,
    (ANY_STATUS, "invalid_payload"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "invalid_blocks"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "invalid_blocks_format"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "no_text"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "missing_text_or_fallback_or_attachments"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "too_many_attachments"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "user_not_found"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "channel_not_found"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "channel_is_archived"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "no_service"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "no_service_id"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "no_active_hooks"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "no_team"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "invalid_token"): Outcome.AUTH,
    (ANY_STATUS, "action_prohibited"): Outcome.POLICY,
    (ANY_STATUS, "posting_to_general_channel_denied"): Outcome.POLICY,
    (ANY_STATUS, "team_disabled"): Outcome.POLICY,
    (ANY_STATUS, "rate_limited"): Outcome.RATE_LIMITED,
    (ANY_STATUS, "rollup_error"): Outcome.TRANSIENT,
}
_DISCORD: OutcomeTable = {
    (204, ""): Outcome.ACCEPTED,
    (200, ECHOED_MESSAGE): Outcome.ACCEPTED,
    (ANY_STATUS, 10003): Outcome.DESTINATION_GONE,  # Unknown channel
    (ANY_STATUS, 10015): Outcome.DESTINATION_GONE,  # Unknown webhook
    (ANY_STATUS, 10016): Outcome.DESTINATION_GONE,  # Unknown webhook service
    (ANY_STATUS, 40001): Outcome.AUTH,  # Unauthorized
    (ANY_STATUS, 50001): Outcome.AUTH,  # Missing access
    (ANY_STATUS, 50013): Outcome.AUTH,  # You lack permissions to perform that action
    (ANY_STATUS, 50027): Outcome.AUTH,  # Invalid webhook token
    (ANY_STATUS, 50083): Outcome.POLICY,  # the thread is archived
    (ANY_STATUS, 220001): Outcome.POLICY,  # a forum channel: the URL needs ?thread_id=
    (ANY_STATUS, 20028): Outcome.RATE_LIMITED,  # the channel has hit the write rate limit
    (ANY_STATUS, 20029): Outcome.RATE_LIMITED,  # the server has hit the write rate limit
    (ANY_STATUS, 40005): Outcome.PAYLOAD_REJECTED,  # Request entity too large
    (ANY_STATUS, 50006): Outcome.PAYLOAD_REJECTED,  # Cannot send an empty message
    (ANY_STATUS, 50035): Outcome.PAYLOAD_REJECTED,  # Invalid form body
    (ANY_STATUS, 50109): Outcome.PAYLOAD_REJECTED,  # The request body contains invalid JSON
}
_TEAMS: OutcomeTable = {
    (200, "1"): Outcome.ACCEPTED,  # the connectors before Workflows
    (200, ""): Outcome.ACCEPTED,
    (ANY_STATUS, "WorkflowNotFound"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "WorkflowTriggerIsNotEnabled"): Outcome.POLICY,  # a person or a missing licence turned it off
    (ANY_STATUS, "DirectApiAuthorizationRequired"): Outcome.AUTH,  # "Who can trigger the flow" is not Anyone, or no sig
    (ANY_STATUS, "MisMatchingOAuthClaims"): Outcome.AUTH,
    (ANY_STATUS, "TriggerInputSchemaMismatch"): Outcome.PAYLOAD_REJECTED,
}
_GOOGLE_CHAT: OutcomeTable = {
    (200, ECHOED_MESSAGE): Outcome.ACCEPTED,
    (ANY_STATUS, "API_KEY_INVALID"): Outcome.AUTH,  # a reason in details; its status is INVALID_ARGUMENT
    (ANY_STATUS, "message=API key not valid."): Outcome.AUTH,
    (ANY_STATUS, "message=API key not valid. Please pass a valid API key."): Outcome.AUTH,
    (ANY_STATUS, "UNAUTHENTICATED"): Outcome.AUTH,
    (ANY_STATUS, "PERMISSION_DENIED"): Outcome.AUTH,
    (ANY_STATUS, "NOT_FOUND"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "INVALID_ARGUMENT"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "RESOURCE_EXHAUSTED"): Outcome.RATE_LIMITED,
}
_MATTERMOST: OutcomeTable = {
    (200, "ok"): Outcome.ACCEPTED,
    (ANY_STATUS, "web.incoming_webhook.invalid.app_error"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "web.incoming_webhook.channel.app_error"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "web.incoming_webhook.user.app_error"): Outcome.DESTINATION_GONE,  # its creator is no longer there
    (ANY_STATUS, "app.channel.get.existing.app_error"): Outcome.DESTINATION_GONE,
    (ANY_STATUS, "web.incoming_webhook.channel_locked.app_error"): Outcome.POLICY,
    (ANY_STATUS, "web.incoming_webhook.permissions.app_error"): Outcome.POLICY,
    (ANY_STATUS, "web.incoming_webhook.parse.app_error"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "web.incoming_webhook.decode.app_error"): Outcome.PAYLOAD_REJECTED,
    (ANY_STATUS, "web.incoming_webhook.text.app_error"): Outcome.PAYLOAD_REJECTED,
    # Newer servers hide all of the above behind this id, and only the HTTP status tells them apart.
    (400, "web.incoming_webhook.general.app_error"): Outcome.PAYLOAD_REJECTED,
    (403, "web.incoming_webhook.general.app_error"): Outcome.POLICY,
    (404, "web.incoming_webhook.general.app_error"): Outcome.DESTINATION_GONE,
}

CHAT_SERVICES: Mapping[str, ChatService] = MappingProxyType(
    {
        "slack": ChatService(_slack, _SLACK),
        "discord": ChatService(_discord, _DISCORD),
        "teams": ChatService(_teams, _TEAMS),
        "google_chat": ChatService(_google_chat, _GOOGLE_CHAT),
        "mattermost": ChatService(_mattermost, _MATTERMOST),
    }
)


def _document(body: bytes) -> Json:
    """*body* as JSON; None for anything else."""
    try:
        return loads(body)
    except ValueError:
        return None


def _says_failure(document: Json) -> bool:
    """Whether *document* has `ok` or `success` false, as many programs report a failure."""
    return isinstance(document, dict) and (document.get("ok") is False or document.get("success") is False)


def _text(body: bytes) -> str:
    return body.decode("utf-8-sig", "replace").strip()

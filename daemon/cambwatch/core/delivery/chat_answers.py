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

from cambwatch.core.lenient_json import loads
from cambwatch.core.model import Json, Outcome

Word = str | int
Table = Mapping[tuple[int | None, Word], Outcome]
"""What (HTTP status, word) means."""

ANY = None  # any HTTP status
MESSAGE = "(the message)"  # the answer is the message that the service made of the request

_BLANK = b" \t\r\n\v\f\0\xef\xbb\xbf\xff\xfe"  # before the first character, byte order marks included


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a response body says in the form of its service.

    *words* are the codes in it, the most specific first; empty if it is not in that form.
    *refusal*: it has the form of an error, even if the words are unknown.
    *relayed* is the HTTP status that the service got from the server behind it.
    """

    words: tuple[Word, ...] = ()
    refusal: bool = False
    relayed: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A chat service: *read* finds the words in a body, *table* maps them to outcomes."""

    read: Callable[[bytes], Answer]
    table: Table

    def meaning(self, http_status: int, said: Answer) -> Outcome | None:
        """The outcome of the first word that the table has for *http_status*; None if it has none."""
        for word in said.words:
            for key in ((http_status, word), (ANY, word)):
                if key in self.table:
                    return self.table[key]
        return None


def is_markup(body: bytes) -> bool:
    """Whether *body* is HTML or XML: no chat service answers a webhook with markup."""
    return body.lstrip(_BLANK).startswith(b"<")


def _slack(body: bytes) -> Answer:
    """One word as plain text, or `{"ok": false, "error": word}`."""
    match _document(body):
        case {"ok": False, "error": str(word)}:
            return Answer((word,), refusal=True)
        case document if _says_failure(document):
            return Answer(refusal=True)
    return Answer((_text(body),))


def _discord(body: bytes) -> Answer:
    """
    `{"code": number, "message": ...}`; a message with its id after `?wait=true`, else nothing.

    Other servers say `{"code": 0, "message": "success"}`. Discord's own 0 repeats the HTTP
    status in its message: `401: Unauthorized`.
    """
    match _document(body):
        case {"code": int(code), "message": str(words)}:
            return Answer((code,), refusal=code >= _FIRST_DISCORD_CODE or _GENERAL.match(words) is not None)
        case {"id": str()}:
            return Answer((MESSAGE,))
        case document if _says_failure(document):
            return Answer(refusal=True)
    return Answer((_text(body),))


def _teams(body: bytes) -> Answer:
    """`{"error": {"code": word}}` from a workflow, or the text of a retired connector."""
    match _document(body):
        case {"error": {"code": str(word)}}:
            return Answer((word,), refusal=True)
        case dict() as document:  # may echo our message, which can contain anything
            return Answer(refusal=_says_failure(document))
    if found := _RELAYED.match(body.strip()):
        return Answer(relayed=int(found[1]))
    return Answer((_text(body),))


def _google_chat(body: bytes) -> Answer:
    """`{"error": {"status": word, "message": words, "details": [{"reason": word}]}}`, or the message with its name."""
    match _document(body):
        case {"error": dict(error)}:
            words = [f"message={error.get('message')}", error.get("status")]
            if isinstance(details := error.get("details"), list):
                words = [one.get("reason") for one in details if isinstance(one, dict)] + words
            return Answer(tuple(word for word in words if isinstance(word, str)), refusal=True)
        case {"name": str()}:
            return Answer((MESSAGE,))
        case document:
            return Answer(refusal=_says_failure(document))


def _mattermost(body: bytes) -> Answer:
    """`{"id": "....app_error"}`, else plain text."""
    match _document(body):
        case {"id": str(word)} if word.endswith(".app_error"):
            return Answer((word,), refusal=True)
        case document if _says_failure(document):
            return Answer(refusal=True)
    return Answer((_text(body),))


_FIRST_DISCORD_CODE = 10_000  # all but the general error 0 are larger
_GENERAL = re.compile(r"[45][0-9]{2}: ")
_RELAYED = re.compile(
    rb"(?:Webhook message delivery failed with error: )?Microsoft Teams endpoint returned HTTP error (\d{3})\b"
)

_SLACK: Table = {
    (200, "ok"): Outcome.ACCEPTED,
    (ANY, "invalid_payload"): Outcome.PAYLOAD_REJECTED,
    (ANY, "invalid_blocks"): Outcome.PAYLOAD_REJECTED,
    (ANY, "invalid_blocks_format"): Outcome.PAYLOAD_REJECTED,
    (ANY, "no_text"): Outcome.PAYLOAD_REJECTED,
    (ANY, "missing_text_or_fallback_or_attachments"): Outcome.PAYLOAD_REJECTED,
    (ANY, "too_many_attachments"): Outcome.PAYLOAD_REJECTED,
    (ANY, "user_not_found"): Outcome.DESTINATION_GONE,
    (ANY, "channel_not_found"): Outcome.DESTINATION_GONE,
    (ANY, "channel_is_archived"): Outcome.DESTINATION_GONE,
    (ANY, "no_service"): Outcome.DESTINATION_GONE,
    (ANY, "no_service_id"): Outcome.DESTINATION_GONE,
    (ANY, "no_active_hooks"): Outcome.DESTINATION_GONE,
    (ANY, "no_team"): Outcome.DESTINATION_GONE,
    (ANY, "invalid_token"): Outcome.AUTH,
    (ANY, "action_prohibited"): Outcome.POLICY,
    (ANY, "posting_to_general_channel_denied"): Outcome.POLICY,
    (ANY, "team_disabled"): Outcome.POLICY,
    (ANY, "rate_limited"): Outcome.RATE_LIMITED,
    (ANY, "rollup_error"): Outcome.TRANSIENT,
}
_DISCORD: Table = {
    (204, ""): Outcome.ACCEPTED,
    (200, MESSAGE): Outcome.ACCEPTED,
    (ANY, 10003): Outcome.DESTINATION_GONE,  # Unknown channel
    (ANY, 10015): Outcome.DESTINATION_GONE,  # Unknown webhook
    (ANY, 10016): Outcome.DESTINATION_GONE,  # Unknown webhook service
    (ANY, 40001): Outcome.AUTH,  # Unauthorized
    (ANY, 50001): Outcome.AUTH,  # Missing access
    (ANY, 50013): Outcome.AUTH,  # You lack permissions to perform that action
    (ANY, 50027): Outcome.AUTH,  # Invalid webhook token
    (ANY, 50083): Outcome.POLICY,  # the thread is archived
    (ANY, 220001): Outcome.POLICY,  # a forum channel: the URL needs ?thread_id=
    (ANY, 20028): Outcome.RATE_LIMITED,  # the channel has hit the write rate limit
    (ANY, 20029): Outcome.RATE_LIMITED,  # the server has hit the write rate limit
    (ANY, 40005): Outcome.PAYLOAD_REJECTED,  # Request entity too large
    (ANY, 50006): Outcome.PAYLOAD_REJECTED,  # Cannot send an empty message
    (ANY, 50035): Outcome.PAYLOAD_REJECTED,  # Invalid form body
    (ANY, 50109): Outcome.PAYLOAD_REJECTED,  # The request body contains invalid JSON
}
_TEAMS: Table = {
    (200, "1"): Outcome.ACCEPTED,  # the connectors before Workflows
    (200, ""): Outcome.ACCEPTED,
    (ANY, "WorkflowNotFound"): Outcome.DESTINATION_GONE,
    (ANY, "WorkflowTriggerIsNotEnabled"): Outcome.POLICY,  # a person or a missing licence turned it off
    (ANY, "DirectApiAuthorizationRequired"): Outcome.AUTH,  # "Who can trigger the flow" is not Anyone, or no sig
    (ANY, "MisMatchingOAuthClaims"): Outcome.AUTH,
    (ANY, "TriggerInputSchemaMismatch"): Outcome.PAYLOAD_REJECTED,
}
_GOOGLE_CHAT: Table = {
    (200, MESSAGE): Outcome.ACCEPTED,
    (ANY, "API_KEY_INVALID"): Outcome.AUTH,  # a reason in details; its status is INVALID_ARGUMENT
    (ANY, "message=API key not valid."): Outcome.AUTH,
    (ANY, "message=API key not valid. Please pass a valid API key."): Outcome.AUTH,
    (ANY, "UNAUTHENTICATED"): Outcome.AUTH,
    (ANY, "PERMISSION_DENIED"): Outcome.AUTH,
    (ANY, "NOT_FOUND"): Outcome.DESTINATION_GONE,
    (ANY, "INVALID_ARGUMENT"): Outcome.PAYLOAD_REJECTED,
    (ANY, "RESOURCE_EXHAUSTED"): Outcome.RATE_LIMITED,
}
_MATTERMOST: Table = {
    (200, "ok"): Outcome.ACCEPTED,
    (ANY, "web.incoming_webhook.invalid.app_error"): Outcome.DESTINATION_GONE,
    (ANY, "web.incoming_webhook.channel.app_error"): Outcome.DESTINATION_GONE,
    (ANY, "web.incoming_webhook.user.app_error"): Outcome.DESTINATION_GONE,  # its creator is no longer there
    (ANY, "app.channel.get.existing.app_error"): Outcome.DESTINATION_GONE,
    (ANY, "web.incoming_webhook.channel_locked.app_error"): Outcome.POLICY,
    (ANY, "web.incoming_webhook.permissions.app_error"): Outcome.POLICY,
    (ANY, "web.incoming_webhook.parse.app_error"): Outcome.PAYLOAD_REJECTED,
    (ANY, "web.incoming_webhook.decode.app_error"): Outcome.PAYLOAD_REJECTED,
    (ANY, "web.incoming_webhook.text.app_error"): Outcome.PAYLOAD_REJECTED,
    # Newer servers hide all of the above behind this id, and only the HTTP status tells them apart.
    (400, "web.incoming_webhook.general.app_error"): Outcome.PAYLOAD_REJECTED,
    (403, "web.incoming_webhook.general.app_error"): Outcome.POLICY,
    (404, "web.incoming_webhook.general.app_error"): Outcome.DESTINATION_GONE,
}

SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "slack": Service(_slack, _SLACK),
        "discord": Service(_discord, _DISCORD),
        "teams": Service(_teams, _TEAMS),
        "google_chat": Service(_google_chat, _GOOGLE_CHAT),
        "mattermost": Service(_mattermost, _MATTERMOST),
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

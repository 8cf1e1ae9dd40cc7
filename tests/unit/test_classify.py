"""What a receiver's answer means: final, transient or accepted."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.delivery.chat_answers import CHAT_SERVICES
from cambwatch.core.delivery.classification import classify
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import ACCEPTED, Outcome

CHATS = sorted(CHAT_SERVICES)
FINAL = {Outcome.AUTH, Outcome.DESTINATION_GONE}  # for a chat: the delivery is given up at once
REFUSED = FINAL | {Outcome.POLICY, Outcome.PAYLOAD_REJECTED}

WEBHOOK = {
    100: Outcome.TRANSIENT,
    301: Outcome.POLICY,
    302: Outcome.POLICY,
    304: Outcome.POLICY,
    308: Outcome.POLICY,
    400: Outcome.PAYLOAD_REJECTED,
    401: Outcome.AUTH,
    402: Outcome.PAYLOAD_REJECTED,
    403: Outcome.AUTH,
    404: Outcome.DESTINATION_GONE,
    405: Outcome.PAYLOAD_REJECTED,
    407: Outcome.OURS,
    408: Outcome.TRANSIENT,
    409: Outcome.PAYLOAD_REJECTED,
    410: Outcome.DESTINATION_GONE,
    413: Outcome.PAYLOAD_REJECTED,
    415: Outcome.PAYLOAD_REJECTED,
    422: Outcome.PAYLOAD_REJECTED,
    425: Outcome.TRANSIENT,
    429: Outcome.RATE_LIMITED,
    500: Outcome.TRANSIENT,
    502: Outcome.TRANSIENT,
    503: Outcome.TRANSIENT,
    504: Outcome.TRANSIENT,
    599: Outcome.TRANSIENT,
}
"""A plain webhook has no words of its own: the HTTP status decides."""

CHAT = WEBHOOK | {
    200: Outcome.ACCEPTED_UNVERIFIED,
    201: Outcome.ACCEPTED_UNVERIFIED,
    202: Outcome.ACCEPTED_UNVERIFIED,
    301: Outcome.TRANSIENT,
    302: Outcome.TRANSIENT,
    304: Outcome.TRANSIENT,
    308: Outcome.TRANSIENT,
    401: Outcome.TRANSIENT,
    402: Outcome.TRANSIENT,
    403: Outcome.TRANSIENT,
    404: Outcome.TRANSIENT,
    405: Outcome.TRANSIENT,
    406: Outcome.TRANSIENT,
    409: Outcome.TRANSIENT,
    410: Outcome.TRANSIENT,
    421: Outcome.TRANSIENT,
    451: Outcome.TRANSIENT,
}
"""What a chat's status means beside words that are not the service's."""

FOREIGN = [
    b"default backend - 404",
    b"404 page not found",
    b"Not Found\n",
    b"error code: 1020",
    b"no_service here",
    b"The upstream said no_service, channel_is_archived and invalid_token",
    b'"no_service"',
    b'{"message": "no Route matched with those values"}',
    b'{"message": "Forbidden"}',
    b'{"message": "404: Not Found", "code": 0}',
    b'{"message": "Unknown Webhook", "code": "10015"}',
    b'{"message": "not found", "code": 404}',
    b'{"detail": "Not Found"}',
    b'{"error": "Unknown Webhook, code 10015"}',
    b'{"error": {"code": 404, "message": "NOT_FOUND"}}',
    b'{"error": {"code": "ResourceNotFound", "message": "WorkflowNotFound"}}',
    b'{"id": "api.context.404.app_error", "message": "web.incoming_webhook.invalid.app_error"}',
    b'[{"code": 10015, "message": "Unknown Webhook"}]',
    b"The upstream returned HTTP error 404",
    b'"proxy: endpoint returned HTTP error 401"',
    b'{"code": 10015',
    b"\xff\x00\xfe",
    b"[" * 10_000,
]

PAGES = [
    b"<!DOCTYPE html><title>404</title>",
    b"<!doctype html>no_service",
    b"<html><body>Please log in</body></html>",
    b"\r\n\t <HTML>",
    b"<head><title>Just a moment...</title></head>",
    b"<body>ok</body>",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    b"<!-- nginx --><html>",
    b"<h1>It works!</h1>",
    b"\xef\xbb\xbf<!DOCTYPE html>",
    "<html>returned HTTP error 404".encode("utf-16"),
    "\n<html>".encode("utf-16-be"),
]


@pytest.mark.parametrize(("http_status", "outcome"), WEBHOOK.items())
@pytest.mark.parametrize("body", [b"", b"no_service", PAGES[0]])
def test_a_webhook_is_judged_by_its_http_status(http_status: int, outcome: Outcome, body: bytes) -> None:
    """Whatever the body says."""
    assert classify("webhook", http_status, body) is outcome


@pytest.mark.parametrize("body", [b"", b"invalid_payload", b'{"ok": false}', *PAGES])
@pytest.mark.parametrize("http_status", [200, 201, 202, 204, 206, 299])
def test_a_webhook_accepts_with_any_2xx(http_status: int, body: bytes) -> None:
    assert classify("webhook", http_status, body) is Outcome.ACCEPTED


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("body", FOREIGN)
def test_only_the_services_own_words_are_final(chat: str, body: bytes) -> None:
    """A proxy or a gateway that answers in its place says nothing about the channel."""
    for http_status, outcome in CHAT.items():
        said = classify(chat, http_status, body)
        assert said is outcome or (200 <= http_status < 300 and said not in REFUSED), http_status


@pytest.mark.parametrize("chat", CHATS)
def test_an_empty_body_is_not_in_the_services_own_words(chat: str) -> None:
    said = {http_status: classify(chat, http_status, b"") for http_status in CHAT if http_status != 200}
    assert said == {http_status: outcome for http_status, outcome in CHAT.items() if http_status != 200}


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("body", PAGES)
def test_a_page_is_transient_with_every_http_status(chat: str, body: bytes) -> None:
    """A rate limit and a proxy's own 407 end nothing either, and keep what they ask for."""
    for http_status in {*range(100, 600)} - {407, 429}:
        assert classify(chat, http_status, body) is Outcome.TRANSIENT
    assert classify(chat, 429, body) is Outcome.RATE_LIMITED
    assert classify(chat, 407, body) is Outcome.OURS


@pytest.mark.parametrize(
    ("http_status", "body", "outcome"),
    [
        (200, b"ok", Outcome.ACCEPTED),
        (200, b"ok\n", Outcome.ACCEPTED),
        (200, b"", Outcome.ACCEPTED_UNVERIFIED),
        (200, b'{"ok":true}', Outcome.ACCEPTED_UNVERIFIED),
        (200, b'{"success":true}', Outcome.ACCEPTED_UNVERIFIED),
        (200, b"not ok", Outcome.ACCEPTED_UNVERIFIED),
        (204, b"", Outcome.ACCEPTED_UNVERIFIED),
        (204, b"ok", Outcome.ACCEPTED_UNVERIFIED),
        (200, b"no_service", Outcome.DESTINATION_GONE),
        (200, b'{"ok":false}', Outcome.TRANSIENT),
        (200, b'{"success":false,"error":"x"}', Outcome.TRANSIENT),
        (200, b'{"ok":false,"error":"a_word_of_next_year"}', Outcome.TRANSIENT),
        (200, b'{"ok":false,"error":"no_service"}', Outcome.DESTINATION_GONE),
        (200, b'{"ok":false,"error":"rate_limited","retry_after":1}', Outcome.RATE_LIMITED),
        (400, b'{"ok":false,"error":"a_word_of_next_year"}', Outcome.PAYLOAD_REJECTED),
        (400, b"invalid_payload", Outcome.PAYLOAD_REJECTED),
        (400, b"invalid_blocks", Outcome.PAYLOAD_REJECTED),
        (400, b"invalid_blocks_format", Outcome.PAYLOAD_REJECTED),
        (400, b"no_text", Outcome.PAYLOAD_REJECTED),
        (400, b"missing_text_or_fallback_or_attachments", Outcome.PAYLOAD_REJECTED),
        (400, b"too_many_attachments", Outcome.PAYLOAD_REJECTED),
        (403, b"invalid_payload", Outcome.PAYLOAD_REJECTED),
        (400, b"user_not_found", Outcome.DESTINATION_GONE),
        (403, b"action_prohibited", Outcome.POLICY),
        (403, b"posting_to_general_channel_denied", Outcome.POLICY),
        (403, b"team_disabled", Outcome.POLICY),
        (403, b"invalid_token", Outcome.AUTH),
        (403, b"invalid_token\r\n", Outcome.AUTH),
        (403, b"Invalid_Token", Outcome.TRANSIENT),
        (404, b"channel_not_found", Outcome.DESTINATION_GONE),
        (404, b"no_service", Outcome.DESTINATION_GONE),
        (404, b"no_service_id", Outcome.DESTINATION_GONE),
        (404, b"no_active_hooks", Outcome.DESTINATION_GONE),
        (404, b"no_team", Outcome.DESTINATION_GONE),
        (404, b"\xef\xbb\xbfno_team", Outcome.DESTINATION_GONE),
        (404, b'{"ok": false, "error": "no_team"}', Outcome.DESTINATION_GONE),
        (404, b'{"ok": true, "error": "no_team"}', Outcome.TRANSIENT),
        (410, b"channel_is_archived", Outcome.DESTINATION_GONE),
        (400, b"channel_not_found", Outcome.DESTINATION_GONE),
        (429, b"rate_limited", Outcome.RATE_LIMITED),
        (429, b"no_service", Outcome.RATE_LIMITED),
        (500, b"rollup_error", Outcome.TRANSIENT),
        (502, b"no_service", Outcome.TRANSIENT),
        (408, b"no_service", Outcome.TRANSIENT),
    ],
)
def test_slack_says_it_in_words(http_status: int, body: bytes, outcome: Outcome) -> None:
    """Accepted is 200 `ok` and nothing else; trouble that passes is never taken for the end."""
    assert classify("slack", http_status, body) is outcome


FORUM = "Webhooks posted to forum channels must have a thread_name or thread_id"
KEY = "API key not valid. Please pass a valid API key."


@pytest.mark.parametrize(
    ("chat", "http_status", "document", "outcome"),
    [
        ("discord", 200, {"id": "1", "type": 0}, Outcome.ACCEPTED),
        ("discord", 200, {"ok": True}, Outcome.ACCEPTED_UNVERIFIED),
        ("discord", 200, {"message": "Unknown Webhook", "code": 10015}, Outcome.DESTINATION_GONE),
        ("discord", 200, {"message": "401: Unauthorized", "code": 0}, Outcome.TRANSIENT),
        ("discord", 200, {"message": "success", "code": 0}, Outcome.ACCEPTED_UNVERIFIED),
        ("discord", 201, {"message": "OK", "code": 200}, Outcome.ACCEPTED_UNVERIFIED),
        ("discord", 200, {"message": "in words of next year", "code": 40999}, Outcome.TRANSIENT),
        ("discord", 400, {"message": "Invalid Form Body", "code": 50035}, Outcome.PAYLOAD_REJECTED),
        ("discord", 400, {"message": "Cannot send an empty message", "code": 50006}, Outcome.PAYLOAD_REJECTED),
        ("discord", 401, {"message": "Invalid Webhook Token", "code": 50027}, Outcome.AUTH),
        ("discord", 401, {"message": "401: Unauthorized", "code": 0}, Outcome.TRANSIENT),
        ("discord", 403, {"message": "Missing Access", "code": 50001}, Outcome.AUTH),
        ("discord", 403, {"message": "internal network error", "code": 40333}, Outcome.TRANSIENT),
        ("discord", 404, {"message": "Unknown Webhook", "code": 10015}, Outcome.DESTINATION_GONE),
        ("discord", 404, {"code": 10015, "message": "in another language"}, Outcome.DESTINATION_GONE),
        ("discord", 404, {"code": 10015}, Outcome.TRANSIENT),
        ("discord", 400, {"message": "Unknown Channel", "code": 10003}, Outcome.DESTINATION_GONE),
        ("discord", 400, {"message": FORUM, "code": 220001}, Outcome.POLICY),
        ("discord", 429, {"message": "You are being rate limited.", "retry_after": 0.3}, Outcome.RATE_LIMITED),
        ("teams", 200, {"posted": True}, Outcome.ACCEPTED_UNVERIFIED),
        ("teams", 200, {"text": "Dub failed: it returned HTTP error 404"}, Outcome.ACCEPTED_UNVERIFIED),
        ("teams", 202, {"error": {"code": "WorkflowTriggerIsNotEnabled"}}, Outcome.POLICY),
        ("teams", 200, {"error": {"code": "ACodeOfNextYear"}}, Outcome.TRANSIENT),
        ("teams", 400, {"error": {"code": "TriggerInputSchemaMismatch"}}, Outcome.PAYLOAD_REJECTED),
        ("teams", 400, {"error": {"code": "WorkflowTriggerIsNotEnabled"}}, Outcome.POLICY),
        ("teams", 400, {"error": {"code": "WorkflowNotFound"}}, Outcome.DESTINATION_GONE),
        ("teams", 401, {"error": {"code": "DirectApiAuthorizationRequired"}}, Outcome.AUTH),
        ("teams", 403, {"error": {"code": "MisMatchingOAuthClaims"}}, Outcome.AUTH),
        ("google_chat", 200, {"name": "spaces/a/messages/b"}, Outcome.ACCEPTED),
        ("google_chat", 200, {}, Outcome.ACCEPTED_UNVERIFIED),
        ("google_chat", 200, {"error": {"code": 404, "status": "NOT_FOUND"}}, Outcome.DESTINATION_GONE),
        ("google_chat", 200, {"error": {"code": 400, "status": "A_STATUS_OF_NEXT_YEAR"}}, Outcome.TRANSIENT),
        ("google_chat", 400, {"error": {"status": "INVALID_ARGUMENT"}}, Outcome.PAYLOAD_REJECTED),
        ("google_chat", 400, {"error": {"message": KEY}}, Outcome.AUTH),
        (
            "google_chat",
            400,
            {"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}},
            Outcome.AUTH,
        ),
        (
            "google_chat",
            400,
            {"error": {"status": "INVALID_ARGUMENT", "details": [{"reason": 1}, None, {"fieldViolations": []}]}},
            Outcome.PAYLOAD_REJECTED,
        ),
        ("google_chat", 401, {"error": {"status": "UNAUTHENTICATED"}}, Outcome.AUTH),
        ("google_chat", 403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}, Outcome.AUTH),
        ("google_chat", 404, {"error": {"code": 404, "status": "NOT_FOUND"}}, Outcome.DESTINATION_GONE),
        ("google_chat", 429, {"error": {"status": "RESOURCE_EXHAUSTED"}}, Outcome.RATE_LIMITED),
        ("mattermost", 400, {"id": "web.incoming_webhook.parse.app_error"}, Outcome.PAYLOAD_REJECTED),
        ("mattermost", 400, {"id": "web.incoming_webhook.invalid.app_error"}, Outcome.DESTINATION_GONE),
        ("mattermost", 404, {"id": "web.incoming_webhook.channel.app_error"}, Outcome.DESTINATION_GONE),
        ("mattermost", 403, {"id": "web.incoming_webhook.channel_locked.app_error"}, Outcome.POLICY),
        ("mattermost", 403, {"id": "web.incoming_webhook.permissions.app_error"}, Outcome.POLICY),
        ("mattermost", 403, {"id": "web.incoming_webhook.user.app_error"}, Outcome.DESTINATION_GONE),
        ("mattermost", 400, {"id": "web.incoming_webhook.general.app_error"}, Outcome.PAYLOAD_REJECTED),
        ("mattermost", 403, {"id": "web.incoming_webhook.general.app_error"}, Outcome.POLICY),
        ("mattermost", 404, {"id": "web.incoming_webhook.general.app_error"}, Outcome.DESTINATION_GONE),
        ("mattermost", 501, {"id": "web.incoming_webhook.disabled.app_error"}, Outcome.TRANSIENT),
        ("mattermost", 200, {"id": "web.incoming_webhook.invalid.app_error"}, Outcome.DESTINATION_GONE),
        ("mattermost", 200, {"id": "api.next_year.app_error", "status_code": 400}, Outcome.TRANSIENT),
    ],
)
def test_chats_refuse_with_codes_in_json(chat: str, http_status: int, document: object, outcome: Outcome) -> None:
    """In JSON of their own form, whatever HTTP status it comes with."""
    assert classify(chat, http_status, json.dumps(document).encode()) is outcome


@pytest.mark.parametrize(
    ("chat", "http_status", "body", "outcome"),
    [
        ("discord", 204, b"", Outcome.ACCEPTED),
        ("discord", 204, b"x", Outcome.ACCEPTED_UNVERIFIED),
        ("discord", 201, b"", Outcome.ACCEPTED_UNVERIFIED),
        ("discord", 200, b"", Outcome.ACCEPTED_UNVERIFIED),
        ("teams", 202, b"", Outcome.ACCEPTED_UNVERIFIED),
        ("teams", 200, b"1", Outcome.ACCEPTED),
        ("teams", 200, b"", Outcome.ACCEPTED),
        ("google_chat", 200, b"", Outcome.ACCEPTED_UNVERIFIED),
        ("mattermost", 200, b"ok", Outcome.ACCEPTED),
        ("mattermost", 200, b"", Outcome.ACCEPTED_UNVERIFIED),
    ],
)
def test_a_success_counts_in_the_services_own_words(chat: str, http_status: int, body: bytes, outcome: Outcome) -> None:
    assert classify(chat, http_status, body) is outcome


@pytest.mark.parametrize(
    ("relayed", "outcome"),
    [
        (429, Outcome.RATE_LIMITED),
        (413, Outcome.PAYLOAD_REJECTED),
        (404, Outcome.DESTINATION_GONE),
        (403, Outcome.AUTH),
        (408, Outcome.TRANSIENT),
        (503, Outcome.TRANSIENT),
        (200, Outcome.TRANSIENT),
    ],
)
@pytest.mark.parametrize("http_status", [200, 202])
def test_a_refusal_that_teams_relays_in_a_2xx_counts(http_status: int, relayed: int, outcome: Outcome) -> None:
    text = (
        f"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {relayed} with ..."
    )
    assert classify("teams", http_status, text.encode()) is outcome


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("body", [b"", PAGES[0]])
def test_503_with_retry_after_is_a_rate_limit(kind: str, body: bytes) -> None:
    """Of all other statuses only 429 is, with the header or without."""
    assert classify(kind, 503, body, has_retry_after=True) is Outcome.RATE_LIMITED
    assert classify(kind, 502, body, has_retry_after=True) is Outcome.TRANSIENT
    assert classify(kind, 429, body, has_retry_after=True) is Outcome.RATE_LIMITED
    assert classify(kind, 429, body) is Outcome.RATE_LIMITED


words = st.sampled_from(sorted({str(word) for service in CHAT_SERVICES.values() for _, word in service.table}))
anything = st.binary(max_size=100) | st.recursive(
    st.none() | st.booleans() | st.integers() | words | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
).map(lambda document: json.dumps(document).encode())


@pytest.mark.parametrize("kind", FORMATS)
@given(http_status=st.integers(100, 599), body=anything, has_retry_after=st.booleans())
def test_every_answer_has_an_outcome(kind: str, http_status: int, body: bytes, *, has_retry_after: bool) -> None:
    """And outside of 2xx none is accepted."""
    outcome = classify(kind, http_status, body, has_retry_after=has_retry_after)
    assert isinstance(outcome, Outcome)
    assert outcome not in ACCEPTED or 200 <= http_status < 300


@pytest.mark.parametrize("chat", CHATS)
@given(http_status=st.integers(100, 599), before=st.text("ab <", min_size=1), after=st.text("yz >"), word=words)
def test_a_quoted_word_is_not_final(chat: str, http_status: int, before: str, after: str, word: str) -> None:
    """It is quoted there."""
    quoted = f"{before.strip() or 'x'} {word}{after}"
    assert classify(chat, http_status, quoted.encode()) not in FINAL


def test_an_undecodable_byte_does_not_hide_the_words_of_a_service() -> None:
    assert (
        classify("discord", 404, b'{"code": 10015, "message": "Webhook caf\xe9 is unknown"}')
        is Outcome.DESTINATION_GONE
    )
    assert classify("slack", 200, b'{"ok": false, "error": "no_service", "hint": "\xff"}') is Outcome.DESTINATION_GONE

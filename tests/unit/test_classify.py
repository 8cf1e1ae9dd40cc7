"""What a receiver's answer means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.classify import classify
from cambwatch.core.formats import FORMATS
from cambwatch.core.model import Outcome

ALIKE = {
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
    100: Outcome.TRANSIENT,
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("http_status", "outcome"), ALIKE.items())
def test_status_without_words_means_the_same_everywhere(kind: str, http_status: int, outcome: Outcome) -> None:
    """One rule set for all types."""
    assert classify(kind, http_status, b"") is outcome


@pytest.mark.parametrize("http_status", range(200, 300))
def test_webhook_accepts_by_any_2xx(http_status: int) -> None:
    """Whatever the body says."""
    assert classify("webhook", http_status, b"invalid_payload") is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("http_status", "body", "outcome"),
    [
        (200, b"ok", Outcome.ACCEPTED),
        (200, b"ok\n", Outcome.ACCEPTED),
        (200, b"", Outcome.TRANSIENT),
        (200, b"not ok", Outcome.TRANSIENT),
        (200, b"<html>please log in</html>", Outcome.TRANSIENT),
        (200, b"no_service", Outcome.DESTINATION_GONE),
        (200, b'{"ok":false,"error":"rate_limited","retry_after":1}', Outcome.RATE_LIMITED),
        (204, b"ok", Outcome.TRANSIENT),
        (400, b"invalid_payload", Outcome.PAYLOAD_REJECTED),
        (400, b"invalid_blocks", Outcome.PAYLOAD_REJECTED),
        (400, b"no_text", Outcome.PAYLOAD_REJECTED),
        (400, b"missing_text_or_fallback_or_attachments", Outcome.PAYLOAD_REJECTED),
        (400, b"too_many_attachments", Outcome.PAYLOAD_REJECTED),
        (400, b"user_not_found", Outcome.DESTINATION_GONE),
        (403, b"action_prohibited", Outcome.POLICY),
        (403, b"posting_to_general_channel_denied", Outcome.POLICY),
        (403, b"team_disabled", Outcome.POLICY),
        (403, b"invalid_token", Outcome.AUTH),
        (404, b"channel_not_found", Outcome.DESTINATION_GONE),
        (404, b"no_service", Outcome.DESTINATION_GONE),
        (404, b"no_service_id", Outcome.DESTINATION_GONE),
        (404, b"no_active_hooks", Outcome.DESTINATION_GONE),
        (404, b"no_team", Outcome.DESTINATION_GONE),
        (410, b"channel_is_archived", Outcome.DESTINATION_GONE),
        (400, b"channel_not_found", Outcome.DESTINATION_GONE),
        (429, b"rate_limited", Outcome.RATE_LIMITED),
        (429, b"no_service", Outcome.RATE_LIMITED),
        (500, b"rollup_error", Outcome.TRANSIENT),
        (502, b"no_service", Outcome.TRANSIENT),
    ],
)
def test_slack_says_it_in_words(http_status: int, body: bytes, outcome: Outcome) -> None:
    """Accepted is 200 `ok` and nothing else; trouble that passes is never taken for the end."""
    assert classify("slack", http_status, body) is outcome


@pytest.mark.parametrize(
    ("kind", "http_status", "body", "outcome"),
    [
        ("discord", 204, b"", Outcome.ACCEPTED),
        ("discord", 200, b'{"id": "1", "type": 0}', Outcome.ACCEPTED),
        ("discord", 200, b"<html>please log in</html>", Outcome.TRANSIENT),
        ("discord", 204, b"x", Outcome.TRANSIENT),
        ("discord", 201, b"", Outcome.TRANSIENT),
        ("discord", 400, b'{"message": "Invalid Form Body", "code": 50035}', Outcome.PAYLOAD_REJECTED),
        ("discord", 400, b'{"message": "Cannot send an empty message", "code": 50006}', Outcome.PAYLOAD_REJECTED),
        ("discord", 401, b'{"message": "Invalid Webhook Token", "code": 50027}', Outcome.AUTH),
        ("discord", 404, b'{"message": "Unknown Webhook", "code": 10015}', Outcome.DESTINATION_GONE),
        ("discord", 400, b'{"message": "Unknown Channel", "code": 10003}', Outcome.DESTINATION_GONE),
        (
            "discord",
            400,
            b'{"message": "Webhooks posted to forum channels must have a thread_name or thread_id", "code": 220001}',
            Outcome.POLICY,
        ),
        ("discord", 429, b'{"message": "You are being rate limited.", "retry_after": 0.3}', Outcome.RATE_LIMITED),
        ("teams", 202, b"", Outcome.ACCEPTED_UNVERIFIED),
        ("teams", 202, b"<html>", Outcome.ACCEPTED_UNVERIFIED),
        ("teams", 200, b"1", Outcome.ACCEPTED),
        ("teams", 200, b"", Outcome.ACCEPTED),
        ("teams", 200, b'{"posted": true}', Outcome.ACCEPTED_UNVERIFIED),
        ("teams", 200, b" <!DOCTYPE html>please log in", Outcome.TRANSIENT),
        (
            "teams",
            200,
            b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ...",
            Outcome.RATE_LIMITED,
        ),
        ("teams", 202, b"Microsoft Teams endpoint returned HTTP error 413", Outcome.PAYLOAD_REJECTED),
        ("teams", 200, b"Microsoft Teams endpoint returned HTTP error 404", Outcome.DESTINATION_GONE),
        ("teams", 200, b"Microsoft Teams endpoint returned HTTP error 403", Outcome.AUTH),
        ("teams", 200, b"Microsoft Teams endpoint returned HTTP error 503", Outcome.TRANSIENT),
        ("teams", 200, b"Microsoft Teams endpoint returned HTTP error 200", Outcome.TRANSIENT),
        ("teams", 400, b'{"error":{"code":"TriggerInputSchemaMismatch"}}', Outcome.PAYLOAD_REJECTED),
        ("teams", 400, b'{"error":{"code":"WorkflowTriggerIsNotEnabled"}}', Outcome.POLICY),
        ("teams", 400, b'{"error":{"code":"WorkflowNotFound"}}', Outcome.DESTINATION_GONE),
        ("teams", 401, b'{"error":{"code":"DirectApiAuthorizationRequired"}}', Outcome.AUTH),
        ("google_chat", 200, b'{"name": "spaces/a/messages/b"}', Outcome.ACCEPTED),
        ("google_chat", 200, b"<html>", Outcome.TRANSIENT),
        ("google_chat", 400, b'{"error": {"status": "INVALID_ARGUMENT"}}', Outcome.PAYLOAD_REJECTED),
        ("google_chat", 400, b'{"error": {"message": "API key not valid."}}', Outcome.AUTH),
        ("google_chat", 403, b'{"error": {"status": "PERMISSION_DENIED"}}', Outcome.AUTH),
        ("google_chat", 404, b'{"error": {"status": "NOT_FOUND"}}', Outcome.DESTINATION_GONE),
        ("google_chat", 429, b'{"error": {"status": "RESOURCE_EXHAUSTED"}}', Outcome.RATE_LIMITED),
        ("mattermost", 200, b"ok", Outcome.ACCEPTED),
        ("mattermost", 200, b"<html>", Outcome.TRANSIENT),
        ("mattermost", 200, b"", Outcome.TRANSIENT),
        ("mattermost", 400, b'{"id":"web.incoming_webhook.parse.app_error"}', Outcome.PAYLOAD_REJECTED),
        ("mattermost", 400, b'{"id":"web.incoming_webhook.invalid.app_error"}', Outcome.DESTINATION_GONE),
        ("mattermost", 404, b'{"id":"web.incoming_webhook.channel.app_error"}', Outcome.DESTINATION_GONE),
        ("mattermost", 403, b'{"id":"web.incoming_webhook.channel_locked.app_error"}', Outcome.POLICY),
        ("mattermost", 403, b'{"id":"web.incoming_webhook.permissions.app_error"}', Outcome.POLICY),
        ("mattermost", 403, b'{"id":"web.incoming_webhook.user.app_error"}', Outcome.DESTINATION_GONE),
        ("mattermost", 501, b'{"id":"web.incoming_webhook.disabled.app_error"}', Outcome.TRANSIENT),
    ],
)
def test_other_chats_have_words_of_their_own(kind: str, http_status: int, body: bytes, outcome: Outcome) -> None:
    """A success has to prove itself where the service gives it something to prove itself with."""
    assert classify(kind, http_status, body) is outcome


@pytest.mark.parametrize("kind", FORMATS)
def test_503_with_retry_after_is_a_rate_limit(kind: str) -> None:
    """Of all other statuses only 429 is, with the header or without."""
    assert classify(kind, 503, b"", has_retry_after=True) is Outcome.RATE_LIMITED
    assert classify(kind, 502, b"", has_retry_after=True) is Outcome.TRANSIENT
    assert classify(kind, 429, b"", has_retry_after=True) is Outcome.RATE_LIMITED


@pytest.mark.parametrize("kind", FORMATS)
@given(http_status=st.integers(100, 599), body=st.binary(max_size=100), has_retry_after=st.booleans())
def test_every_answer_has_an_outcome(kind: str, http_status: int, body: bytes, *, has_retry_after: bool) -> None:
    """And outside of 2xx none is accepted."""
    outcome = classify(kind, http_status, body, has_retry_after=has_retry_after)
    assert isinstance(outcome, Outcome)
    assert outcome not in {Outcome.ACCEPTED, Outcome.ACCEPTED_UNVERIFIED} or 200 <= http_status < 300
    assert outcome is not Outcome.ACCEPTED_UNVERIFIED or kind in {"teams", "apprise"}

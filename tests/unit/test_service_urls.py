"""Where Camb and the chat services are: what is right there, what is doubtful, and what only looks like it."""

import pytest

from cambwatch.core.service_urls import SERVICE_URLS, camb_url_warning, destination_url_warning

RIGHT = {
    "slack": [
        "https://hooks.slack.com/services/T0A1/B0A1/abc1",
        "https://HOOKS.Slack.com/services/T0A1/B0A1/abc1",
        "https://hooks.slack.com./services/T0A1/B0A1/abc1",
        "https://hooks.slack.com:443/services/T0A1/B0A1/abc1",
        "https://hooks.slack-gov.com/services/T0A1/B0A1/abc1",
    ],
    "discord": [
        "https://discord.com/api/webhooks/123/abc1",
        "https://discord.com/api/v10/webhooks/123/abc1?wait=true&thread_id=4",
        "https://canary.discord.com/api/webhooks/123/abc1",
        "https://ptb.discord.com/api/webhooks/123/abc1",
        "https://discordapp.com/api/webhooks/123/abc1",
    ],
    "google_chat": ["https://chat.googleapis.com/v1/spaces/AAAA1/messages?key=a&token=b"],
    "teams": [
        "https://prod-12.westeurope.logic.azure.com:443/workflows/a1/triggers/manual/paths/invoke?sig=b",
        "https://default1.2c.environment.api.powerplatform.com/powerautomate/automations/direct/workflows/a1",
    ],
}
LOOK_ALIKES = [
    "https://hooks.slack.com.evil.example/services/T0A1/B0A1/abc1",
    "https://evilhooks.slack.com/services/T0A1/B0A1/abc1",
    "https://hooks-slack.com/services/T0A1/B0A1/abc1",
    "https://hooks.sl\u0430ck.com/services/T0A1/B0A1/abc1",
    "https://hooks.slack.com@evil.example/services/T0A1/B0A1/abc1",
    "https://hooks.slack.com:8443/services/T0A1/B0A1/abc1",
    "https://slack.com/services/T0A1/B0A1/abc1",
    "https://evil.example/hooks.slack.com/services/a1",
    "https://evil.example/?https://hooks.slack.com/services/a1",
    "https://evildiscord.com/api/webhooks/123/abc1",
    "https://discord.com.evil.example/api/webhooks/123/abc1",
    "https://x.discord.com/api/webhooks/123/abc1",
    "https://evillogic.azure.com/a1",
    "https://logic.azure.com/a1",
    "https://a.logic.azure.com.evil.example/a1",
    "https://chat.googleapis.com.evil.example/v1/spaces/A1/messages",
    "https://mattermost.example/hooks/a1",
    "https://127.0.0.1/hooks/a1",
]


@pytest.mark.parametrize(("kind", "url"), [(kind, url) for kind, urls in RIGHT.items() for url in urls])
def test_a_url_on_the_services_own_host_is_right(kind: str, url: str) -> None:
    assert destination_url_warning(kind, url, own_body=False) is None


@pytest.mark.parametrize("kind", SERVICE_URLS)
@pytest.mark.parametrize("url", LOOK_ALIKES)
def test_a_url_on_another_host_is_doubted_for_every_service(kind: str, url: str) -> None:
    found = destination_url_warning(kind, url, own_body=False)
    assert found
    assert found.startswith(f"is not a {SERVICE_URLS[kind].name} URL (")


@pytest.mark.parametrize("url", LOOK_ALIKES)
def test_a_url_on_another_host_is_right_for_a_program_and_for_mattermost(url: str) -> None:
    for kind in ("webhook", "mattermost"):
        assert destination_url_warning(kind, url, own_body=False) is None


@pytest.mark.parametrize("kind", ["webhook", "mattermost", *SERVICE_URLS])
@pytest.mark.parametrize(("owner", "url"), [(owner, url) for owner, urls in RIGHT.items() for url in urls])
def test_a_url_of_another_service_is_doubted_with_the_type_that_is_meant(kind: str, owner: str, url: str) -> None:
    if kind != owner:
        found = destination_url_warning(kind, url, own_body=False)
        assert found == f"is a {SERVICE_URLS[owner].name} URL: did you mean type: {owner}?"


def test_a_template_may_make_the_body_that_a_chat_expects() -> None:
    for urls in RIGHT.values():
        assert destination_url_warning("webhook", urls[0], own_body=True) is None


@pytest.mark.parametrize(
    ("kind", "url", "words"),
    [
        ("slack", "https://hooks.slack.com/triggers/T1/2/abc1", "starts a Slack workflow: it expects its own"),
        ("slack", "https://hooks.slack.com/workflows/T1/A1/2/abc1", "starts a Slack workflow"),
        ("slack", "https://hooks.slack.com/", "does not have the path of a Slack incoming webhook"),
        ("slack", "https://hooks.slack.com/services/", "does not have the path"),
        ("slack", "https://hooks.slack.com/services/...", "contains a placeholder from an example"),
        ("slack", "https://hooks.slack.com/services/T0A1/B0A1/XXXXXXXX", "contains a placeholder"),
        ("slack", "https://hooks.slack.com/services/${SLACK_PATH}", "contains a placeholder"),
        ("discord", "https://discord.com/api/webhooks/123/abc1/slack", "remove /slack"),
        ("discord", "https://discord.com/api/webhooks/123/abc1/github", "remove /github"),
        ("discord", "https://discord.com/channels/1/2", "does not have the path of a Discord incoming webhook"),
        ("discord", "https://discord.com/api/webhooks/123", "does not have the path"),
        ("google_chat", "https://chat.googleapis.com/v1/spaces/AAAA1", "does not have the path"),
        ("teams", "https://contoso.webhook.office.com/webhookb2/a1", "Microsoft has retired: create a workflow"),
        ("teams", "https://outlook.office.com/webhook/a1", "Microsoft has retired"),
    ],
)
def test_a_url_with_the_right_host_and_the_wrong_path_is_doubted(kind: str, url: str, words: str) -> None:
    assert words in (destination_url_warning(kind, url, own_body=False) or "")


@pytest.mark.parametrize(
    "url",
    [
        *("https://client.camb.ai/apis", "https://client.camb.ai/apis/", "https://CLIENT.camb.ai./apis"),
        *("https://client.camb.ai:443/apis", "http://client.camb.ai/apis", "http://127.0.0.1:8788/apis"),
        *("https://gateway.example/camb/v1", "https://gateway.example", "https://api.camb.ai.example/apis"),
        *("https://notcamb.ai/apis", "https://gateway.example/dub"),
    ],
)
def test_the_url_of_camb_or_of_a_stand_in_is_right(url: str) -> None:
    """Plain http to Camb has a warning of its own, which is for every host."""
    assert camb_url_warning(url) is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        *(
            (url, "did you mean https://client.camb.ai/apis?")
            for url in (
                *("https://api.camb.ai", "https://api.camb.ai/apis", "https://API.Camb.ai./v1", "https://camb.ai"),
                *("https://www.camb.ai/apis", "https://studio.camb.ai", "https://docs.camb.ai/api-reference"),
                *("https://client.camb.ai", "https://client.camb.ai/", "https://client.camb.ai/apis/v1"),
                *("https://client.camb.ai/v1", "https://client.camb.ai/api", "https://client.camb.ai:8443/apis"),
                *("https://client.camb.ai//apis", "https://a.client.camb.ai/apis"),
            )
        ),
        ("https://client.camb.ai/apis/dub", "ends with /dub, which cambwatch adds itself"),
        ("https://client.camb.ai/apis/discord/tts/", "ends with /tts, which"),
        ("https://client.camb.ai/apis/tts-stream", "ends with /tts-stream, which"),
        ("http://127.0.0.1:8788/apis/translate", "ends with /translate, which"),
    ],
)
def test_a_url_that_is_hardly_cambs_is_doubted(url: str, words: str) -> None:
    assert words in (camb_url_warning(url) or "")

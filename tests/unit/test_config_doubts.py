"""Warnings about valid settings that are likely mistakes, each with its place and without a secret."""

import pytest
from config_samples import KEY, SECRET, read

GIVE_KEY = "give the API key that Camb shows"
GIVE_TOKEN = "give a long random text, such as: openssl rand -hex 32"
MAKE_SECRET = "make one with: echo whsec_$(openssl rand -base64 32)"
EXAMPLE = "is a placeholder from an example"
TEMPLATE = "is a template that was not filled in"


def doubts(text, environ=None, **more):
    """The warnings of *text*, without the name of the file."""
    return [warning.removeprefix("c.yaml:") for warning in read(text, environ, **more).warnings]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("your_api_key", f"{EXAMPLE}: {GIVE_KEY}"),
        ("YOUR-API-KEY", f"{EXAMPLE}: {GIVE_KEY}"),
        ("changeme", f"{EXAMPLE}: {GIVE_KEY}"),
        ("xxxxxxxx", f"{EXAMPLE}: {GIVE_KEY}"),
        ("<key>", f"{EXAMPLE}: {GIVE_KEY}"),
        ("$CAMB_KEY_1", f"{TEMPLATE}: {GIVE_KEY}"),
        ("{{camb.key1}}", f"{TEMPLATE}: {GIVE_KEY}"),
        ("%CAMB_KEY_1%", f"{TEMPLATE}: {GIVE_KEY}"),
        ("null", f"is what a program prints for a missing value: {GIVE_KEY}"),
        ("undefined", f"is what a program prints for a missing value: {GIVE_KEY}"),
        ('"abc123"', "starts or ends with a quote: remove it"),
        ("abc123'", "starts or ends with a quote: remove it"),
        ("<abc123-abc123-abc123>", "is in brackets: remove it"),
        ("https://studio.camb.ai/keys", f"is a URL: {GIVE_KEY}"),
        ("CAMB_API_KEY=abc123", f"is a whole response, an assignment or a printed object: {GIVE_KEY}"),
        ("abc123...", f"ends in dots, so it is truncated: {GIVE_KEY}"),
        ("/run/secrets/camb_key", "is a file name: set api_key_file instead"),
        ("~/camb.key", "is a file name: set api_key_file instead"),
        (SECRET, f"is a signing secret: {GIVE_KEY}"),
    ],
)
def test_an_implausible_api_key_causes_a_warning(key, words):
    """Wherever it comes from: a variable here."""
    text = "camb:\n  api_key: ${KEY}\n  accounts:\n    b: {api_key: '${KEY}'}\n"
    assert doubts(text, {"KEY": key}) == [
        f"2:12: camb.api_key: {words}",
        f"4:18: camb.accounts.b.api_key: {words}",
    ]


@pytest.mark.parametrize(
    "key", ["a", "abcdef", "key-of-ada", "5b3c0f9e", "c8b8e3cd-ad17-4458-83ad-349432da117b", "aGk=", "a/b+c=="]
)
def test_a_plausible_api_key_causes_no_warning(key):
    assert doubts("camb: {api_key: '${KEY}'}\nhttp: {token: '${KEY}'}\n", {"KEY": key}) == []


def test_a_key_in_a_file_causes_a_warning_at_the_file_name(tmp_path):
    """No variable is replaced in a file."""
    for name, content in (("key", "${CAMB_API_KEY}\n"), ("token", "'abc123'\r\n")):
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    text = "camb: {api_key_file: key}\nhttp: {token_file: token}\n"
    assert doubts(text, folder=tmp_path) == [
        f"1:22: camb.api_key_file: {EXAMPLE}: {GIVE_KEY}",
        "2:20: http.token_file: starts or ends with a quote: remove it",
    ]


def test_implausible_tokens_signing_secrets_and_authorizations_cause_warnings():
    text = KEY + "http: {token: YOUR_TOKEN}\n"
    secrets = f"[{SECRET}, whsec_{'x' * 40}]"
    headers = "{x-team: your-token, authorization: Bearer <token>}"
    text += f"destinations: {{a: {{type: webhook, url: https://a.b, secret: {secrets}, headers: {headers}}}}}\n"
    assert doubts(text) == [
        f"2:15: http.token: {EXAMPLE}: {GIVE_TOKEN}",
        f"3:102: destinations.a.secret[1]: {EXAMPLE}: {MAKE_SECRET}",
        f"3:196: destinations.a.headers.authorization: its credentials: {EXAMPLE}; give those of the receiver",
    ]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://api.camb.ai", "is not the base URL of Camb's API: did you mean https://client.camb.ai/apis?"),
        ("https://client.camb.ai/apis/dub", "ends with /dub, which cambwatch adds itself: remove it"),
        ("http://client.camb.ai/apis", "the API key goes over the network unencrypted: use https"),
        ("http://10.0.0.1/apis", "the API key goes over the network unencrypted: use https"),
    ],
)
def test_a_wrong_base_url_causes_a_warning_at_its_place(url, words):
    text = f"camb:\n  api_key: abcdef\n  base_url: {url}\n  accounts:\n    b: {{api_key: abcdef, base_url: {url}}}\n"
    assert doubts(text) == [f"3:13: camb.base_url: {words}", f"5:36: camb.accounts.b.base_url: {words}"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8788/apis", "http://localhost:1", "http://[::1]:1/x", "http://[::ffff:127.0.0.1]:1"]
)
def test_a_key_that_stays_on_this_machine_needs_no_encryption(url):
    assert doubts(f"camb: {{api_key: abcdef, base_url: '{url}'}}") == []


def test_a_url_of_another_service_causes_a_warning_at_its_place(tmp_path):
    """Also one in a file, and a program at the address of a chat."""
    (tmp_path / "url").write_text("https://discord.com/api/webhooks/1/a\n")
    (tmp_path / "url").chmod(0o600)
    text = (
        KEY
        + """
destinations:
  a: {type: slack, url: https://hooks.slack.com.evil.example/services/canary4711}
  b: {type: webhook, url_file: url}
  c: {type: webhook, url_file: url, template: '{{ {"content": type} | tojson }}'}
  d: {type: slack, url: "http://127.0.0.1:9/canary4711", allow_private: true}
  e: {type: mattermost, url: https://chat.example/hooks/a1}
"""
    )
    found = doubts(text, folder=tmp_path)
    assert [one.partition(" (")[0] for one in found] == [
        "4:25: destinations.a.url: is not a Slack URL",
        "5:32: destinations.b.url_file: is a Discord URL: did you mean type: discord?",
        "7:25: destinations.d.url: is not a Slack URL",
    ]
    assert "canary4711" not in "".join(found)

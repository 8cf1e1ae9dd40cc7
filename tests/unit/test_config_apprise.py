"""Destinations of type apprise: what cannot be honoured is refused, and no message shows the URL."""

import subprocess
import sys

import pytest
from config_samples import KEY, SECRET, config, mistakes, read

from cambwatch.adapters.logs import LogRedactor
from cambwatch.core.delivery.retry import RetryPolicy
from cambwatch.core.redaction import Secret
from cambwatch.core.routing import Destination

TELEGRAM = "tgram://123456789:CANARYabcdefghijklmnopqrstuvwxyz/12315"
DESTINATION = KEY + "destinations:\n  pager:\n    type: apprise\n"
GUARD = (
    "apprise needs allow_private: true: Apprise opens its own connections, so that cambwatch can neither see "
    "which addresses they lead to nor limit the size of an answer"
)
HOOK_ONLY = "of type webhook only, this is apprise"
NO_PROXY = "apprise opens its own connections, which do not go through egress_proxy: leave out one of the two"
NOT_TAKEN = (
    "Apprise does not take this URL: compare it with what Apprise's documentation says of the service, "
    "and whether that needs a further library"
)


def pager(*lines, url=TELEGRAM, private="true"):
    """A destination with *lines* more; the URL is in line 5, allow_private in 6, they follow."""
    text = DESTINATION + f"    url: '{url}'\n    allow_private: {private}\n"
    return text + "".join(f"    {line}\n" for line in lines)


def test_a_destination_becomes_the_cores():
    """With the budget of a chat."""
    text = f"destinations: {{pager: {{type: apprise, url: '{TELEGRAM}', allow_private: true, timeout: 30s}}}}\n"
    made = config(text).destinations["pager"]
    assert made == Destination(
        "pager",
        "apprise",
        Secret(TELEGRAM),
        timeout=made.timeout,
        retry=RetryPolicy(give_up_after=made.retry.give_up_after),
        allow_private=True,
    )
    assert made.retry.give_up_after.total_seconds() == 86_400


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (pager(private="false"), [f"4:11: destinations.pager.type: {GUARD}"]),
        (pager(f"secret: {SECRET}"), [f"7:5: destinations.pager.secret: signs requests {HOOK_ONLY}"]),
        (pager("template: '{}'"), [f"7:5: destinations.pager.template: makes the body {HOOK_ONLY}"]),
        (
            pager("headers: {x-a: b}"),
            ["7:5: destinations.pager.headers: Apprise makes its own requests: headers cannot be added"],
        ),
        (
            pager() + "egress_proxy: http://a.b:3128\n",
            [f"4:11: destinations.pager.type: {NO_PROXY}"],
        ),
        *(
            (pager(url=url), [f"5:10: destinations.pager.url: {message}"])
            for url, message in {
                "nope://CANARY": NOT_TAKEN,
                "tgram://CANARY": NOT_TAKEN,
                "CANARY": NOT_TAKEN,
                "https://example.com/CANARY": NOT_TAKEN,
                "json://127.0.0.1/CANARY x": "a URL must not hold spaces or control characters: write %20 for a space",
                "json://a.b/CANARY?redirect=yes": "redirect=yes: redirects are not followed, leave it out",
                "json://a.b/CANARY?verify=no": "verify=no: certificates are always verified, leave it out",
                "json://a.b/CANARY?retry=2": (
                    "retry=...: cambwatch tries again by itself, see retry of the destination; leave it out"
                ),
                "json://a.b/CANARY?optional=yes": (
                    "optional=yes: a message that was not taken would pass for delivered, leave it out"
                ),
            }.items()
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused(text, lines, capfd):
    """By its place; and neither the message nor what Apprise says by itself shows the URL."""
    assert mistakes(text) == lines
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("url", [
    "json://127.0.0.1:8080/x?rto=3&cto=2&overflow=split",
    "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",  # Apprise knows it by its form
    "mailtos://user:pass@gmail.com",
])  # fmt: skip
def test_other_urls_of_apprise_are_taken(url):
    """With its timeouts and what becomes of long texts."""
    assert mistakes(pager(url=url)) == []


def test_a_webhook_is_not_reached_by_a_url_of_apprise():
    """Only type apprise knows them."""
    [line] = mistakes(KEY + "destinations: {a: {type: slack, url: 'json://a.b/c'}}")
    assert line == "2:38: destinations.a.url: must be a URL that begins with https://"


def test_the_url_can_be_in_a_file(tmp_path):
    """And is checked there."""
    file = tmp_path / "pager.url"
    text = DESTINATION + "    url_file: pager.url\n    allow_private: true\n"
    for content, lines in {
        TELEGRAM: [],
        "tgram://CANARY": [f"5:15: destinations.pager.url_file: in the file: {NOT_TAKEN}"],
    }.items():
        file.write_text(content)
        file.chmod(0o600)
        assert mistakes(text, folder=tmp_path) == lines


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    """And is the only one: the URL cannot be looked at then."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert mistakes(pager(url="tgram://CANARY")) == [
        "4:11: destinations.pager.type: apprise needs a library that is not installed: pip install cambwatch[apprise]"
    ]


def test_every_piece_of_the_url_is_a_secret():
    """Because services put them into URLs of their own."""
    made = read(pager(url="json://CANARYuser:CANARY%2Fpass@127.0.0.1:99/CANARYpath/x?+X-A=CANARYvalue"))
    redaction = LogRedactor(made.secrets)
    for shown in ("bot CANARYuser", "/CANARYpath/sendMessage", "key=CANARYvalue", "CANARY/pass", "CANARY%2Fpass"):
        assert "CANARY" not in redaction.redact(shown)
    assert redaction.redact("cannot connect to 127.0.0.1:99") == "cannot connect to 127.0.0.1:99"
    token = redaction_of_telegram = LogRedactor(read(pager()).secrets)
    assert "CANARY" not in token.redact(f"see https://api.telegram.org/bot{TELEGRAM[8:]} or {TELEGRAM}")
    assert "123456789" not in redaction_of_telegram.redact("host 123456789 is not known")


@pytest.mark.parametrize(("url", "imported"), [("https://hooks.slack.com/services/a", False), (TELEGRAM, True)])
def test_the_library_is_imported_only_where_a_destination_needs_it(url, imported):
    """It takes half a second and 36 MB."""
    text = pager(url=url) if imported else KEY + f"destinations: {{a: {{type: slack, url: '{url}'}}}}\n"
    program = (
        "import sys\nfrom pathlib import Path\nimport cambwatch.app.process\nfrom cambwatch.config import loads\n"
        f"loads({text.encode()!r}, file='c.yaml', folder=Path('.'), environ={{}})\n"
        "print('apprise' in sys.modules, 'requests' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(imported)] * 2
    assert ran.stderr == ""

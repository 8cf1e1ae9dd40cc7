"""What of a URL of Apprise must not be seen, and what may be."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.service_urls import credentials, masked_url, public_host

TOKEN = st.from_regex(r"[A-Z][a-z0-9_-]{7,30}[0-9]", fullmatch=True)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("json://127.0.0.1:8080/x", "127.0.0.1"),
        ("json://[::1]:8080/x", "[::1]"),
        ("json://localhost/x", "localhost"),
        ("mailtos://user:pass@mail.example.com?to=a", "mail.example.com"),
        ("mmosts://mattermost.example.com/token", "mattermost.example.com"),
        ("tgram://123456789:abcdefghij/12315", None),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", None),
        ("sendgrid://SG.abcDEF.ghi:from@example.com", "example.com"),
        ("line://eyJhbGciOi.eyJzdWIi.SflKxw/user", None),
        ("pover://user@token", None),
        ("discord://1234567890/abcdef", None),
        ("nothing", None),
    ],
)
def test_only_what_people_write_as_a_host_is_one(url, host):
    """In many URLs a token stands in its place."""
    assert public_host(url) == host
    assert masked_url(url) == f"{url.partition('://')[0]}://{host or ''}/..."


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        (
            "tgram://123456789:abcDEF_ghi/-1001234567",
            {"123456789:abcDEF_ghi", "abcDEF_ghi", "123456789", "-1001234567"},
        ),
        ("json://u%40b:p%2Fw@127.0.0.1/In/9?+X-Key=V1", {"u%40b", "u@b", "p%2Fw", "p/w", "In/9", "In", "9", "V1"}),
        ("slack://Bot@T1JJ/A1BR/TIia/#general", {"Bot", "T1JJ", "A1BR", "TIia", "A1BR/TIia/#general"}),
        ("mailto://joe:password@example.com", {"password", "joe:password"}),
    ],
)
def test_every_piece_is_a_credential(url, hidden):
    """Also percent-decoded, and the URL with and without what names the service."""
    found = credentials(url)
    assert hidden | {url, url.partition("://")[2]} <= set(found)
    assert list(found) == sorted(found, key=lambda text: (-len(text), text))


@pytest.mark.parametrize("word", ["delivery", "camb-alerts", "general", "127.0.0.1", "mail.example.com", "json", "yes"])
def test_plain_words_and_hosts_are_none(word):
    """To hide them would cut holes into every other text."""
    for url in (f"json://127.0.0.1/{word}", "json://mail.example.com:80/general?rto=yes", f"ntfy://{word}@127.0.0.1"):
        assert word not in credentials(url)


@given(TOKEN, TOKEN, TOKEN, TOKEN)
def test_no_token_is_missed_wherever_it_stands(one, two, three, four):
    """In place of the host, as user and password, in the path and in the query."""
    for url in (
        f"a://{one}:{two}@{three}/{four}",
        f"a://{one}/{two}?x={three}&y={four}",
        f"a://{one}:{two}/{three}/{four}",
    ):
        left = url
        for text in credentials(url)[1:]:  # without the URL itself, which would hide all the others
            if text != url.partition("://")[2]:
                left = left.replace(text, "")
        assert not {one, two, three, four} & set(left.replace("?", "/").split("/"))
        for token in (one, two, three, four):
            assert token not in left


@given(st.text(max_size=60))
def test_any_text_has_an_answer(text):
    """None raises, whatever stands there; what is no URL is a credential as a whole."""
    for url in (text, f"json://{text}", f"json://{quote(text)}@{text}"):
        assert url in credentials(url) or not url
        assert public_host(url) is None or public_host(url) in url

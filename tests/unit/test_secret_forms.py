"""A secret is redacted in every form: each part of a URL, in each encoding, and mixed."""

import html
import json
import re
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from cambwatch.adapters.logs import LogRedactor
from cambwatch.core.redaction import SHORTEST_CUT, Redactor, Secret, decoded, encodings_pattern, exposed_parts

HOOK = "https://hooks.example/hooks/T0%2FX9-CANARY%3D/./a/../Key%7eCANARY?sp=%2FCANARY1&sig=CANARY%2b/2%3D&token=canary"
KEY = 'CANARY-k3y/with+odd=chars.and(brackets)&"quotes"\'<>'
LONG = "https://b\u00fccher.example//CANARY%C3%A9//" + "CANARY" * 10 + "?x=CANARY+CANARY;y=CANARY%20CANARY"

url_text = st.text(st.sampled_from("abcXYZ019-._~%!$&()*+,;=:@/?[]|'"), min_size=12, max_size=40)
secret_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2026"), min_size=6, max_size=30)


WRITINGS = {
    "as it is": str,
    "decoded": unquote,
    "encoded again": lambda text: quote(text, safe="/"),
    "encoded again with slashes": lambda text: quote(text, safe=""),
    "encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "encoded like a form": quote_plus,
    "decoded and encoded": lambda text: quote(unquote(text), safe="/"),
    "every character encoded": lambda text: "".join(f"%{byte:02X}" for byte in unquote(text).encode()),
    "every character encoded, small": lambda text: "".join(f"%{byte:02x}" for byte in unquote(text).encode()),
    "json": lambda text: json.dumps(text)[1:-1],
    "json, not ascii": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "json with slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "json in json": lambda text: json.dumps(json.dumps(text)[1:-1].replace("/", "\\/"))[1:-1],
    "json in codes": lambda text: "".join(f"\\u{ord(character):04x}" for character in text if ord(character) < 0x10000),
    "php json": lambda text: text.replace("&", "\\u0026").replace("<", "\\u003C").replace("'", "\\u0027"),
    "javascript": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "javascript, signs alone": lambda text: re.sub(r"[!-/:-@]", lambda found: f"\\x{ord(found[0]):02X}", text),
    "html": html.escape,
    "html without quotes": lambda text: html.escape(text, quote=False),
    "html in numbers": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "html in hex": lambda text: "".join(f"&#x{ord(character):X};" for character in text),
    "html by name": lambda text: text.replace("&", "&amp;").replace("/", "&sol;").replace("=", "&equals;"),
    "html of json": lambda text: html.escape(json.dumps(text)),
    "json of html": lambda text: json.dumps(html.escape(text)),
    "html of decoded": lambda text: html.escape(unquote(text)),
}


def shown_of(url):
    """What receivers and libraries show of a request to *url*, part by part."""
    raw = URL(url, encoded=True)
    return {
        "whole": url,
        "yarl's own": str(URL(url)),
        "yarl, for people": URL(url).human_repr(),
        "target": raw.raw_path_qs,
        "target of yarl": URL(url).raw_path_qs,
        "path": raw.raw_path,
        "path of yarl": URL(url).raw_path,
        "path decoded": raw.path,
        "query": raw.raw_query_string,
        "query of yarl": URL(url).raw_query_string,
        "last segment": raw.raw_path.rpartition("/")[2],
        **{f"value {at}": value for at, value in enumerate(raw.query.values()) if len(value) >= 6},
    }


@pytest.mark.parametrize("url", [HOOK, LONG])
@pytest.mark.parametrize("writing", WRITINGS)
def test_every_part_of_a_url_is_cut_in_every_writing(url, writing):
    for redact in (Redactor([Secret(url)]).redact, LogRedactor([Secret(url)]).redact):
        for part, text in shown_of(url).items():
            shown = redact(f'Cannot POST "{WRITINGS[writing](text)}" here')
            assert "canary" not in decoded(shown).lower(), (part, shown)
            assert shown.startswith(("Cannot POST", "<secret>"))


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_key_is_cut_in_every_writing(writing):
    shown = Redactor([Secret(KEY)]).redact(f"bad key {WRITINGS[writing](KEY)}!")
    assert "CANARY" not in decoded(shown)


@pytest.mark.parametrize("writing", ["as it is", "encoded again with slashes", "html", "json with slashes", "decoded"])
def test_only_the_secret_is_cut(writing):
    said = f"Cannot POST {WRITINGS[writing]('/hooks/T0%2FX9-CANARY%3D/./a/../Key%7eCANARY')} at 12:30 &amp; 100%"
    assert Redactor([Secret(HOOK)]).redact(said) == "Cannot POST <secret> at 12:30 &amp; 100%"


@given(secret_text, st.lists(st.sampled_from(sorted(WRITINGS)), min_size=1, max_size=3), st.randoms())
def test_mixed_writings_hide_nothing(secret, names, dice):
    """Each character in a writing of its own, and encodings upon encodings."""
    mixed = "".join(
        WRITINGS[dice.choice(names)](character) if character.isascii() else character for character in secret
    )
    for said in (mixed, WRITINGS[names[0]](mixed) if secret.isascii() else mixed):
        shown = Redactor([Secret(secret)]).redact(f"see {said} here").replace("<secret>", "\0")
        assert secret not in shown
        assert decoded(secret) not in decoded(shown) or len(decoded(secret)) < 6


@given(url_text, st.text(max_size=20), st.text(max_size=20))
def test_no_url_is_left_wherever_it_stands(rest, before, after):
    url = f"https://hooks.example/{rest}"
    assert url not in Redactor([Secret(url)]).redact(before + url + after)


@given(st.text())
def test_what_is_plain_stays_plain(text):
    """Up to the number of layers that are operation."""
    clear = decoded(text)
    assert len(clear) <= len(text)
    assert clear == text or not set("%\\&+").isdisjoint(text)


@given(st.text(max_size=12))
def test_the_expression_of_a_text_finds_it(text):
    assert re.fullmatch(encodings_pattern(text), text)


@pytest.mark.parametrize(
    ("url", "alone"),
    [
        ("https://a.example/api/webhook", []),
        ("https://a.example/hooks/incoming-webhook", []),
        ("https://a.example/hooks/v2/2024-10-01", []),
        ("https://a.example/hooks/B0C9XK2JQ", ["B0C9XK2JQ"]),
        ("https://a.example/hooks/supersecretcanary", ["supersecretcanary"]),
        ("https://a.example/x?channel=general&api-version=2016-06-01", []),
        ("https://a.example/x?token=general", ["general"]),
        ("https://a.example/x?sig=abcdef", ["abcdef"]),
        ("https://a.example/x?id=4fzk2QQ", ["4fzk2QQ"]),
    ],
)
def test_alone_a_piece_is_hidden_unless_it_reads_like_ordinary_words(url, alone):
    """Else every other text would have holes."""
    whole = {url, *(url.partition("a.example")[2].partition("?")[::2]), url.partition("a.example")[2]}
    found = {part for part in exposed_parts(url) if len(part) >= 6} - whole
    assert {part.strip("?") for part in found} - {part.strip("?") for part in whole} == set(alone)


@pytest.mark.parametrize(
    "writing", ["as it is", "encoded again with slashes", "html in numbers", "json in codes", "javascript"]
)
@pytest.mark.parametrize("length", [10, 25])
def test_the_beginning_of_a_secret_at_the_cut_is_hidden_in_every_writing(writing, length):
    """Also where the cut is in the middle of an escape."""
    written = WRITINGS[writing](KEY[:length])
    for missing in range(1, 7):
        said = "x " * SHORTEST_CUT + written[:-missing]
        shown = Redactor([Secret(KEY)]).redact(said)
        assert decoded(shown).count("CANARY") <= (len(decoded(written[:-missing])) < 8)

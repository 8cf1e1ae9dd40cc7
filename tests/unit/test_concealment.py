"""What others say holds none of our secrets when it is kept."""

import html
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.redaction import SHORTEST_CUT, SHORTEST_SECRET, Redactor, Secret

KEY = "c4mb-k3y/with+odd=chars.and(brackets)"
HOOK = "https://hooks.example/services/T000/B000/XXXX?token=YYYY&more=ZZZZ"
HEADER = 'Bearer "quoted" <words>'
SOME = Redactor([Secret(KEY), Secret(HOOK), Secret(HEADER), Secret("short")])
NOTHING = Redactor([])

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("ok", "ok"),
        (f"bad key {KEY}!", "bad key <secret>!"),
        (f"{KEY}{KEY}", "<secret><secret>"),
        (f"POST {HOOK} failed", "POST <secret> failed"),
        ("Cannot POST /services/T000/B000/XXXX", "Cannot POST <secret>"),
        ("Cannot POST /services/T000/B000/XXXX?token=YYYY&amp;more=ZZZZ", "Cannot POST <secret>"),
        (json.dumps({"you sent": HEADER}), '{"you sent": "<secret>"}'),
        (html.escape(f"<b>{HEADER}</b>"), "&lt;b&gt;<secret>&lt;/b&gt;"),
        ('{"path":"\\/services\\/T000\\/B000\\/XXXX"}', '{"path":"<secret>"}'),
        ("a short word", "a short word"),
        ("see https://docs.example/page?id=7", "see https://docs.example/page?id=7"),
    ],
)
def test_secrets_are_cut_in_every_form_in_which_servers_show_them(said, kept):
    assert SOME.redact(said) == kept


@pytest.mark.parametrize("length", [8, 20, len(KEY)])
def test_the_beginning_of_a_secret_at_the_end_of_what_was_cut_to_size_is_cut_too(length):
    for end in ("", "…"):
        said = "x" * SHORTEST_CUT + KEY[:length] + end
        assert SOME.redact(said).removesuffix("…") == "x" * SHORTEST_CUT + "<secret>"
    assert SOME.redact("see " + KEY[:length]) == ("see <secret>" if length == len(KEY) else "see " + KEY[:length])


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("got https://cdn.example/a.flac?X-Signature=1&b=2 ok", "got https://cdn.example/a.flac?… ok"),
        ('{"url":"https:\\/\\/cdn.example\\/a?sig=1"}', '{"url":"https:\\/\\/cdn.example\\/a?…"}'),
        ("really? yes", "really? yes"),
        (f"{HOOK} and https://a.example/?x", "<secret> and https://a.example/?…"),
    ],
)
def test_of_an_answer_the_queries_of_urls_are_cut_too(said, kept):
    """A receiver that shows what it got shows the links to results."""
    assert SOME.redact_answer(said) == kept


@given(st.text(min_size=SHORTEST_SECRET, max_size=40), words, words)
def test_no_secret_is_left_wherever_it_stands(secret, before, after):
    clean = Redactor([Secret(secret)]).redact(before + secret + after)
    assert secret not in clean.replace("<secret>", "\0")


@given(words)
def test_without_secrets_all_words_stay(said):
    assert NOTHING.redact(said) == said

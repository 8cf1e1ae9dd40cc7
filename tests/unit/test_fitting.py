"""Texts, lists and URLs cut to size."""

import html

import pytest
import regex
from event_samples import characters, link_lists, nasty, urls
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cambwatch.core.events import Link
from cambwatch.core.formats import discord, google_chat, mattermost, slack
from cambwatch.core.formats.markdown import ZERO_WIDTH_SPACE, link_lines
from cambwatch.core.formats.size_limits import NO_ESCAPES, Escapes, ascii_url, escape, fit, fit_items, utf16
from cambwatch.core.text import one_line

ESCAPES = {
    "plain": NO_ESCAPES,
    "slack": slack.ESCAPES,
    "discord": discord.ESCAPES,
    "mattermost": mattermost.ESCAPES,
    "google_chat": google_chat.HTML,
}
MEANING = "&<>*_[]()#~|`\\@:!- a😀"


@pytest.mark.parametrize("service", ESCAPES)
@given(st.one_of(st.text(characters), st.text(MEANING), nasty), st.integers(1, 200), st.sampled_from([len, utf16]))
def test_fitting_cuts_by_rendered_size_and_never_inside_an_escape(service, words, longest, width) -> None:
    """What is kept is a beginning of the text, and as many grapheme clusters as there is room for."""
    escapes = ESCAPES[service]
    rendered = fit(words, longest, escapes=escapes, width=width)
    assert width(rendered) <= longest
    if rendered == escape(words, escapes):
        return
    assert rendered.endswith("…")
    kept = next(count for count in range(len(words)) if escape(words[:count], escapes) == rendered[:-1])
    following = regex.match(r"\X", words[kept:])[0]
    assert width(rendered) + width(escape(following, escapes)) > longest


@given(st.text(characters))
def test_utf16_counts_as_javascript_does(words: str) -> None:
    """Never less than characters."""
    assert utf16(words) == len(words.encode("utf-16-le", "surrogatepass")) // 2 >= len(words)


@pytest.mark.parametrize("service", ["discord", "mattermost"])
@given(st.one_of(st.text(MEANING, min_size=1), st.text(characters, min_size=1), nasty))
def test_markdown_shows_the_text_as_it_is(service: str, words: str) -> None:
    """A reader of CommonMark and strike-through that is not ours finds only text."""
    words = one_line(words) or "?"
    reader = MarkdownIt("commonmark").enable("strikethrough")
    shown = reader.render(f"x {escape(words, ESCAPES[service])}").replace(ZERO_WIDTH_SPACE, "")
    assert html.unescape(shown) == f"<p>x {words}</p>\n"


@pytest.mark.parametrize(
    ("service", "written"),
    [
        ("discord", "@\u200beveryone @\u200bhere \\<@\u200b1> \\:skull\\: https\\://evil.example"),
        ("mattermost", "@\u200beveryone @\u200bhere &lt;@\u200b1&gt; :\u200bskull:\u200b https:\u200b//evil.example"),
    ],
)
def test_markdown_calls_nobody_and_links_nothing(service: str, written: str) -> None:
    """Mentions are broken up, not only escaped, because servers look for them when Markdown is gone."""
    assert escape("@everyone @here <@1> :skull: https://evil.example", ESCAPES[service]) == written


@given(st.lists(st.none() | st.integers(0, 10), max_size=20), st.integers(-5, 60))
def test_within_takes_what_there_is_room_for(prices: list[int | None], space_left: int) -> None:
    """In their order, none twice; a smaller one may follow a larger one that has no room."""
    kept, left_out = fit_items(prices, space_left, lambda price: price)
    assert len(kept) + left_out == len(prices)
    assert sum(kept) <= max(space_left, 0)
    rest = iter(prices)
    assert all(price in rest for price in kept)
    if None not in prices and sum(prices) <= space_left:
        assert kept == prices


@given(link_lists, st.integers(30, 3000), st.sampled_from([discord.ESCAPES, mattermost.ESCAPES]))
def test_a_list_of_links_fits_with_its_line_breaks(links: tuple[Link, ...], space_left: int, escapes: Escapes) -> None:
    """And with the word about those that are left out; none goes unsaid."""
    lines = link_lines(links, space_left, escapes=escapes, longest_url=2048, width=utf16)
    assert sum(utf16(line) + 1 for line in lines) <= space_left
    shown = [line for line in lines if "](" in line]
    left_out = len(links) - len(shown)
    assert lines == shown + ([f"- {left_out} more in the result"] if left_out else [])


@given(urls)
def test_a_url_is_ascii_and_ends_no_link(url: str) -> None:
    """Whatever a result holds."""
    safe = ascii_url(url, 2048)
    if safe is None:
        return
    assert safe.isascii()
    assert safe.isprintable()
    assert len(safe) <= 2048
    assert not set(safe) & set(' <>|"\\()')
    assert safe.lower().startswith(("http://", "https://"))
    assert ascii_url(safe, 2048) == safe


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a/b?c=d&e=f#g", "https://a/b?c=d&e=f#g"),
        ("https://a/%20(b)", "https://a/%20%28b%29"),
        ("https://a/é", "https://a/%C3%A9"),
        ("https://é/", None),
        ("ftp://a", None),
        ("https://a b", None),
        ("https://a/" + "x" * 39, None),
    ],
)
def test_a_url_keeps_its_meaning(url: str, safe: str | None) -> None:
    """What is encoded already stays as it is."""
    assert ascii_url(url, 48) == safe

"""What others wrote becomes one line, and loses nothing that can be seen."""

from unicodedata import category

import pytest
from event_samples import characters, nasty
from hypothesis import given
from hypothesis import strategies as st
from lines import is_line, is_noncharacter

from cambwatch.core.camb.results import is_link
from cambwatch.core.text import LONGEST_LOOK, LONGEST_TEXT, clean, is_unbroken, one_line

FAMILY = "👨\u200d👩\u200d👧"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
RULES = [
    # White space becomes one space.
    ("  two\t words\r\n", "two words"),
    ("no\u00a0break\u2003em\u3000wide\u202fnarrow", "no break em wide narrow"),
    ("line\u2028paragraph\u2029next\x85end\x1c.", "line paragraph next end ."),
    # Controls go.
    ("a\x00b\x07c\x1b[31md\x7fe\x9b1mf", "abc[31mde1mf"),
    # Whatever reorders the text after it goes.
    ("\u202eevil\u202c \u202aa\u202bb\u202dc", "evil abc"),
    ("\u2066a\u2067b\u2068c\u2069d", "abcd"),
    # Deprecated and reserved format characters go, and what is no character.
    ("a\u206ab\u206fc\ufff9d\ufffbe\U000e0001f", "abcdef"),
    ("a\u2065b\ufff0c\U000e0002d\U000e01f0e", "abcde"),
    ("a\ufdd0b\uffffc\U0010fffed", "abcd"),
    # A lone surrogate has no encoding.
    ("a\ud83db", "a?b"),
    # Right-to-left text has its marks.
    ("שלום!\u200f (1)", "שלום!\u200f (1)"),
    ("\u200eabc\u061c", "\u200eabc\u061c"),
    ("a\u200f\u200f\u200f\u200eb", "a\u200f\u200eb"),
    # Joiners between visible characters, and beside letters that they shape.
    ("می\u200cروم", "می\u200cروم"),
    (FAMILY, FAMILY),
    ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
    ("ක්\u200dෂ", "ක්\u200dෂ"),
    ("അവന്\u200d വന്നു", "അവന്\u200d വന്നു"),
    ("\u200dه و ه\u200d", "\u200dه و ه\u200d"),
    ("a\u200d \u200cb", "a b"),
    ("a\u200d\u200d\u200c\u200db", "a\u200db"),
    ("👨\u200d", "👨"),
    # Selectors belong to the character before them.
    ("❤\ufe0f 1\ufe0f\u20e3 葛\U000e0100 ᠭ\u180bᠠ", "❤\ufe0f 1\ufe0f\u20e3 葛\U000e0100 ᠭ\u180bᠠ"),
    ("\ufe0fa", "a"),
    ("😀\ufe0f\U000e0100\U000e0155\U000e01aa", "😀\ufe0f"),
    # Tags are a flag's region, and no hidden text.
    (ENGLAND, ENGLAND),
    ("Hello\U000e0068\U000e0069\U000e007f", "Hello"),
    ("😀\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "😀"),
    ("🏴\U000e0067\U000e0062", "🏴"),
    # Other invisible characters stay between visible ones.
    ("ភាសា\u200bខ្មែរ", "ភាសា\u200bខ្មែរ"),
    ("Donau\u00addampf", "Donau\u00addampf"),
    ("\ufeffname\ufeff", "name"),
    ("a\u200b\u2060\u00ad\u200bb", "a\u200bb"),
    ("a\u200b \u200bb", "a b"),
    # Nothing visible is nothing.
    ("", None),
    (" \n", None),
    ("\x00\u202e", None),
    ("\u200f \u200e\u061c", None),
    ("\u200d\u200c\u200b\u2060\u00ad\ufeff\u034f", None),
    ("\u115f\u1160\u3164\uffa0", None),
    ("\u2800", None),
    ("\ufe0f\U000e0100", None),
    ("\U000e0041\U000e007f", None),
    # All others stay: newer than Python's tables, private, not assigned, letters of format and combining marks.
    ("🫨 \U0001fae9 \U0001fadf", "🫨 \U0001fae9 \U0001fadf"),
    ("\uf8ff\U000f0000", "\uf8ff\U000f0000"),
    ("\u0378\U0003fffd", "\u0378\U0003fffd"),
    ("\u0600\u0661 \U00013430", "\u0600\u0661 \U00013430"),
    ("ẑ\u0335\u0301\u0302", "ẑ\u0335\u0301\u0302"),
    ("🇩🇪 👍🏽 e\u0301 क्षि 한 🧑\u200d🦽\u200d➡\ufe0f", "🇩🇪 👍🏽 e\u0301 क्षि 한 🧑\u200d🦽\u200d➡\ufe0f"),
]

INVISIBLE = "\u200b\u200c\u200d\u2060\u00ad\ufeff\u034f\u3164\ufe0f\u180b\u200e\u200f\u061c\U000e0067\U000e007f\u2800"
tricky = st.text(st.sampled_from([*INVISIBLE, *"ab ه🏴👨\u094d\u202e\x00\n\ud800\ufdd0🫨"]), max_size=30)
any_text = st.one_of(st.text(characters), tricky, nasty)


@pytest.mark.parametrize(("written", "line"), RULES)
def test_text_is_cleaned_by_the_rules(written: str, line: str | None) -> None:
    assert one_line(written) == line


@given(any_text)
def test_text_becomes_one_line_or_none(written: str) -> None:
    line = one_line(written)
    assert line is None or (is_line(line) and len(line) <= LONGEST_TEXT)


@given(any_text)
def test_a_line_stays_as_it_is(written: str) -> None:
    line = one_line(written)
    assert one_line(line) == line
    assert clean(clean(written)) == clean(written)


# Letters and symbols that show nothing, and what Unicode reserves for characters that will show nothing.
BLANK = {*"\u115f\u1160\u3164\uffa0\u2800\u2065", *map(chr, range(0xFFF0, 0xFFF9)), *map(chr, range(0xE0000, 0xE1000))}


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Mn", "Zs", "Zl", "Zp"]), min_size=1))
def test_no_visible_character_is_lost(written: str) -> None:
    """Assigned or not."""
    kept = clean(written)
    visible = [one for one in written if one not in BLANK and not is_noncharacter(one)]
    assert [one for one in kept if one not in BLANK] == visible
    assert is_unbroken(kept)


def test_what_shows_nothing_is_nothing() -> None:
    assert [character for character in sorted(BLANK) if one_line(character * 3) is not None] == []


@pytest.mark.parametrize("code", range(0x2060, 0x2070))
def test_no_format_character_of_the_block_stands_alone(code: int) -> None:
    assert one_line(chr(code)) is None


@pytest.mark.parametrize("flood", ["a\u200b", "\u200d", " ", "\u0301", "👨\u200d", "\U000e0067", "\ud800"])
def test_a_flood_is_looked_at_only_as_far_as_needed(flood: str) -> None:
    line = one_line(flood * 1_000_000)
    assert line is not None
    assert line.endswith("…")
    assert is_line(line)
    assert len(line) <= LONGEST_TEXT
    assert one_line("x" * LONGEST_LOOK) == "x" * (LONGEST_TEXT - 1) + "…"


@pytest.mark.parametrize(
    "character", [" ", "\t", "\u00a0", "\u2028", "\x00", "\x7f", "\u202e", "\u2069", "\ud800", "\uffff"]
)
def test_a_link_is_unbroken(character: str) -> None:
    assert not is_unbroken(f"a{character}b")
    assert not is_link(f"https://cdn.example/a{character}b")


@pytest.mark.parametrize("path", ["🫨", "می\u200cروم", "\u0378", "שלום\u200f", FAMILY, "e\u0301", "\uf8ff"])
def test_a_link_may_hold_what_text_may_hold(path: str) -> None:
    """Characters newer than Python's tables too; links are shown percent-encoded."""
    assert is_link(f"https://cdn.example/{path}")


def test_unicode_of_python_is_older_than_the_samples() -> None:
    """Otherwise the samples need a newer character."""
    assert category("\U0003fffd") == "Cn"

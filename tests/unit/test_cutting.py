"""Text is cut to size."""

import pytest
from event_samples import characters
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.concealment import Concealment
from cambwatch.core.cutting import cut
from cambwatch.core.formats import teams
from cambwatch.core.formats.fitting import utf16
from cambwatch.core.secret import Secret


@given(st.text(characters), st.integers(1, 50), st.sampled_from([len, utf16, teams._bytes]))
def test_cutting_keeps_the_limit(words: str, longest: int, width) -> None:
    """Whatever the text is; an ellipsis alone is three bytes wide."""
    short = cut(words, longest, width=width)
    assert width(short) <= max(longest, width("…"))
    assert words.startswith(short.removesuffix("…"))


@pytest.mark.parametrize("longest", [20, 500, 914, 1000])
def test_the_beginning_of_a_secret_at_the_end_of_cut_words_is_hidden(longest: int) -> None:
    """However short they are."""
    hidden = Concealment([Secret("s3cr3t-key-0123456789")])
    lead = "x" * (longest - 14)
    assert hidden.text(cut(f"{lead} s3cr3t-key-0123456789", longest)) == f"{lead} <secret>"

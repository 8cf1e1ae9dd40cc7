"""Text is truncated only after what a reader sees as one character."""

from itertools import accumulate

import pytest
from event_samples import characters, complete, ended
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.results import find_links
from cambwatch.core.formats import discord, google_chat, mattermost, slack, teams
from cambwatch.core.formats.size_limits import NO_ESCAPES, escape, fit, utf16
from cambwatch.core.guidance import LONGEST_SUMMARY, summary, task_label
from cambwatch.core.redaction import Redactor, Secret
from cambwatch.core.text import LONGEST_TEXT, one_line, truncate

CLUSTERS = [
    "👨\u200d👩\u200d👧",
    "❤\ufe0f\u200d🔥",
    "👍🏽",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "🇩🇪",
    "1\ufe0f\u20e3",
    "🫨",
    "e\u0301\u0302",
    "한",
    "\u1112\u1161\u11ab",
    "क्षि",
    "தி",
    "กำ",
    "\r\n",
    "a",
    "&",
    "<",
    "$",
]
ZALGO = "z" + "\u0301" * 5000
texts = st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=40)
ESCAPES = {
    "plain": NO_ESCAPES,
    "slack": slack.ESCAPES,
    "discord": discord.ESCAPES,
    "mattermost": mattermost.ESCAPES,
    "google_chat": google_chat.HTML,
}


@given(texts, st.integers(30, 200))
def test_an_ellipsis_follows_a_whole_cluster(clusters: list[str], longest: int) -> None:
    words = "".join(clusters)
    short = truncate(words, longest)
    assert len(short) <= longest
    assert short == words or (short.endswith("…") and short[:-1] in accumulate(clusters))


@pytest.mark.parametrize("service", ESCAPES)
@given(texts, st.integers(60, 200), st.sampled_from([len, utf16, teams._bytes]))
def test_no_service_gets_a_broken_cluster(service, clusters, longest, width) -> None:
    escapes = ESCAPES[service]
    words = "".join(clusters)
    short = fit(words, longest, escapes=escapes, width=width)
    assert width(short) <= longest
    whole = [escape(part, escapes) for part in accumulate(clusters)]
    if short != whole[-1]:
        assert short.endswith("…")
        assert short[:-1] in ["", *whole]
        following = whole[whole.index(short[:-1]) + 1 if short[:-1] else 0]
        assert width(following) + width("…") > longest, "there was room for one more"


@pytest.mark.parametrize("longest", [1, 2, 10, 75, 300])
@pytest.mark.parametrize("width", [len, utf16, teams._bytes])
def test_a_cluster_longer_than_the_limit_is_cut_inside(longest: int, width) -> None:
    short = truncate(f"{ZALGO} and more", longest + 2, width=width)
    assert width(short) <= longest + 2
    assert short.endswith("…")
    assert short[:-1] == ZALGO[: len(short) - 1]
    assert width(short) + width("\u0301") > longest + 2 or width(short) + width("z") > longest + 2


def test_a_long_cluster_after_others_is_cut_inside() -> None:
    assert truncate(f"ab{ZALGO}", 100) == "ab" + ZALGO[:97] + "…"


@given(st.text(characters), st.integers(1, 50), st.sampled_from([len, utf16, teams._bytes]))
def test_cutting_keeps_the_limit(words: str, longest: int, width) -> None:
    """Whatever the text is; an ellipsis alone is three bytes wide."""
    short = truncate(words, longest, width=width)
    assert width(short) <= max(longest, width("…"))
    assert words.startswith(short.removesuffix("…"))


@pytest.mark.parametrize("cluster", [cluster for cluster in CLUSTERS if cluster not in "\r\n<&$"])
@pytest.mark.parametrize("shift", range(8))
def test_names_labels_and_messages_are_cut_after_whole_clusters(cluster: str, shift: int) -> None:
    """A short id, a name in a summary, the summary, the label of a link, a message."""
    lead = "x" * shift

    def whole(short: str) -> bool:
        kept = short.rpartition("…")[0].rpartition('"')[2].rpartition(" ")[2].rpartition("(")[2]
        return kept in accumulate([lead, *[cluster] * 3000])

    task = ended(task_id=lead + cluster * 40)
    assert whole(task_label(task))
    assert whole(summary(ended(name=lead + cluster * 200)))
    assert whole(summary(complete({"SUCCESS": 1}, lead + cluster * 200)))
    line = summary(ended(kind=lead + cluster * 400))
    assert len(line) <= LONGEST_SUMMARY
    assert whole(line)
    [link] = find_links({lead + cluster * 50: "https://a"})
    assert whole(link.label)
    message = one_line(lead + cluster * LONGEST_TEXT)
    assert message is not None
    assert len(message) <= LONGEST_TEXT
    assert whole(message)


def test_the_beginning_of_a_secret_at_the_end_of_cut_words_is_hidden() -> None:
    """However much shorter than the limit they are, because a cluster did not fit."""
    hidden = Redactor([Secret("s3cr3t-key-0123456789")])
    words = "x" * 960 + " s3cr3t-key-" + "👨\u200d👩\u200d👧" * 10
    assert hidden.redact(truncate("x" * 900 + " s3cr3t-key-0" + ZALGO, 914)) == "x" * 900 + " <secret>"
    assert "s3cr3t" not in hidden.redact(truncate(words, 974))

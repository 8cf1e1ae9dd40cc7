"""Links and size of results."""

import json
from math import nan

import pytest
from event_samples import json_values, texts, urls
from hypothesis import given
from hypothesis import strategies as st
from lines import is_line

from cambwatch.core.camb.results import LONGEST_RESULT, MOST_LINKS, find_links, is_link, make_storable, trim_result
from cambwatch.core.model import Json

LONG = "word " * 1000
SEGMENTS = [{"start": i, "end": i + 1, "text": f"sentence {i}", "speaker": "A"} for i in range(200)]
CUT_REASON = "larger than 4 KB; fetch it from result_endpoint"

# Arbitrary JSON that often looks like a result, and is sometimes large.
names = st.sampled_from(["transcript", "texts", "text", "previews", "audio_url", "fr-fr", "results", "url"]) | texts
large = st.sampled_from([0, 1]).map(lambda which: [LONG, SEGMENTS][which])  # its own repr stays short
results = st.recursive(
    json_values | urls | large | st.just(nan) | st.integers(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner, max_size=5),
    max_leaves=10,
)


def told(result: Json) -> list[tuple[str, str]]:
    return [(link.label, link.url) for link in find_links(result)]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {"audio_url": "https://a", "video_url": "https://v", "transcript": SEGMENTS},
            [("Audio", "https://a"), ("Video", "https://v")],
        ),
        (
            {"output_video_url": "https://v", "output_audio_url": "https://a", "run_id": 1},
            [("Video", "https://v"), ("Audio", "https://a")],
        ),
        (
            {"fr-fr": {"audio_url": "https://f"}, "1344": {"video_url": None, "audio_url": "https://x"}},
            [("Audio (fr-fr)", "https://f"), ("Audio (1344)", "https://x")],
        ),
        (
            {"transcript": {"fr": "https://f", "de": "not a url"}},
            [("Transcript (fr)", "https://f")],
        ),
        ({"transcript": "https://t"}, [("Transcript", "https://t")]),
        ({"output_url": "https://o"}, [("Download", "https://o")]),
        ({"file_url": "https://o"}, [("Download", "https://o")]),
        (
            {"12": {"output_url": "https://a"}, "13": "https://b"},
            [("Download (12)", "https://a"), ("Download (13)", "https://b")],
        ),
        ({"results": {"12": {"output_url": "https://a"}}}, [("Download (12)", "https://a")]),
        ({"previews": ["https://1", "https://2"]}, [("Preview 1", "https://1"), ("Preview 2", "https://2")]),
        (
            {"previews": [{"url": "https://1"}, None, "https://3"]},
            [("Preview 1", "https://1"), ("Preview 3", "https://3")],
        ),
        (
            {"foreground_audio_url": "https://f", "background_audio_url": "https://b"},
            [("Foreground audio", "https://f"), ("Background audio", "https://b")],
        ),
        ({"audio_url": "https://a", "dialogue_url": "https://d"}, [("Audio", "https://a"), ("Dialogue", "https://d")]),
        ({"run_id": 1, "project_details": {"studio_url": "https://s"}}, [("Studio", "https://s")]),
        (
            [{"run_details": {"studio_url": "https://1"}}, {"story_details": {"studio_url": "https://2"}}],
            [("Studio", "https://1"), ("Studio 2", "https://2")],
        ),
        ("https://bare", [("Download", "https://bare")]),
        (["https://1", ["https://2"]], [("Download", "https://1"), ("Download 2", "https://2")]),
        ({"srt": "https://s"}, [("Download (srt)", "https://s")]),
        ({"a": "https://same", "b": "https://same"}, [("Download (a)", "https://same")]),
        ({"texts": ["https://said"]}, []),
        ([{"start": 0, "text": "https://said"}], []),
        ({"note": "see https://inside.example"}, []),
        (None, []),
        (5, []),
    ],
)
def test_every_known_shape_gives_its_links(result: Json, expected: list[tuple[str, str]]) -> None:
    """Labels are for people: what it is, and which."""
    assert told(result) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://cdn.example/a?b=c&d=%20#e", True),
        ("HTTP://CDN.EXAMPLE", True),
        ("https://[::1]:8443/x", True),
        ("https://example.com/é", True),
        ("https://" + "a" * 16_376, True),
        ("https://" + "a" * 16_377, False),
        ("https://", False),
        ("https://:80", False),
        ("https://a:99999", False),
        ("http://[", False),
        ("ftp://a", False),
        ("javascript:alert(1)//https://a", False),
        (" https://a", False),
        ("https://a b", False),
        ("https://a\nb", False),
        ("https://a\tb", False),
        ("https://a\u00a0b", False),
        ("https://a\u202eb", False),
        ("https://a\ud800", False),
        ("https://a\0", False),
        (None, False),
        (["https://a"], False),
    ],
)
def test_only_a_whole_web_address_is_a_link(text: Json, *, expected: bool) -> None:
    """Other schemes, white space and control characters are not opened."""
    assert is_link(text) is expected


@given(results)
def test_links_are_few_distinct_and_openable(result: Json) -> None:
    """Total over all JSON."""
    found = find_links(result)
    assert len(found) <= MOST_LINKS
    assert len({link.url for link in found}) == len(found)
    assert all(is_link(link.url) and is_line(link.label) for link in found)


def test_links_stop_at_fifty() -> None:
    """The first ones stay."""
    found = find_links([f"https://a/{n}" for n in range(1000)])
    assert [link.url for link in found] == [f"https://a/{n}" for n in range(50)]


def test_deep_document_raises_nothing() -> None:
    """Deeper than Python recurses."""
    deep: Json = "https://a"
    for _ in range(50_000):
        deep = [deep]
    assert told(deep) == [("Download", "https://a")]
    assert "nested too deeply" in json.dumps(trim_result(deep))
    while isinstance(deep, list):  # taken apart by hand, the interpreter would recurse
        deep = deep[0]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"transcript": SEGMENTS, "audio_url": "https://a"}, {"transcript": ..., "audio_url": "https://a"}),
        ({"transcript": LONG}, {"transcript": ...}),
        ({"texts": [LONG]}, {"texts": ...}),
        ({"text": LONG}, {"text": ...}),
        (
            {"12": {"texts": [LONG, "b"]}, "13": {"texts": ["short"]}},
            {"12": {"texts": ...}, "13": {"texts": ["short"]}},
        ),
        (
            {"fr": {"transcript": SEGMENTS, "audio_url": "https://a"}},
            {"fr": {"transcript": ..., "audio_url": "https://a"}},
        ),
        ({"fr-fr": SEGMENTS}, {"fr-fr": ...}),
        (SEGMENTS, ...),
        (LONG, ...),
        ([LONG, LONG], ...),
        ({"transcript": {"fr": LONG, "de": "https://d"}}, {"transcript": {"fr": ..., "de": "https://d"}}),
        ({"transcript": SEGMENTS[:3]}, {"transcript": SEGMENTS[:3]}),
        ({"subtitles_of_tomorrow": LONG}, {"subtitles_of_tomorrow": LONG}),
    ],
)
def test_large_transcripts_give_way_to_a_marker(result: Json, expected: Json) -> None:
    """`...` stands for the marker; everything else stays."""

    def compare(actual: Json, wanted: Json) -> None:
        if wanted is ...:
            assert actual.keys() == {"cut", "bytes", "reason"}
            assert actual["cut"] is True
            assert actual["bytes"] > 4096
            assert actual["reason"] == CUT_REASON
        elif isinstance(wanted, dict):
            assert actual.keys() == wanted.keys()
            for key, child in wanted.items():
                compare(actual[key], child)
        else:
            assert actual == wanted

    compare(trim_result(result), expected)


def test_transcript_of_exactly_four_kilobytes_stays() -> None:
    """The limit is 4096 bytes of JSON in UTF-8, quotes included."""
    assert trim_result({"transcript": "é" * 2047}) == {"transcript": "é" * 2047}
    assert trim_result({"transcript": "é" * 2047 + "a"})["transcript"]["bytes"] == 4097


def test_what_is_still_too_large_is_cut_but_keeps_its_urls() -> None:
    """Only URLs that are too much by themselves go."""
    assert trim_result({"audio_url": "https://a", "peaks": [0] * LONGEST_RESULT}) == {
        "audio_url": "https://a",
        "peaks": {"cut": True, "bytes": 2 * LONGEST_RESULT + 1, "reason": CUT_REASON},
    }
    flood = trim_result([f"https://a/{n:0100}" for n in range(5000)])
    assert flood["cut"] is True
    assert flood["reason"] == "larger than 256 KiB; fetch it from result_endpoint"


def strings(value: Json) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for child in value.values() for text in strings(child)]
        case list():
            return [text for child in value for text in strings(child)]
    return []


@given(results)
def test_trimming_is_total_bounded_and_idempotent(result: Json) -> None:
    """And what comes out is strict JSON in UTF-8 without NUL."""
    once = trim_result(result)
    encoded = json.dumps(once, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    assert len(encoded) <= LONGEST_RESULT
    assert "\0" not in "".join(strings(once))
    assert trim_result(once) == once


@given(results)
def test_trimming_touches_no_link(result: Json) -> None:
    """What could be opened before can be opened after."""
    assert find_links(trim_result(result)) == find_links(make_storable(result))
    assert {link.url for link in find_links(result)} <= set(strings(trim_result(result)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("inf"), None),
        (10**400, None),
        (10**300, 10**300),
        (True, True),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a?b"),
        ({"\ud800": 1}, {"?": 1}),
    ],
)
def test_storable_leaves_nothing_that_others_choke_on(value: Json, expected: Json) -> None:
    """PostgreSQL takes no NUL, UTF-8 no surrogate, JSON no infinity."""
    assert make_storable([value]) == [expected]
    assert type(make_storable(value)) is type(expected)


def test_storable_survives_an_integer_that_python_will_not_print() -> None:
    """Nobody else could read it either."""
    assert make_storable([-(10**5000)]) == [None]

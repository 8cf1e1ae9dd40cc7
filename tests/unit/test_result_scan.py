"""The links of a result that is never held as a whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.link_scan import DEEPEST_SCAN, LONGEST_TOKEN, SLICE, LinkScan
from cambwatch.core.camb.result_requests import ResultRead
from cambwatch.core.camb.results import LONGEST_URL, MOST_LINKS, find_links
from cambwatch.core.model import Fault, Json, UnavailableReply

# Short, because every byte may come by itself here; what is long has tests of its own.
texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(['"', "\\", '\\"', "{", "é", "😀"])
urls = texts.map(lambda end: f"https://cdn.example/{end}")
names = st.sampled_from(["transcript", "text", "audio_url", "video_url", "fr-fr", "results", "url"]) | texts
results = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | texts | urls,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
)


def scan(body: bytes, *, size: int = 7, whole: bool = True) -> ResultRead | UnavailableReply:
    """What is found in *body* when it comes in pieces of *size* bytes."""
    made = LinkScan()
    for start in range(0, len(body), size):
        made.feed(body[start : start + size])
    return made.result(announced=None, longest=8 << 20, whole=whole)


def found(body: bytes, **how: int) -> list[tuple[str, str]]:
    reply = scan(body, **how)
    assert isinstance(reply, ResultRead), reply
    return [(link.label, link.url) for link in reply.links]


@given(results.filter(lambda value: isinstance(value, dict | list | str)), st.booleans(), st.integers(1, 100))
def test_the_same_links_are_found_as_in_the_whole(document: Json, ascii_only: bool, size: int) -> None:  # noqa: FBT001
    """With the same labels, wherever the bytes are split, in whatever way JSON is written."""
    whole = [(link.label, link.url) for link in find_links(document)]
    plain = json.dumps(document, ensure_ascii=ascii_only)
    assert found(plain.encode(errors="surrogatepass"), size=size) == whole
    assert found(json.dumps(document, indent=3, separators=(" ,", " : ")).encode(), size=size) == whole


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_links_are_labelled_by_the_keys_above_them(size: int) -> None:
    document = {
        "fr-fr": {"audio_url": "https://cdn.example/fr", "transcript": [{"text": "https://said.example/"}]},
        "de-de": {"audio_url": "https://cdn.example/de"},
        "previews": ["https://cdn.example/1", "https://cdn.example/2"],
        "other": 'a "quoted" \\ text',
    }
    assert found(json.dumps(document).encode(), size=size) == [
        ("Audio (fr-fr)", "https://cdn.example/fr"),
        ("Audio (de-de)", "https://cdn.example/de"),
        ("Preview 1", "https://cdn.example/1"),
        ("Preview 2", "https://cdn.example/2"),
    ]


@pytest.mark.parametrize("size", [999, 1000, SLICE])
@pytest.mark.parametrize("piece", [b"x", b'\\"', b"\\\\", b"\\u0041", "é".encode(), b"}", b"["])
def test_a_long_text_is_not_held(piece: bytes, size: int) -> None:
    """Whatever is in it; what follows it is found."""
    long = piece * (3 * LONGEST_TOKEN // len(piece))
    body = b'{"audio_url": "https://a/", "transcript": "' + long + b'", "video_url": "https://b/"}'
    made, most = LinkScan(), 0
    for start in range(0, len(body), size):
        made.feed(body[start : start + size])
        most = max(most, len(made._rest))
    assert most <= LONGEST_TOKEN
    reply = made.result(announced=None, longest=8 << 20, whole=True)
    assert isinstance(reply, ResultRead)
    assert [link.url for link in reply.links] == ["https://a/", "https://b/"]


def test_a_long_key_is_a_key() -> None:
    body = b'{"' + b"k" * (2 * LONGEST_TOKEN) + b'": "https://a/", "b": "https://b/"}'
    assert [url for _, url in found(body, size=1000)] == ["https://a/", "https://b/"]


def test_the_longest_link_is_found_however_it_is_written() -> None:
    for character in "x😀":
        url = "https://a/" + character * (LONGEST_URL - 10)
        escaped = "".join(f"\\u{unit:04x}" for unit in memoryview(url.encode("utf-16-le")).cast("H"))
        assert found(f'["{escaped}"]'.encode(), size=1000) == [("Download", url)]
    assert found(b'["https:\\/\\/a\\/b"]') == [("Download", "https://a/b")]
    assert found(b"\xef\xbb\xbf  " + b'["https://a/"]', size=1) == [("Download", "https://a/")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"<html><a href='https://a/'>",
        b'<html><a href="https://a/">',
        b"ID3\x04",
        b"\xff\xfe{\0}\0",
        b"{",
        b'{"a": "https://a/"',
        b'["https://a/"}',
        b"]",
        b'"half a te',
        b"{} {}",
        b'"a" "b"',
        b"[]]",
        b"[" * (DEEPEST_SCAN + 1) + b"]" * (DEEPEST_SCAN + 1),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_what_is_not_json_is_no_result(body: bytes, size: int) -> None:
    reply = scan(body, size=size)
    assert isinstance(reply, UnavailableReply)
    assert reply.fault is Fault.UNREADABLE


def test_a_marker_says_what_was_left_out_and_has_the_links() -> None:
    reply = scan(b'{"audio_url": "https://a/"}')
    assert isinstance(reply, ResultRead)
    assert reply.document == {
        "cut": True,
        "bytes": 27,
        "reason": "larger than 8 MB: only its links were read; fetch it from result_endpoint",
        "links": [{"label": "Audio", "url": "https://a/"}],
    }


def test_what_was_not_read_to_its_end_says_so() -> None:
    made = LinkScan()
    made.feed(b'{"audio_url": "https://a/", "transcript": "' + b"x" * (2 << 20))
    reply = made.result(announced=100 << 20, longest=8 << 20, whole=False)
    assert isinstance(reply, ResultRead)
    assert reply.document["bytes"] == 100 << 20
    assert "the links of its first 2 MB" in reply.document["reason"]
    assert [link.url for link in reply.links] == ["https://a/"]


def test_there_are_not_more_links_than_in_any_result() -> None:
    document = [f"https://cdn.example/{number}" for number in range(MOST_LINKS * 2)]
    assert [url for _, url in found(json.dumps(document).encode())] == document[:MOST_LINKS]


@given(st.binary(max_size=300), st.integers(1, 50))
def test_no_bytes_are_an_exception(body: bytes, size: int) -> None:
    scan(body, size=size)
    scan(b'{"a": [' + body, size=size, whole=False)

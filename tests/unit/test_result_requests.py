"""Which requests read a result."""

import string
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.camb.result_requests import ResultRequest, result_requests

PLAIN = {
    "dub": ["/dub-result/123"],
    "discord-dub": ["/dub-result/123"],
    "twitter-dub": ["/dub-result/123"],
    "tts": ["/tts-result/123?output_type=file_url"],
    "discord-tts": ["/tts-result/123?output_type=file_url"],
    "translated-tts": ["/tts-result/123?output_type=file_url", "/translation-result/123"],
    "translation": ["/translation-result/123"],
    "transcription": ["/transcription-result/123"],
    "subtitles": ["/sub-result/123"],
    "text-to-sound": ["/text-to-sound-result/123?output_type=file_url"],
    "text-to-voice": ["/text-to-voice-result/123"],
    "audio-separation": ["/audio-separation-result/123"],
    "story": ["/story-result/123"],
    "story-setup": [],
    "project-setup": ["/project-setup-result/123"],
    "dub-alt-format": [],
    "translated-story": [],
}
ALT_FORMAT = {"run_id": 9, "language": "fr-fr", "output_format": "mp3"}
UNUSABLE = [None, "", ".", "..", True, False, 1.5, -1, 2**63, [], ["fr"], {}, "a\0b", "a\nb", "\ud800", "\u2028"]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


def requests(name: str, run_id: int | None, extra: dict, *, repeat: bool = False) -> list[ResultRequest]:
    return list(result_requests(KINDS[name], run_id, extra, repeat_alt_format=repeat))


@pytest.mark.parametrize("name", KINDS)
def test_a_run_is_read_where_camb_has_it(name: str) -> None:
    """With the run_id alone, by GET, without a body."""
    assert requests(name, 123, {}) == [ResultRequest("GET", target) for target in PLAIN[name]]


@pytest.mark.parametrize("name", KINDS)
def test_without_a_run_nothing_is_read(name: str) -> None:
    """A SUCCESS without a run_id is told without a result."""
    assert requests(name, None, {"target_language": 5}, repeat=True) == []


@pytest.mark.parametrize(
    ("language", "step"), [(76, "76"), ("fr-fr", "fr-fr"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("日", "%E6%97%A5")]
)
def test_a_translated_story_is_read_by_its_language(language: object, step: str) -> None:
    """Which is a number or a tag, and stays one step of the path whatever it is."""
    assert requests("translated-story", 123, {"target_language": language}) == [
        ResultRequest("GET", f"/translated-story-result/123/{step}")
    ]


def test_another_format_is_read_only_where_that_is_allowed() -> None:
    """Because it might start, and bill, a new conversion."""
    assert requests("dub-alt-format", 123, ALT_FORMAT) == []
    assert requests("dub-alt-format", 123, ALT_FORMAT, repeat=True) == [
        ResultRequest("POST", "/dub-alt-format/9/fr-fr", {"output_format": "mp3"})
    ]


@pytest.mark.parametrize("name", ALT_FORMAT)
@pytest.mark.parametrize("value", UNUSABLE)
def test_another_format_is_not_read_on_a_guess(name: str, value: object) -> None:
    """Every field of the call is needed and has to be usable; the run_id is that of the dub, not of this task."""
    assert requests("dub-alt-format", 123, {**ALT_FORMAT, name: value}, repeat=True) == []
    assert requests("dub-alt-format", 123, {k: v for k, v in ALT_FORMAT.items() if k != name}, repeat=True) == []


@pytest.mark.parametrize("value", UNUSABLE)
def test_what_would_make_another_path_is_not_asked_for(value: object) -> None:
    """Nor what has no encoding."""
    assert requests("translated-story", 123, {"target_language": value}) == []


@given(
    st.sampled_from(sorted(KINDS)),
    st.none() | st.integers(1, 2**63 - 1),
    st.dictionaries(st.sampled_from(["run_id", "language", "output_format", "target_language", "x"]), anything),
    st.booleans(),
)
def test_no_extra_leads_elsewhere(name: str, run_id: int | None, extra: dict, repeat: bool) -> None:  # noqa: FBT001
    """Whatever a caller puts into `extra`, the requests are those of the kind, in plain ASCII, step by step."""
    kind = KINDS[name]
    for request in result_requests(kind, run_id, extra, repeat_alt_format=repeat):
        assert set(request.target) <= set(string.ascii_letters + string.digits + "/-_.~%?=&")
        target = urlsplit(request.target)
        fitting = [call for call in kind.results if _same_shape(call.path, target.path)]
        assert fitting
        assert fitting[0].method == request.method
        assert parse_qs(target.query) == {key: [value] for key, value in fitting[0].query}
        assert set(request.body) == set(fitting[0].body_fields)


def _same_shape(pattern: str, path: str) -> bool:
    wanted, steps = pattern.split("/"), path.split("/")
    return len(wanted) == len(steps) and all(
        unquote(step) not in {"", ".", ".."} if want.startswith("{") else step == want
        for want, step in list(zip(wanted, steps, strict=True))[1:]
    )

"""What Camb can do, compared with the table of its paths."""

import pytest

from cambwatch.core.camb.kinds import KINDS, Kind, StatusShape, find_kind, suggest_kind

# As camb-sdk 1.6.6 has them: name, create path, status path, result paths.
TABLE = {
    "dub": ("/dub", "/dub/{task_id}", ["/dub-result/{run_id}"]),
    "dub-alt-format": (
        "/dub-alt-format/{run_id}/{language}",
        "/dub-alt-format/{task_id}",
        ["/dub-alt-format/{run_id}/{language}"],
    ),
    "discord-dub": (None, "/discord/dub/{task_id}", ["/dub-result/{run_id}"]),
    "twitter-dub": (None, "/twitter/dub/{task_id}", ["/dub-result/{run_id}"]),
    "tts": ("/tts", "/tts/{task_id}", ["/tts-result/{run_id}"]),
    "discord-tts": (None, "/discord/tts/{task_id}", ["/tts-result/{run_id}"]),
    "translated-tts": (
        "/translated-tts",
        "/translated-tts/{task_id}",
        ["/tts-result/{run_id}", "/translation-result/{run_id}"],
    ),
    "translation": ("/translate", "/translate/{task_id}", ["/translation-result/{run_id}"]),
    "transcription": ("/transcribe", "/transcribe/{task_id}", ["/transcription-result/{run_id}"]),
    "subtitles": ("/sub", "/sub/{task_id}", ["/sub-result/{run_id}"]),
    "text-to-sound": ("/text-to-sound", "/text-to-sound/{task_id}", ["/text-to-sound-result/{run_id}"]),
    "text-to-voice": ("/text-to-voice", "/text-to-voice/{task_id}", ["/text-to-voice-result/{run_id}"]),
    "audio-separation": (
        "/audio-separation",
        "/audio-separation/{task_id}",
        ["/audio-separation-result/{run_id}"],
    ),
    "story": ("/story", "/story/{task_id}", ["/story-result/{run_id}"]),
    "story-setup": ("/story-setup", "/story/{task_id}", []),
    "translated-story": (
        "/translated-story/{run_id}",
        "/translated-story/{task_id}",
        ["/translated-story-result/{run_id}/{target_language}"],
    ),
    "project-setup": ("/project-setup", "/project-setup/{task_id}", ["/project-setup-result/{run_id}"]),
}

ALIASES = {
    "translate": "translation",
    "transcribe": "transcription",
    "sub": "subtitles",
    "end-to-end-dubbing": "dub",
    "text-to-speech": "tts",
    "text-to-audio": "text-to-sound",
    "voice": "text-to-voice",
}


def test_there_are_these_seventeen() -> None:
    """No kind is missing and none was made up."""
    assert list(KINDS) == list(TABLE)
    assert len(KINDS) == 17


@pytest.mark.parametrize("name", TABLE)
def test_paths_are_those_of_the_official_sdk(name: str) -> None:
    """A wrong path is a task that is never found."""
    kind = KINDS[name]
    assert (kind.create_path, kind.status_path, [call.path for call in kind.results]) == TABLE[name]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_audio_is_asked_for_as_a_url(kind: Kind) -> None:
    """Where Camb's default is the audio itself, and nowhere else."""
    for call in kind.results:
        binary = call.path in {"/tts-result/{run_id}", "/text-to-sound-result/{run_id}"}
        assert dict(call.query) == ({"output_type": "file_url"} if binary else {})


def test_only_the_other_format_is_read_by_a_post() -> None:
    """Which repeats the call that created the task."""
    posts = {kind.name for kind in KINDS.values() for call in kind.results if call.method != "GET"}
    assert posts == {"dub-alt-format"}
    assert set(KINDS["dub-alt-format"].results[0].required_fields) == {"language", "output_format"}
    assert KINDS["translated-story"].results[0].required_fields == ("target_language",)


def test_needs_are_none_where_the_run_id_is_enough() -> None:
    """Of all others."""
    needy = {kind.name for kind in KINDS.values() for call in kind.results if call.required_fields}
    assert needy == {"dub-alt-format", "translated-story"}


def test_status_paths_are_shared_by_stories_only() -> None:
    """Two kinds with one path would be one task under two names."""
    paths = [kind.status_path for kind in KINDS.values() if kind.name != "story-setup"]
    assert len(set(paths)) == len(paths)


def test_few_kinds_have_a_status_of_another_shape_than_an_object() -> None:
    """Those that docs.camb.ai or the official SDK show with one."""
    others = {kind.name: kind.shape for kind in KINDS.values() if kind.shape is not StatusShape.OBJECT}
    assert others == {
        "dub-alt-format": StatusShape.TEXT,
        "audio-separation": StatusShape.TEXT,
        "translated-story": StatusShape.RUN,
        "project-setup": StatusShape.RUNS,
    }


def test_each_kind_says_what_to_do_with_it() -> None:
    """A voice is downloaded as a voice, projects are opened, the rest has a result."""
    actions = {name: kind.action for name, kind in KINDS.items() if kind.action != "download_result"}
    assert actions == {
        "text-to-voice": "download_voice",
        "story-setup": "open_studio",
        "project-setup": "open_studio",
    }


def test_every_word_names_one_kind() -> None:
    """No alias is another kind's name or alias, and none is unexpected."""
    words = [word for kind in KINDS.values() for word in (kind.name, *kind.aliases)]
    assert len(set(words)) == len(words)
    assert {alias: kind.name for kind in KINDS.values() for alias in kind.aliases} == ALIASES


def test_titles_are_unique() -> None:
    """People tell kinds apart by them."""
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize(("word", "name"), [*((name, name) for name in TABLE), *ALIASES.items()])
def test_find_takes_names_and_aliases_in_any_writing(word: str, name: str) -> None:
    """Upper case, underscores and blanks around change nothing."""
    for writing in (word, word.upper(), word.replace("-", "_"), f"  {word.title()}\n"):
        assert find_kind(writing) is KINDS[name]


@pytest.mark.parametrize("word", ["", " ", "dubs", "dub/", "dub dub", "live-stream", "stream", "dub\0", "x" * 10_000])
def test_find_finds_nothing_else(word: str) -> None:
    """Guesses are for suggest()."""
    assert find_kind(word) is None


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("dubb", "dub"),
        ("txt-to-voice", "text-to-voice"),
        ("TRANSCRIPTON", "transcription"),
        ("transcrib", "transcription"),
        ("audio_seperation", "audio-separation"),
        ("", None),
        ("qqqqqq", None),
        ("x" * 10_000, None),
    ],
)
def test_suggest_knows_what_was_meant(word: str, name: str | None) -> None:
    """By the name of the kind, also where an alias was nearer."""
    assert suggest_kind(word) == name

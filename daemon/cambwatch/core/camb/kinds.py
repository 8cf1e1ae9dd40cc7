"""
What Camb can do: one row per kind of task.

Paths and query parameters are those of the official Python SDK, camb-sdk 1.6.6
(the raw_client.py of each of its folders); docs.camb.ai agrees unless noted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class ResultCall:
    """
    How a finished run is read.

    *path* holds `{run_id}` and, besides it, the names of fields that the task's
    `extra` must have. *method* is GET except where Camb has no endpoint that reads.
    """

    path: str
    query: tuple[tuple[str, str], ...] = ()
    method: str = "GET"
    body_fields: tuple[str, ...] = ()  # of `extra`, sent as the JSON body

    @property
    def required_fields(self) -> tuple[str, ...]:
        """The fields of `extra` without which this call cannot be made."""
        in_path = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        return tuple(name for name in (*in_path, *self.body_fields) if name != "run_id")


class StatusShape(StrEnum):
    """
    The documented answer of a kind's status endpoint, besides an object with `status`.

    Sources: docs.camb.ai and camb-sdk 1.6.6. They disagree, so every kind accepts an object too.
    """

    OBJECT = "object"  # nothing else
    TEXT = "text"  # the bare status: "SUCCESS"
    RUN = "run"  # {"run_id": 123} alone: finished if and only if the result can be read
    RUNS = "runs"  # a list of runs, each without a status: finished


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One kind of task.

    *create_path* is None where no public endpoint creates it. *results* are read in
    order and merged into one object.
    """

    name: str
    title: str
    create_path: str | None
    status_path: str
    results: tuple[ResultCall, ...] = ()
    aliases: tuple[str, ...] = ()
    action: str = "download_result"
    shape: StatusShape = StatusShape.OBJECT


_AS_URL = (("output_type", "file_url"),)  # without it Camb answers with the audio itself
_DUB_RESULT = ResultCall("/dub-result/{run_id}")
_TTS_RESULT = ResultCall("/tts-result/{run_id}", _AS_URL)
_TRANSLATION_RESULT = ResultCall("/translation-result/{run_id}")

_ROWS = (
    Kind("dub", "Dub", "/dub", "/dub/{task_id}", (_DUB_RESULT,), ("end-to-end-dubbing",)),
    # No endpoint reads it: the same POST again answers with the cached URL, and might start, and bill, a new
    # conversion. The run_id here is that of the dub, out of `extra`.
    Kind(
        "dub-alt-format",
        "Dub in another format",
        "/dub-alt-format/{run_id}/{language}",
        "/dub-alt-format/{task_id}",
        (ResultCall("/dub-alt-format/{run_id}/{language}", method="POST", body_fields=("output_format",)),),
        shape=StatusShape.TEXT,
    ),
    Kind("discord-dub", "Discord dub", None, "/discord/dub/{task_id}", (_DUB_RESULT,)),
    Kind("twitter-dub", "Twitter dub", None, "/twitter/dub/{task_id}", (_DUB_RESULT,)),
    Kind("tts", "Text to speech", "/tts", "/tts/{task_id}", (_TTS_RESULT,), ("text-to-speech",)),
    Kind("discord-tts", "Discord text to speech", None, "/discord/tts/{task_id}", (_TTS_RESULT,)),
    Kind(
        "translated-tts",
        "Translated speech",
        "/translated-tts",
        "/translated-tts/{task_id}",
        (_TTS_RESULT, _TRANSLATION_RESULT),
    ),
    Kind("translation", "Translation", "/translate", "/translate/{task_id}", (_TRANSLATION_RESULT,), ("translate",)),
    Kind(
        "transcription",
        "Transcription",
        "/transcribe",
        "/transcribe/{task_id}",
        (ResultCall("/transcription-result/{run_id}"),),
        ("transcribe",),
    ),
    Kind("subtitles", "Subtitles", "/sub", "/sub/{task_id}", (ResultCall("/sub-result/{run_id}"),), ("sub",)),
    Kind(
        "text-to-sound",
        "Text to sound",
        "/text-to-sound",
        "/text-to-sound/{task_id}",
        (ResultCall("/text-to-sound-result/{run_id}", _AS_URL),),
        ("text-to-audio",),
    ),
    Kind(
        "text-to-voice",
        "Text to voice",
        "/text-to-voice",
        "/text-to-voice/{task_id}",
        (ResultCall("/text-to-voice-result/{run_id}"),),
        ("voice",),
        action="download_voice",
    ),
    Kind(
        "audio-separation",
        "Audio separation",
        "/audio-separation",
        "/audio-separation/{task_id}",
        (ResultCall("/audio-separation-result/{run_id}"),),
        shape=StatusShape.TEXT,
    ),
    Kind("story", "Story", "/story", "/story/{task_id}", (ResultCall("/story-result/{run_id}"),)),
    # Shares the status of stories; its outcome is a studio project, which the create call has answered already.
    Kind("story-setup", "Story setup", "/story-setup", "/story/{task_id}", action="open_studio"),
    Kind(
        "translated-story",
        "Translated story",
        "/translated-story/{run_id}",
        "/translated-story/{task_id}",
        (ResultCall("/translated-story-result/{run_id}/{target_language}"),),
        shape=StatusShape.RUN,
    ),
    Kind(
        "project-setup",
        "Project setup",
        "/project-setup",
        "/project-setup/{task_id}",
        (ResultCall("/project-setup-result/{run_id}"),),
        action="open_studio",
        shape=StatusShape.RUNS,
    ),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _ROWS})
_BY_NAME_OR_ALIAS = {word: kind for kind in _ROWS for word in (kind.name, *kind.aliases)}


def find_kind(word: str) -> Kind | None:
    """The kind that *word* names, by its own name or an alias, in any case; None if there is none."""
    return _BY_NAME_OR_ALIAS.get(word.strip().lower().replace("_", "-"))


def suggest_kind(word: str) -> str | None:
    """The name of the kind that *word* was probably meant to be."""
    close = get_close_matches(word.lower().replace("_", "-"), _BY_NAME_OR_ALIAS, n=1)
    return _BY_NAME_OR_ALIAS[close[0]].name if close else None

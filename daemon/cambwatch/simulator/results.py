"""
The result documents of each kind.

Shapes are those of camb-sdk 1.6.6; where it leaves a result untyped (subtitles,
stories), those of docs.camb.ai or the plainest that fits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.instants import rfc3339
from cambwatch.core.model import Json
from cambwatch.simulator import transcripts
from cambwatch.simulator.creation import ResultOptions
from cambwatch.simulator.files import FLAC, WAV, MediaFile, MediaLinks
from cambwatch.simulator.state import SimulatedTask


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has a result, and the task that made it."""

    task: SimulatedTask
    run_id: int
    created_at: datetime


Builder = Callable[[Run, MediaLinks, ResultOptions], Json | MediaFile]


def project(run: Run, links: MediaLinks) -> Json:
    """A project in the studio: the result of project-setup, and what its status lists."""
    return {
        "run_id": run.run_id,
        "project_details": {
            "project_name": run.task.request.get("project_name") or "Simulated project",
            "project_description": run.task.request.get("project_description"),
            "created_at": rfc3339(run.created_at),
            "source_language": _language_id(run.task.request.get("source_language")),
            "target_languages": [_language_id(each) for each in _target_languages(run)],
            "duration": 5.0,
            "folder_id": None,
            "studio_url": links.url(run.run_id, "studio.html"),
        },
    }


def story_setup(run: Run, links: MediaLinks) -> Json:
    """What story-setup answers where it makes no task."""
    return {
        "run_id": run.run_id,
        "story_details": {
            "story_title": run.task.request.get("title") or "Simulated story",
            "story_description": run.task.request.get("description"),
            "created_at": rfc3339(run.created_at),
            "source_language": _language_id(run.task.request.get("source_language")),
            "target_languages": [],
            "folder_id": None,
            "studio_url": links.url(run.run_id, "studio.html"),
        },
    }


def _dub(run: Run, links: MediaLinks, _options: ResultOptions) -> Json:
    """One dub, or several by language where several were asked for."""
    dubs = {
        str(language): {
            "audio_url": links.url(run.run_id, f"dub-{language}.flac"),
            "video_url": links.url(run.run_id, f"dub-{language}.mp4"),
            "transcript": transcripts.lines(),
        }
        for language in _target_languages(run)
    }
    return dubs if len(dubs) > 1 else next(iter(dubs.values()))


def _dub_transcript(run: Run, links: MediaLinks, options: ResultOptions) -> Json:
    return {"transcript": _text_or_link(run, links, options, options.language)}


def _speech(run: Run, links: MediaLinks, options: ResultOptions) -> Json | MediaFile:
    return {"output_url": links.url(run.run_id, "speech.flac")} if options.file_url else FLAC


def _sound(run: Run, links: MediaLinks, options: ResultOptions) -> Json | MediaFile:
    return {"output_url": links.url(run.run_id, "sound.wav")} if options.file_url else WAV


def _translation(run: Run, _links: MediaLinks, _options: ResultOptions) -> Json:
    match run.task.request:
        case {"texts": [*texts]}:
            return {"texts": [f"{each} (translated)" for each in texts]}
        case {"text": str(text)}:
            return {"texts": [f"{text} (translated)"]}
    return {"texts": ["Simulated (translated)"]}


def _transcription(run: Run, links: MediaLinks, options: ResultOptions) -> Json:
    if options.format_type is None and options.as_file is None:
        return {"transcript": transcripts.lines()}
    return {"transcript": _text_or_link(run, links, options, "source")}


def _subtitles(run: Run, links: MediaLinks, options: ResultOptions) -> Json:
    languages = [options.language] if options.language else [str(each) for each in _target_languages(run)]
    return {each: _text_or_link(run, links, options, each) for each in languages}


def _previews(run: Run, links: MediaLinks, _options: ResultOptions) -> Json:
    return {"previews": [links.url(run.run_id, f"preview-{number}.flac") for number in (1, 2, 3)]}


def _separation(run: Run, links: MediaLinks, _options: ResultOptions) -> Json:
    return {f"{part}_audio_url": links.url(run.run_id, f"{part}.wav") for part in ("foreground", "background")}


def _story(run: Run, links: MediaLinks, options: ResultOptions) -> Json:
    name = f"story-{options.language}" if options.language else "story"
    told: dict[str, Json] = {
        "audio_url": links.url(run.run_id, f"{name}.flac"),
        "dialogue_url": links.url(run.run_id, f"{name}-dialogue.flac"),
    }
    if options.include_transcript:
        told["transcript"] = transcripts.lines()
    return told


def _project(run: Run, links: MediaLinks, _options: ResultOptions) -> Json:
    return project(run, links)


BUILDERS: Mapping[str, Builder] = MappingProxyType(
    {
        "/dub-result/{run_id}": _dub,
        "/transcript/{run_id}/{language}": _dub_transcript,
        "/tts-result/{run_id}": _speech,
        "/translation-result/{run_id}": _translation,
        "/transcription-result/{run_id}": _transcription,
        "/sub-result/{run_id}": _subtitles,
        "/sub-result/{run_id}/{language}": _subtitles,
        "/text-to-sound-result/{run_id}": _sound,
        "/text-to-voice-result/{run_id}": _previews,
        "/audio-separation-result/{run_id}": _separation,
        "/story-result/{run_id}": _story,
        "/translated-story-result/{run_id}/{target_language}": _story,
        "/project-setup-result/{run_id}": _project,
    }
)
"""By the path that reads one run."""

BULK: Mapping[str, str] = MappingProxyType(
    {
        "/dubbing-results": "/dub-result/{run_id}",
        "/tts-results": "/tts-result/{run_id}",
        "/translation-results": "/translation-result/{run_id}",
        "/transcription-results": "/transcription-result/{run_id}",
        "/sub-results": "/sub-result/{run_id}",
        "/text-to-sound-results": "/text-to-sound-result/{run_id}",
        "/audio-separation-results": "/audio-separation-result/{run_id}",
        "/stories-results": "/story-result/{run_id}",
        "/project-setup-results": "/project-setup-result/{run_id}",
    }
)
"""The path that reads many runs, and the one that reads one of them."""

_SAME_RUNS_AS = {
    "/transcript/{run_id}/{language}": "/dub-result/{run_id}",
    "/sub-result/{run_id}/{language}": "/sub-result/{run_id}",
}


def kinds_read_by(path: str) -> tuple[str, ...]:
    """The kinds whose runs the result endpoint *path* reads."""
    path = _SAME_RUNS_AS.get(path, path)
    return tuple(kind.name for kind in KINDS.values() if any(call.path == path for call in kind.results))


def padded(document: Json, size: int) -> Json:
    """*document*, an object, with a transcript that makes at least *size* bytes of it; others stay as they are."""
    return (
        document | {"transcript": "All work and no play. " * (size // 22 + 1)}
        if isinstance(document, dict)
        else document
    )


def _text_or_link(run: Run, links: MediaLinks, options: ResultOptions, name: str) -> str:
    format_type = options.format_type or "txt"
    if options.as_file:
        return links.url(run.run_id, f"transcript-{name}.{format_type}")
    return transcripts.text(format_type)


def _target_languages(run: Run) -> list[Json]:
    match run.task.request:
        case {"target_languages": [_, *_] as languages}:
            return list(languages)
        case {"target_language": language} if language is not None:
            return [language]
    return [1]


def _language_id(language: Json) -> int:
    """The number of a language; locale tags, whose numbers nobody needs here, are all 1."""
    text = str(language)
    return int(text) if text.isascii() and text.isdigit() else 1

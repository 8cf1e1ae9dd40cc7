"""
Camb's official client, camb-sdk 1.6.6, before a pretend Camb, and what its typed answers have to be.

A test module that imports `official_client` has it as the fixture `witness`.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest
from camb.client import AsyncCambAI
from camb.types import (
    DubbingResult,
    GetAudioSeparationResultOut,
    GetCreateProjectSetupResponse,
    GetTextToVoiceResultOut,
    GetTtsResultOutFileUrl,
    TextToAudioResult,
    Transcript,
    TranscriptionResult,
    TranslationResult,
)
from simulated import HandClock

from cambwatch.simulator import Settings, Simulator, serve

MEDIA = {"media_url": "http://127.0.0.1/a.mp4", "source_language": 1, "target_languages": [2, 3]}
TALE = ("tale.txt", b"Once upon a time", "text/plain")


@dataclass
class Witness:
    """The official client, a simulator, and the clock of the latter."""

    sdk: AsyncCambAI
    simulator: Simulator
    clock: HandClock
    base_url: str
    http: httpx.AsyncClient


def client(base_url: str, http: httpx.AsyncClient, *, key: str = "k") -> AsyncCambAI:
    return AsyncCambAI(base_url=base_url, api_key=key, httpx_client=http)


@pytest.fixture(name="witness")
async def official_client() -> AsyncIterator[Witness]:
    clock = HandClock()
    simulator = Simulator(Settings(keys=frozenset({"k"})), clock=clock)
    async with serve(simulator) as base_url, httpx.AsyncClient(trust_env=False) as http:
        yield Witness(client(base_url, http), simulator, clock, base_url, http)


def is_link(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("http://127.0.0.1:") and "X-Amz-Signature=" in value


def check_lines(lines: Any) -> None:
    assert lines
    assert all(type(line) is Transcript and line.end > line.start and line.text and line.speaker for line in lines)


def check_dub(dub: Any) -> None:
    assert type(dub) is DubbingResult
    assert is_link(dub.audio_url)
    assert is_link(dub.video_url)
    check_lines(dub.transcript)


def check_speech(result: Any) -> None:
    assert type(result) is GetTtsResultOutFileUrl
    assert is_link(result.output_url)


def check_translation(result: Any) -> None:
    assert type(result) is TranslationResult
    assert result.texts == ["Hello (translated)"]


def check_transcription(result: Any) -> None:
    assert type(result) is TranscriptionResult
    check_lines(result.transcript)


def check_subtitles(result: Any) -> None:
    assert result.keys() == {"2", "3"}
    assert all(isinstance(text, str) and text for text in result.values())


def check_sound(chunks: Any) -> None:
    assert chunks.startswith(b"RIFF")


def check_sound_link(result: Any) -> None:
    assert type(result) is TextToAudioResult
    assert is_link(result.output_url)


def check_previews(result: Any) -> None:
    assert type(result) is GetTextToVoiceResultOut
    assert len(result.previews) == 3
    assert all(map(is_link, result.previews))


def check_separation(result: Any) -> None:
    assert type(result) is GetAudioSeparationResultOut
    assert is_link(result.foreground_audio_url)
    assert is_link(result.background_audio_url)


def check_story(result: Any) -> None:
    assert result.keys() == {"audio_url", "dialogue_url", "transcript"}
    assert is_link(result["audio_url"])
    assert is_link(result["dialogue_url"])


def check_story_without_transcript(result: Any) -> None:
    assert result.keys() == {"audio_url", "dialogue_url"}


def check_project(result: Any) -> None:
    assert type(result) is GetCreateProjectSetupResponse
    details = result.project_details
    assert (details.source_language, details.target_languages) == (1, [2, 3])
    assert isinstance(details.created_at, datetime)
    assert is_link(details.studio_url)


async def whole(chunks: Any) -> bytes:
    return b"".join([chunk async for chunk in chunks])

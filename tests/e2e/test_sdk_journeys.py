"""
Camb's official client goes the common way with the pretend Camb: create, poll, read.

It does so for every kind that has all three steps, over real sockets, and its typed
models accept every answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from camb.client import AsyncCambAI, CambAI
from camb.types import CreateTranslatedTtsOut, CreateTtsOut, OrchestratorPipelineCallResult, OrchestratorPipelineResult
from official import (
    MEDIA,
    TALE,
    check_dub,
    check_previews,
    check_separation,
    check_sound,
    check_sound_link,
    check_speech,
    check_story,
    check_story_without_transcript,
    check_subtitles,
    check_transcription,
    check_translation,
    official_client,  # noqa: F401
    whole,
)
from simulated import LONG_S

from cambwatch.core.camb.kinds import KINDS

Call = Callable[[AsyncCambAI], Awaitable[Any]]
Ask = Callable[[AsyncCambAI, Any], Awaitable[Any]]


@dataclass
class Journey:
    """How the SDK goes through one kind; *bulk* is None where it has none."""

    create: Call
    created: type
    status: Ask
    result: Ask
    check: Callable[[Any], None]
    bulk: Ask | None = None
    check_bulk: Callable[[Any], None] | None = None


JOURNEYS = {
    "dub": Journey(
        lambda sdk: sdk.dub.create_dub(video_url="http://127.0.0.1/a.mp4", source_language=1, target_languages=[2]),
        OrchestratorPipelineCallResult,
        lambda sdk, task_id: sdk.dub.get_dubbing_status(task_id),
        lambda sdk, run_id: sdk.dub.get_dubbed_run_info(run_id),
        check_dub,
        lambda sdk, run_ids: sdk.dub.get_dubbed_runs_results(run_ids=run_ids),
        check_dub,
    ),
    "tts": Journey(
        lambda sdk: sdk.text_to_speech.create_tts(text="Hello", voice_id=1, language=1),
        CreateTtsOut,
        lambda sdk, task_id: sdk.text_to_speech.get_tts_result(task_id),
        lambda sdk, run_id: sdk.text_to_speech.get_tts_run_info(run_id, output_type="file_url"),
        check_speech,
        lambda sdk, run_ids: sdk.text_to_speech.get_tts_results(run_ids=run_ids),
        check_speech,
    ),
    "translated-tts": Journey(
        lambda sdk: sdk.translated_tts.create_translated_tts(
            text="Hello", voice_id=1, source_language=1, target_language="de-de"
        ),
        CreateTranslatedTtsOut,
        lambda sdk, task_id: sdk.translated_tts.get_translated_tts_task_status(task_id),
        lambda sdk, run_id: sdk.translation.get_translation_result(run_id),
        check_translation,
        lambda sdk, run_ids: sdk.text_to_speech.get_tts_results(run_ids=run_ids),
        check_speech,
    ),
    "translation": Journey(
        lambda sdk: sdk.translation.create_translation(texts=["Hello"], source_language=1, target_language=2),
        dict,  # untyped in the SDK
        lambda sdk, task_id: sdk.translation.get_translation_task_status(task_id),
        lambda sdk, run_id: sdk.translation.get_translation_result(run_id),
        check_translation,
        lambda sdk, run_ids: sdk.translation.get_translation_results(run_ids=run_ids),
        check_translation,
    ),
    "transcription": Journey(
        lambda sdk: sdk.transcription.create_transcription(
            language=1, media_file=("a.wav", bytes(100_000), "audio/wav")
        ),
        OrchestratorPipelineCallResult,
        lambda sdk, task_id: sdk.transcription.get_transcription_task_status(task_id),
        lambda sdk, run_id: sdk.transcription.get_transcription_result(run_id),
        check_transcription,
        lambda sdk, run_ids: sdk.transcription.get_transcription_results(run_ids=run_ids),
        check_transcription,
    ),
    "subtitles": Journey(
        lambda sdk: sdk.subtitles.create_subtitle(**MEDIA),
        OrchestratorPipelineCallResult,
        lambda sdk, task_id: sdk.subtitles.get_subtitle_task_status(task_id),
        lambda sdk, run_id: sdk.subtitles.get_subtitle_result(run_id),
        check_subtitles,
        lambda sdk, run_ids: sdk.subtitles.get_subtitle_results(run_ids=run_ids, format_type="srt"),
        check_subtitles,
    ),
    "text-to-sound": Journey(
        lambda sdk: sdk.text_to_audio.create_text_to_audio(prompt="rain"),
        OrchestratorPipelineCallResult,
        lambda sdk, task_id: sdk.text_to_audio.get_text_to_audio_status(task_id),
        lambda sdk, run_id: whole(sdk.text_to_audio.get_text_to_audio_result(run_id)),
        check_sound,
        lambda sdk, run_ids: sdk.text_to_audio.get_text_to_sound_results(run_ids=run_ids),
        check_sound_link,
    ),
    "text-to-voice": Journey(
        lambda sdk: sdk.text_to_voice.create_text_to_voice(text="Hello", voice_description="old and kind"),
        OrchestratorPipelineCallResult,
        lambda sdk, task_id: sdk.text_to_voice.get_text_to_voice_status(task_id),
        lambda sdk, run_id: sdk.text_to_voice.get_text_to_voice_result(run_id),
        check_previews,
    ),
    "audio-separation": Journey(
        lambda sdk: sdk.audio_separation.create_audio_separation(media_file=("a.wav", b"RIFF", "audio/wav")),
        OrchestratorPipelineCallResult,
        lambda sdk, task_id: sdk.audio_separation.get_audio_separation_status(task_id),
        lambda sdk, run_id: sdk.audio_separation.get_audio_separation_run_info(run_id),
        check_separation,
        lambda sdk, run_ids: sdk.audio_separation.get_audio_separation_runs_results(run_ids=run_ids),
        check_separation,
    ),
    "story": Journey(
        lambda sdk: sdk.story.create_story(file=TALE, source_language=1),
        OrchestratorPipelineCallResult,
        lambda sdk, task_id: sdk.story.get_story_status(task_id),
        lambda sdk, run_id: sdk.story.get_story_run_info(run_id, include_transcript=True),
        check_story,
        lambda sdk, run_ids: sdk.story.get_stories_runs_results(run_ids=run_ids),
        check_story_without_transcript,
    ),
}


@pytest.mark.parametrize("kind", list(JOURNEYS))
async def test_the_sdk_goes_the_whole_way(witness, kind):
    """Create, poll while pending, poll to the end, read the result and, where there is one, the bulk result."""
    journey, sdk = JOURNEYS[kind], witness.sdk
    task_ids = []
    for _ in range(2):
        created = await journey.create(sdk)
        assert type(created) is journey.created
        task_ids.append(created["task_id"] if isinstance(created, dict) else created.task_id)
    assert all(type(task_id) is str for task_id in task_ids)

    before = await journey.status(sdk, task_ids[0])
    assert type(before) is OrchestratorPipelineResult
    assert (before.status, before.run_id) == ("PENDING", None)

    witness.clock.now_s += LONG_S
    after = [await journey.status(sdk, task_id) for task_id in task_ids]
    assert {status.status for status in after} == {"SUCCESS"}
    run_ids = [status.run_id for status in after]
    assert all(type(run_id) is int for run_id in run_ids)

    journey.check(await journey.result(sdk, run_ids[0]))
    if journey.bulk is not None and journey.check_bulk is not None:
        bulk = await journey.bulk(sdk, run_ids)
        assert bulk.keys() == {str(run_id) for run_id in run_ids}
        for result in bulk.values():
            journey.check_bulk(result)


def test_every_kind_of_the_sdk_has_its_witness():
    """The kinds without a journey have tests of their own in test_sdk_other_ways.py."""
    own = {"dub-alt-format", "discord-dub", "twitter-dub", "discord-tts", "story-setup", "translated-story"}
    assert JOURNEYS.keys() | own | {"project-setup"} == KINDS.keys()


async def test_the_synchronous_client(witness):
    """The same by the client that scripts use, in a thread."""

    def run() -> tuple[str, str]:
        with httpx.Client(trust_env=False) as http:
            sdk = CambAI(base_url=witness.base_url, api_key="k", httpx_client=http)
            created = sdk.text_to_speech.create_tts(text="Hello", voice_id=1, language=1)
            before = sdk.text_to_speech.get_tts_result(created.task_id)
            witness.clock.now_s += LONG_S
            after = sdk.text_to_speech.get_tts_result(created.task_id)
            check_speech(sdk.text_to_speech.get_tts_run_info(after.run_id, output_type="file_url"))
            return before.status, after.status

    assert await asyncio.to_thread(run) == ("PENDING", "SUCCESS")

"""
Camb's official client, camb-sdk 1.6.6, takes the pretend Camb for the real one.

It creates, polls and reads every kind that it knows, over real sockets, and its
typed models accept every answer.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import pytest
from camb.client import AsyncCambAI, CambAI
from camb.core.api_error import ApiError
from camb.core.http_client import _parse_retry_after
from camb.errors import UnprocessableEntityError
from camb.types import (
    AddTargetLanguageOut,
    CreateProjectSetupOut,
    CreateTranslatedTtsOut,
    CreateTtsOut,
    DubbingResult,
    GetAudioSeparationResultOut,
    GetCreateProjectSetupResponse,
    GetSetupStoryResultResponse,
    GetTextToVoiceResultOut,
    GetTtsResultOutFileUrl,
    OrchestratorPipelineCallResult,
    OrchestratorPipelineResult,
    TextToAudioResult,
    Transcript,
    TranscriptExportResult,
    TranscriptionResult,
    TranslationResult,
)

from cambwatch.core.kinds import KINDS
from cambwatch.simulator import Faults, Settings, Simulator, StorySetup, serve

LONG_S = 100_000.0  # by then every task has ended
MEDIA = {"media_url": "http://127.0.0.1/a.mp4", "source_language": 1, "target_languages": [2, 3]}


@dataclass
class HandClock:
    """Seconds that pass only when the test says so."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


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


@pytest.fixture
async def witness() -> AsyncIterator[Witness]:
    clock = HandClock()
    simulator = Simulator(Settings(keys=frozenset({"k"})), clock=clock)
    async with serve(simulator) as base_url, httpx.AsyncClient(trust_env=False) as http:
        yield Witness(client(base_url, http), simulator, clock, base_url, http)


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


TALE = ("tale.txt", b"Once upon a time", "text/plain")

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
    """The kinds without a journey have tests of their own below."""
    own = {"dub-alt-format", "discord-dub", "twitter-dub", "discord-tts", "story-setup", "translated-story"}
    assert JOURNEYS.keys() | own | {"project-setup"} == KINDS.keys()


async def test_dubs_in_several_languages_and_their_transcripts(witness):
    """The result is a map of dubs; transcripts are texts or links."""
    dubs = witness.sdk.dub
    witness.simulator.add_task("dub", run_id=7, request={"target_languages": [2, 3]})
    by_language = await dubs.get_dubbed_run_info(7)
    assert by_language.keys() == {"2", "3"}
    for dub in by_language.values():
        check_dub(dub)
    as_text = await dubs.get_dubbed_run_transcript(7, 2, format_type="srt")
    assert "-->" in as_text["transcript"]
    as_file = await dubs.get_dubbed_run_transcript(7, "en-us", format_type="vtt", data_type="file")
    answer = await witness.http.get(as_file["transcript"])
    assert answer.text.startswith("WEBVTT")


async def test_a_dub_in_another_format(witness):
    """The first call answers a task, the same call after its end the file."""
    witness.simulator.add_task("dub", run_id=7)
    dubs = witness.sdk.dub
    first = await dubs.get_dubbed_output_in_alt_format(7, 2, output_format="mp3")
    task_id = first["task_id"] if isinstance(first, dict) else first.task_id  # both forms of the SDK's union fit
    assert (await dubs.get_dubbed_output_in_alt_format_status(task_id)).status == "PENDING"
    witness.clock.now_s += LONG_S
    assert (await dubs.get_dubbed_output_in_alt_format_status(task_id)).status == "SUCCESS"
    done = await dubs.get_dubbed_output_in_alt_format(7, 2, output_format="mp3")
    assert is_link(done["output_url"])


async def test_kinds_that_begin_on_other_platforms(witness):
    """Discord and Twitter tasks have no create call, but can be polled."""
    for kind in ("discord-dub", "twitter-dub", "discord-tts"):
        witness.simulator.add_task(kind, kind, run_id=7)
    dubs, speech = witness.sdk.dub, witness.sdk.text_to_speech
    ends = [
        await dubs.poll_discord_dub_task("discord-dub"),
        await dubs.poll_twitter_dub_task("twitter-dub"),
        await speech.get_tts_result_discord("discord-tts"),
    ]
    assert {type(end) for end in ends} == {OrchestratorPipelineResult}
    assert {(end.status, end.run_id) for end in ends} == {("SUCCESS", 7)}
    check_dub(await dubs.get_dubbed_run_info(7))
    check_speech(await speech.get_tts_run_info(7, output_type="file_url"))


async def test_transcriptions_and_subtitles_as_files(witness):
    """With a format or a data type the result is an export; subtitles can be read one language at a time."""
    witness.simulator.add_task("transcription", run_id=7)
    witness.simulator.add_task("subtitles", run_id=8)
    sdk = witness.sdk
    as_text = await sdk.transcription.get_transcription_result(7, format_type="srt")
    assert type(as_text) is TranscriptExportResult
    assert "-->" in as_text.transcript
    as_file = await sdk.transcription.get_transcription_result(7, data_type="file")
    assert type(as_file) is TranscriptExportResult
    assert is_link(as_file.transcript)
    assert (await sdk.subtitles.get_subtitle_result_for_language(8, "en-us")).keys() == {"en-us"}
    with pytest.raises(UnprocessableEntityError):
        await sdk.subtitles.get_subtitle_results(run_ids=[8])


async def test_sound_as_bytes_and_as_a_link(witness):
    """The stream of text-to-sound carries audio, or the JSON with its link."""
    witness.simulator.add_task("text-to-sound", run_id=7)
    sounds = witness.sdk.text_to_audio
    assert (await whole(sounds.get_text_to_audio_result(7))).startswith(b"RIFF")
    assert b"output_url" in await whole(sounds.get_text_to_audio_result(7, output_type="file_url"))


@pytest.mark.parametrize("story_setup", list(StorySetup))
async def test_both_answers_of_story_setup(story_setup):
    """A task to poll, or the project at once."""
    clock = HandClock()
    simulator = Simulator(Settings(story_setup=story_setup), clock=clock)
    async with serve(simulator) as base_url, httpx.AsyncClient(trust_env=False) as http:
        stories = client(base_url, http).story
        made = await stories.setup_story(file=TALE, source_language=1, title="Tale")
        if story_setup is StorySetup.PROJECT:
            assert type(made) is GetSetupStoryResultResponse
            assert made.story_details.story_title == "Tale"
            assert is_link(made.story_details.studio_url)
        else:
            assert type(made) is OrchestratorPipelineCallResult
            clock.now_s += LONG_S
            assert (await stories.get_story_status(made.task_id)).status == "SUCCESS"


async def test_a_story_in_another_language(witness):
    """Added to a finished story, polled, read by language."""
    witness.simulator.add_task("story", run_id=7)
    stories = witness.sdk.translated_story
    added = await stories.create_translation_for_existing_story(7, target_language=2)
    assert type(added) is AddTargetLanguageOut
    assert added.message
    assert (await stories.get_translated_story_status(added.task_id)).status == "PENDING"
    witness.clock.now_s += LONG_S
    end = await stories.get_translated_story_status(added.task_id)
    assert (end.status, end.run_id) == ("SUCCESS", 7)
    check_story(await stories.get_translated_story_run_info(7, 2, include_transcript=True))
    check_story_without_transcript(await stories.get_translated_story_run_info(7, 2))


async def test_projects_whose_status_is_a_list(witness):
    """project-setup is the kind whose status the SDK expects as a list, and its bulk results too."""
    projects = witness.sdk.project_setup
    created = await projects.create_project(**MEDIA)
    assert type(created) is CreateProjectSetupOut
    assert await projects.create_project_setup_task_status(created.task_id) == []
    witness.clock.now_s += LONG_S
    [listed] = await projects.create_project_setup_task_status(created.task_id)
    check_project(listed)
    check_project(await projects.get_project_setup_result(listed.run_id))
    [bulk] = await projects.get_project_setup_runs_results(run_ids=[listed.run_id])
    assert bulk.run_id == listed.run_id
    check_project(bulk)


@pytest.mark.parametrize("status", ["ERROR", "TIMEOUT", "PAYMENT_REQUIRED", "PROCESSING"])
async def test_every_status_word_is_understood(witness, status):
    """The SDK's statuses are an open set; reason and message come through in both their forms."""
    witness.simulator.add_task("dub", "a", status=status, exception_reason="SOURCE_TOO_LONG", message="too long")
    witness.simulator.add_task("dub", "b", status=status, exception_reason="NEVER_SEEN", message={"message": "x"})
    first, second = [await witness.sdk.dub.get_dubbing_status(task_id) for task_id in "ab"]
    assert (first.status, first.run_id) == (status, None)
    assert (first.exception_reason, first.message) == ("SOURCE_TOO_LONG", "too long")
    assert (second.exception_reason, second.message) == ("NEVER_SEEN", {"message": "x"})


async def test_a_wrong_key_and_unknown_things_are_errors(witness):
    """401 for the key, 404 for task and run, 422 where an id is no number or a field is missing."""
    stranger = client(witness.base_url, witness.http, key="wrong")
    with pytest.raises(ApiError) as refused:
        await stranger.dub.get_dubbing_status("t")
    assert (refused.value.status_code, refused.value.body) == (401, {"error": "Invalid API key", "status": 401})
    with pytest.raises(ApiError) as unknown:
        await witness.sdk.dub.get_dubbing_status("t")
    assert (unknown.value.status_code, unknown.value.body) == (404, {"detail": "Task not found"})
    with pytest.raises(ApiError) as no_run:
        await witness.sdk.dub.get_dubbed_run_info(7)
    assert no_run.value.status_code == 404
    with pytest.raises(UnprocessableEntityError) as no_number:
        await witness.sdk.text_to_speech.get_tts_run_info("3b54f84a-0000-4000-8000-000000000000")
    assert no_number.value.body.detail[0].loc == ["path", "run_id"]
    with pytest.raises(UnprocessableEntityError) as incomplete:
        await witness.sdk.text_to_audio.create_text_to_audio(prompt=None)
    assert incomplete.value.body.detail[0].loc == ["body", "prompt"]


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_the_sdk_understands_our_retry_after(witness, form):
    """What the SDK's own reader makes of the header is what was set."""
    witness.simulator.faults = Faults(rate_limited=1, retry_after_form=form, retry_after_seconds=300)
    answer = await witness.http.get(f"{witness.base_url}/tts/t", headers={"x-api-key": "k"})
    assert answer.status_code == 429
    assert 240 < _parse_retry_after(answer.headers) <= 301


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

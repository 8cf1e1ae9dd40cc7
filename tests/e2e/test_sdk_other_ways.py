"""Camb's official client with the kinds and the forms of results that do not go the common way."""

import httpx
import pytest
from camb.errors import UnprocessableEntityError
from camb.types import (
    AddTargetLanguageOut,
    CreateProjectSetupOut,
    GetSetupStoryResultResponse,
    OrchestratorPipelineCallResult,
    OrchestratorPipelineResult,
    TranscriptExportResult,
)
from official import (
    MEDIA,
    TALE,
    check_dub,
    check_project,
    check_speech,
    check_story,
    check_story_without_transcript,
    client,
    is_link,
    official_client,  # noqa: F401
    whole,
)
from simulated import LONG_S, HandClock

from cambwatch.simulator import Settings, Simulator, StorySetup, serve


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

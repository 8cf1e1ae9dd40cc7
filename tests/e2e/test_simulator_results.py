"""What the runs of the pretend Camb give: results in their forms, conversions, translations, and links that work."""

import io
import json
import re
import wave

import aiohttp
import pytest
from simulated import LONG_S, bench, served_bench  # noqa: F401

from cambwatch.core.camb.kinds import KINDS
from cambwatch.simulator import Settings, StorySetup


async def test_another_format_of_a_dub_is_made_once_and_then_cached(camb):
    """The first POST begins, repetitions name the same task, after its SUCCESS they name the file."""
    camb.simulator.add_task("dub", "d", run_id=7)
    path, body = "/dub-alt-format/7/en-us", {"output_format": "mp3"}
    _, first = await camb.post(path, body)
    _, again = await camb.post(path, body)
    _, other = await camb.post(path, {"output_format": "wav"})
    assert first == again
    assert first["task_id"] != other["task_id"]
    camb.clock.now_s += LONG_S
    assert (await camb.get(f"/dub-alt-format/{first['task_id']}"))[1]["status"] == "SUCCESS"
    _, done = await camb.post(path, body)
    assert done.keys() == {"output_url"}
    assert (await camb.post("/dub-alt-format/8/en-us", body))[0] == 404


async def test_a_failed_conversion_is_begun_anew():
    """A conversion that ended badly is not repeated for ever."""
    async with bench(Settings(mix={"ERROR": 1})) as camb:
        camb.simulator.add_task("dub", "d", run_id=7)
        _, first = await camb.post("/dub-alt-format/7/1", {"output_format": "mp3"})
        camb.clock.now_s += LONG_S
        _, second = await camb.post("/dub-alt-format/7/1", {"output_format": "mp3"})
        assert first["task_id"] != second["task_id"]


async def test_a_story_has_one_run_and_a_result_per_language(camb):
    """Translations of a story keep its run, and do not stand in for each other."""
    camb.simulator.add_task("story", "s", run_id=7)
    for language in (2, 3):
        _, created = await camb.post("/translated-story/7", {"target_language": language})
        camb.clock.now_s += LONG_S
        assert (await camb.get(f"/translated-story/{created['task_id']}"))[1]["run_id"] == 7
    assert [(await camb.get(f"/translated-story-result/7/{n}"))[0] for n in (2, 3, 4)] == [200, 200, 400]
    assert (await camb.post("/translated-story/8", {"target_language": 2}))[0] == 404


async def test_a_story_setup_can_answer_at_once():
    """The synchronous form of story-setup has the project and no task."""
    async with bench(Settings(story_setup=StorySetup.PROJECT)) as camb:
        _, made = await camb.post("/story-setup", {"file": "a.txt", "source_language": 1, "title": "Tale"})
        assert made.keys() == {"run_id", "story_details"}
        assert made["story_details"]["story_title"] == "Tale"


async def test_several_languages_make_a_result_by_language(camb):
    """A dub of one language is the dub, one of several is a map."""
    camb.simulator.add_task("dub", run_id=7, request={"target_languages": [1]})
    camb.simulator.add_task("dub", run_id=8, request={"target_languages": [1, "de-de"]})
    assert (await camb.get("/dub-result/7"))[1].keys() == {"audio_url", "video_url", "transcript"}
    assert (await camb.get("/dub-result/8"))[1].keys() == {"1", "de-de"}


async def test_audio_comes_as_bytes_unless_a_link_is_asked_for(camb):
    """The default of tts and text-to-sound is the audio itself."""
    camb.simulator.add_task("tts", run_id=7)
    camb.simulator.add_task("text-to-sound", run_id=8)
    async with camb.http.get(camb.base_url + "/tts-result/7") as answer:
        assert answer.content_type == "audio/flac"
        assert (await answer.read()).startswith(b"fLaC")
    async with camb.http.get(camb.base_url + "/text-to-sound-result/8") as answer:
        assert answer.content_type == "audio/wav"
        with wave.open(io.BytesIO(await answer.read())) as sound:
            assert (sound.getframerate(), sound.getnframes()) == (8000, 800)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/tts-results", {"run_ids": [7, 8]}, 200),
        ("/tts-results", {"run_ids": [7, 9]}, 404),
        ("/tts-results", {"run_ids": []}, 422),
        ("/tts-results", {"run_ids": ["7"]}, 422),
        ("/tts-results", {}, 422),
        ("/dubbing-results", {"run_ids": [7]}, 400),
        ("/sub-results", {"run_ids": [7]}, 422),
    ],
)
async def test_bulk_results(camb, path, body, expected):
    """All or nothing, by the run_id as a text."""
    for run_id in (7, 8):
        camb.simulator.add_task("tts", run_id=run_id)
    http_status, document = await camb.post(path, body)
    assert http_status == expected
    if expected == 200:
        assert document.keys() == {"7", "8"}
        assert document["7"].keys() == {"output_url"}


def links_in(document) -> list[str]:
    return re.findall(r'https?://[^"]+', json.dumps(document))


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.results and name != "dub-alt-format"])
async def test_every_link_of_a_result_can_be_followed_only_with_its_signature(camb, kind):
    """Links look presigned, lead to the simulator, work without a key, and not without their query."""
    camb.simulator.add_task(kind, run_id=7)
    for call in KINDS[kind].results:
        _, document = await camb.get(call.path.format(run_id=7, target_language=1), params=dict(call.query))
        if call.path == "/sub-result/{run_id}":
            _, document = await camb.get("/sub-result/7", params={"data_type": "file", "format_type": "srt"})
        if call.path == "/transcription-result/{run_id}":
            _, document = await camb.get("/transcription-result/7", params={"data_type": "file"})
        links = links_in(document)
        assert links or kind in {"translation", "translated-tts"}
        async with aiohttp.ClientSession() as anybody:
            for link in links:
                assert link.startswith(f"{camb.origin}/files/7/")
                assert "X-Amz-Signature=" in link
                async with anybody.get(link) as answer:
                    assert answer.status == 200
                    assert await answer.read()
                async with anybody.get(link.split("?")[0]) as answer:
                    assert answer.status == 403


async def test_a_result_can_be_late_and_large(camb):
    """As a script prescribes: not ready yet in several forms, then right, and as large as it is wanted."""
    replies = [
        {"status": 202, "json": {}},
        {"status": 204, "headers": {"Content-Type": "application/json"}},
        {"status": 206, "json": {"audio_url": "https://a"}},
        {"fault": "slow", "seconds": 0},
    ]
    camb.simulator.add_task("dub", "d", run_id=7, result_replies=replies, result_bytes=100_000)
    answers = [await camb.get("/dub-result/7") for _ in range(5)]
    assert [status for status, _ in answers] == [202, 204, 206, 200, 200]
    assert answers[2][1] == {"audio_url": "https://a"}
    assert len(json.dumps(answers[4][1])) >= 100_000
    assert answers[4][1]["audio_url"].startswith("http")

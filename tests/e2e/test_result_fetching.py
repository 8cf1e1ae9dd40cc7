"""What a task has made is in its notification, fetched as its kind asks for; and never delays or changes its end."""

import asyncio
from urllib.parse import urlsplit

import pytest
from events import PENDING, ended, hear, hook, says, settings, shown, watch
from receivers import Receivers, Reply
from structlog.testing import capture_logs

DOWNLOADS = {
    "dub": {"audio_url": "Audio", "video_url": "Video"},
    "discord-dub": {"audio_url": "Audio", "video_url": "Video"},
    "twitter-dub": {"audio_url": "Audio", "video_url": "Video"},
    "tts": {"output_url": "Download"},
    "discord-tts": {"output_url": "Download"},
    "translated-tts": {"output_url": "Download"},
    "text-to-sound": {"output_url": "Download"},
    "audio-separation": {"foreground_audio_url": "Foreground audio", "background_audio_url": "Background audio"},
    "story": {"audio_url": "Audio", "dialogue_url": "Dialogue"},
    "translated-story": {"audio_url": "Audio", "dialogue_url": "Dialogue"},
}
WITHOUT_LINKS = {"translation": ["texts"], "transcription": ["transcript"], "subtitles": ["1"]}
REQUESTS = {
    "dub": ["/dub-result/{run}"],
    "discord-dub": ["/dub-result/{run}"],
    "twitter-dub": ["/dub-result/{run}"],
    "tts": ["/tts-result/{run}?output_type=file_url"],
    "discord-tts": ["/tts-result/{run}?output_type=file_url"],
    "translated-tts": ["/tts-result/{run}?output_type=file_url", "/translation-result/{run}"],
    "translation": ["/translation-result/{run}"],
    "transcription": ["/transcription-result/{run}"],
    "subtitles": ["/sub-result/{run}"],
    "text-to-sound": ["/text-to-sound-result/{run}?output_type=file_url"],
    "text-to-voice": ["/text-to-voice-result/{run}"],
    "audio-separation": ["/audio-separation-result/{run}"],
    "story": ["/story-result/{run}"],
    "translated-story": ["/translated-story-result/{run}/54"],
    "project-setup": ["/project-setup-result/{run}"],
}
NO_RESULT = ("story-setup", "dub-alt-format")
EXTRA = {"translated-story": {"target_language": 54}}
MP3 = b"ID3\x04\x00" + bytes(range(256)) * 40
FATES = {  # of a result: the answers to the tries, and what is told
    "server-error": ([Reply(500)], None),
    "unknown": ([Reply(404)], None),
    "forbidden": ([Reply(403)], None),
    "forbidden-by-camb": ([says({"detail": "Not your run"}, status=403)], None),
    "accepted": ([Reply(202, b"{}"), Reply(204), says({"texts": ["ok"]})], {"texts": ["ok"]}),
    "created": ([says({"texts": ["ok"]}, status=201)], {"texts": ["ok"]}),
    "partial-content": ([says({"texts": ["ok"]}, status=206)], {"texts": ["ok"]}),
    "not-yet": ([says({"status": "PENDING"}), Reply(200, b""), says({"texts": ["ok"]})], {"texts": ["ok"]}),
    "redirect": ([Reply(302, b"{}", {"location": "/elsewhere"})], None),
    "binary": ([Reply(200, MP3, {"content-type": "audio/mpeg"})], None),
    "deep": ([Reply(200, b"[" * 100_000)], None),
    "hanging": ([says({"audio_url": "https://cdn.example/a"}, delay_s=60)], None),
    "at-the-third": ([Reply(500), Reply(cut=True), says({"texts": ["ok"]})], {"texts": ["ok"]}),
    "null-document": ([says(None)], None),
    "list": ([says([])], []),
    "text": ([says("a text")], "a text"),
}


@pytest.fixture
async def raw():
    """A Camb of the test's own words: what is asked of it is written down, and answered by its scripts."""
    async with Receivers().serve() as made:
        yield made


async def test_every_kind_brings_its_result(daemon, camb, receivers):
    """Links for what can be opened, with what they are; the rest as Camb gave it."""
    made = await daemon(settings(destinations={"hook": hook(receivers)}))
    kinds = [*REQUESTS, "story-setup"]
    tasks = {kind: camb.add(kind, request=EXTRA.get(kind, {})) for kind in kinds}
    wishes = [{"kind": kind, "task_id": task_id, "extra": EXTRA.get(kind, {})} for kind, task_id in tasks.items()]
    assert (await made.api.post(wishes)).status == 201
    heard = {data["kind"]: data for data in await hear(receivers, *tasks.values())}
    for kind, labels in DOWNLOADS.items():
        data = heard[kind]
        assert data["links"] == [{"label": label, "url": data["result"][name]} for name, label in labels.items()], kind
    for kind, names in WITHOUT_LINKS.items():
        assert (list(heard[kind]["result"]), heard[kind]["links"]) == (names, [])
    previews = heard["text-to-voice"]["result"]["previews"]
    assert heard["text-to-voice"]["links"] == [
        {"label": f"Preview {number}", "url": url} for number, url in enumerate(previews, 1)
    ]
    assert [link["label"] for link in heard["project-setup"]["links"]] == ["Studio"]
    assert heard["translated-tts"]["result"].keys() == {"output_url", "texts"}
    assert (heard["story-setup"]["result"], heard["story-setup"]["result_endpoint"]) == (None, None)
    for kind in REQUESTS:
        target = REQUESTS[kind][0].format(run=heard[kind]["run_id"])
        assert heard[kind]["result_endpoint"] == camb.base_url + target
        task = await shown(made.api, kind, tasks[kind])
        assert (task["result"], task["result_endpoint"]) == (heard[kind]["result"], heard[kind]["result_endpoint"])


async def test_what_is_asked_for_a_result(daemon, receivers, raw):
    """The paths and queries of each kind, and nothing besides; for two kinds nothing at all."""
    kinds = [*REQUESTS, *NO_RESULT]
    raw.otherwise = ended("SUCCESS", 77)
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    for kind in kinds:
        extra = {"run_id": 5, "language": "fr-fr", "output_format": "mp3", **EXTRA.get(kind, {})}
        await watch(made.api, kind, kind, extra=extra)
    await hear(receivers, *kinds)
    asked = sorted(f"{one.method} {one.path}" for one in raw.requests if "-result/" in one.path or one.method != "GET")
    assert asked == sorted(f"GET {target.format(run=77)}" for targets in REQUESTS.values() for target in targets)


async def test_a_conversion_is_repeated_only_where_that_is_allowed(daemon, camb, receivers):
    """The POST is the same as that of the beginning, with the run_id of the dub; it might be billed."""
    extra = {"run_id": 500, "language": "fr-fr", "output_format": "mp3"}
    repeat = settings(results={"repeat_alt_format": True}, destinations={"hook": hook(receivers)})
    for text, posts in ((settings(destinations={"hook": hook(receivers)}), 0), (repeat, 1)):
        made = await daemon(text)
        task_id = camb.add("dub-alt-format", request=extra)
        await watch(made.api, "dub-alt-format", task_id, extra=extra)
        (data,) = await hear(receivers, task_id)
        assert camb.simulator.requests["POST /apis/dub-alt-format/{run_id}/{language}"] == posts
        assert [link["label"] for link in data["links"]] == ["Download"] * posts
        await made.stop()


async def test_without_fetching_there_is_no_result(daemon, receivers, raw):
    """Not even where a result had to be read to see that the task has ended; the endpoint is named all the same."""
    raw.script("/story/a", ended("SUCCESS", 5))
    raw.script("/translated-story/b", says({"run_id": 5}))
    raw.otherwise = says({"audio_url": "https://cdn.example/a"})
    made = await daemon(
        settings(camb={"base_url": raw.url}, results={"fetch": False}, destinations={"hook": hook(receivers)})
    )
    await watch(made.api, "story", "a")
    await watch(made.api, "translated-story", "b", extra=EXTRA["translated-story"])
    plain, confirmed = await hear(receivers, "a", "b")
    assert raw.at("/story-result/5") == []
    for data in (plain, confirmed):
        assert (data["status"], data["result"], data["links"]) == ("SUCCESS", None, [])
    assert urlsplit(confirmed["result_endpoint"]).path == "/translated-story-result/5/54"


async def test_whatever_becomes_of_the_result_the_end_is_told(daemon, receivers, raw, monkeypatch):
    """At the latest when RESULT_TIME_S is over; whether it may come later is told too."""
    monkeypatch.setattr("cambwatch.loops.polling.conclusion.RESULT_TIME_S", 3.0)
    made = await daemon(
        settings(camb={"base_url": raw.url, "timeout": "200ms"}, destinations={"hook": hook(receivers, concurrency=32)})
    )
    for run_id, (name, (replies, _)) in enumerate(FATES.items(), 1):
        raw.script(f"/dub/{name}", ended("SUCCESS", run_id))
        raw.script(f"/dub-result/{run_id}", *replies)
    await watch(made.api, "dub", *FATES)
    heard = await hear(receivers, *FATES)
    assert {data["status"] for data in heard} == {"SUCCESS"}
    assert {data["task_id"]: data["result"] for data in heard} == {name: result for name, (_, result) in FATES.items()}
    assert {data["task_id"] for data in heard if data["result_pending"]} == {
        name for name, (_, result) in FATES.items() if result is None and name != "forbidden-by-camb"
    }
    assert raw.at("/elsewhere") == []
    asked = {data["task_id"]: len(raw.at(f"/dub-result/{data['run_id']}")) for data in heard}
    # 0, 0.5 and 1.5 s after the end; and aiohttp itself repeats a GET once where a connection from before was cut.
    assert max(asked.values()) <= 3 + 1
    assert max(asked[name] for name in ("forbidden-by-camb", "created", "partial-content")) <= 1 + 1


async def test_the_whole_time_is_used(daemon, receivers, raw, monkeypatch):
    """A result that is there after several seconds is in the message; three tries were over after 1.5 s."""
    monkeypatch.setattr("cambwatch.core.camb.result_requests.PAUSE_S", 0.05)
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", *[Reply(503)] * 5, says({"audio_url": "https://cdn.example/a"}))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert ([link["url"] for link in data["links"]], data["result_pending"]) == (["https://cdn.example/a"], False)


async def test_a_try_that_hangs_leaves_time_for_another(daemon, receivers, raw, monkeypatch):
    """One try takes half of the time that is left, even where the account's timeout is longer than all of it."""
    monkeypatch.setattr("cambwatch.loops.polling.conclusion.RESULT_TIME_S", 3.0)
    never = asyncio.Event()
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(held=never), says({"audio_url": "https://cdn.example/a"}))
    made = await daemon(settings(camb={"base_url": raw.url, "timeout": "60s"}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert [link["url"] for link in data["links"]] == ["https://cdn.example/a"]
    never.set()


async def test_a_result_that_camb_gives_no_sooner_than_tomorrow_is_not_waited_for(daemon, receivers, raw):
    """Retry-After beyond RESULT_TIME_S ends the fetch at once."""
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(429, b"", {"retry-after": "86400"}))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert (data["status"], data["result"], len(raw.at("/dub-result/5"))) == ("SUCCESS", None, 1)


async def test_half_a_result_is_better_than_none(daemon, receivers, raw, monkeypatch):
    """The text of a translated speech is told where its sound cannot be had; and the log says what is missing."""
    monkeypatch.setattr("cambwatch.loops.polling.conclusion.RESULT_TIME_S", 2.0)
    raw.script("/translated-tts/t", ended("SUCCESS", 5))
    raw.script("/tts-result/5", Reply(200, MP3))
    raw.script("/translation-result/5", says({"texts": ["Bonjour"]}))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    with capture_logs() as logs:
        await watch(made.api, "translated-tts", "t")
        (data,) = await hear(receivers, "t")
    assert (data["result"], data["result_pending"]) == ({"texts": ["Bonjour"]}, True)
    assert [line["reason"] for line in logs if line["event"] == "result.missing"] == ["the answer is not JSON"]


async def test_transcripts_beyond_4_kb_are_cut_out_and_say_so(daemon, receivers, raw):
    """A dub in two languages: links stay, the small transcript too."""
    line = {"start": 0, "end": 1, "text": "All work and no play makes Jack a dull boy.", "speaker": "J"}
    dubs = {
        "fr-fr": {"audio_url": "https://cdn.example/fr?sig=1", "transcript": [line] * 500},
        "de-de": {"audio_url": "https://cdn.example/de?sig=2", "transcript": [line]},
    }
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", says(dubs))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    cut = data["result"]["fr-fr"].pop("transcript")
    assert (cut["cut"], cut["bytes"] > 4096) == (True, True)
    assert data["result"]["fr-fr"] == {"audio_url": "https://cdn.example/fr?sig=1"}
    assert data["result"]["de-de"] == dubs["de-de"]
    assert data["links"] == [
        {"label": "Audio (fr-fr)", "url": "https://cdn.example/fr?sig=1"},
        {"label": "Audio (de-de)", "url": "https://cdn.example/de?sig=2"},
    ]
    assert len(receivers.requests[0].body) < 4096


async def test_a_run_without_a_status_ends_when_its_result_is_there(daemon, receivers, raw):
    """Until then each poll asks for the result once, and nothing is logged as missed."""
    raw.script("/translated-story/t", says({"run_id": None}), says({"run_id": 5}))
    raw.script("/translated-story-result/5/54", Reply(404), Reply(500), says({"audio_url": "https://cdn.example/a"}))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    with capture_logs() as logs:
        await watch(made.api, "translated-story", "t", extra=EXTRA["translated-story"])
        (data,) = await hear(receivers, "t")
    assert (data["status"], data["polls"], data["run_id"]) == ("SUCCESS", 4, 5)
    assert [link["url"] for link in data["links"]] == ["https://cdn.example/a"]
    assert len(raw.at("/translated-story-result/5/54")) == 3
    assert [line for line in logs if line["event"] == "result.missing"] == []


async def test_a_run_without_a_status_expires_without_a_result(daemon, receivers, raw):
    """At the deadline, as any other task."""
    raw.script("/translated-story/t", says({"run_id": 5}))
    raw.otherwise = Reply(404)
    made = await daemon(
        settings(camb={"base_url": raw.url}, polling={"deadline": "400ms"}, destinations={"hook": hook(receivers)})
    )
    await watch(made.api, "translated-story", "t", extra=EXTRA["translated-story"])
    (data,) = await hear(receivers, "t")
    assert (data["status"], data["run_id"]) == ("EXPIRED", None)


async def test_a_task_that_is_removed_while_its_result_is_fetched_tells_nobody(daemon, receivers, raw):
    """And one that is watched anew meanwhile is told by its new watch alone."""
    held = asyncio.Event()
    raw.script("/dub/t", ended("SUCCESS", 5), ended("ERROR"))
    raw.script("/dub-result/5", says({}, held=held))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    await raw.until(lambda: raw.at("/dub-result/5"))
    assert (await made.api.ask("DELETE", "/v1/tasks/dub/t")).status == 204
    await watch(made.api, "dub", "t")
    await hear(receivers, "t")
    held.set()
    await made.stop()  # finishes what is under way
    assert [request.document["data"]["status"] for request in receivers.requests] == ["ERROR"]


async def test_results_that_hang_do_not_keep_polls_waiting(daemon, receivers, raw):
    """Only some are read at once, so that connections are left for those who only want to know how it stands."""
    never = asyncio.Event()
    raw.otherwise = PENDING
    names = [f"ended-{number}" for number in range(12)]
    for name in names:
        raw.script(f"/dub/{name}", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(held=never))
    made = await daemon(settings(camb={"base_url": raw.url, "concurrency": 4}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", *names)
    await raw.until(lambda: raw.at("/dub-result/5"))
    await watch(made.api, "dub", "still-pending")
    await raw.until(lambda: len(raw.at("/dub/still-pending")) > 5)
    assert len(raw.at("/dub-result/5")) == 1
    never.set()

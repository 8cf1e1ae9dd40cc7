"""A result that was missed when its task ended comes later, at nobody's expense."""

import asyncio
import time
from datetime import timedelta

import pytest
from events import PENDING, ended, hear, hook, says, settings, shown, watch
from receivers import Receivers, Reply
from structlog.testing import capture_logs

from postgres_server import PostgresServer, new_database

RESULT = {"audio_url": "https://cdn.example/a"}
PAGE = Reply(403, b"<html>Forbidden</html>", {"content-type": "text/html"})
PATIENCE_S = 15


@pytest.fixture
async def raw():
    """A Camb of the test's own words: what is asked of it is written down, and answered by its scripts."""
    async with Receivers().serve() as made:
        yield made


@pytest.fixture
def soon(monkeypatch):
    """The times of hours and seconds in tenths of a second."""
    monkeypatch.setattr("cambwatch.loops.polling.conclusion.RESULT_TIME_S", 0.3)
    monkeypatch.setattr("cambwatch.core.camb.result_requests.LATE_PAUSE_S", 0.2)
    monkeypatch.setattr("cambwatch.core.camb.result_requests.LONGEST_LATE_PAUSE_S", 0.4)


async def result_of(api, kind, task_id):
    """The result in the API, once it is there."""
    async with asyncio.timeout(PATIENCE_S):
        while (task := await shown(api, kind, task_id))["result"] is None:  # noqa: ASYNC110 - over HTTP, as a client does
            await asyncio.sleep(0.02)
    return task["result"]


async def line_of(logs, event):
    """The first log line *event*, once it is there."""
    async with asyncio.timeout(PATIENCE_S):
        while not (lines := [line for line in logs if line["event"] == event]):  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.02)
    return lines[0]


@pytest.mark.parametrize("trouble", [Reply(503), Reply(202), Reply(204), PAGE, Reply(404), Reply(cut=True)])
async def test_a_missed_result_is_in_the_api_later(daemon, receivers, raw, soon, trouble):
    """The message says that it may come and where; nothing is sent a second time."""
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", trouble)
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        (data,) = await hear(receivers, "t")
        assert (data["result"], data["links"], data["result_pending"]) == (None, [], True)
        asked = len(raw.at("/dub-result/5"))
        await raw.until(lambda: len(raw.at("/dub-result/5")) > asked)
        raw.script("/dub-result/5", says(RESULT))
        assert await result_of(made.api, "dub", "t") == RESULT
        fetched = await line_of(logs, "result.fetched")
    assert (fetched["log_level"], fetched["kind"], fetched["task_id"]) == ("info", "dub", "t")
    missed = await line_of(logs, "result.missing")
    assert (missed["log_level"], missed["hint"]) == ("warning", "cambwatch retries for one more hour")
    assert len(receivers.requests) == 1
    assert {request.method for request in raw.at("/dub-result/5")} == {"GET"}


async def test_a_missed_result_is_read_after_a_restart(daemon, receivers, raw, soon):
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(503))
    text = settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)})
    made = await daemon(text)
    await watch(made.api, "dub", "t")
    await hear(receivers, "t")
    await made.stop()
    raw.script("/dub-result/5", says(RESULT))
    made = await daemon(text)
    assert await result_of(made.api, "dub", "t") == RESULT
    assert len(receivers.requests) == 1


@pytest.fixture
def postgres():
    """The URL of a database that nodes can share."""
    with PostgresServer() as server:
        yield new_database(server.url())


async def test_what_a_node_has_missed_that_is_gone_is_read_by_another(postgres, daemon, receivers, raw, soon):
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(503))
    store = {"url": postgres, "lease": "2s"}
    text = settings(camb={"base_url": raw.url}, store=store, destinations={"hook": hook(receivers)})
    one = await daemon(text)
    await watch(one.api, "dub", "t")
    await hear(receivers, "t")
    other = await daemon(text)
    await one.stop()
    raw.script("/dub-result/5", says(RESULT))
    assert await result_of(other.api, "dub", "t") == RESULT
    await other.stop()
    assert len(receivers.requests) == 1


async def test_more_than_are_held_in_memory_are_all_read(daemon, receivers, raw, soon, monkeypatch):
    """The others wait in the database."""
    monkeypatch.setattr("cambwatch.loops.polling.late_results.MOST_LATE_RESULTS", 2)
    names = [f"t{number}" for number in range(7)]
    for name in names:
        raw.script(f"/dub/{name}", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(503))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", *names)
    await hear(receivers, *names)
    raw.script("/dub-result/5", says(RESULT))
    for name in names:
        assert await result_of(made.api, "dub", name) == RESULT


async def test_half_a_result_is_completed_later(daemon, receivers, raw, soon, monkeypatch):
    monkeypatch.setattr("cambwatch.loops.polling.conclusion.RESULT_TIME_S", 3.0)
    raw.script("/translated-tts/t", ended("SUCCESS", 5))
    raw.script("/tts-result/5", Reply(503))
    raw.script("/translation-result/5", says({"texts": ["Bonjour"]}))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    with capture_logs() as logs:
        await watch(made.api, "translated-tts", "t")
        (data,) = await hear(receivers, "t")
        assert (data["result"], data["result_pending"]) == ({"texts": ["Bonjour"]}, True)
        raw.script("/tts-result/5", says({"output_url": "https://cdn.example/a"}))
        await line_of(logs, "result.fetched")
    whole = {"output_url": "https://cdn.example/a", "texts": ["Bonjour"]}
    assert (await shown(made.api, "translated-tts", "t"))["result"] == whole


async def test_what_camb_refuses_is_not_asked_for_again(daemon, receivers, raw, soon):
    """In its own words: the same from a gateway is trouble that passes."""
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", says({"detail": "Not your run"}, status=403))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        (data,) = await hear(receivers, "t")
    assert (data["result"], data["result_pending"]) == (None, False)
    missed = await line_of(logs, "result.missing")
    assert (missed["reason"], missed["hint"]) == ("HTTP 403: Not your run", "read it at result_endpoint with your key")
    assert len(raw.at("/dub-result/5")) == 1


async def test_it_is_given_up_after_its_time(daemon, receivers, raw, soon, monkeypatch):
    """And the log says so, with the last reason."""
    monkeypatch.setattr("cambwatch.loops.polling.late_results.LATE_FOR", timedelta(seconds=1.5))
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(503))
    made = await daemon(settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        given_up = await line_of(logs, "result.given_up")
    assert (given_up["log_level"], given_up["reason"], given_up["tries"] > 0) == ("warning", "HTTP 503", True)
    assert (await shown(made.api, "dub", "t"))["result"] is None


async def test_a_conversion_is_never_repeated_in_the_background(daemon, receivers, raw, soon, monkeypatch):
    """The POST may be billed: a few tries when the task ends, if it is allowed at all, and no more."""
    monkeypatch.setattr("cambwatch.loops.polling.conclusion.RESULT_TIME_S", 3.0)
    extra = {"run_id": 500, "language": "fr-fr", "output_format": "mp3"}
    raw.script("/dub-alt-format/c", ended("SUCCESS", 5))
    raw.script("/dub-alt-format/500/fr-fr", Reply(503))
    raw.script("/dub/t", ended("SUCCESS", 6))
    raw.script("/dub-result/6", Reply(503))
    text = settings(
        camb={"base_url": raw.url}, results={"repeat_alt_format": True}, destinations={"hook": hook(receivers)}
    )
    made = await daemon(text)
    await watch(made.api, "dub-alt-format", "c", extra=extra)
    await watch(made.api, "dub", "t")
    converted, dubbed = await hear(receivers, "c", "t")
    assert (converted["result_pending"], dubbed["result_pending"]) == (False, True)
    posts = len(raw.at("/dub-alt-format/500/fr-fr"))
    assert posts == 3
    await made.stop()
    made = await daemon(text)
    raw.script("/dub-result/6", says(RESULT))
    assert await result_of(made.api, "dub", "t") == RESULT  # by then the other would have had its turn
    assert len(raw.at("/dub-alt-format/500/fr-fr")) == posts


async def test_without_fetching_nothing_is_read_later_either(daemon, receivers, raw, soon):
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub/still", PENDING)
    raw.script("/dub-result/5", Reply(503))
    camb, destinations = {"base_url": raw.url}, {"hook": hook(receivers)}
    made = await daemon(settings(camb=camb, destinations=destinations))
    await watch(made.api, "dub", "t", "still")
    await hear(receivers, "t")
    await made.stop()
    made = await daemon(settings(camb=camb, destinations=destinations, results={"fetch": False}))
    asked, polls = len(raw.at("/dub-result/5")), len(raw.at("/dub/still"))
    await raw.until(lambda: len(raw.at("/dub/still")) > polls + 20)
    assert len(raw.at("/dub-result/5")) == asked


async def test_a_stop_ends_the_tries_and_the_next_start_brings_the_result(daemon, receivers, raw):
    """Neither 20 s of tries nor the grace of the stop are waited for; the task is told once, with its result."""
    never = asyncio.Event()
    raw.script("/dub/t", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(503), Reply(503), Reply(held=never))
    text = settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)})
    for tries in (2, 3):  # in a pause, and while one is under way
        made = await daemon(text)
        if tries == 2:
            await watch(made.api, "dub", "t")
        await raw.until(lambda tries=tries: len(raw.at("/dub-result/5")) >= tries)
        begun_s = time.monotonic()
        await made.stop()
        assert time.monotonic() - begun_s < 5
    assert receivers.requests == []
    raw.script("/dub-result/5", says(RESULT))
    await daemon(text)
    (data,) = await hear(receivers, "t")
    assert data["result"] == RESULT
    never.set()


async def test_tasks_that_end_together_are_told_in_time_though_no_result_can_be_read(
    daemon, receivers, raw, monkeypatch
):
    """Of an account with one place for results, each of whose requests hangs."""
    monkeypatch.setattr("cambwatch.loops.polling.conclusion.RESULT_TIME_S", 2.0)
    never = asyncio.Event()
    names = [f"t{number}" for number in range(20)]
    for name in names:
        raw.script(f"/dub/{name}", ended("SUCCESS", 5))
    raw.script("/dub-result/5", Reply(held=never))
    made = await daemon(
        settings(camb={"base_url": raw.url, "concurrency": 4}, destinations={"hook": hook(receivers, concurrency=32)})
    )
    await watch(made.api, "dub", *names)
    heard = await hear(receivers, *names)
    ends = [request.at_s for request in receivers.requests]
    assert max(ends) - min(ends) < 2
    assert all(data["result_pending"] for data in heard)
    never.set()

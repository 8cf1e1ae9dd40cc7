"""SIGHUP to the real process: the file is read again and holds as a whole, or changes nothing and says why."""

import asyncio
import signal

import pytest
import yaml
from api import Api
from events import HOOK, ended, hear, hook, settings, watch
from processes import Process
from receivers import Receivers, Reply


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


def laid(raw, **destinations):
    """A configuration in which *raw* is Camb."""
    return settings(camb={"base_url": raw.url}, destinations=destinations)


async def reload(made: Process, until, event: str = "config.reloaded") -> dict:
    """SIGHUP, and wait for the word on it."""
    before = len(made.said(event))
    made.signal(signal.SIGHUP)
    await until(lambda: len(made.said(event)) > before)
    return made.said(event)[-1]


async def test_a_new_destination_is_live_and_an_old_one_is_not(process, receivers, raw, until):
    """Without a restart: it is the same process."""
    made = await process(laid(raw, old=hook(receivers, "/old")))
    pid = made.pid
    await watch(made.api, "dub", "before")
    await hear(receivers, "before", path="/old")
    made.change(destinations={"new": hook(receivers, "/new")})
    await reload(made, until)
    await watch(made.api, "dub", "after")
    await hear(receivers, "after", path="/new")
    assert [request.document["data"]["task_id"] for request in receivers.at("/old")] == ["before"]
    assert made.pid == pid
    assert await made.stop() == 0


async def test_a_bad_file_changes_nothing_and_says_why(process, receivers, raw, until):
    """With the line and column of each mistake."""
    made = await process(laid(raw, hook=hook(receivers)))
    good = made.config.read_text()
    made.config.write_text(good + "\nrouts: []\n")
    line = await reload(made, until, "config.refused")
    assert any("routs: unknown key (did you mean routes?)" in problem for problem in line["errors"])
    assert line["level"] == "error"
    made.config.unlink()
    await reload(made, until, "config.refused")
    await watch(made.api, "dub", "t")
    await hear(receivers, "t")
    made.config.write_text(good)
    await reload(made, until)
    assert await made.stop() == 0


async def test_what_cannot_change_while_running_is_named(process, receivers, raw, until, tmp_path):
    """And stays as it is, while the rest of the file holds."""
    made = await process(laid(raw, old=hook(receivers, "/old")))
    document = yaml.safe_load(made.config.read_text())
    made.change(
        http=document["http"] | {"listen": "127.0.0.1:1"},
        store={"url": f"sqlite:///{tmp_path}/other.db"},
        destinations={"new": hook(receivers, "/new")},
    )
    await reload(made, until)
    assert [line["key"] for line in made.said("config.restart_required")] == ["http.listen", "store.url"]
    await watch(made.api, "dub", "t")
    await hear(receivers, "t", path="/new")
    assert not (tmp_path / "other.db").exists()


async def test_nobody_is_refused_meanwhile(process, receivers, raw, until):
    """Registrations come in while the file is read again and again; each is answered, and each end is told."""
    made = await process(laid(raw, hook=hook(receivers)))
    names = [f"t{number}" for number in range(60)]
    done = asyncio.Event()

    async def register() -> None:
        for name in names:
            await watch(made.api, "dub", name)  # asserts 201
        done.set()

    registering = asyncio.create_task(register())
    while not done.is_set():
        await reload(made, until)
    await registering
    await hear(receivers, *names, timeout_s=30)


async def test_what_is_watched_and_owed_goes_on(process, receivers, raw, until):
    """What waits for a receiver that is down, a pending task, and what the file has new."""
    raw.otherwise = Reply(200, b'{"status": "PENDING"}', {"content-type": "application/json"})
    raw.script("/tts/ended", ended())
    receivers.script(HOOK, Reply(500))
    slow = hook(receivers, retry={"first": "1h", "max": "1h"})
    made = await process(laid(raw, hook=slow))
    await watch(made.api, "tts", "pending")
    await watch(made.api, "tts", "ended")
    await receivers.until(lambda: receivers.at(HOOK))
    made.change(destinations={"hook": hook(receivers)}, tasks=[{"kind": "tts", "task_id": "of-the-file"}])
    await reload(made, until)
    receivers.script(HOOK, Reply())
    polls = len(raw.requests)
    await raw.until(lambda: {"/tts/pending", "/tts/of-the-file"} <= {one.path for one in raw.requests[polls:]})
    raw.otherwise = ended()
    await hear(receivers, "pending", "of-the-file")
    answer = await made.api.ask("POST", "/v1/deliveries/retry", {"destination": "hook", "state": "pending"})
    assert answer.status == 202
    await hear(receivers, "ended")


async def test_a_good_key_in_place_of_a_refused_one_resumes_the_account(process, receivers, camb, until):
    """The usual reason to change the file."""
    task = camb.add("tts")
    made = await process(settings(camb={"api_key": "no-good-key"}, destinations={"hook": hook(receivers)}), ready=None)
    await made.start(ready=200)
    await watch(made.api, "tts", task)
    await made.until_ready(503)
    document = yaml.safe_load(made.config.read_text())
    made.change(camb=document["camb"] | {"api_key": "the-test-key"})
    await reload(made, until)
    await made.until_ready(200)
    await hear(receivers, task)


async def test_camb_is_left_alone_as_long_as_it_asked_for(process, receivers, raw, until):
    """A reload is no way around a 429."""
    raw.otherwise = Reply(429, b"", {"retry-after": "3600"})
    made = await process(laid(raw, hook=hook(receivers)))
    await watch(made.api, "dub", "t")
    await made.until_ready(503)
    before = len(raw.requests)
    await reload(made, until)
    await made.until_ready(503)
    await watch(made.api, "dub", "u")
    await made.stop()
    assert len(raw.requests) == before


async def test_a_new_secret_is_cut_out_of_the_log_from_then_on(process, receivers, raw, until):
    """And the old one still is."""
    receivers.script(HOOK, Reply(500, b"you said canary-old and canary-new"))
    canary = {"authorization": "canary-old"}
    made = await process(laid(raw, hook=hook(receivers, headers=canary)))
    made.change(destinations={"hook": hook(receivers, headers={"authorization": "canary-new"})})
    await reload(made, until)
    await watch(made.api, "dub", "t")
    await until(lambda: made.said("delivery.attempted"))
    assert "canary" not in made.log.read_text()


async def test_a_unix_socket_stays_where_it_is(process, receivers, raw, until, tmp_path):
    """Who connects after the reload finds it."""
    path = tmp_path / "intake.sock"
    made = await process(
        settings(camb={"base_url": raw.url}, destinations={"hook": hook(receivers)}, http={"listen": f"unix:{path}"}),
        ready=None,
    )
    await made.start(ready=None)
    await until(lambda: made.said("service.started"))
    await reload(made, until)
    assert (await Api("http://localhost", socket=str(path)).get("/v1/kinds")).status == 200
    assert await made.stop() == 0

"""Whatever goes wrong between Camb and us says nothing about a task, and is not answered with more requests."""

import asyncio
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from math import ceil

import pytest
from crowds import Crowd
from events import PENDING, ended, hear, hook, says, settings, shown, told, watch
from processes import free_port
from receivers import Receivers, Reply
from structlog.testing import capture_logs

from cambwatch.simulator import Faults, SimulatedFault

PAGE = b"<!doctype html><title>502 Bad Gateway</title>"
OTHER_TROUBLE = {
    "408": says({"detail": "slow"}, status=408),
    "409": says({}, status=409),
    "425": says({}, status=425),
    "429": Reply(429, b"", {"retry-after": "0"}),
    "500": Reply(500, PAGE),
    "502-claims-success": says({"status": "SUCCESS"}, status=502),
    "503": Reply(503, b"", {"retry-after": "0.1"}),
    "400": says({"status": "ERROR"}, status=400),
    "402": says({"status": "PAYMENT_REQUIRED"}, status=402),
    "418": says("ERROR", status=418),
    "redirect": Reply(302, b'"ERROR"', {"location": "/elsewhere"}),
    "html": Reply(200, PAGE),
    "empty": Reply(200, b""),
    "not-utf-8": Reply(200, b'{"status": "ERR\xff\xfe'),
    "number": says(7),
    "status-number": says({"status": 7}),
    "no-status": says({"detail": "ERROR"}),
    "wrong-encoding": Reply(200, b"this is not gzip", {"content-encoding": "gzip"}),
    "cut": Reply(cut=True),
    "deep": Reply(200, b"[" * 100_000),
    "late": says({"status": "ERROR"}, delay_s=0.8),
}


@pytest.fixture
async def raw():
    """A Camb of the test's own words: what is asked of it is written down, and answered by its scripts."""
    async with Receivers().serve() as made:
        yield made


def at(camb, **more):
    """The section `camb` that leads to *camb*."""
    return {"base_url": camb.url + "/apis", **more}


async def test_no_trouble_has_an_effect_on_the_outcome(daemon, camb, receivers):
    """Each mishap of the simulator twice, and then the answer."""
    camb.simulator.faults = Faults(retry_after_seconds=0.05)
    made = await daemon(
        settings(camb={"timeout": "300ms"}, destinations={"hook": hook(receivers)}, results={"fetch": False})
    )
    bad = [fault for fault in SimulatedFault if fault not in {SimulatedFault.SLOW, SimulatedFault.UNKNOWN_WORD}]
    tasks = {fault: camb.add("dub", replies=[{"fault": fault.value}] * 2) for fault in bad}
    await watch(made.api, "dub", *tasks.values())
    heard = await hear(receivers, *tasks.values())
    assert {data["status"] for data in heard} == {"SUCCESS"}
    # Counted there, because aiohttp itself repeats a GET where a connection from before turns out to be dead.
    assert {fault: camb.polls(task_id) for fault, task_id in tasks.items()} == dict.fromkeys(bad, 3)


async def test_no_odd_answer_has_an_effect_on_the_outcome(daemon, receivers, raw):
    """Neither what HTTP knows nor what no server should say; most of them even name an end."""
    for name, reply in OTHER_TROUBLE.items():
        raw.script(f"/apis/dub/{name}", reply, reply, ended("SUCCESS"))
    made = await daemon(settings(camb=at(raw, timeout="500ms"), destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", *OTHER_TROUBLE)
    heard = await hear(receivers, *OTHER_TROUBLE)
    assert {data["task_id"]: data["status"] for data in heard} == dict.fromkeys(OTHER_TROUBLE, "SUCCESS")
    asked = {name: len(raw.at(f"/apis/dub/{name}")) for name in OTHER_TROUBLE}
    assert asked == dict.fromkeys(OTHER_TROUBLE, 3)
    assert raw.at("/elsewhere") == []


async def test_pauses_grow_while_camb_gives_no_answer(daemon, receivers, raw):
    """Each at least twice the one before, from the interval on, which is also the pause after an answer."""
    raw.script("/apis/dub/t", *[Reply(500)] * 4, PENDING, PENDING, ended())
    made = await daemon(settings(camb=at(raw), polling={"interval": "40ms"}, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    await hear(receivers, "t")
    times = [request.at_s for request in raw.requests]
    pauses = [later - earlier for earlier, later in pairwise(times)]
    for pause, least in zip(pauses, (0.04, 0.08, 0.16, 0.32, 0.04, 0.04), strict=True):
        assert pause >= least


async def test_a_longest_pause_holds(daemon, receivers, raw):
    """However long the trouble lasts, max_interval and its jitter are the end of it."""
    raw.script("/apis/dub/t", *[Reply(500)] * 12, ended())
    polling = {"interval": "20ms", "max_interval": "50ms"}
    made = await daemon(settings(camb=at(raw), polling=polling, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    await hear(receivers, "t", timeout_s=20 * 2**12 / 1000 / 4)  # a quarter of what unbounded doubling would take


@pytest.mark.parametrize("form", ["seconds", "date", "unix", "unix in milliseconds"])
async def test_a_retry_after_is_never_undercut(daemon, receivers, raw, form):
    """A 429 speaks for the whole account: neither this task nor any other is asked before."""
    asked_at = {}

    def wish():
        if form == "seconds":
            return "1"
        until = asked_at["until"] = ceil(time.time()) + 1
        date = format_datetime(datetime.fromtimestamp(until, UTC), usegmt=True)
        return {"date": date, "unix": str(until), "unix in milliseconds": f"{until}000"}[form]

    held = asyncio.Event()
    raw.script("/apis/dub/limited", Reply(429, b"", {"retry-after": wish()}, held=held), ended())
    raw.otherwise = PENDING
    made = await daemon(settings(camb=at(raw), destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "limited", "other")
    await raw.until(lambda: raw.at("/apis/dub/limited") and len(raw.at("/apis/dub/other")) > 2)
    loop = asyncio.get_running_loop()
    released_s = loop.time()
    held.set()
    await hear(receivers, "limited")
    until_s = released_s + 1 if form == "seconds" else asked_at["until"] - time.time() + loop.time()
    # One poll of the other may have been under way when the answer came in.
    early = [request.at_s for request in raw.requests if released_s + 0.3 < request.at_s < until_s]
    assert early == []
    assert raw.at("/apis/dub/limited")[1].at_s >= until_s


async def test_a_result_that_is_rate_limited_silences_the_account(daemon, receivers, raw):
    """The budget is one for polls and results, and so is Camb's patience."""
    raw.script("/apis/dub/t", ended("SUCCESS", 5))
    raw.script(
        "/apis/dub-result/5", Reply(429, b"", {"retry-after": "1"}), says({"audio_url": "https://cdn.example/a"})
    )
    raw.otherwise = PENDING
    made = await daemon(settings(camb=at(raw), destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "other")
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert data["result"] == {"audio_url": "https://cdn.example/a"}
    first, second = raw.at("/apis/dub-result/5")
    assert second.at_s - first.at_s >= 1
    assert [one for one in raw.requests if first.at_s + 0.3 < one.at_s < first.at_s + 1] == []


async def test_the_budget_holds_for_polls_and_results_together(daemon, receivers, raw):
    """At no instant have more requests come than the rate allows since the beginning, and what a burst may be."""
    per_second, tasks = 100, [str(number) for number in range(1, 41)]
    for number in tasks:
        raw.script(f"/apis/dub/{number}", PENDING, ended("SUCCESS", int(number)))
    raw.otherwise = says({})
    made = await daemon(
        settings(camb=at(raw, requests_per_second=per_second), destinations={"hook": hook(receivers, concurrency=64)})
    )
    begun_s = asyncio.get_running_loop().time()
    await watch(made.api, "dub", *tasks)
    await hear(receivers, *tasks)
    assert len(raw.requests) == 3 * len(tasks)
    for number, request in enumerate(raw.requests, 1):
        assert number <= per_second * (request.at_s - begun_s) + per_second / 10 + 1


async def test_so_many_requests_at_once_and_no_more(daemon, receivers):
    """`concurrency` holds for polls and results together."""
    async with Crowd().serve() as crowd:
        crowd.otherwise = ended("SUCCESS", 5, delay_s=0.02)
        made = await daemon(settings(camb=at(crowd, concurrency=3), destinations={"hook": hook(receivers)}))
        tasks = [str(number) for number in range(30)]
        await watch(made.api, "dub", *tasks)
        await hear(receivers, *tasks)
        assert crowd.most == 3


async def test_a_refused_key_pauses_its_account_alone(daemon, receivers, until, monkeypatch):
    """One loud line each, a reason in /readyz, and every task stays watched until the key is good again."""
    monkeypatch.setattr(
        "cambwatch.loops.polling.account_queue.PROBE_MIN_S", 1.0
    )  # five seconds would be no other promise
    async with Receivers().serve() as refusing, Receivers().serve() as forbidding, Receivers().serve() as healthy:
        refusing.otherwise = says({"error": "Invalid API key", "status": 401}, status=401)
        forbidding.otherwise = says({"detail": "no"}, status=403)
        healthy.otherwise = PENDING
        accounts = {
            "b": {"api_key": "other", "base_url": forbidding.url},
            "c": {"api_key": "x", "base_url": healthy.url},
        }
        made = await daemon(settings(camb=at(refusing, accounts=accounts), destinations={"hook": hook(receivers)}))
        with capture_logs() as logs:
            for account in ("default", "b", "c"):
                await watch(made.api, "dub", *(f"{account}-{number}" for number in range(10)), account=account)
            await until(lambda: refusing.requests and forbidding.requests)
            polls = len(healthy.requests)
            await healthy.until(lambda: len(healthy.requests) > polls + 50)  # five rounds: nobody disturbs it
            answer = await made.api.get("/readyz")
            asked = len(refusing.requests), len(forbidding.requests)
            assert max(asked) <= 20  # a 403 counts as the key's once every task has met it

            names = [f"{account}-{number}" for account in ("default", "b") for number in range(10)]
            assert {(await shown(made.api, "dub", name, name[:-2]))["status"] for name in names} == {"PENDING"}
            refusing.otherwise = forbidding.otherwise = ended("SUCCESS")
            assert {data["status"] for data in await hear(receivers, *names)} == {"SUCCESS"}
        assert (answer.status, answer.document["ready"]) == (503, False)
        assert [reason.partition(";")[0] for reason in answer.document["reasons"]] == [
            "account default: Camb refuses its API key (HTTP 401)",
            "account b: Camb refuses its API key (HTTP 403)",
        ]
        assert (await made.api.get("/readyz")).status == 200
        loud = sorted((line["event"], line["account"]) for line in logs if line["log_level"] == "error")
        assert loud == [("account.paused", "b"), ("account.paused", "default")]
        assert sorted(line["account"] for line in logs if line["event"] == "account.resumed") == ["b", "default"]


async def test_an_account_that_is_rate_limited_disturbs_no_other(daemon, receivers, raw):
    """Each has its own budget and its own silence."""
    async with Receivers().serve() as limiting:
        limiting.otherwise = Reply(429, b"", {"retry-after": "3600"})
        raw.otherwise = ended()
        accounts = {"b": {"api_key": "other", "base_url": limiting.url}}
        made = await daemon(settings(camb=at(raw, accounts=accounts), destinations={"hook": hook(receivers)}))
        await watch(made.api, "dub", "b", account="b")
        await limiting.until(lambda: limiting.requests)
        await watch(made.api, "dub", *"cdefgh")
        await hear(receivers, *"cdefgh")
        assert len(limiting.requests) == 1
        assert "b" not in told(receivers)
        readiness = await made.api.get("/readyz")
        assert readiness.status == 503
        assert [reason.partition(" for ")[0] for reason in readiness.document["reasons"]] == [
            "account b: Camb wants to be asked nothing"
        ]


async def test_a_camb_that_is_not_there_is_said_once_and_waited_for(daemon, receivers, until):
    """Refused connections for many tasks over many polls: one line when it is gone, one when it is back."""
    port = free_port()
    polling = {"max_interval": "100ms"}
    made = await daemon(
        settings(camb={"base_url": f"http://127.0.0.1:{port}"}, polling=polling, destinations={"hook": hook(receivers)})
    )
    with capture_logs() as logs:
        await watch(made.api, "dub", *"abcdef")

        async def each_was_tried_thrice():
            return all([(await shown(made.api, "dub", name))["polls"] >= 3 for name in "abcdef"])

        await until(each_was_tried_thrice)
        async with Receivers().serve(port) as back:
            back.otherwise = ended()
            assert {data["status"] for data in await hear(receivers, *"abcdef")} == {"ERROR"}
    said = [(line["event"], line["log_level"]) for line in logs if line["event"].startswith("camb.")]
    assert said == [("camb.unreachable", "warning"), ("camb.recovered", "info")]


async def test_a_name_that_does_not_resolve_is_waited_for(daemon, until):
    """A resolver in trouble says nothing about a task, and the log names the host."""
    made = await daemon(settings(camb={"base_url": "http://camb.invalid/apis", "timeout": "5s"}))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        await until(lambda: any(line["event"] == "camb.unreachable" for line in logs), 20)
    (line,) = [line for line in logs if line["event"] == "camb.unreachable"]
    assert line["reason"] == "camb.invalid cannot be resolved"
    assert (await shown(made.api, "dub", "t"))["status"] == "PENDING"


async def test_an_outage_over_the_deadline_ends_no_task_at_once(daemon, receivers, raw):
    """Where Camb gives no answer at the deadline it is asked once more, a tenth of that time later."""
    raw.script("/apis/dub/t", *[Reply(503)] * 3, ended("SUCCESS"))
    polling = {"interval": "10s", "max_interval": "10s", "deadline": "500ms"}
    made = await daemon(settings(camb=at(raw), polling=polling, destinations={"hook": hook(receivers)}))
    await watch(made.api, "dub", "t")
    (data,) = await hear(receivers, "t")
    assert (data["status"], data["polls"]) == ("EXPIRED", 3)
    assert "could not be asked" in data["message"]

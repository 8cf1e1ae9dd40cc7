"""The faults of the pretend Camb, as they arrive on the wire, and the shares by which they are drawn."""

import asyncio
import json
import re
from datetime import timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from simulated import KEY, NOON, Bench, HandClock, bench, served_bench  # noqa: F401

from cambwatch.simulator import Faults, SimulatedFault, Simulator
from cambwatch.simulator.faults import draw


async def raw_poll(camb: Bench, task_id: str) -> bytes:
    """Everything that comes back on a connection of its own until its end."""
    at = urlsplit(camb.base_url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        writer.write(f"GET /apis/tts/{task_id} HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()


async def arrival(camb: Bench, task_id: str, *, polls: int) -> None:
    """Wait until the simulator has seen that many polls of the task."""
    async with asyncio.timeout(10):
        while camb.simulator.polls[task_id] < polls:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.001)


async def test_a_reset_is_a_reset(camb):
    """RST, not FIN: the client's read fails instead of ending."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "reset"}])
    with pytest.raises(ConnectionResetError):
        await raw_poll(camb, "t")
    assert (await camb.get("/tts/t"))[1]["status"] == "SUCCESS"


async def test_a_truncated_answer_ends_before_its_length(camb):
    """The body is shorter than Content-Length says, and then the connection ends in order."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "truncated"}] * 2)
    head, body = (await raw_poll(camb, "t")).split(b"\r\n\r\n")
    assert len(body) < int(re.search(rb"Content-Length: (\d+)", head)[1])
    with pytest.raises(aiohttp.ClientPayloadError):
        await camb.get("/tts/t")


async def test_a_page_and_an_oversized_answer_are_200(camb):
    """Success by their status, useless by their content."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "html"}, {"fault": "oversized"}])
    async with camb.http.get(camb.base_url + "/tts/t") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
    async with camb.http.get(camb.base_url + "/tts/t") as answer:
        body = await answer.read()
        assert len(body) > 1 << 20
        assert json.loads(body) == {"status": "PENDING"}


async def test_a_slow_answer_is_right_but_late(camb):
    """The delay is at least what was asked for."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "slow", "seconds": 0.05}])
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await camb.get("/tts/t"))[1]["status"] == "SUCCESS"
    assert loop.time() - began >= 0.049


async def test_a_hanging_answer_comes_never_and_does_not_hinder_the_stop():
    """The client gives up, others are served meanwhile, and the server stops with an answer hanging."""
    async with asyncio.timeout(20):
        async with bench() as camb:
            replies = [{"fault": "hang", "seconds": 0.01}, {"fault": "hang"}, {"fault": "hang"}]
            camb.simulator.add_task("tts", "t", replies=replies)
            assert await raw_poll(camb, "t") == b""
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await raw_poll(camb, "t")
            hanging = asyncio.create_task(raw_poll(camb, "t"))
            await arrival(camb, "t", polls=3)
            assert (await camb.get("/tts/t"))[1]["status"] == "SUCCESS"
            assert not hanging.done()
        assert await hanging == b""


async def test_a_hanging_answer_ends_with_its_client(camb):
    """Nothing is left of it in the server."""
    camb.simulator.add_task("tts", "t", replies=[{"fault": "hang"}])
    before = len(asyncio.all_tasks())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await raw_poll(camb, "t")
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.001)


async def test_any_server_of_the_application_stops_at_once():
    """The default patience of aiohttp with answers under way, a minute, is not used up by one that hangs."""
    simulator = Simulator(clock=HandClock())
    simulator.add_task("tts", "t", replies=[{"fault": "hang"}])
    runner = web.AppRunner(simulator.application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(headers=KEY) as http:
        camb = Bench(simulator, HandClock(), f"http://127.0.0.1:{runner.addresses[0][1]}/apis", http)
        hanging = asyncio.create_task(raw_poll(camb, "t"))
        await arrival(camb, "t", polls=1)
        async with asyncio.timeout(20):
            await runner.cleanup()
        assert await hanging == b""


@pytest.mark.parametrize(
    ("form", "seconds", "expected"),
    [
        ("seconds", 3, "3"),
        ("seconds", 0.5, "0.5"),
        ("date", 3, "Sun, 22 Nov 2026 12:00:04 GMT"),
        ("seconds", None, None),
    ],
)
async def test_retry_after_in_both_forms(camb, form, seconds, expected):
    """A date is never earlier than the seconds, and at most one second later."""
    shares = {"rate_limited": 1, "retry_after_seconds": seconds, "retry_after_form": form}
    http_status, echoed = await camb.control("POST", "/faults", shares)
    assert (http_status, echoed["rate_limited"], echoed["retry_after_form"]) == (200, 1, form)
    camb.simulator.add_task("tts", "t")
    async with camb.http.get(camb.base_url + "/tts/t") as answer:
        assert answer.status == 429
        assert answer.headers.get("Retry-After") == expected
    if form == "date":
        wait = parsedate_to_datetime(expected) - NOON
        assert timedelta(seconds=3) <= wait < timedelta(seconds=4)
    camb.simulator.faults = Faults(server_error=1)
    assert (await camb.get("/tts/t"))[0] == 503


async def test_shares_are_kept_and_spare_everything_but_polls(camb):
    """About as many polls fail as were asked for; results never do."""
    camb.simulator.faults = Faults(rate_limited=0.3, unknown_word=0.2)
    camb.simulator.add_task("dub", "t", run_id=7)
    answers = [await camb.get("/dub/t") for _ in range(400)]
    limited = sum(http_status == 429 for http_status, _ in answers)
    strange = sum(document.get("status") == "REFRACTING" for _, document in answers)
    assert 90 <= limited <= 150  # five standard deviations of 400 draws would be 46
    assert 40 <= strange <= 120
    assert {(await camb.get("/dub-result/7"))[0] for _ in range(20)} == {200}


@given(st.lists(st.floats(0, 0.1), min_size=9, max_size=9), st.floats(0, 1, exclude_max=True))
def test_a_mishap_is_drawn_by_its_share(shares, chance):
    """The n-th share of [0, 1) belongs to the n-th mishap, what is left to none."""
    faults = Faults(**dict(zip(SimulatedFault, shares, strict=True)))
    drawn = draw(faults.shares(), chance=chance)
    if drawn is None:
        assert chance >= sum(shares) - 1e-9
    else:
        below = sum(shares[: list(SimulatedFault).index(drawn)])
        assert below - 1e-9 <= chance < below + getattr(faults, drawn) + 1e-9

"""Rate limits of receivers: how long they last, and that the first message afterwards goes alone."""

import asyncio
import time

import pytest
from events import HOOK, ended, hear, hook, settings, shown, watch
from receivers import Receivers, Reply
from structlog.testing import capture_logs

NAMES = [str(number) for number in range(12)]
LIMITED = Reply(429, b"", {"retry-after": "1"})


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


def laid(raw, **destinations):
    return settings(camb={"base_url": raw.url}, destinations=destinations)


class Gate:
    """Receiver replies that are held one by one: *open* lets the next go."""

    def __init__(self, count):
        self.events = [asyncio.Event() for _ in range(count)]
        self.replies = [Reply(held=event) for event in self.events]
        self.opened = 0

    def open(self):
        self.events[self.opened].set()
        self.opened += 1


async def come(made, receivers, count):
    """Wait for *count* requests in all; how many came by then and by the end of a round trip to the daemon."""
    await receivers.until(lambda: len(receivers.requests) >= count)
    await made.api.get("/healthz")  # in which another that was sent at once would arrive
    return len(receivers.requests)


async def test_after_a_rate_limit_the_first_goes_alone(daemon, receivers, raw):
    """Then two, three, and as many as the destination's concurrency."""
    gate = Gate(10)
    receivers.script(HOOK, LIMITED, LIMITED, LIMITED, LIMITED, *gate.replies, Reply())
    made = await daemon(laid(raw, hook=hook(receivers, concurrency=4)))
    await watch(made.api, "dub", *NAMES)
    await receivers.until(lambda: len(receivers.requests) == 4)
    arrived = [await come(made, receivers, 5)]
    for expected in (7, 9, 11, 12, 13):  # with each that is opened, its place is free and one is added, up to four
        gate.open()
        arrived.append(await come(made, receivers, expected))
    assert arrived == [5, 7, 9, 11, 12, 13]
    while gate.opened < len(gate.events):
        gate.open()
    await hear(receivers, *NAMES)


async def test_a_restart_in_a_rate_limit_begins_with_one_as_well(daemon, receivers, raw, until):
    """The pause and what follows it are known from the database."""
    gate = Gate(4)
    receivers.script(HOOK, LIMITED, *gate.replies, Reply())
    laid_out = laid(raw, hook=hook(receivers, concurrency=4))
    made = await daemon(laid_out)
    await watch(made.api, "dub", "t")

    async def is_paused():
        (one,) = (await made.api.get("/v1/destinations")).document["items"]
        return one["paused_until"]

    await until(is_paused)
    await watch(made.api, "dub", *NAMES)
    await made.stop()
    made = await daemon(laid_out)
    assert await come(made, receivers, 2) == 2
    gate.open()
    assert await come(made, receivers, 4) == 4
    while gate.opened < len(gate.events):
        gate.open()
    await hear(receivers, "t", *NAMES)


async def test_discords_milliseconds_do_not_silence_a_channel_for_hours(daemon, receivers, raw, until):
    """Its unversioned URL says Retry-After in milliseconds; the log says what was understood."""
    wish = {"retry-after": "1200", "x-ratelimit-reset-after": "1.2", "x-ratelimit-remaining": "0"}
    receivers.script(HOOK, Reply(429, b'{"retry_after": 1200}', wish), Reply(204, b""))
    team = hook(receivers) | {"type": "discord"}
    made = await daemon(laid(raw, team=team))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        await receivers.until(lambda: len(receivers.requests) == 2)
    first, second = receivers.requests
    assert second.at_s - first.at_s >= 1.2
    (line,) = [line for line in logs if line["event"] == "pause.interpreted"]
    assert {name: line[name] for name in ("destination", "raw", "seconds", "read_as", "log_level")} == {
        "destination": "team",
        "raw": "1200",
        "seconds": 1.2,
        "read_as": "reset_after",
        "log_level": "info",
    }


@pytest.mark.parametrize(("scale", "read_as"), [(1, "unix_seconds"), (1000, "unix_milliseconds")])
@pytest.mark.parametrize("kind", ["webhook", "slack"])
async def test_the_time_of_day_in_a_retry_after_is_not_a_number_of_seconds(
    daemon, receivers, raw, kind, scale, read_as
):
    """Else the destination would be left alone for a day."""
    at = int(time.time()) + 2
    receivers.script(HOOK, Reply(429, b"", {"retry-after": str(at * scale)}), Reply(200, b"ok"))
    made = await daemon(laid(raw, team=hook(receivers) | {"type": kind}))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")
        await receivers.until(lambda: len(receivers.requests) == 2)
    assert [line["read_as"] for line in logs if line["event"] == "pause.interpreted"] == [read_as]


async def test_a_pause_that_is_cut_to_a_day_is_a_warning(daemon, receivers, raw, until):
    """The operator needs the reason for a pause of hours."""
    receivers.script(HOOK, Reply(429, b"", {"retry-after": "100000"}), Reply())
    made = await daemon(laid(raw, hook=hook(receivers)))
    with capture_logs() as logs:
        await watch(made.api, "dub", "t")

        async def was_tried():
            (one,) = (await shown(made.api, "dub", "t"))["deliveries"] or [{"attempts": 0}]
            return one["attempts"]

        await until(was_tried)
    (line,) = [line for line in logs if line["event"] == "pause.interpreted"]
    assert (line["read_as"], line["seconds"], line["log_level"]) == ("capped", 86_400, "warning")

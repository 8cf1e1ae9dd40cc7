"""/metrics of a daemon that has had a busy time: everything is there, true, and what Prometheus understands."""

import time

import pytest
from events import ended, hear, hook, says, settings, watch
from processes import free_port
from receivers import Receivers, Reply
from scraped import FAMILIES, LABELS, promtool, scrape

from cambwatch.core.camb.kinds import KINDS
from cambwatch.core.model import Status
from cambwatch.web.api.metrics import CACHE_TTL_S

CANARIES = {
    "api_key": "CANARY-api-key",
    "token": "CANARY-token",
    "secret": "whsec_" + "CANARYsigning" * 3 + "A=",
    "header": "CANARY-header",
}
PRESIGNED = "https://cdn.example/CANARY-file.flac?X-Signature=CANARY-signature"
DOWN = {"retry": {"first": "50ms", "max": "50ms"}}


@pytest.fixture
async def camb():
    """A Camb that ends some tasks at once or after a while, refuses account b, and has PENDING for all others."""
    async with Receivers().serve() as raw:
        raw.otherwise = says({"status": "PENDING"})
        raw.base_url = raw.url
        pending = says({"status": "PENDING"})
        raw.script("/dub/CANARY-ok", pending, pending, ended("SUCCESS", 5))
        raw.script("/dub-result/5", says({"audio_url": PRESIGNED}))
        raw.script("/dub/CANARY-bad", pending, Reply(500), says({"status": "ERROR", "message": PRESIGNED}))
        raw.script("/tts/CANARY-paid", ended("PAYMENT_REQUIRED"))
        raw.script("/tts/CANARY-refused", says({"detail": "bad key"}, status=401))
        yield raw


@pytest.fixture
async def busy(daemon, camb, receivers, until):
    """A daemon, when all of that has happened, and has been told to those who take it."""
    receivers.script("/down/CANARY-path", Reply(500))
    destinations = {
        "good": hook(receivers, "/hook?token=CANARY-query", secret=CANARIES["secret"]),
        "down": hook(receivers, "/down/CANARY-path", **DOWN, headers={"authorization": CANARIES["header"]}),
        "refuses": hook(receivers, **DOWN) | {"url": f"http://127.0.0.1:{free_port()}/CANARY-path"},
        "idle": hook(receivers, "/idle"),
    }
    made = await daemon(
        settings(
            camb={"api_key": CANARIES["api_key"], "accounts": {"b": {"api_key": "CANARY-key-of-b"}}},
            destinations=destinations,
            routes=[{"notify": ["good", "down", "refuses"]}],
            http={"token": CANARIES["token"]},
        )
    )
    await watch(made.api, "dub", "CANARY-ok", "CANARY-bad", "CANARY-long", name="CANARY-name", labels={"CANARY": "x"})
    await watch(made.api, "text-to-speech", "CANARY-paid")
    await watch(made.api, "tts", "CANARY-refused", account="b")
    await hear(receivers, "CANARY-ok", "CANARY-bad", "CANARY-paid", path="/hook")

    async def is_over():
        items = {one["name"]: one for one in (await made.api.get("/v1/destinations")).document["items"]}
        down = {name for name, one in items.items() if one["breaker"] != "closed"}
        return down == {"down", "refuses"} and items["good"]["pending"] == 0  # what came was written down too

    await until(is_over)
    return made


async def test_everything_is_there_and_true(busy, camb):
    """Every family of the list and none besides; what was counted is what has happened."""
    page = await scrape(busy.api)
    assert {name: family.type for name, family in page.families.items()} == FAMILIES
    assert all(family.documentation.endswith((".", ".)")) for family in page.families.values())

    asked = sum(request.path.startswith("/dub/") for request in camb.requests)
    counted = page.total("polls_total", kind="dub")
    assert asked - 1 <= counted <= asked  # CANARY-long goes on
    assert page.value("polls_total", kind="dub", outcome="finished") == 2
    assert page.value("polls_total", kind="dub", outcome="server_error") == 1
    assert page.value("polls_total", kind="tts", outcome="finished") == 1
    assert page.total("polls_total", outcome="forbidden") >= 1
    for name in ("poll_lateness_seconds", "poll_duration_seconds"):
        polls = page.total(f"{name}_count", account="default") + page.total(f"{name}_count", account="b")
        assert polls == page.total("polls_total")
    assert 0 < page.value("poll_duration_seconds_sum", account="default") < 10

    statuses = {"SUCCESS": 1, "ERROR": 1, "PAYMENT_REQUIRED": 1, "PENDING": 2}
    assert {one.value: page.value("tasks", status=one) for one in Status} == dict.fromkeys(Status, 0) | statuses
    assert page.value("tasks_watched") == 2
    assert page.value("tasks_concluded_total", kind="dub", status="SUCCESS") == 1
    assert page.value("tasks_concluded_total", kind="tts", status="PAYMENT_REQUIRED") == 1
    assert page.value("detection_delay_seconds_count", kind="dub") == 2
    assert 0.02 < page.value("detection_delay_seconds_sum", kind="dub") < 10  # pending at least once, every 50 ms

    assert page.value("account_paused", account="b") == 1
    assert page.value("account_paused", account="default") == 0
    assert page.value("account_retry_after_seconds", account="b") > 0
    assert page.value("account_budget_limited", account="default") == 0
    assert 1 <= page.value("account_budget_left_requests", account="default") <= 100
    assert page.value("account_budget_ratio", account="default") == 1


async def test_what_is_owed_and_how_destinations_fare(busy):
    """By destination; of one that was never owed anything too."""
    page = await scrape(busy.api)
    good = page.value("deliveries_total", destination="good", outcome="delivered")
    assert good == 3
    assert page.value("delivery_attempts_total", destination="good", outcome="accepted") == good
    assert page.value("delivery_delay_seconds_count", destination="good") == good
    assert page.value("delivery_duration_seconds_count", destination="good") == good
    assert page.value("delivery_attempts_total", destination="down", outcome="transient") >= 5
    assert page.value("deliveries_total", destination="down", outcome="delivered") == 0
    for name in ("down", "refuses"):
        assert page.value("deliveries_pending", destination=name) == 3
        assert page.value("deliveries_oldest_pending_age_seconds", destination=name) > 0
        assert page.value("breaker_state", destination=name, state="closed") == 0
    for name in ("good", "idle"):
        assert page.value("deliveries_pending", destination=name) == 0
        assert page.value("deliveries_oldest_pending_age_seconds", destination=name) == 0
        assert page.value("breaker_state", destination=name, state="closed") == 1
        assert page.value("deliveries_total", destination=name, outcome="dead") == 0
    assert page.total("breaker_state") == 4  # each is in one state
    assert page.value("database_trouble") == 0
    assert page.value("database_write_duration_seconds_count") > 5
    assert page.value("database_read_duration_seconds_count") > 5
    assert page.value("database_size_bytes") > 4096
    assert 0 < page.value("filesystem_free_bytes") < page.value("filesystem_size_bytes")


async def test_promtool_is_content(busy):
    """Names, units, help and form are as Prometheus has them."""
    page = await scrape(busy.api)
    assert promtool("check", "metrics", standard_input=page.text) == ""


async def test_labels_are_few_and_no_secret_is_among_them(busy):
    """Nor a task, a group, a name or a URL; the number of series depends on the configuration alone."""
    page = await scrape(busy.api)
    assert "CANARY" not in page.text
    assert "://" not in page.text
    values = {}
    for family in page.families.values():
        for sample in family.samples:
            for name, value in sample.labels.items():
                values.setdefault(name, set()).add(value)
    assert values.keys() == LABELS
    assert values["kind"] <= KINDS.keys()
    assert values["account"] == {"default", "b"}
    assert values["destination"] == {"good", "down", "refuses", "idle"}


async def test_it_is_asked_for_like_everything_else(busy):
    """With the token, by GET or HEAD; as plain text with the version of the format."""
    answer = await busy.api.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert (await busy.api.ask("HEAD", "/metrics")).body == b""
    assert (await busy.api.get("/metrics?name=x")).status == 422
    without = await busy.api.get("/metrics", headers={"authorization": "Bearer CANARY"})
    assert without.status == 401


async def test_the_database_is_not_asked_for_each_scrape(daemon):
    """What a scrape has read is shown again for a few seconds, so that no crowd of scrapers can wear it out."""
    made = await daemon()  # with nothing to do, and nobody else that reads
    began_s = time.monotonic()
    pages = [await scrape(made.api) for _ in range(5)]
    readings = 1 + (time.monotonic() - began_s) // CACHE_TTL_S
    reads = [page.value("database_read_duration_seconds_count") for page in pages]
    assert reads[-1] - reads[0] < readings

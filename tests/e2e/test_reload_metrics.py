"""SIGHUP and /metrics: what is counted goes on, and begins anew only with the process."""

import pytest
from events import ended, hear, hook, watch
from receivers import Receivers
from scraped import scrape
from test_reload import laid, reload


@pytest.fixture
async def raw():
    """A Camb for which every task has ended in an error, so that no result is to be fetched."""
    async with Receivers().serve() as made:
        made.otherwise = ended()
        yield made


async def test_a_reload_resets_no_counter(process, receivers, raw, until):
    """Nor the start of the process; what the new file has is there as 0, what it lacks keeps its counts."""
    made = await process(laid(raw, old=hook(receivers, "/old")))
    await watch(made.api, "dub", "before")
    await hear(receivers, "before", path="/old")
    await until(lambda: delivered(made, "old"))
    before = await scrape(made.api)
    made.change(destinations={"new": hook(receivers, "/new")})
    await reload(made, until)
    after = await scrape(made.api)
    counting = [
        (sample.name, sample.labels)
        for family in before.families.values()
        if family.type in {"counter", "histogram"}
        for sample in family.samples
        if sample.name.startswith("cambwatch_")
    ]
    assert {name for name, labels in counting if went_back(name, labels, before, after)} == set()
    (started,), (still,) = (page.families["process_start_time_seconds"].samples for page in (before, after))
    assert still.value == started.value
    assert after.value("deliveries_total", destination="new", outcome="delivered") == 0
    await watch(made.api, "dub", "after")
    await hear(receivers, "after", path="/new")
    await until(lambda: delivered(made, "new"))
    assert await delivered(made, "old")
    assert await made.stop() == 0


def went_back(name, labels, before, after):
    """Whether a sample is less than it was, or gone."""
    short = name.removeprefix("cambwatch_")
    return after.total(short, **labels) < before.total(short, **labels)


async def delivered(made, destination):
    page = await scrape(made.api)
    return page.value("deliveries_total", destination=destination, outcome="delivered") == 1

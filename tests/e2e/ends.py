"""What became of tasks that several nodes shared."""

from collections import Counter
from collections.abc import Sequence

from events import hear, ids_of, told, watch
from processes import Process
from receivers import Receivers

from postgres_server import fetch

CONCURRENCY = 4  # of a destination, by default


async def ended_once(back: Process, url: str, camb, receivers: Receivers, tasks: Sequence[str]) -> None:
    """
    The node *back*, which was away while *tasks* ended, is one as before, and what it was at counts no more.

    Each task ended once, by the database at *url*; what came twice at /hook or /other is
    at most what *back* had under way when it went.
    """
    another = camb.add("dub", status="ERROR")
    await watch(back.api, "dub", another)
    await hear(receivers, another)
    await hear(receivers, another, path="/other")
    (ends,) = await fetch(url, "SELECT count(*) AS ends, count(DISTINCT task) AS tasks FROM events")
    assert (ends["ends"], ends["tasks"]) == (len(tasks) + 1, len(tasks) + 1)
    doubled = [one for one, times in Counter(ids_of(receivers.requests)).items() if times > 1]
    assert len(doubled) <= 2 * CONCURRENCY
    assert told(receivers).keys() == {*tasks, another}

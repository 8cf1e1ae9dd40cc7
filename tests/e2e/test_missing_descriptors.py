"""`cambwatch run` started without some of its standard streams, as in `run 2>&-` or by a careless supervisor."""

from itertools import combinations
from pathlib import Path

import pytest
from events import hear, hook, settings, watch

CLOSED = {0: "0<&-", 1: "1>&-", 2: "2>&-"}
COMBINATIONS = [missing for count in (1, 2, 3) for missing in combinations(CLOSED, count)]


@pytest.mark.parametrize("missing", COMBINATIONS, ids=lambda missing: "".join(map(str, missing)))
async def test_run_without_standard_streams_polls_and_delivers(process, camb, receivers, missing):
    made = await process(settings(destinations={"hook": hook(receivers, "/hook")}), ready=None)
    await made.start(script="exec {run} " + " ".join(CLOSED[number] for number in missing))
    for number in range(3):
        leads_to = str(Path(f"/proc/{made.pid}/fd/{number}").readlink())
        assert leads_to == ("/dev/null" if number in {0, *missing} else str(made.log))
    camb.add("dub", "a", after_seconds=0)
    await watch(made.api, "dub", "a")
    await hear(receivers, "a", path="/hook")
    assert await made.stop() == 0
    assert bool(made.said("service.stopped")) == (2 not in missing)
    assert (made.config.parent / "cambwatch.db").read_bytes().startswith(b"SQLite format 3\0")

"""Which configuration is next, where several have come in the meantime."""

import asyncio
from pathlib import Path

import pytest

from cambwatch.app.process import _newest_change
from cambwatch.config import loads
from cambwatch.config.load import ConfigChange

CONFIGS = [
    loads(f"camb: {{api_key: {name}}}\n".encode(), file="it.yaml", folder=Path(), environ={}).config for name in "ab"
]


@pytest.mark.parametrize("tell", [(True, False), (False, True), (True, True), (False, False)])
async def test_the_newest_holds_and_the_others_are_told_of_it_if_they_are_to_be_of_any(tell: tuple[bool, bool]) -> None:
    """Also where another node's news came behind a SIGHUP."""
    changes: asyncio.Queue[ConfigChange] = asyncio.Queue()
    for config, one in zip(CONFIGS, tell, strict=True):
        changes.put_nowait(ConfigChange(config, reload_others=one))
    assert await _newest_change(asyncio.Event(), changes) == ConfigChange(CONFIGS[1], reload_others=any(tell))


async def test_who_is_told_to_stop_changes_nothing_more() -> None:
    """Even if there is something to change."""
    stop, changes = asyncio.Event(), asyncio.Queue[ConfigChange]()
    changes.put_nowait(ConfigChange(CONFIGS[0]))
    stop.set()
    assert await _newest_change(stop, changes) is None

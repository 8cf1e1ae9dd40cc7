"""What holds for all tests."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

PATIENCE_S = 20.0  # for what takes a moment, also on a machine that is far too busy

# A deadline for each example would be a timing bar, and a busy machine would fail it.
settings.register_profile(
    "cambwatch", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True, max_examples=60
)
settings.register_profile("thorough", settings.get_profile("cambwatch"), max_examples=1000)  # for a night
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "cambwatch"))


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """Waits for a condition that no event tells of; *predicate* may be a coroutine function."""
    return _until


async def _until(predicate: Callable[[], Any], timeout_s: float = PATIENCE_S) -> None:
    until_s = time.monotonic() + timeout_s
    while True:
        held = predicate()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return
        if time.monotonic() > until_s:
            raise TimeoutError(f"it did not come to hold within {timeout_s} s")
        await asyncio.sleep(0.005)

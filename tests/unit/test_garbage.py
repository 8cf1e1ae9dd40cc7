"""Collecting garbage takes no more than its share of the time."""

import pytest

from cambwatch.loops.garbage_collection import MIN_PAUSE_S, PAUSE_FACTOR, collect_garbage


class Clock:
    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.mark.parametrize(("took_s", "pause_s"), [(0.001, MIN_PAUSE_S), (0.5, 0.5 * PAUSE_FACTOR)])
async def test_the_longer_a_collection_takes_the_rarer_it_is(took_s: float, pause_s: float) -> None:
    clock = Clock()

    def collect() -> int:
        clock.now_s += took_s
        return 0

    assert await collect_garbage(clock, collect=collect) == pytest.approx(pause_s)

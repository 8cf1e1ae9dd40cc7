"""A look for garbage takes no more than its share of the time."""

import asyncio
from itertools import pairwise

import pytest

from cambwatch.loops.garbage_collection import MIN_PAUSE_S, PAUSE_FACTOR, GarbageCollection


class Clock:
    """Goes on when a look takes its time, and when the loop waits."""

    now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Wakeup:
    """Rings at once, and early every other time, as an alarm may."""

    def __init__(self, clock: Clock, wakeup_event: asyncio.Event) -> None:
        self.clock, self.wakeup_event = clock, wakeup_event
        self.early = False

    def set(self, pause_s: float) -> None:
        self.early = not self.early
        self.clock.now_s += pause_s / 2 if self.early else pause_s
        self.wakeup_event.set()


@pytest.mark.parametrize(("takes_s", "pause_s"), [(0.001, MIN_PAUSE_S), (0.5, 0.5 * PAUSE_FACTOR)])
async def test_the_longer_a_look_takes_the_more_seldom_it_is_made(takes_s: float, pause_s: float) -> None:
    """The first time after a while; a loop that is woken too early waits on."""
    clock, wakeup_event, looks = Clock(), asyncio.Event(), []

    def collect() -> int:
        looks.append(clock.now_s)
        clock.now_s += takes_s
        if len(looks) == 4:
            garbage.stop()
        return 0

    garbage = GarbageCollection(
        clock=clock, wakeup_event=wakeup_event, wakeup=Wakeup(clock, wakeup_event), collect=collect
    )
    async with asyncio.timeout(5):
        await garbage.run()
    pauses = [after - before for before, after in pairwise(looks)]
    assert looks[0] == 1000 + MIN_PAUSE_S
    assert pauses == pytest.approx([pause_s + takes_s] * 3)

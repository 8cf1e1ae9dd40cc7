"""One time limit for many blocks, with one timer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cambwatch.adapters.camb import RESOLUTION_S, PooledTimeout, TimeoutPool

LIMIT_S = 0.05
LONG_S = 30.0


@pytest.fixture
async def timeouts() -> AsyncIterator[TimeoutPool]:
    made = TimeoutPool(LIMIT_S)
    yield made
    made.close()


async def held(timeouts: TimeoutPool) -> float:
    """The seconds after which a block that would never end is cut."""
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    with pytest.raises(TimeoutError), PooledTimeout(timeouts):
        await asyncio.sleep(LONG_S)
    return loop.time() - begun_s


async def test_what_never_ends_is_cut_at_its_limit(timeouts: TimeoutPool) -> None:
    """Each at its own, whenever it began."""
    first = asyncio.create_task(held(timeouts))
    await asyncio.sleep(LIMIT_S / 2)
    later = [asyncio.create_task(held(timeouts)) for _ in range(3)]
    for took_s in await asyncio.gather(first, *later):
        assert took_s >= LIMIT_S - 2 * RESOLUTION_S


async def test_what_comes_after_a_quiet_time_is_cut_as_well(timeouts: TimeoutPool) -> None:
    """The timer of those before has rung for nobody."""
    with PooledTimeout(timeouts):
        pass
    await asyncio.sleep(2 * LIMIT_S)
    assert await held(timeouts) >= LIMIT_S - 2 * RESOLUTION_S


async def test_what_ends_in_time_is_left_alone(timeouts: TimeoutPool) -> None:
    """However many blocks of one task come after another."""
    for _ in range(100):
        with PooledTimeout(timeouts):
            await asyncio.sleep(0)
    await asyncio.sleep(2 * LIMIT_S)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_of_the_block_is_its_own(timeouts: TimeoutPool) -> None:
    """And is not taken for a timeout."""
    with pytest.raises(KeyError), PooledTimeout(timeouts):
        raise KeyError("a bug")


async def test_a_task_that_somebody_cancels_is_cancelled(timeouts: TimeoutPool) -> None:
    """Not late, even where its time runs out in the same breath."""
    inside = asyncio.Event()

    async def wait() -> None:
        with PooledTimeout(timeouts):
            inside.set()
            await asyncio.sleep(LONG_S)

    task = asyncio.create_task(wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    both = asyncio.create_task(wait())
    block = next(iter(await _under_way(timeouts, 1)))
    both.cancel()
    block.cancel_task()
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_a_task_goes_on_after_it_was_cut(timeouts: TimeoutPool) -> None:
    """The cancellation was ours and is taken back."""
    await held(timeouts)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_thousands_at_once_are_one_timer(timeouts: TimeoutPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what it is for."""
    loop, set_timers = asyncio.get_running_loop(), []
    call_at = loop.call_at
    monkeypatch.setattr(loop, "call_at", lambda *args, **more: set_timers.append(args[0]) or call_at(*args, **more))
    for _ in range(1000):
        with PooledTimeout(timeouts):
            pass
    assert len(set_timers) <= 1 + 1  # a slow machine may take longer than the limit


async def _under_way(timeouts: TimeoutPool, count: int) -> list[PooledTimeout]:
    async with asyncio.timeout(LONG_S):
        while len(timeouts._active) < count:  # noqa: ASYNC110 - a plain dict has no event
            await asyncio.sleep(0)
    return list(timeouts._active)

"""Who waits for the end of a task hears of it."""

import asyncio

from task_samples import pending

from cambwatch.loops.polling.conclusion import TaskWaiters


async def test_who_waits_is_told() -> None:
    """All of them, and of this task only."""
    task_waiters = TaskWaiters()
    first, second, other = task_waiters.wait_for(1), task_waiters.wait_for(1), task_waiters.wait_for(2)
    task_waiters.wake(pending(number=1))
    await asyncio.gather(first, second)
    assert not other.done()
    other.cancel()


async def test_an_end_is_told_from_the_call_on() -> None:
    """Before anybody has begun to wait for the future."""
    task_waiters = TaskWaiters()
    future = task_waiters.wait_for(1)
    task_waiters.wake(pending(number=1))
    assert future.done()


async def test_what_ended_before_is_not_told() -> None:
    """The store knows of that."""
    task_waiters = TaskWaiters()
    task_waiters.wake(pending(number=1))
    future = task_waiters.wait_for(1)
    assert not future.done()
    future.cancel()


async def test_nobody_is_told_twice() -> None:
    """A task may be watched anew, and end again."""
    task_waiters = TaskWaiters()
    first = task_waiters.wait_for(1)
    task_waiters.wake(pending(number=1))
    task_waiters.wake(pending(number=1))
    second = task_waiters.wait_for(1)
    task_waiters.wake(pending(number=1))
    await asyncio.gather(first, second)


async def test_who_waits_no_more_takes_nobody_along() -> None:
    """One who gives up does not end the wait of another."""
    task_waiters = TaskWaiters()
    gone, stays = task_waiters.wait_for(1), task_waiters.wait_for(1)
    gone.cancel()
    task_waiters.wake(pending(number=1))
    await stays
    assert gone.cancelled()


async def test_a_newcomer_is_not_forgotten_with_the_last_who_left() -> None:
    """Though both happen before the loop comes round."""
    task_waiters = TaskWaiters()
    task_waiters.wait_for(1).cancel()
    newcomer = task_waiters.wait_for(1)
    await asyncio.sleep(0)  # lets the callbacks of the cancelled one run
    task_waiters.wake(pending(number=1))
    await newcomer


async def test_at_the_end_everybody_is_woken() -> None:
    """Whatever they wait for."""
    task_waiters = TaskWaiters()
    futures = [task_waiters.wait_for(number) for number in (1, 1, 2, 3)]
    task_waiters.wake_all()
    await asyncio.gather(*futures)


async def test_nothing_is_kept_of_those_who_left() -> None:
    """Told or cancelled, they cost no memory."""
    task_waiters = TaskWaiters()
    on_finished, cancelled = task_waiters.wait_for(1), task_waiters.wait_for(2)
    task_waiters.wake(pending(number=1))
    cancelled.cancel()
    await asyncio.wait([on_finished, cancelled])
    await asyncio.sleep(0)  # lets their callbacks run
    assert task_waiters._waiting == {}


async def test_who_asks_after_the_last_word_does_not_wait() -> None:
    """A daemon that stops tells everybody to look once more, also those who come a moment later."""
    task_waiters = TaskWaiters()
    task_waiters.wake_all()

    assert task_waiters.wait_for(1).done()

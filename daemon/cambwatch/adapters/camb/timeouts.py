"""One time limit for many things that are under way at once, with one timer for all of them."""

import asyncio
from types import TracebackType

RESOLUTION_S = 0.005  # limits that run out so close together are one wake-up


class TimeoutPool:
    """
    Gives each thing that is begun *limit_s* seconds.

    All have the same limit, so they reach it in the order in which they began, and only
    the first needs a timer of the event loop. Thousands a second then cost hardly one.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._active: dict[PooledTimeout, None] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Cut nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def add(self, timeout: "PooledTimeout", loop: asyncio.AbstractEventLoop) -> None:
        """*timeout* is under way from now on."""
        self._active[timeout] = None
        if self._timer is None:
            self._timer = loop.call_at(timeout.expires_at_s, self._cancel_expired, loop)

    def remove(self, timeout: "PooledTimeout") -> None:
        """*timeout* is over."""
        self._active.pop(timeout, None)

    def _cancel_expired(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        expires_at_s = loop.time() + RESOLUTION_S
        while self._active:
            first = next(iter(self._active))
            if (
                first.expires_at_s > expires_at_s
            ):  # what was under way when the timer was set has come to its end meanwhile
                self._timer = loop.call_at(first.expires_at_s, self._cancel_expired, loop)
                return
            del self._active[first]
            first.cancel_task()


class PooledTimeout:
    """A block, for `with`, once: TimeoutError out of it where it takes too long, as out of asyncio.timeout()."""

    __slots__ = ("_cancelling", "_expired", "_task", "_timeouts", "expires_at_s")

    def __init__(self, timeouts: TimeoutPool) -> None:
        self._timeouts = timeouts
        self._expired = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("there is no task that could be cut")
        self._task, self._cancelling = task, task.cancelling()
        self.expires_at_s = loop.time() + self._timeouts.limit_s
        self._timeouts.add(self, loop)

    def cancel_task(self) -> None:
        """Its time is over."""
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._expired:
            self._timeouts.remove(self)
        # Where somebody else has cancelled the task as well, it is theirs to say what follows.
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

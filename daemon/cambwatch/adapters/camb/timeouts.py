"""One time limit for many things that are under way at once, with one timer for all of them."""

import asyncio
from types import TracebackType

GRAIN_S = 0.005  # limits that run out so close together are one wake-up


class Timeouts:
    """
    Gives each thing that is begun *limit_s* seconds.

    All have the same limit, so they reach it in the order in which they began, and only
    the first needs a timer of the event loop. Thousands a second then cost hardly one.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._under_way: dict[Timeout, None] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Cut nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def entered(self, block: "Timeout", loop: asyncio.AbstractEventLoop) -> None:
        """*block* is under way from now on."""
        self._under_way[block] = None
        if self._timer is None:
            self._timer = loop.call_at(block.until_s, self._cut_late, loop)

    def left(self, block: "Timeout") -> None:
        """*block* is over."""
        self._under_way.pop(block, None)

    def _cut_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        until_s = loop.time() + GRAIN_S
        while self._under_way:
            first = next(iter(self._under_way))
            if first.until_s > until_s:  # what was under way when the timer was set has come to its end meanwhile
                self._timer = loop.call_at(first.until_s, self._cut_late, loop)
                return
            del self._under_way[first]
            first.cut()


class Timeout:
    """A block, for `with`, once: TimeoutError out of it where it takes too long, as out of asyncio.timeout()."""

    __slots__ = ("_cancelling", "_late", "_task", "_timeouts", "until_s")

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._late = False

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("there is no task that could be cut")
        self._task, self._cancelling = task, task.cancelling()
        self.until_s = loop.time() + self._timeouts.limit_s
        self._timeouts.entered(self, loop)

    def cut(self) -> None:
        """Its time is over."""
        self._late = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._late:
            self._timeouts.left(self)
        # Where somebody else has cancelled the task as well, it is theirs to say what follows.
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

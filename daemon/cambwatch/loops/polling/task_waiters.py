"""Who waits here for the end of a task."""

import asyncio
from collections.abc import Callable

from cambwatch.core.model import Task


class Endings:
    """Tells those who wait, within this process, that a task ended."""

    def __init__(self, *, told: Callable[[int], None] = lambda _: None) -> None:
        """*told* hears the id of each task whose end is told here."""
        self._told = told
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        self._over = False

    def expect(self, number: int) -> asyncio.Future[None]:
        """
        A future that is done when the task with the id *number* ends, from this call on.

        Cancel it when nobody waits any more. Ask the store after this call, not
        before: an end between the two would be missed.
        """
        future = asyncio.get_running_loop().create_future()
        if self._over:
            future.set_result(None)
            return future
        waiting = self._waiting.setdefault(number, set())
        waiting.add(future)

        def forget(_: asyncio.Future[None]) -> None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[number]

        future.add_done_callback(forget)
        return future

    def tell(self, task: Task) -> None:
        """*task* has ended, and that is committed."""
        self.tell_here(task.id)
        self._told(task.id)

    def tell_here(self, number: int) -> None:
        """The task with the id *number* has ended, as was told elsewhere."""
        for future in tuple(self._waiting.get(number, ())):
            if not future.done():
                future.set_result(None)

    def tell_all(self) -> None:
        """Nothing more will be told, now or later: whoever waits should look once more."""
        self._over = True
        for waiting in tuple(self._waiting.values()):
            for future in tuple(waiting):
                if not future.done():
                    future.set_result(None)

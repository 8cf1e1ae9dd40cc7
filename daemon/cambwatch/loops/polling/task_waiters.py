"""Who waits here for the end of a task."""

import asyncio
from collections.abc import Callable

from cambwatch.core.model import Task


class TaskWaiters:
    """Tells those who wait, within this process, that a task ended."""

    def __init__(self, *, on_finished: Callable[[int], None] = lambda _: None) -> None:
        """*on_finished* hears the id of each task whose end is told here."""
        self._on_finished = on_finished
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        self._closed = False

    def wait_for(self, row_id: int) -> asyncio.Future[None]:
        """
        A future that is done when the task with the id *row_id* ends, from this call on.

        Cancel it when nobody waits any more. Ask the store after this call, not
        before: an end between the two would be missed.
        """
        future = asyncio.get_running_loop().create_future()
        if self._closed:
            future.set_result(None)
            return future
        waiting = self._waiting.setdefault(row_id, set())
        waiting.add(future)

        def remove(_: asyncio.Future[None]) -> None:
            waiting.discard(future)
            if not waiting:
                del self._waiting[row_id]

        future.add_done_callback(remove)
        return future

    def wake(self, task: Task) -> None:
        """*task* has ended, and that is committed."""
        self.wake_local(task.id)
        self._on_finished(task.id)

    def wake_local(self, row_id: int) -> None:
        """The task with the id *row_id* has ended, as was told elsewhere."""
        for future in tuple(self._waiting.get(row_id, ())):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        """Nothing more will be told, now or later: whoever waits should look once more."""
        self._closed = True
        for waiting in tuple(self._waiting.values()):
            for future in tuple(waiting):
                if not future.done():
                    future.set_result(None)

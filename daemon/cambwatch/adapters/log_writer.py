"""Where log lines go: a thread writes them, so that a reader that stops reading stops nothing else."""

import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

MOST_BYTES = 4 << 20  # of lines that wait to be written
BATCH_BYTES = 1 << 16  # written by one call; as much as a pipe holds
FINISH_S = 2.0  # for the last lines, when the process exits
POLL_MS = 1000  # how often a thread that waits for the reader looks whether it has gone


class LineWriter(io.TextIOBase):
    """
    A text stream in front of *stream*, to be used in its place: a thread writes what it is given, in that order.

    write() neither waits nor raises. Lines that find more than *most_bytes* waiting are
    dropped, until half of those are written; so are lines that cannot be written, because
    the reader has gone or the disk is full. As soon as lines arrive again, *report* is
    called with the number of those that did not, by the thread. On a terminal lines have
    its encoding, elsewhere UTF-8.
    """

    def __init__(self, stream: TextIO, *, report: Callable[[int], None], most_bytes: int = MOST_BYTES) -> None:
        self._stream = stream
        self._handle = stream.fileno()
        self._encoding = stream.encoding if stream.isatty() else "utf-8"
        self._report = report
        self._most_bytes = most_bytes
        self._changed = threading.Condition(threading.Lock())  # guards everything below
        self._waiting: deque[bytes] = deque()
        self._held_bytes = 0  # of what waits, and of what is being written
        self._full = False  # until half of what waits is written
        self._finishing = False
        self._finished = False
        self._dropped = 0
        self._unreported = 0
        self._torn = False  # only the thread's: the last line was written in part
        # A daemon thread, because one that waits for its reader must not keep the process.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        return self._dropped

    @property
    def encoding(self) -> str:  # type: ignore[override] # the base class has a variable
        return self._encoding

    def fileno(self) -> int:
        return self._handle

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        data = text.encode(self._encoding, "backslashreplace")
        with self._changed:
            if self._finished or len(data) > self._most_bytes:
                self._drop(data)
            elif self._full or self._held_bytes + len(data) > self._most_bytes:
                self._full = True
                self._drop(data)
            else:
                self._waiting.append(data)
                self._held_bytes += len(data)
                self._changed.notify()
        return len(text)

    def finish(self, within_s: float = FINISH_S) -> bool:
        """Write what waits, for at most *within_s*; returns whether all was written. Later lines are dropped."""
        with self._changed:
            self._finishing = True
            self._changed.notify()
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self._dropped += lines
        self._unreported += lines

    def _run(self) -> None:
        while batch := self._next():
            left = self._put(batch)
            with self._changed:
                self._held_bytes -= len(batch)
                self._drop(left)
                if self._held_bytes > self._most_bytes // 2:
                    continue
                self._full = False
                lost = 0 if left else self._unreported
                self._unreported -= lost
            if lost:
                self._report(lost)

    def _next(self) -> bytes:
        """What to write next, as soon as there is something; nothing: that was all."""
        with self._changed:
            while not self._waiting and not self._finishing:
                self._changed.wait()
            batch = bytearray()
            while self._waiting and len(batch) < BATCH_BYTES:
                batch += self._waiting.popleft()
            self._finished = not batch
            return bytes(batch)

    def _put(self, data: bytes) -> bytes:
        """Write *data*; returns what could not be written."""
        left = data
        try:
            if self._torn:
                self._wait_and_write(b"\n")
                self._torn = False
            while left:
                left = left[self._wait_and_write(left) :]
        except OSError:
            self._torn = self._torn or (0 < len(left) < len(data) and data[-len(left) - 1] != ord("\n"))
        return left

    def _wait_and_write(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self._handle, data)
            except BlockingIOError:  # another process that has the same pipe or terminal made it so
                ready = select.poll()
                ready.register(self._handle, select.POLLOUT)
                ready.poll(POLL_MS)

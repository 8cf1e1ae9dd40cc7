"""Writes log lines in a thread, so that a log reader that stops reading does not block the daemon."""

import io
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TextIO

MOST_BYTES = 4 << 20  # buffered
BATCH_BYTES = 1 << 16  # per write; the capacity of a pipe
FINISH_S = 2.0  # for the last lines, when the process exits
POLL_MS = 1000  # how often the thread checks whether the reader has gone


class LineWriter(io.TextIOBase):
    """
    A text stream that replaces *stream*: a thread writes the lines to it, in order.

    write() neither blocks nor raises. When *most_bytes* are buffered, new lines are dropped
    until half of the buffer is written. Lines that cannot be written are dropped as well,
    because the reader has gone or the disk is full. When lines can be written again, the
    thread calls *report* with the number of dropped lines. The encoding is that of the
    terminal, or UTF-8 if *stream* is not a terminal.
    """

    def __init__(self, stream: TextIO, *, report: Callable[[int], None], most_bytes: int = MOST_BYTES) -> None:
        self._stream = stream
        self._handle = stream.fileno()
        self._encoding = stream.encoding if stream.isatty() else "utf-8"
        self._report = report
        self._most_bytes = most_bytes
        self._condition = threading.Condition(threading.Lock())  # guards everything below
        self._buffer: deque[bytes] = deque()
        self._buffered_bytes = 0  # buffered, and being written
        self._full = False  # drop lines until half of the buffer is written
        self._finishing = False
        self._finished = False
        self._dropped = 0
        self._unreported = 0
        self._line_incomplete = False  # used by the thread only: the last line was written in part
        # A daemon thread: one that waits for the log reader must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """The number of dropped lines."""
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
        with self._condition:
            if self._finished or len(data) > self._most_bytes:
                self._drop(data)
            elif self._full or self._buffered_bytes + len(data) > self._most_bytes:
                self._full = True
                self._drop(data)
            else:
                self._buffer.append(data)
                self._buffered_bytes += len(data)
                self._condition.notify()
        return len(text)

    def finish(self, within_s: float = FINISH_S) -> bool:
        """Write the buffered lines within *within_s*; returns whether all were written. Drops later lines."""
        with self._condition:
            self._finishing = True
            self._condition.notify()
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self._dropped += lines
        self._unreported += lines

    def _run(self) -> None:
        while batch := self._next_batch():
            unwritten = self._write_all(batch)
            with self._condition:
                self._buffered_bytes -= len(batch)
                self._drop(unwritten)
                if self._buffered_bytes > self._most_bytes // 2:
                    continue
                self._full = False
                unreported = 0 if unwritten else self._unreported
                self._unreported -= unreported
            if unreported:
                self._report(unreported)

    def _next_batch(self) -> bytes:
        """Wait for the next batch; empty at the end."""
        with self._condition:
            while not self._buffer and not self._finishing:
                self._condition.wait()
            batch = bytearray()
            while self._buffer and len(batch) < BATCH_BYTES:
                batch += self._buffer.popleft()
            self._finished = not batch
            return bytes(batch)

    def _write_all(self, data: bytes) -> bytes:
        """Write *data*; returns the part that could not be written."""
        unwritten = data
        try:
            if self._line_incomplete:
                self._wait_and_write(b"\n")
                self._line_incomplete = False
            while unwritten:
                unwritten = unwritten[self._wait_and_write(unwritten) :]
        except OSError:
            self._line_incomplete = self._line_incomplete or (
                0 < len(unwritten) < len(data) and data[-len(unwritten) - 1] != ord("\n")
            )
        return unwritten

    def _wait_and_write(self, data: bytes) -> int:
        while True:
            try:
                return os.write(self._handle, data)
            except BlockingIOError:  # another process made the shared pipe or terminal non-blocking
                ready = select.poll()
                ready.register(self._handle, select.POLLOUT)
                ready.poll(POLL_MS)

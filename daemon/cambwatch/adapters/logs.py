"""Structured logs: ordered fields, redacted secrets, and a writer thread, so that a stopped reader blocks nothing."""

import io
import logging
import os
import re
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from cambwatch.core.redaction import REDACTED, Secret, SecretFinder

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


# What may belong to a URL is cut with it: a bracket or a quote too many is better than the end of a signature too few.
# Slashes may be escaped, as many receivers do in the JSON with which they answer.
_URL = (
    r"(?<![a-zA-Z0-9+.-])(?P<origin>[a-zA-Z0-9+.-]+:\\?/\\?/)(?:[^\s/?#@\"<>]*@)?"
    r"(?P<host>\[[^\s\]]*\](?::[0-9]+)?|[^\s/?#\"'<>()\[\]{},\\]*)"
    r"(?P<rest>[/?#\\](?:[^\s\"'<>]|'(?![\s,:)\]}]|$))*)?"
)
_ANY_URL = re.compile(_URL)


log = structlog.get_logger()


class LogRedactor:
    """Cuts *secrets*, and of every URL all but scheme and host, out of the texts of an event."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._finder = SecretFinder(secrets)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """A structlog processor."""
        return {name: self._redact(value) for name, value in event.items()}

    def redact(self, words: str) -> str:
        """*words* without what must not be seen."""
        expression = self._finder.expression(words)
        if not expression:
            return _ANY_URL.sub(_replacement, words) if "://" in words or ":\\/" in words else words
        # In one pass, because a secret may contain a URL, and a URL a secret.
        clean = re.sub(f"{expression}|{_URL}", _replacement, words)
        return REDACTED if self._finder.occur_in(clean.replace(REDACTED, "\0")) else clean

    def _redact(self, value: Any) -> Any:
        match value:
            case str():
                return self.redact(value)
            case bool() | int() | float() | None:
                return value
            case dict():
                return {self.redact(str(name)): self._redact(inner) for name, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._redact(inner) for inner in value]
        return self.redact(str(value))


def _replacement(found: re.Match[str]) -> str:
    if found["origin"] is None:
        return REDACTED
    return f"{found['origin']}{found['host']}{'' if found['rest'] in {None, '/'} else '/…'}"


def _order_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """When, how grave, what, and then its story."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return first | dict(event)


def report_dropped(lines: int) -> None:
    """Log the number of dropped *lines*."""
    log.warning("log.dropped", lines=lines, hint="the reader of the log was too slow or gone, or its disk was full")


def configure(*, level: str, format: str, secrets: Iterable[Secret], stream: TextIO | None = None) -> None:  # noqa: A002
    """
    Send all logs of this process, ours and the libraries', to *stream*; None means the current sys.stderr.

    *level* is debug, info, warning or error; *format* console, json or auto, which
    is console where *stream* is a terminal.
    """
    stream = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    console = format == "console" or (format == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    redactor = LogRedactor(secrets)
    final_processors: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        redactor,
        _order_fields,
        # Plain tracebacks, because what is made of exceptions comes before the redaction, and it is a text.
        structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]
    structlog.configure(
        processors=[*shared, *final_processors],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final_processors],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak when something is wrong

"""
Logs: one line per unit of work, for a person on a terminal, as JSON for machines.

What must stay secret is cut out last, out of whatever text is about to be
written, so that no call and no traceback has to think of it.
"""

import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from cambwatch.core.redaction import REDACTED, SecretFinder
from cambwatch.core.secret import Secret

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

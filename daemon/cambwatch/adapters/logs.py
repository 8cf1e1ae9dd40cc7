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

from cambwatch.core.secret import Secret

SHORTEST_SECRET = 6  # characters; a shorter one would be found in half of all words

_URL = re.compile(
    r"(?P<origin>[a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/@\"'<>]*@)?(?P<host>[^\s/?#\"'<>)\]}]*)(?P<rest>[/?#][^\s\"'<>)\]}]*)?"
)


class Redaction:
    """Cuts *secrets*, and of every URL all but scheme and host, out of the texts of an event."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        texts = {text for secret in secrets if len(text := secret.reveal()) >= SHORTEST_SECRET}
        longest_first = sorted(texts, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if texts else None

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """A structlog processor."""
        return {name: self._clean(value) for name, value in event.items()}

    def text(self, words: str) -> str:
        """*words* without what must not be seen."""
        if self._known is not None:
            words = self._known.sub("<secret>", words)
        if "://" in words:
            words = _URL.sub(_origin_only, words)
        return words

    def _clean(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case bool() | int() | float() | None:
                return value
            case dict():
                return {self._clean(name): self._clean(inner) for name, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._clean(inner) for inner in value]
        return self.text(str(value))


def _origin_only(url: re.Match[str]) -> str:
    return f"{url['origin']}{url['host']}{'' if url['rest'] in {None, '/'} else '/…'}"


def configure(*, level: str, format: str, secrets: Iterable[Secret], stream: TextIO = sys.stderr) -> None:  # noqa: A002
    """
    Send all logs of this process, ours and the libraries', to *stream*.

    *level* is debug, info, warning or error; *format* console, json or auto, which
    is console where *stream* is a terminal.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    console = format == "console" or (format == "auto" and stream.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    redaction = Redaction(secrets)
    ending: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        redaction,
        structlog.dev.ConsoleRenderer(colors=stream.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
    ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)  # libraries speak when something is wrong

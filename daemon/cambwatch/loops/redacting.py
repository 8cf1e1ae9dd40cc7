"""What Camb and receivers say, without our secrets: it is kept, shown and told to others."""

from dataclasses import replace
from typing import Protocol, TypeVar

from cambwatch.core.camb.result_replies import ResultRead, ResultRefused, ResultReply
from cambwatch.core.camb.result_requests import ResultRequest
from cambwatch.core.destinations import Destination
from cambwatch.core.formats import Message
from cambwatch.core.model import (
    Attempt,
    Ended,
    Forbidden,
    Invalid,
    Pending,
    Report,
    TaskKey,
    Unavailable,
    Unknown,
)
from cambwatch.core.redaction import Concealment
from cambwatch.loops.delivery.worker import Sender

Detailed = TypeVar("Detailed", bound=Unavailable | Unknown | Invalid | Forbidden | ResultRefused)


class Source(Protocol):
    """Camb."""

    async def status(self, key: TaskKey) -> Report: ...
    async def result(self, account: str, request: ResultRequest) -> ResultReply: ...
    def endpoint(self, account: str, request: ResultRequest) -> str | None: ...


class DiscreetSender:
    """*sender*, whose receivers may repeat what they were sent."""

    def __init__(self, sender: Sender, concealment: Concealment) -> None:
        self._sender = sender
        self._concealment = concealment

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt:
        """Make attempt *number*."""
        attempt = await self._sender.post(destination, message, number=number)
        return attempt if attempt.detail is None else replace(attempt, detail=self._concealment.answer(attempt.detail))


class DiscreetSource:
    """*source*, which may repeat what it was asked. Results are left as they are: they are the customer's."""

    def __init__(self, source: Source, concealment: Concealment) -> None:
        self._source = source
        self._concealment = concealment

    async def status(self, key: TaskKey) -> Report:
        """What Camb says of the task."""
        report = await self._source.status(key)
        match report:
            case Pending():  # the first, because nearly all are
                return report if report.word is None else Pending(_clean(report.word, self._concealment))
            case Ended():
                return replace(
                    report,
                    exception_reason=_clean(report.exception_reason, self._concealment),
                    message=_clean(report.message, self._concealment),
                )
            case Unavailable() | Unknown() | Invalid() | Forbidden():
                return _detail(report, self._concealment)
        return report

    async def result(self, account: str, request: ResultRequest) -> ResultReply:
        """What Camb says of one result."""
        reply = await self._source.result(account, request)
        return reply if isinstance(reply, ResultRead) else _detail(reply, self._concealment)

    def endpoint(self, account: str, request: ResultRequest) -> str | None:
        """The absolute URL of *request*."""
        return self._source.endpoint(account, request)


def _detail(said: Detailed, concealment: Concealment) -> Detailed:
    return said if said.detail is None else replace(said, detail=concealment.text(said.detail))


def _clean(words: str | None, concealment: Concealment) -> str | None:
    return None if words is None else concealment.text(words)

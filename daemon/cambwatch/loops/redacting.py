"""Redacts secrets in answers of Camb and receivers before they are stored, shown or delivered."""

from dataclasses import replace
from typing import Protocol, TypeVar

from cambwatch.core.camb.result_requests import ResultRead, ResultRefused, ResultReply, ResultRequest
from cambwatch.core.formats import Message
from cambwatch.core.model import (
    Attempt,
    FinishedReply,
    ForbiddenReply,
    InvalidTaskIdReply,
    PendingReply,
    PollReply,
    TaskKey,
    UnavailableReply,
    UnknownTaskReply,
)
from cambwatch.core.redaction import Redactor
from cambwatch.core.routing import Destination
from cambwatch.loops.delivery.senders import Sender

DetailedReply = TypeVar(
    "DetailedReply", bound=UnavailableReply | UnknownTaskReply | InvalidTaskIdReply | ForbiddenReply | ResultRefused
)


class CambSource(Protocol):
    """Camb."""

    async def status(self, key: TaskKey) -> PollReply: ...
    async def result(self, account: str, request: ResultRequest) -> ResultReply: ...
    def endpoint(self, account: str, request: ResultRequest) -> str | None: ...


class RedactingSender:
    """*sender*, whose receivers may repeat what they were sent."""

    def __init__(self, sender: Sender, redactor: Redactor) -> None:
        self._sender = sender
        self._redactor = redactor

    async def post(self, destination: Destination, message: Message, *, number: int) -> Attempt:
        """Make attempt *number*."""
        attempt = await self._sender.post(destination, message, number=number)
        return (
            attempt if attempt.detail is None else replace(attempt, detail=self._redactor.redact_answer(attempt.detail))
        )


class RedactingStatusSource:
    """*source*, which may repeat what it was asked. Results are left as they are: they are the customer's."""

    def __init__(self, source: CambSource, redactor: Redactor) -> None:
        self._source = source
        self._redactor = redactor

    async def status(self, key: TaskKey) -> PollReply:
        """What Camb says of the task."""
        reply = await self._source.status(key)
        match reply:
            case PendingReply():  # the first, because nearly all are
                return (
                    reply
                    if reply.unknown_status is None
                    else PendingReply(_redact(reply.unknown_status, self._redactor))
                )
            case FinishedReply():
                return replace(
                    reply,
                    exception_reason=_redact(reply.exception_reason, self._redactor),
                    message=_redact(reply.message, self._redactor),
                )
            case UnavailableReply() | UnknownTaskReply() | InvalidTaskIdReply() | ForbiddenReply():
                return _redact_detail(reply, self._redactor)
        return reply

    async def result(self, account: str, request: ResultRequest) -> ResultReply:
        """What Camb says of one result."""
        reply = await self._source.result(account, request)
        return reply if isinstance(reply, ResultRead) else _redact_detail(reply, self._redactor)

    def endpoint(self, account: str, request: ResultRequest) -> str | None:
        """The absolute URL of *request*."""
        return self._source.endpoint(account, request)


def _redact_detail(reply_or_refusal: DetailedReply, redactor: Redactor) -> DetailedReply:
    return (
        reply_or_refusal
        if reply_or_refusal.detail is None
        else replace(reply_or_refusal, detail=redactor.redact(reply_or_refusal.detail))
    )


def _redact(words: str | None, redactor: Redactor) -> str | None:
    return None if words is None else redactor.redact(words)

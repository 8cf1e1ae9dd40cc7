"""Answers that refuse a request, in the words of FastAPI, which Camb's validation errors look like."""

from collections.abc import Sequence

from aiohttp import web
from pydantic import ValidationError

from cambwatch.core.model import Json


class ErrorAnswer(Exception):  # noqa: N818 - it is an answer, not an error of ours
    """Ends the handling of a request with an HTTP status of 400 or more and a JSON document."""

    def __init__(self, status: int, document: Json) -> None:
        super().__init__(status, document)
        self.status = status
        self.document = document

    def response(self) -> web.Response:
        """What goes over the wire."""
        return web.json_response(self.document, status=self.status)


def unauthorized() -> ErrorAnswer:
    """A missing or wrong API key, as docs.camb.ai shows it."""
    return ErrorAnswer(401, {"error": "Invalid API key", "status": 401})


def refused(status: int, words: str) -> ErrorAnswer:
    """Any refusal with nothing but words."""
    return ErrorAnswer(status, {"detail": words})


def invalid(location: Sequence[str | int], words: str, mistake: str) -> ErrorAnswer:
    """One mistake in a request; *location* leads to it, *mistake* is the type in pydantic's terms."""
    return ErrorAnswer(422, {"detail": [{"loc": list(location), "msg": words, "type": mistake}]})


def missing(names: Sequence[str]) -> ErrorAnswer:
    """Fields of a body that must be there."""
    return ErrorAnswer(
        422, {"detail": [{"loc": ["body", name], "msg": "Field required", "type": "missing"} for name in names]}
    )


def validation_failed(error: ValidationError) -> ErrorAnswer:
    """Every mistake that pydantic has found in a body."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    mistakes = [{"loc": ["body", *each["loc"]], "msg": each["msg"], "type": each["type"]} for each in details]
    return ErrorAnswer(422, {"detail": mistakes})

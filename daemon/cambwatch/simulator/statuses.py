"""The simulator's answers to polls in each of the shapes that Camb uses, and its error bodies."""

from collections.abc import Callable, Sequence
from typing import assert_never

from aiohttp import web
from pydantic import ValidationError

from cambwatch.core.model import Json
from cambwatch.simulator.script import Shape
from cambwatch.simulator.state import SimulatedTask


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


def document(task: SimulatedTask, *, now_s: float, project: Callable[[int], Json]) -> Json:
    """
    The JSON document for *task*; *project* describes the project of a run, for lists.

    A failure is said in the shape object wherever the task's own shape has no room for it.
    """
    word = task.status_at(now_s)
    run_id = task.run_id_at(now_s)
    match task.shape:
        case Shape.STRING:
            return _cased(word, task)
        case Shape.LIST if not task.failed_at(now_s):
            return [] if run_id is None or word == "PENDING" else [project(run_id)]
        case Shape.STATUSLESS if not task.failed_at(now_s):
            return {"run_id": None if word == "PENDING" else run_id}
        case Shape.OBJECT | Shape.LIST | Shape.STATUSLESS:
            ended = word != "PENDING"
            return {
                "status": _cased(word, task),
                "run_id": run_id,
                "exception_reason": task.exception_reason if ended else None,
                "message": task.message if ended else None,
            }
    assert_never(task.shape)


def _cased(word: str, task: SimulatedTask) -> str:
    return word.lower() if task.lower_case else word

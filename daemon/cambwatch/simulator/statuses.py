"""What status endpoints say of a task, in each of the shapes that have been seen."""

from collections.abc import Callable
from typing import assert_never

from cambwatch.core.model import Json
from cambwatch.simulator.script import Shape
from cambwatch.simulator.state import SimulatedTask


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

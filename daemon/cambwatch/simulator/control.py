"""The control API under /simulator: prescribe tasks and faults, see what was asked."""

from collections.abc import Callable, Mapping

from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from cambwatch.core.model import Json
from cambwatch.simulator import creation, statuses
from cambwatch.simulator.script import TaskScript
from cambwatch.simulator.settings import Faults
from cambwatch.simulator.state import SimulatedTask, SimulatorState

PREFIX = "/simulator"
_FAULTS = TypeAdapter(Faults)


class ControlApi:
    """The handlers; none of them asks for a key."""

    def __init__(self, state: SimulatorState, *, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Mount everything under PREFIX."""
        router.add_post(f"{PREFIX}/tasks", self._register)
        router.add_get(f"{PREFIX}/tasks", self._list)
        router.add_post(f"{PREFIX}/faults", self._set_faults)
        router.add_get(f"{PREFIX}/requests", self._count)

    async def _register(self, request: web.Request) -> web.Response:
        try:
            script = TaskScript.model_validate(await creation.read_object(request))
        except ValidationError as error:
            return statuses.validation_failed(error).response()
        except statuses.ErrorAnswer as refusal:
            return refusal.response()
        task = self._state.register(script, now_s=self._clock())
        return web.json_response({"task_id": task.task_id}, status=201)

    async def _list(self, _: web.Request) -> web.Response:
        now_s = self._clock()
        tasks = [self._describe(task, now_s=now_s) for task in self._state.tasks.values()]
        return web.json_response({"tasks": tasks})

    def _describe(self, task: SimulatedTask, *, now_s: float) -> Mapping[str, Json]:
        return {
            "task_id": task.task_id,
            "kind": task.kind.name,
            "status": task.status_at(now_s),
            "run_id": task.run_id_at(now_s),
            "polls": self._state.polls[task.task_id],
            "replies_left": len(task.replies),
        }

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            faults = _FAULTS.validate_python(await creation.read_object(request))
        except ValidationError as error:
            return statuses.validation_failed(error).response()
        except statuses.ErrorAnswer as refusal:
            return refusal.response()
        self._state.faults = faults
        return web.json_response(_FAULTS.dump_python(faults, mode="json"))

    async def _count(self, _: web.Request) -> web.Response:
        return web.json_response({"requests": dict(self._state.requests)})

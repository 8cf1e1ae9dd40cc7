"""Camb's API under /apis, as far as tasks need it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from aiohttp import web

from cambwatch.core.camb.kinds import KINDS, Kind
from cambwatch.core.model import Json
from cambwatch.simulator import creation, faults, results, statuses
from cambwatch.simulator.files import MediaFile, MediaLinks, links_for
from cambwatch.simulator.results import Run
from cambwatch.simulator.script import AnswerReply, FaultReply, TaskScript
from cambwatch.simulator.settings import StorySetup, UnknownTask
from cambwatch.simulator.state import NoRunError, SimulatedTask, SimulatorState, WrongRunError

PREFIX = "/apis"
_MOST_SUBTITLE_RUNS = 5  # camb-sdk 1.6.6, subtitles/raw_client.py: between 2 and 5 unique ids
_DUBS = ("dub", "discord-dub", "twitter-dub")

Handler = Callable[[web.Request], Awaitable[web.Response]]


class CambApi:
    """
    The handlers.

    *clock* gives seconds that never go back; *wall* the time of day, for dates
    in answers only. *closing* is set when the server is about to stop.
    """

    def __init__(
        self,
        state: SimulatorState,
        *,
        clock: Callable[[], float],
        wall: Callable[[], datetime],
        closing: asyncio.Event,
    ) -> None:
        self._state = state
        self._clock = clock
        self._wall = wall
        self._closing = closing

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Mount everything under PREFIX."""
        for kind in KINDS.values():
            if kind.create_path is not None:
                self._add(router, "POST", kind.create_path, self._create_handler(kind))
        for path in dict.fromkeys(kind.status_path for kind in KINDS.values()):
            self._add(router, "GET", path, self._status_handler(path))
        for path in results.BUILDERS:
            self._add(router, "GET", path, self._result_handler(path))
        for path, single in results.BULK.items():
            self._add(router, "POST", path, self._bulk_result_handler(path, single))
        self._add(router, "*", "/{path:.*}", _unknown_path)

    def _add(self, router: web.UrlDispatcher, method: str, path: str, handler: Handler) -> None:
        template = f"{method} {PREFIX}{path}"
        state, keys = self._state, self._state.settings.keys

        async def guarded(request: web.Request) -> web.Response:
            state.requests[template] += 1
            if "task_id" in request.match_info:
                state.polls[request.match_info["task_id"]] += 1
            try:
                key = request.headers.get("x-api-key")
                if not key or (keys and key not in keys):
                    raise statuses.unauthorized()
                return await handler(request)
            except statuses.ErrorAnswer as refusal:
                return refusal.response()

        router.add_route(method, PREFIX + path, guarded)

    def _status_handler(self, path: str) -> Handler:
        async def status(request: web.Request) -> web.Response:
            state = self._state
            task_id = request.match_info["task_id"]
            task = state.find(path, task_id)
            reply: AnswerReply | FaultReply | None = None
            if task is not None and task.replies:
                reply = task.replies.pop()
            elif state.shares:
                chance = faults.chance(state.settings.seed, task_id, state.polls[task_id])
                drawn = faults.draw(state.shares, chance=chance)
                reply = None if drawn is None else FaultReply(fault=drawn)
            if reply is not None and (answer := await self._scripted_answer(reply, request)) is not None:
                return answer
            if task is None:
                return self._unknown(path)
            return web.json_response(self._status(task, request))

        return status

    async def _scripted_answer(self, reply: AnswerReply | FaultReply, request: web.Request) -> web.Response | None:
        """The answer that *reply* prescribes; None: the right one."""
        match reply:
            case AnswerReply():
                return _verbatim(reply)
            case FaultReply():
                return await faults.apply_fault(
                    reply, request, faults=self._state.faults, closing=self._closing, now=self._wall()
                )
        assert_never(reply)

    def _status(self, task: SimulatedTask, request: web.Request) -> Json:
        def project(run_id: int) -> Json:
            return results.project(Run(task, run_id, self._created_at(task)), self._links(request))

        return statuses.document(task, now_s=self._clock(), project=project)

    def _unknown(self, path: str) -> web.Response:
        match self._state.settings.unknown_task:
            case UnknownTask.NOT_FOUND:
                raise statuses.refused(404, "Task not found")
            case UnknownTask.INVALID:
                raise statuses.invalid(["path", "task_id"], "Input should be the id of a task", "value_error")
            case UnknownTask.PENDING:
                listed = path == KINDS["project-setup"].status_path
                return web.json_response([] if listed else {"status": "PENDING", "run_id": None})
        assert_never(self._state.settings.unknown_task)

    def _create_handler(self, kind: Kind) -> Handler:
        async def create(request: web.Request) -> web.Response:
            fields = await creation.read(request, kind.name)
            match kind.name:
                case "dub-alt-format":
                    return web.json_response(self._convert(kind, fields, request))
                case "translated-story":
                    run_id = creation.run_id(request)
                    self._run(("story", "story-setup"), run_id)
                    task = self._begin(kind, fields | {"run_id": run_id})
                    return web.json_response({"message": "Target language added", "task_id": task.task_id})
                case "story-setup" if self._state.settings.story_setup is StorySetup.PROJECT:
                    return web.json_response(self._set_up(kind, fields, request))
            return web.json_response({"task_id": self._begin(kind, fields).task_id})

        return create

    def _begin(self, kind: Kind, fields: dict[str, Json]) -> SimulatedTask:
        return self._state.create(kind, fields, now_s=self._clock())

    def _convert(self, kind: Kind, fields: dict[str, Json], request: web.Request) -> Json:
        """A new conversion, the one under way, or the file of the one that is done."""
        run_id, language, output_format = (
            creation.run_id(request),
            creation.language(request),
            str(fields["output_format"]),
        )
        now_s = self._clock()
        task = self._state.conversion(run_id, language, output_format, now_s=now_s)
        if task is None:
            self._run(_DUBS, run_id)
            wanted: dict[str, Json] = {"run_id": run_id, "language": language, "output_format": output_format}
            task = self._begin(kind, wanted)
        elif task.succeeded_at(now_s):
            return {"output_url": self._links(request).url(run_id, f"dub-{language}.{output_format}")}
        return {"task_id": task.task_id}

    def _set_up(self, kind: Kind, fields: dict[str, Json], request: web.Request) -> Json:
        """A story's project, made while the caller waits."""
        script = TaskScript(kind=kind.name, request=fields)
        task = self._state.register(script, now_s=self._clock())
        return results.story_setup(self._run((kind.name,), task.run_id or 0), self._links(request))

    def _result_handler(self, path: str) -> Handler:
        kinds, build = results.kinds_read_by(path), results.BUILDERS[path]

        async def result(request: web.Request) -> web.Response:
            run_id, options = creation.run_id(request), creation.options(request)
            run = self._run(kinds, run_id, language=options.language)
            replies = run.task.result_replies
            if replies and (answer := await self._scripted_answer(replies.pop(), request)) is not None:
                return answer
            match build(run, self._links(request), options):
                case MediaFile(content_type, body):
                    return web.Response(body=body, content_type=content_type)
                case document if run.task.result_bytes:
                    return web.json_response(results.padded(document, run.task.result_bytes))
                case document:
                    return web.json_response(document)

        return result

    def _bulk_result_handler(self, path: str, single: str) -> Handler:
        kinds, build = results.kinds_read_by(single), results.BUILDERS[single]

        async def bulk(request: web.Request) -> web.Response:
            run_ids = creation.run_ids(await creation.read_object(request))
            if path == "/sub-results" and not 2 <= len(set(run_ids)) == len(run_ids) <= _MOST_SUBTITLE_RUNS:
                raise statuses.invalid(["body", "run_ids"], "Give between 2 and 5 unique run ids", "value_error")
            options, links = replace(creation.options(request), file_url=True), self._links(request)
            documents = {str(run_id): build(self._run(kinds, run_id), links, options) for run_id in run_ids}
            listed = path == "/project-setup-results"  # the only one that the SDK expects as a list
            return web.json_response(list(documents.values()) if listed else documents)

        return bulk

    def _run(self, kinds: Collection[str], run_id: int, *, language: str = "") -> Run:
        try:
            task = self._state.run(kinds, run_id, now_s=self._clock(), language=language)
        except WrongRunError as error:
            raise statuses.refused(400, str(error)) from error
        except NoRunError as error:
            raise statuses.refused(404, str(error)) from error
        return Run(task, run_id, self._created_at(task))

    def _created_at(self, task: SimulatedTask) -> datetime:
        return self._wall() - timedelta(seconds=self._clock() - task.created_s)

    def _links(self, request: web.Request) -> MediaLinks:
        return links_for(request, seed=self._state.settings.seed)


async def _unknown_path(_: web.Request) -> web.Response:
    raise statuses.refused(404, "Not Found")


def _verbatim(reply: AnswerReply) -> web.Response:
    """The answer that a script prescribes; JSON unless its headers say otherwise."""
    body = json.dumps(reply.document) if reply.has_document else reply.body or ""
    response = web.Response(status=reply.status, body=body.encode(), headers=reply.headers)
    if "Content-Type" not in response.headers:
        response.content_type = "application/json" if reply.has_document else "text/html"
    return response

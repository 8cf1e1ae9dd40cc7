"""The intake's routes, what each of them takes and answers, and the server that listens."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from pydantic import BaseModel

from cambwatch.web.api import requests
from cambwatch.web.api.deliveries import (
    DeliveryEndpoints,
    DeliveryPage,
    DestinationPage,
    DetailedDeliveryView,
    RetryRequest,
    RetryResponse,
    TestMessageView,
)
from cambwatch.web.api.destinations import DestinationEndpoints
from cambwatch.web.api.kinds import DurationsPage, KindEndpoints, KindPage
from cambwatch.web.api.metrics import MetricsEndpoint
from cambwatch.web.api.requests import Parameter, reject_unknown_parameters
from cambwatch.web.api.tasks import TaskEndpoints, json_answer
from cambwatch.web.api.views import GroupView, Readiness, TaskPage, TaskView
from cambwatch.web.connections import ConnectionLimits, Connections, track_request
from cambwatch.web.openapi import document
from cambwatch.web.problem_details import problems

LARGEST_BODY = 1 << 20  # bytes
DEFAULT_LIMITS = ConnectionLimits()
ServerFactory = Callable[[Callable[[], asyncio.Protocol]], Awaitable[asyncio.Server]]
"""Begins to listen, with a protocol for each connection, as create_server() of the event loop does."""
_PATH_PATTERNS = {"id": r"(?!retry$)[^/]+"}  # of parts of paths that may not be just anything
_STORE_ERRORS = (HTTPStatus.SERVICE_UNAVAILABLE,)  # where the database is asked
_ITEM_ERRORS = (HTTPStatus.NOT_FOUND, *_STORE_ERRORS)
_BODY_ERRORS = (  # where the body is read
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the API: the router and /openapi.json are both made of these."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[HTTPStatus, type[BaseModel] | None]
    problems: Sequence[HTTPStatus] = ()
    parameters: Sequence[Parameter] = ()
    takes_registrations: bool = False
    request_model: type[BaseModel] | None = None  # the body, where it is no registration
    tags: Sequence[str] = field(default=("tasks",))
    media_type: str = "application/json"  # of its answers, but for problems


def endpoints(
    tasks: TaskEndpoints,
    deliveries: DeliveryEndpoints,
    destinations: DestinationEndpoints,
    *,
    kinds: KindEndpoints,
    metrics: MetricsEndpoint,
    reasons: Callable[[], Awaitable[list[str]]],
) -> list[Endpoint]:
    """Everything that can be asked for; *reasons* says why the daemon is not ready (empty: it is)."""

    async def healthz(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"status": "ok"})

    async def readyz(_request: web.Request) -> web.StreamResponse:
        why = await reasons()
        status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
        return json_answer(Readiness(ready=not why, reasons=why), status=status)

    path = "/v1/tasks/{kind}/{task_id}"
    rows = [
        Endpoint(
            "POST",
            "/v1/tasks",
            tasks.register,
            "Watch a task, or an array of at most 1000, all or none; answers when it is on disk",
            {HTTPStatus.CREATED: TaskView, HTTPStatus.OK: TaskView},
            problems=(*_BODY_ERRORS, *_STORE_ERRORS),
            takes_registrations=True,
        ),
        Endpoint(
            "GET",
            "/v1/tasks",
            tasks.page,
            "Tasks, newest first",
            {HTTPStatus.OK: TaskPage},
            problems=_STORE_ERRORS,
            parameters=(
                requests.STATUS,
                requests.KIND,
                requests.GROUP,
                requests.LABEL,
                requests.ACCOUNT,
                requests.LIMIT,
                requests.CURSOR,
            ),
        ),
        Endpoint(
            "GET",
            path,
            tasks.task,
            "A task; with `wait`, as soon as it has ended or the time is up",
            {HTTPStatus.OK: TaskView},
            problems=_ITEM_ERRORS,
            parameters=(requests.ACCOUNT, requests.WAIT),
        ),
        Endpoint(
            "DELETE",
            path,
            tasks.remove,
            "Watch a task no longer; nobody is told",
            {HTTPStatus.NO_CONTENT: None},
            problems=_ITEM_ERRORS,
            parameters=(requests.ACCOUNT,),
        ),
        Endpoint(
            "POST",
            path + "/poll",
            tasks.poll,
            "Ask Camb for a task now",
            {HTTPStatus.ACCEPTED: TaskView},
            problems=(*_ITEM_ERRORS, HTTPStatus.CONFLICT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
            parameters=(requests.ACCOUNT,),
        ),
        Endpoint(
            "GET",
            "/v1/groups/{group}",
            tasks.group,
            "Where the tasks of a group stand",
            {HTTPStatus.OK: GroupView},
            problems=_ITEM_ERRORS,
        ),
        *_delivery_endpoints(deliveries, destinations),
        Endpoint(
            "GET",
            "/v1/kinds",
            kinds.page,
            "What can be watched, how long it took so far, and how often it is asked for",
            {HTTPStatus.OK: KindPage},
            tags=("kinds",),
        ),
        Endpoint(
            "GET",
            "/v1/durations",
            kinds.durations,
            "How long tasks took, by kind and size, as histograms",
            {HTTPStatus.OK: DurationsPage},
            tags=("kinds",),
        ),
        Endpoint("GET", "/healthz", healthz, "Whether the process answers", {HTTPStatus.OK: None}, tags=("service",)),
        Endpoint(
            "GET",
            "/readyz",
            readyz,
            "Whether it does its job, and if not, why",
            {HTTPStatus.OK: Readiness, HTTPStatus.SERVICE_UNAVAILABLE: Readiness},
            tags=("service",),
        ),
        Endpoint(
            "GET",
            "/metrics",
            metrics.metrics,
            "What it does and how it fares, for Prometheus",
            {HTTPStatus.OK: None},
            tags=("service",),
            media_type="text/plain",
        ),
    ]

    described = cache(lambda: document(rows))  # when somebody asks: a start does not wait for it

    async def openapi(_request: web.Request) -> web.StreamResponse:
        return web.json_response(described())

    rows.append(Endpoint("GET", "/openapi.json", openapi, "This description", {HTTPStatus.OK: None}, tags=("service",)))
    return rows


def _delivery_endpoints(deliveries: DeliveryEndpoints, destinations: DestinationEndpoints) -> list[Endpoint]:
    return [
        Endpoint(
            "GET",
            "/v1/deliveries",
            deliveries.page,
            "Deliveries, newest first",
            {HTTPStatus.OK: DeliveryPage},
            problems=_STORE_ERRORS,
            parameters=(requests.STATE, requests.DESTINATION, requests.TASK_ID, requests.LIMIT, requests.CURSOR),
            tags=("deliveries",),
        ),
        Endpoint(
            "POST",
            "/v1/deliveries/retry",
            deliveries.retry_some,
            "Try deliveries again, each with a fresh budget: those that are dead, unless the body says otherwise",
            {HTTPStatus.ACCEPTED: RetryResponse},
            problems=(*_BODY_ERRORS, *_STORE_ERRORS),
            request_model=RetryRequest,
            tags=("deliveries",),
        ),
        Endpoint(
            "GET",
            "/v1/deliveries/{id}",
            deliveries.delivery,
            "A delivery with every attempt",
            {HTTPStatus.OK: DetailedDeliveryView},
            problems=_ITEM_ERRORS,
            tags=("deliveries",),
        ),
        Endpoint(
            "POST",
            "/v1/deliveries/{id}/retry",
            deliveries.retry,
            "Try a dead or waiting delivery again: it is due now, with a fresh budget",
            {HTTPStatus.ACCEPTED: RetryResponse},
            problems=(*_ITEM_ERRORS, HTTPStatus.CONFLICT, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
            tags=("deliveries",),
        ),
        Endpoint(
            "GET",
            "/v1/destinations",
            destinations.page,
            "Who can be told, and how each stands",
            {HTTPStatus.OK: DestinationPage},
            problems=_STORE_ERRORS,
            tags=("destinations",),
        ),
        Endpoint(
            "POST",
            "/v1/destinations/{name}/test",
            destinations.test,
            "Send one real message that says that it is a test; 200 whatever came of it",
            {HTTPStatus.OK: TestMessageView},
            problems=(HTTPStatus.NOT_FOUND, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
            tags=("destinations",),
        ),
    ]


def application(rows: Sequence[Endpoint], *, limit: Middleware, guard: Middleware) -> web.Application:
    """The intake as an aiohttp application for serve(); *limit* is asked before *guard*, so that guesses count."""
    app = web.Application(middlewares=[track_request, problems, limit, guard], client_max_size=LARGEST_BODY)
    for row in rows:
        handler = _with_checked_query(row)
        # A part of a path may hold anything once it is decoded; by default braces would not be found.
        path = re.sub(r"{(\w+)}", lambda part: f"{{{part[1]}:{_PATH_PATTERNS.get(part[1], '[^/]+')}}}", row.path)
        app.router.add_route(row.method, path, handler)
        if row.method == "GET":
            app.router.add_route("HEAD", path, handler)  # the server leaves the body away
    return app


def _with_checked_query(row: Endpoint) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        reject_unknown_parameters(request, row.parameters)
        return await row.handler(request)

    return handle


@asynccontextmanager
async def serve(
    app: web.Application,
    *server_factories: ServerFactory,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    drain_s: float = 0,
) -> AsyncIterator[list[asyncio.Server]]:
    """
    Serve the connections of *server_factories* for the length of the block; yields what each of them has made.

    At the end no new connection is taken; one that is there gets *drain_s* to say
    what it wants, and requests under way get three seconds. Raises OSError when an
    address cannot be had.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        # A caller who hangs up must not undo half of what it asked for: what is on disk is also watched.
        handler_cancellation=False,
        shutdown_timeout=3,
    )
    await runner.setup()
    connections = Connections(cast("web.Server", runner.server), limits)  # None only before setup()
    try:
        with ExitStack() as open_sockets:
            listening = []
            for create_server in server_factories:
                listening.append(await create_server(connections))
                open_sockets.callback(listening[-1].close)
            yield listening
        await asyncio.sleep(drain_s)
    finally:
        await runner.cleanup()

"""The API described as OpenAPI 3.1, made of the same rows as the router."""

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import cambwatch
from cambwatch.core.camb.kinds import KINDS
from cambwatch.web.api.registration import LARGEST_ARRAY, RegistrationBody
from cambwatch.web.api.requests import Parameter
from cambwatch.web.guard import OPEN_PATHS
from cambwatch.web.problem_details import ProblemDetails

_PATH_PARAMETERS = {
    "kind": ("the name of a kind of task, or an alias", "text-to-voice"),
    "task_id": ("as Camb answered it, percent-encoded", "c8b8e3cd-ad17-4458-83ad-349432da117b"),
    "group": ("the group of the tasks, percent-encoded", "season-1"),
    "id": ("the webhook-id of the delivery", "msg_3f0b7c1d9a5e4c2b8f6d1e0a7b9c3d5f"),
    "name": ("the name of the destination", "team-chat"),
}
_COMMON_ERRORS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.MISDIRECTED_REQUEST,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
)
"""What every path may answer: to what is no HTTP, a web page, an unknown Host, an unknown parameter, too many."""
_HEADERS = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate", "the scheme to use"),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After", "seconds"),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After", "seconds"),
}
_KIND_WORDS = [word for kind in KINDS.values() for word in (kind.name, *kind.aliases)]
_REF = "#/components/schemas/{model}"


class EndpointDescription(Protocol):
    """What an endpoint tells of itself."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def answers(self) -> dict[HTTPStatus, type[BaseModel] | None]: ...
    @property
    def problems(self) -> Sequence[HTTPStatus]: ...
    @property
    def parameters(self) -> Sequence[Parameter]: ...
    @property
    def takes_registrations(self) -> bool: ...
    @property
    def request_model(self) -> type[BaseModel] | None: ...
    @property
    def tags(self) -> Sequence[str]: ...
    @property
    def media_type(self) -> str: ...


def document(rows: Sequence[EndpointDescription]) -> dict[str, Any]:
    """The OpenAPI document of *rows*."""
    models = {model for row in rows for model in row.answers.values() if model is not None} | {ProblemDetails}
    named = sorted(models, key=lambda model: model.__name__)
    _, answers = models_json_schema([(model, "serialization") for model in named], ref_template=_REF)
    request_models: list[type[BaseModel]] = [
        RegistrationBody,
        *(row.request_model for row in rows if row.request_model is not None),
    ]
    _, request_schemas = models_json_schema([(model, "validation") for model in request_models], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cambwatch",
            "version": cambwatch.__version__,
            "description": "Registers tasks of Camb.ai to be watched, and tells where they stand.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": {**answers["$defs"], **request_schemas["$defs"]},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "where http.token is set"}
            },
        },
        "security": [{}, {"token": []}],
    }


def _operation(row: EndpointDescription) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{row.method.lower()}{row.path}").strip("_"),
        "summary": row.summary,
        "tags": list(row.tags),
        "parameters": [*map(_path_parameter, re.findall(r"{(\w+)}", row.path)), *map(_query_parameter, row.parameters)],
        "responses": {str(int(status)): _answer(status, model, row) for status, model in row.answers.items()},
    }
    refusals = [*row.problems, *_COMMON_ERRORS]
    if row.path in OPEN_PATHS:
        operation["security"] = []
    else:
        refusals.append(HTTPStatus.UNAUTHORIZED)
    for status in refusals:
        operation["responses"].setdefault(str(int(status)), _error_response(status))
    if row.takes_registrations:
        registration = {"$ref": _REF.format(model=RegistrationBody.__name__)}
        several = {"type": "array", "items": registration, "minItems": 1, "maxItems": LARGEST_ARRAY}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [registration, several]}}},
        }
    elif row.request_model is not None:
        schema = {"$ref": _REF.format(model=row.request_model.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    elif row.method == "POST":
        # What it holds does not matter, but a request without this content type is refused.
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": {}}}}
    return operation


def _path_parameter(name: str) -> dict[str, Any]:
    description, example = _PATH_PARAMETERS[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "example": example,
        "schema": {"type": "string", "enum": _KIND_WORDS} if name == "kind" else {"type": "string"},
    }


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.schema)
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "example": [parameter.example] if parameter.repeated else parameter.example,
        "schema": {"type": "array", "items": schema} if parameter.repeated else schema,
    }


def _answer(status: HTTPStatus, model: type[BaseModel] | None, row: EndpointDescription) -> dict[str, Any]:
    if status is HTTPStatus.NO_CONTENT:
        return {"description": status.phrase}
    if row.media_type != "application/json":
        return {"description": status.phrase, "content": {row.media_type: {"schema": {"type": "string"}}}}
    schema: dict[str, Any] = {"type": "object"} if model is None else {"$ref": _REF.format(model=model.__name__)}
    described: dict[str, Any] = {
        "description": status.phrase,
        "content": {"application/json": {"schema": schema}},
    }
    match status:
        case HTTPStatus.CREATED if row.takes_registrations:
            described["description"] = (
                "Watched from now on. A task is answered with itself; an array with its tasks, in its order, "
                "under `items`, those that were known already among them"
            )
            described["content"]["application/json"]["schema"] = {
                "anyOf": [schema, {"$ref": _REF.format(model="TaskPage")}]
            }
            described["headers"] = {"Location": {"description": "of a single task", "schema": {"type": "string"}}}
        case HTTPStatus.OK if row.takes_registrations:
            described["description"] = "Known already, and left as it is"
    return described


def _error_response(status: HTTPStatus) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=ProblemDetails.__name__)}
    described: dict[str, Any] = {
        "description": status.phrase,
        "content": {"application/problem+json": {"schema": schema}},
    }
    if status in _HEADERS:
        name, meaning = _HEADERS[status]
        described["headers"] = {name: {"description": meaning, "schema": {"type": "string"}}}
    return described

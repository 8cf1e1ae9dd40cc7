"""What goes wrong, as RFC 9457 problem details: a sentence for people, a pointer for programs."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, Field

from cambwatch.adapters.store.database import StoreUnavailableError

log = structlog.get_logger()


class Mistake(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(title="Mistake")

    pointer: str | None = Field(None, description="JSON pointer into the body, as a URI fragment (RFC 6901, 6)")
    parameter: str | None = Field(None, description="name of the query parameter, header or part of the path")
    detail: str


class ProblemDetails(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(title="ProblemDetails")

    type: str = "about:blank"
    title: str = Field(description="the HTTP status in words")
    status: int
    detail: str = Field(description="what is wrong and what to do")
    errors: list[Mistake] = Field(default_factory=list, description="every mistake, where the request has some")


class ProblemError(Exception):
    """Ends a request with problem details; nothing that it asked for was done."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[Mistake] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def response(self) -> web.Response:
        """The answer."""
        problem = ProblemDetails(
            title=self.status.phrase, status=self.status, detail=self.detail, errors=list(self.errors)
        )
        return web.Response(
            status=self.status,
            body=json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=False).encode(),
            headers={"content-type": "application/problem+json", **self.headers},
        )


def unprocessable(mistakes: Sequence[Mistake], *, count: int | None = None) -> ProblemError:
    """The problem of a request that was understood and cannot be honoured; *mistakes* are the first of *count*."""
    count = len(mistakes) if count is None else count
    detail = mistakes[0].detail if count == 1 else f"{count} mistakes; nothing was stored"
    if count > len(mistakes):
        detail += f"; the first {len(mistakes)} are listed"
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=mistakes)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong leaves as problem details."""
    try:
        return await handler(request)
    except ProblemError as problem:
        return problem.response()
    except StoreUnavailableError as error:
        log.warning("store.unavailable", operation="request", path=request.path, error=str(error))
        return ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "the database takes nothing at the moment, so nothing was stored: try again",
            headers={"retry-after": "5"},
        ).response()
    except (web.RequestPayloadError, ConnectionResetError):  # the latter has nobody left who reads the answer
        return ProblemError(HTTPStatus.BAD_REQUEST, "the body did not come whole").response()
    except web.HTTPRequestEntityTooLarge:
        mistake = Mistake(pointer="#", detail="is larger than 1 MiB")
        return ProblemError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is larger than 1 MiB", errors=[mistake]
        ).response()
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return ProblemError(
            HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {allowed}", headers={"allow": allowed}
        ).response()
    except web.HTTPException as error:
        status = HTTPStatus(error.status)
        detail = "there is nothing at this path; see /openapi.json" if error.status == 404 else status.description
        return ProblemError(status, detail or status.phrase).response()
    except Exception:
        log.exception("request.failed", method=request.method, path=request.path)
        return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "a bug in cambwatch; its log has the details").response()

"""
Who may call: programs on this machine, not web pages that a browser on it has open.

A page can make a browser send requests here. It cannot forge Host (DNS rebinding
keeps the foreign name there), Origin and Sec-Fetch-Site, and a form cannot send application/json. A
DELETE needs no content type: a page of another origin cannot send one unasked.

Health checks of load balancers use HTTP/1.0 without a Host header, or leave it empty. A browser does
neither, so the two health endpoints answer them. A Host that is present must be an allowed one everywhere.
"""

import hmac
from collections.abc import Collection
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from cambwatch.core.redaction import Secret
from cambwatch.web.problem_details import Mistake, ProblemError

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN_PATHS = frozenset({"/healthz"})  # answered without the token
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})  # answered without a Host


def host_name(host: str) -> str:
    """The name in a Host header, lower case, without port."""
    head, colon, port = host.strip().lower().rpartition(":")
    return head if colon and (not port or port.isdigit()) and not host.endswith("]") else host.strip().lower()


def is_known_host(host: str, path: str, *, hosts: Collection[str]) -> bool:
    """Whether to answer a request for *path* with the Host header *host*; "" if empty or missing."""
    name = host_name(host)
    return name in hosts if name else path in HEALTH_PATHS


def guard(*, allowed_hosts: Collection[str], token: Secret | None, unix: bool) -> Middleware:
    """
    The middleware that refuses whom the rules above do not let in.

    On a Unix socket (*unix*) no browser calls, and Host says nothing.
    """
    hosts = LOCAL_HOSTS | {host_name(host) for host in allowed_hosts}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("host", "")
        if not unix and not is_known_host(host, request.path, hosts=hosts):
            raise ProblemError(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this Host is not ours: call localhost or 127.0.0.1, or name it in http.allowed_hosts",
                errors=[Mistake(parameter="host", detail="unknown")],
            )
        origin = request.headers.get("origin")
        if origin is not None and not _is_same_origin(origin, host):
            raise ProblemError(HTTPStatus.FORBIDDEN, "web pages of other origins may not call")
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise ProblemError(HTTPStatus.FORBIDDEN, "web pages of other sites may not call")
        if token is not None and request.path not in OPEN_PATHS and not _authorized(request, token):
            raise ProblemError(
                HTTPStatus.UNAUTHORIZED,
                "send `Authorization: Bearer` with the token of http.token",
                headers={"www-authenticate": "Bearer"},
            )
        there = request.match_info.http_exception is None  # otherwise 404 or 405 says more
        if there and request.method in {"POST", "PUT", "PATCH"}:
            if request.content_type != "application/json":
                raise _unsupported("content-type", "send `Content-Type: application/json`")
            if request.headers.get("content-encoding", "identity").lower() != "identity":
                raise _unsupported("content-encoding", "send the body as it is, without Content-Encoding")
        return await handler(request)

    return check


def _unsupported(header: str, detail: str) -> ProblemError:
    return ProblemError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        detail,
        errors=[Mistake(parameter=header, detail="is not what is taken here")],
    )


def _is_same_origin(origin: str, host: str) -> bool:
    return bool(host) and origin.lower() in {f"{scheme}://{host.lower()}" for scheme in ("http", "https")}


def _authorized(request: web.Request, token: Secret) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Both sides encoded, because compare_digest refuses texts beyond ASCII; surrogates carry raw header bytes.
    expected = token.reveal().encode()
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(errors="surrogateescape"), expected)

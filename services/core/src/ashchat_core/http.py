"""Shared by the public HTTP APIs: errors, limits, other origins, path prefixes.

Every error has a documented status, a machine-readable `reason` and a message for people.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Histogram
from pymongo.errors import OperationFailure
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ashchat_core import __version__, api_docs, mongo, origins, redis
from ashchat_core.admission.requests import NetworkRequests, RequestLimit
from ashchat_core.cors import Cors
from ashchat_core.errors import APIError, BrokerUnavailableError, PublishError, UnavailableError
from ashchat_core.request_bodies import BODY_LIMIT_BYTES, BodyLimit, Respond

__all__ = ["APIError", "Renderer", "UnavailableError", "create_app", "error_response"]

_BAD_REQUEST: Final = 400
_METHOD_NOT_ALLOWED: Final = 405
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_SECONDS = Histogram(
    "ashchat_http_request_duration_seconds",
    "Time to answer, by route and status",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_SECURITY_HEADERS: Final = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
"""Default headers of every response (OWASP ASVS 5.0, 14.3.2, 3.4.4, 3.4.5)."""

Renderer = Callable[[APIError], Any]
"""Returns the body of an error, in the shape that the service's clients expect."""


def error_response(error: APIError, render: Renderer) -> JSONResponse:
    """Return the response to an error."""
    # Set here, too: the handler of unexpected errors runs outside of every middleware.
    headers = {**dict(_SECURITY_HEADERS), **error.headers}
    return JSONResponse(render(error), status_code=error.status, headers=headers)


@dataclass(frozen=True, slots=True)
class Border:
    """What an application accepts from clients."""

    allowed_origins: str = ""
    """Origins (comma-separated) whose pages may call the application."""

    uploads: Sequence[str] = ()
    """Ends of the paths whose bodies the application reads and limits itself."""

    body_limit_bytes: int = BODY_LIMIT_BYTES
    """Maximum size of all other bodies."""

    requests: NetworkRequests | None = None
    """Counts the requests of each network, and limits them; None: they are unlimited."""


class _App(FastAPI):
    """A FastAPI application with a middleware outside of the handler of unexpected errors."""

    outermost: Callable[[ASGIApp], ASGIApp]

    def build_middleware_stack(self) -> ASGIApp:
        return self.outermost(super().build_middleware_stack())


def create_app(
    *,
    title: str,
    prefix: str,
    render: Renderer,
    border: Border = Border(),
    docs_url: str = "/docs",
    **options: Any,
) -> FastAPI:
    """Return a FastAPI application that serves its paths with and without a prefix.

    Args:
        title: The title of its documentation.
        prefix: The path prefix under which clients reach it.
        render: Returns the body of an error.
        border: What it accepts from clients.
        docs_url: The path of its documentation.
        options: Further arguments of FastAPI.
    """
    app = _App(
        title=title,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        # Starlette's redirect names the scheme and path behind the proxy: http, and no prefix.
        redirect_slashes=False,
        **options,
    )

    def respond(error: APIError) -> JSONResponse:
        return error_response(error, render)

    def refuse_origin() -> JSONResponse:
        return respond(
            APIError(403, "origin_not_allowed", "Pages of this origin may not call this API.")
        )

    _add_error_handlers(app, respond)
    app.add_middleware(_SecurityHeaders)
    app.add_middleware(_Timing)
    app.add_middleware(_Prefix, prefix=prefix)
    app.add_middleware(_OnePerTurn)
    app.add_middleware(
        BodyLimit, respond=respond, limit_bytes=border.body_limit_bytes, uploads=border.uploads
    )
    if border.requests is not None:
        app.add_middleware(RequestLimit, respond=respond, requests=border.requests)
    allowed = origins.parse_list(border.allowed_origins)
    app.outermost = lambda inner: Cors(inner, allowed=allowed, refuse=refuse_origin)
    api_docs.add(app, docs_url)
    return app


def _add_error_handlers(app: FastAPI, respond: Respond) -> None:
    """Answer every error in the shape that the service's clients expect."""
    log = structlog.get_logger("http")

    async def api_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, APIError)  # noqa: S101 (registered for this type)
        return respond(error)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        # Names and rules, never values: a value may be a password.
        fields = [
            {"field": ".".join(map(str, item["loc"][1:])), "rule": item["type"]}
            for item in error.errors()
        ]
        names = ", ".join(sorted({item["field"] for item in fields if item["field"]}))
        sentence = f"Check these fields: {names}." if names else "The body is not valid JSON."
        return respond(APIError(422, "invalid_request", sentence, data={"fields": fields}))

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == _BAD_REQUEST:
            # FastAPI's error for a body that is not text, or is nested too deeply.
            return respond(
                APIError(422, "invalid_request", "The body is not valid JSON.", data={"fields": []})
            )
        reason = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        headers = dict(error.headers or {})
        if error.status_code == _METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_allowed_methods(request))
        return respond(APIError(error.status_code, reason, str(error.detail), headers=headers))

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        log.warning("a backend is unavailable", kind=type(error).__name__)
        return respond(UnavailableError())

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        if mongo.unavailable(error):
            return respond(UnavailableError())
        log.error("unexpected error", exc_info=error)
        return respond(
            APIError(500, "internal", "An unexpected error occurred; it has been logged.")
        )

    app.add_exception_handler(APIError, api_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    for away in (BrokerUnavailableError, PublishError, *mongo.UNAVAILABLE, *redis.UNAVAILABLE):
        app.add_exception_handler(away, unavailable)
    app.add_exception_handler(OperationFailure, unexpected)
    app.add_exception_handler(Exception, unexpected)


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods of a path: those of all its routes, not only of the first."""

    def supported(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes)

    return list(filter(supported, _METHODS))


class _OnePerTurn:
    """Starts one request per iteration of the event loop.

    Hundreds of simultaneous requests would otherwise be parsed and routed in one iteration, and
    for a tenth of a second nothing else would run: no heartbeat, no socket, no backend response.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turn:
            await asyncio.sleep(0)
        await self._app(scope, receive, send)


class _SecurityHeaders:
    """Prevents caching and content sniffing of responses, including errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _SECURITY_HEADERS:
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add_headers if scope["type"] == "http" else send)


class _Prefix:
    """Sets the path prefix of the application (ASGI's `root_path`).

    An Ingress has no portable prefix rewrite, so a service must know its prefix. Starlette
    removes `root_path` from paths that start with it and leaves the others unchanged; links (to
    the OpenAPI document) contain it in either case.
    """

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            scope = {**scope, "root_path": self._prefix}
        await self._app(scope, receive, send)


class _Timing:
    """Measures every HTTP request by its route (not by its path, which contains ids)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 500

        async def note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note_status)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            _SECONDS.labels(scope["method"], route, status).observe(time.monotonic() - started)

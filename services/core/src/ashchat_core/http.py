"""Shared by the public HTTP APIs: errors, limits, the client's address, path prefixes.

Every error has a documented status, a machine-readable `reason` and a message for people.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import Histogram
from pymongo.errors import OperationFailure
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ashchat_core import __version__, mongo, redis
from ashchat_core.errors import APIError, BrokerUnavailableError, PublishError, UnavailableError

__all__ = [
    "APIError",
    "BodyLimit",
    "Renderer",
    "UnavailableError",
    "client_address",
    "create_app",
    "error_response",
]

BODY_LIMIT_BYTES: Final = 64 * 1024
"""Maximum size of a JSON body; uploads have a separate limit."""

_BAD_REQUEST: Final = 400

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


def create_app(*, title: str, prefix: str, render: Renderer, **options: Any) -> FastAPI:
    """Return a FastAPI application that serves its paths with and without a prefix."""
    app = FastAPI(title=title, version=__version__, redoc_url=None, **options)
    log = structlog.get_logger("http")

    async def api_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, APIError)  # noqa: S101 (registered for this type)
        return error_response(error, render)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        # Names and rules, never values: a value may be a password.
        fields = [
            {"field": ".".join(map(str, item["loc"][1:])), "rule": item["type"]}
            for item in error.errors()
        ]
        names = ", ".join(sorted({item["field"] for item in fields if item["field"]}))
        sentence = f"Check these fields: {names}." if names else "The body is not valid JSON."
        return error_response(
            APIError(422, "invalid_request", sentence, data={"fields": fields}), render
        )

    async def http_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == _BAD_REQUEST:
            # FastAPI's error for a body that is not text, or is nested too deeply.
            return error_response(
                APIError(
                    422, "invalid_request", "The body is not valid JSON.", data={"fields": []}
                ),
                render,
            )
        reason = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "refused")
        return error_response(
            APIError(
                error.status_code, reason, str(error.detail), headers=dict(error.headers or {})
            ),
            render,
        )

    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        log.warning("a backend is unavailable", kind=type(error).__name__)
        return error_response(UnavailableError(), render)

    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        if mongo.unavailable(error):
            return error_response(UnavailableError(), render)
        log.error("unexpected error", exc_info=error)
        return error_response(
            APIError(500, "internal", "An unexpected error occurred; it has been logged."),
            render,
        )

    app.add_exception_handler(APIError, api_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    for away in (BrokerUnavailableError, PublishError, *mongo.UNAVAILABLE, *redis.UNAVAILABLE):
        app.add_exception_handler(away, unavailable)
    app.add_exception_handler(OperationFailure, unexpected)
    app.add_exception_handler(Exception, unexpected)
    app.add_middleware(_SecurityHeaders)
    app.add_middleware(_Timing)
    app.add_middleware(_Prefix, prefix=prefix)
    app.add_middleware(_OnePerTurn)
    return app


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


class BodyLimit:
    """Rejects a body above the limit with 413, declared or not, before reading all of it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        render: Renderer,
        limit_bytes: int = BODY_LIMIT_BYTES,
        exempt: Sequence[str] = (),
    ) -> None:
        self._app = app
        self._render = render
        self._limit = limit_bytes
        self._exempt = tuple(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then pass it on."""
        if scope["type"] != "http" or scope["path"].endswith(self._exempt or ("\0",)):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        too_large = error_response(
            APIError(413, "too_large", f"A body may have at most {self._limit} bytes."),
            self._render,
        )
        if declared.isdigit() and int(declared) > self._limit:
            await too_large(scope, receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            if len(body) > self._limit:
                await too_large(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)


def client_address(request: Request, trusted_proxies: str) -> str:
    """Return the client's address, as reported by trusted proxies.

    X-Forwarded-For is trusted only as far as trusted proxies wrote it: the result is its last
    address that is not a trusted proxy (RFC 7239, section 8.1). If all of them are trusted
    (clients and pods share the private networks), it is the first. Several header lines are one
    list (RFC 9110, section 5.3), because some proxies add a line below the client's.
    """
    networks = [ipaddress.ip_network(item.strip()) for item in trusted_proxies.split(",") if item]

    def trusted(address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in networks)

    peer = request.client.host if request.client else "0.0.0.0"  # noqa: S104 (means unknown)
    if not trusted(peer):
        return peer
    hops = [hop.strip() for hop in ",".join(request.headers.getlist("x-forwarded-for")).split(",")]
    client = peer
    for hop in reversed([hop for hop in hops if hop]):
        try:
            client = str(ipaddress.ip_address(hop))
        except ValueError:
            return peer
        if not trusted(hop):
            break
    return client

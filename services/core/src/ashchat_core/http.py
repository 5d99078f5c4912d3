"""What the public HTTP APIs share: errors, limits, who the client is, prefixes.

Every error has a documented status, a `reason` a machine can match and a sentence a
person can act on.
"""

import asyncio
import ipaddress
import time
from collections.abc import Callable, Sequence
from typing import Any

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
from ashchat_core.errors import APIError, BrokerUnavailable, PublishError, Unavailable

__all__ = [
    "APIError",
    "BodyLimit",
    "Renderer",
    "Unavailable",
    "client_address",
    "create_app",
    "error_response",
]

BODY_LIMIT_BYTES = 64 * 1024
"""The largest JSON body; uploads have a limit of their own."""

_BAD_REQUEST = 400

_SECONDS = Histogram(
    "ashchat_http_request_duration_seconds",
    "Time to answer, by route and status",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_CAREFUL = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
)
"""What every answer says that does not say otherwise (OWASP ASVS 5.0, 14.3.2, 3.4.4, 3.4.5)."""

Renderer = Callable[[APIError], Any]
"""Makes the body of an error: each service keeps the shape its clients know."""


def error_response(error: APIError, render: Renderer) -> JSONResponse:
    """Return the answer for an error."""
    # Here too: what answers for a defect is outside of every middleware.
    headers = {**dict(_CAREFUL), **error.headers}
    return JSONResponse(render(error), status_code=error.status, headers=headers)


def create_app(*, title: str, prefix: str, render: Renderer, **options: Any) -> FastAPI:
    """Return a FastAPI application that answers with and without its path prefix."""
    app = FastAPI(title=title, version=__version__, redoc_url=None, **options)
    log = structlog.get_logger("http")

    async def api_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, APIError)  # noqa: S101 (registered for this type)
        return error_response(error, render)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        # Names and rules, never the values: a value may be a password.
        fields = [
            {"field": ".".join(map(str, item["loc"][1:])), "rule": item["type"]}
            for item in error.errors()
        ]
        names = ", ".join(sorted({item["field"] for item in fields if item["field"]}))
        sentence = f"check these fields: {names}" if names else "the body is not valid JSON"
        return error_response(
            APIError(422, "invalid_request", sentence, data={"fields": fields}), render
        )

    async def http_error(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == _BAD_REQUEST:
            # FastAPI's word for a body that is not even text, or is nested too deeply.
            return error_response(
                APIError(422, "invalid_request", "the body is not valid JSON", data={"fields": []}),
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
        log.warning("a backend is away", kind=type(error).__name__)
        return error_response(Unavailable(), render)

    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        if mongo.unavailable(error):
            return error_response(Unavailable(), render)
        log.error("unforeseen", exc_info=error)
        return error_response(
            APIError(500, "internal", "something went wrong on our side; it has been recorded"),
            render,
        )

    app.add_exception_handler(APIError, api_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    for away in (BrokerUnavailable, PublishError, *mongo.UNAVAILABLE, *redis.UNAVAILABLE):
        app.add_exception_handler(away, unavailable)
    app.add_exception_handler(OperationFailure, unforeseen)
    app.add_exception_handler(Exception, unforeseen)
    app.add_middleware(_Careful)
    app.add_middleware(_Measure)
    app.add_middleware(_Prefix, prefix=prefix)
    app.add_middleware(_Turns)
    return app


class _Turns:
    """Lets one request begin per turn of the event loop.

    Hundreds that come at once would all be parsed and routed in one turn, and for a tenth of a
    second nothing else would be heard: no heartbeat, no socket, no answer from a backend.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turn:
            await asyncio.sleep(0)
        await self._app(scope, receive, send)


class _Careful:
    """Keeps answers, errors among them, out of caches and browsers from guessing about them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _CAREFUL:
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add_headers if scope["type"] == "http" else send)


class _Prefix:
    """Tells the application where it is mounted (ASGI's `root_path`).

    An Ingress has no portable prefix rewrite, so a service must know its own. Starlette
    takes `root_path` off the front of a path that has it and leaves the others as they are;
    links (to the OpenAPI document) carry it in either case.
    """

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            scope = {**scope, "root_path": self._prefix}
        await self._app(scope, receive, send)


class _Measure:
    """Times every HTTP request by its route (never by its path, which has ids in it)."""

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
    """Refuses a body over the limit with 413, declared or not, before it is read whole."""

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
        """Read the body up to the limit, then hand it on."""
        if scope["type"] != "http" or scope["path"].endswith(self._exempt or ("\0",)):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        too_large = error_response(
            APIError(413, "too_large", f"a body may have {self._limit} bytes"), self._render
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
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._app(scope, replay, send)


def client_address(request: Request, trusted_proxies: str) -> str:
    """Return the client's address as the trusted edge tells it.

    X-Forwarded-For is believed only as far as it was written by a trusted proxy: read from
    the right, the first address that is not one (RFC 7239, section 8.1, on trust). Where all
    of them are trusted, people and pods share the private networks: then it is the furthest.
    Several header lines are one list (RFC 9110, section 5.3): some proxies add a line of
    their own below the client's.
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

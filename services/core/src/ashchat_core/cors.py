"""Cross-origin requests of listed origins (https://fetch.spec.whatwg.org/#http-cors-protocol).

Starlette's middleware compares origins as text, and sends some CORS headers to all origins.
Cookies are not allowed (`Access-Control-Allow-Credentials`): the APIs authenticate by headers.
"""

from collections.abc import Callable
from typing import Final

from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ashchat_core.origins import Origin, parse

METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS: Final = (
    "authorization, content-type, device_token, device-token, if-none-match, if-range, range"
)
"""Headers that a page may send, besides those that every page may send."""

RESPONSE_HEADERS: Final = (
    "accept-ranges, allow, content-disposition, content-length, content-range, etag, location, "
    "retry-after, www-authenticate"
)
"""Headers that a page may read, besides those that every page may read."""

MAX_AGE_SECONDS: Final = 7200
"""How long a browser caches the answer to a preflight; the maximum in Chromium."""

PREFLIGHT_VARY: Final = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


class Cors:
    """Answers preflight requests, and lets pages of listed origins read every response.

    It must be outside of everything that answers, so that a page can also read errors.
    """

    def __init__(
        self, app: ASGIApp, *, allowed: frozenset[Origin], refuse: Callable[[], Response]
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            allowed: The origins whose pages may call it.
            refuse: Returns the response to a preflight request of another origin.
        """
        self._app = app
        self._allowed = allowed
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        requested = Headers(scope=scope)
        origin = requested.get("origin")
        permitted = origin if origin is not None and parse(origin) in self._allowed else None

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.add_vary_header("Origin")
                if permitted is not None:
                    headers["Access-Control-Allow-Origin"] = permitted
                    headers["Access-Control-Expose-Headers"] = RESPONSE_HEADERS
            await send(message)

        if scope["method"] == "OPTIONS" and "access-control-request-method" in requested:
            response = self._refuse() if permitted is None else _preflight(permitted)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, add_headers)


def _preflight(origin: str) -> Response:
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": METHODS,
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
            "Vary": PREFLIGHT_VARY,
        },
    )

"""Limits of request bodies: how large they may be, and how slowly they may arrive."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ashchat_core.errors import APIError

BODY_LIMIT_BYTES: Final = 64 * 1024
"""Maximum size of a JSON body; uploads have a separate limit."""

BODY_SECONDS: Final = 15.0
"""How long a JSON body may take to arrive."""

UPLOAD_GRACE_SECONDS: Final = 60.0
"""How long an upload may take to arrive at any speed."""

UPLOAD_BYTES_PER_SECOND: Final = 32 * 1024
"""Speed that an upload must have on average after the grace time."""

# The rest of a rejected body is not read, so the connection cannot be reused.
CLOSE: Final = {"Connection": "close"}

Respond = Callable[[APIError], JSONResponse]


class SlowBodyError(APIError):
    """408: the body arrived too slowly."""

    def __init__(self) -> None:
        super().__init__(
            408, "body_too_slow", "The request arrived too slowly; try again.", headers=CLOSE
        )


class BodyLimit:
    """Rejects bodies that are too large (413) or arrive too slowly (408).

    A body is counted while it arrives, whether or not its size was declared, and is never read
    beyond the limit. Uploads are not read here: they only have a minimum speed.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        respond: Respond,
        limit_bytes: int = BODY_LIMIT_BYTES,
        uploads: Sequence[str] = (),
    ) -> None:
        """Wrap an application.

        Args:
            app: The application.
            respond: Returns the response to an error.
            limit_bytes: Maximum size of a body.
            uploads: Ends of the paths that accept uploads; the application limits their size.
        """
        self._app = app
        self._respond = respond
        self._limit = limit_bytes
        self._uploads = tuple(uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].endswith(self._uploads or ("\0",)):
            await self._app(scope, _paced(receive), send)
            return
        try:
            body = await self._read(scope, receive)
        except APIError as error:
            await self._respond(error)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the whole body, or None if the client has disconnected."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while (message := await receive())["type"] == "http.request":
                    body += message.get("body", b"")
                    if len(body) > self._limit:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise SlowBodyError from None
        return None

    def _too_large(self) -> APIError:
        sentence = f"A request body may have at most {self._limit} bytes."
        return APIError(413, "too_large", sentence, data={"max_bytes": self._limit}, headers=CLOSE)


def _replay(body: bytes, receive: Receive) -> Receive:
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _paced(receive: Receive) -> Receive:
    """Raise SlowBodyError when an upload is too slow; only time spent waiting for it counts."""
    waited = 0.0
    allowed = UPLOAD_GRACE_SECONDS
    complete = False

    async def paced() -> Message:
        nonlocal waited, allowed, complete
        if complete:
            return await receive()
        started = time.monotonic()
        try:
            async with asyncio.timeout(allowed - waited):
                message = await receive()
        except TimeoutError:
            raise SlowBodyError from None
        waited += time.monotonic() - started
        allowed += len(message.get("body", b"")) / UPLOAD_BYTES_PER_SECOND
        complete = not message.get("more_body", False)
        return message

    return paced

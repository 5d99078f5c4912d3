"""The HTTP API: uploads, downloads, the front page."""

import asyncio
import contextlib
import re
from collections import Counter as Counts
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final

import structlog
from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ashchat_core.admission.gate import REFUSED
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.http import APIError, Border, create_app
from ashchat_core.request_bodies import CLOSE, SlowBodyError
from ashchat_core.tokens import AccessToken
from ashchat_static import bodies, downloads, pages, service
from ashchat_static.gate import Gate, unauthorized
from ashchat_static.service import Purpose
from ashchat_static.settings import Settings
from ashchat_static.store import Volume

_FORM_OVERHEAD_BYTES: Final = bodies.FORM_FIELDS_MAX_BYTES + 4096

UPLOAD_PATHS: Final = ("/files", "/upload", "/")
"""Paths that accept an upload; the last two for the original's clients, and without a prefix."""

_UPLOADS = Counter("ashchat_static_uploads_total", "Uploads, by outcome", ["outcome"])
_UPLOADED_BYTES = Counter("ashchat_static_uploaded_bytes_total", "Bytes of accepted uploads")
_DOWNLOADS = Counter("ashchat_static_downloads_total", "Downloads, by status", ["status"])

_DRAIN_SECONDS: Final = 5.0
_DRAIN_LIMITS: Final = 4
"""How much of a rejected body is read, as a multiple of the largest upload."""

CONCURRENT_UPLOADS: Final = 4
"""Maximum concurrent uploads of one account to one pod."""

FULL_RETRY_SECONDS: Final = 600
"""Retry-After of a full volume, which the administrator has to enlarge."""


class _UploadName(StringConvertor):
    """Matches names of files only, so that other paths keep their own methods and answers."""

    regex = f"{service.NAME}|{re.escape(service.DEFAULT_AVATAR)}"


register_url_convertor("upload", _UploadName())


class Uploaded(BaseModel):
    """The response to an upload."""

    model_config = ConfigDict(frozen=True)

    url: str
    name: str
    size: int
    type: str


def render(error: APIError) -> dict[str, Any]:
    """Return the body of an error: `reason` for machines, `error` for people."""
    body: dict[str, Any] = {"error": error.message, "reason": error.reason}
    return body if error.data is None else {**body, "details": error.data}


def build(settings: Settings, volume: Volume, gate: Gate) -> FastAPI:
    """Return the public application.

    The paths under /files also work without that prefix, for an Ingress that removes it.
    """
    app = create_app(
        title="AshChat: files",
        prefix="",
        render=render,
        border=Border(
            settings.allowed_origins,
            uploads=UPLOAD_PATHS,
            requests=NetworkRequests(
                settings.requests_per_network_per_minute, settings.trusted_proxies
            ),
        ),
        docs_url="/files/docs",
        openapi_url="/files/openapi.json",
    )
    uploads = _Uploads(settings, volume)

    @app.post("/files", status_code=201, response_model=Uploaded, responses=_UPLOAD_ERRORS)
    @app.post("/upload", status_code=201, response_model=Uploaded, include_in_schema=False)
    @app.post("/", status_code=201, response_model=Uploaded, include_in_schema=False)
    async def upload(
        request: Request,
        purpose: Purpose = Purpose.FILE,
        authorization: Annotated[str | None, Header()] = None,  # noqa: ARG001 (for the docs)
        device_token: Annotated[str | None, Header(convert_underscores=False)] = None,  # noqa: ARG001
    ) -> JSONResponse:
        """Store a file: the first file of a form (multipart/form-data), or the body itself.

        Accepted are PNG, JPEG, GIF, WebP, PDF, MP4, M4A, WebM, Ogg and MP3, by their content; as
        a photo the first four. Metadata is removed from images, MP4, M4A and MP3.
        """
        return await uploads.respond(request, await gate.admit(request.headers), purpose)

    @app.delete("/files/{name:upload}", status_code=204, responses=_DELETE_ERRORS)
    async def remove(
        request: Request,
        name: str,
        purpose: Purpose = Purpose.FILE,
        authorization: Annotated[str | None, Header()] = None,  # noqa: ARG001 (for the docs)
        device_token: Annotated[str | None, Header(convert_underscores=False)] = None,  # noqa: ARG001
    ) -> Response:
        """Delete a file that the caller has uploaded.

        As a photo, a file is deleted only if it was uploaded for nothing else.
        """
        access = await gate.admit(request.headers)
        if not await volume.remove(name, service.owner_of(access.user_id), purpose):
            raise HTTPException(404)
        return Response(status_code=204)

    for path, name in _PAGES.items():
        app.add_api_route(path, _page(name), methods=["GET", "HEAD"], include_in_schema=False)

    @app.get("/files/{name:upload}", responses=_DOWNLOAD_ERRORS, response_model=None)
    @app.head("/files/{name:upload}", include_in_schema=False, response_model=None)
    @app.get("/{name:upload}", include_in_schema=False, response_model=None)
    @app.head("/{name:upload}", include_in_schema=False, response_model=None)
    async def download(request: Request, name: str) -> Response:
        """Return a file; its name is the only thing required."""
        response = await downloads.respond(name, request, volume)
        _DOWNLOADS.labels(404 if response is None else response.status_code).inc()
        if response is None:
            raise HTTPException(404)
        return response

    async def not_found(request: Request, _: Exception) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return pages.missing()
        return JSONResponse(
            render(APIError(404, "not_found", "There is nothing at this address.")), 404
        )

    app.add_exception_handler(404, not_found)
    return app


class _Uploads:
    """The implementation of POST /files."""

    def __init__(self, settings: Settings, volume: Volume) -> None:
        self._running: Counts[str] = Counts()
        self._max_bytes = settings.upload_max_bytes
        self._public_url = settings.public_url.rstrip("/")
        self._volume = volume
        self._log = structlog.get_logger("uploads")

    async def respond(
        self, request: Request, access: AccessToken, purpose: Purpose
    ) -> JSONResponse:
        body = request.stream()
        try:
            with self._one_of_few(access.user_id):
                owner = service.owner_of(access.user_id)
                stored = await self._store(request, body, owner, purpose)
        except service.OwnerDeletedError:
            _UPLOADS.labels("session_revoked").inc()
            raise unauthorized("session_revoked", "This account was deleted.") from None
        except (service.UploadRejectedError, service.StorageFullError) as error:
            await self._drain(request, body)
            raise self._refusal(error) from None
        except SlowBodyError as error:
            _UPLOADS.labels(error.reason).inc()
            raise
        except ClientDisconnect:
            _UPLOADS.labels("broken_off").inc()
            raise APIError(400, "broken_off", "The upload was interrupted.") from None
        _UPLOADS.labels("stored").inc()
        _UPLOADED_BYTES.inc(stored.size)
        self._log.info("stored", name=stored.name, size=stored.size, user=access.user_id)
        answer = Uploaded(
            url=stored.url, name=stored.name, size=stored.size, type=stored.media_type
        )
        return JSONResponse(answer.model_dump(), 201, {"Location": self._public_url + stored.url})

    @contextlib.contextmanager
    def _one_of_few(self, user_id: str) -> Iterator[None]:
        """Limit an account's concurrent uploads, which wait for each other on the volume."""
        if self._running[user_id] >= CONCURRENT_UPLOADS:
            raise service.UploadRejectedError(
                429,
                "too_many_uploads",
                f"At most {CONCURRENT_UPLOADS} uploads at the same time.",
                details={"max_uploads": CONCURRENT_UPLOADS},
                retry_after_seconds=1,
                limit="upload.concurrent",
            )
        self._running[user_id] += 1
        try:
            yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]

    async def _store(
        self, request: Request, body: AsyncIterator[bytes], owner: str, purpose: Purpose
    ) -> service.Stored:
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes + _FORM_OVERHEAD_BYTES:
            raise service.too_large(self._max_bytes)
        await self._volume.admit(owner)
        data = bodies.file_in(request.headers.get("content-type"), body)
        async with self._volume.draft() as draft:
            return await service.accept(
                data, draft, owner=owner, purpose=purpose, max_bytes=self._max_bytes
            )

    async def _drain(self, request: Request, body: AsyncIterator[bytes]) -> None:
        """Read and discard the body for a moment.

        Closing the connection with unread bytes resets it, and the client would lose the
        response. A client that waits for 100 Continue has not started to send.
        """
        if "expect" in request.headers:
            return
        dropped = 0
        with contextlib.suppress(ClientDisconnect, TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                async for chunk in body:
                    dropped += len(chunk)
                    if dropped > self._max_bytes * _DRAIN_LIMITS:
                        return

    def _refusal(self, error: service.UploadRejectedError | service.StorageFullError) -> APIError:
        if isinstance(error, service.StorageFullError):
            _UPLOADS.labels("storage_full").inc()
            self._log.error("the volume is full")
            headers = {**CLOSE, "Retry-After": str(FULL_RETRY_SECONDS)}
            return APIError(507, "storage_full", "There is no space for files.", headers=headers)
        _UPLOADS.labels(error.reason).inc()
        if error.limit is not None:
            REFUSED.labels(error.limit).inc()
        headers = dict(CLOSE)
        if error.retry_after_seconds is not None:
            headers["Retry-After"] = str(error.retry_after_seconds)
        return APIError(error.status, error.reason, str(error), data=error.details, headers=headers)


_PAGES: Final = {
    "/": "index.html",
    "/style.css": "style.css",
    "/icon.svg": "icon.svg",
    "/favicon.ico": "icon.svg",
}


def _page(name: str) -> Any:
    async def page(request: Request) -> Response:
        return pages.respond(name, request)

    return page


_UPLOAD_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "missing_device_token, empty, malformed_form"},
    408: {"description": "body_too_slow"},
    401: {"description": "missing_token, token_…, device_mismatch, session_revoked"},
    413: {"description": "too_large"},
    415: {"description": "unsupported_type (details.accepted), malformed_file"},
    422: {"description": "invalid_request"},
    429: {"description": "too_many_uploads"},
    507: {"description": "quota_exceeded, storage_full"},
}
_DELETE_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "missing_device_token"},
    401: {"description": "missing_token, token_…, device_mismatch, session_revoked"},
    404: {"description": "not_found"},
    422: {"description": "invalid_request"},
}
_DOWNLOAD_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    206: {"description": "The requested range"},
    304: {"description": "The client already has the file"},
    404: {"description": "not_found"},
    416: {"description": "The range is outside of the file"},
}

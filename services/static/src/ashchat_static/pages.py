"""The front page and the other files that are part of the service."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from fastapi import Request, Response

from ashchat_static import ranges

HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that is part of the service."""

    body: bytes
    media_type: str
    etag: str


@cache
def asset(name: str) -> Asset:
    """Return a file of the folder `site`."""
    body = resources.files("ashchat_static").joinpath("site", name).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Asset(body, _MEDIA_TYPES[name.rsplit(".", 1)[1]], etag)


def respond(name: str, request: Request, headers: Mapping[str, str] = HEADERS) -> Response:
    """Return the response to GET or HEAD of a file that is part of the service."""
    found = asset(name)
    headers = {**headers, "ETag": found.etag}
    if ranges.matches(request.headers.get("if-none-match"), found.etag):
        return Response(None, 304, headers)
    headers["Content-Length"] = str(len(found.body))
    body = None if request.method == "HEAD" else found.body
    return Response(body, 200, headers, found.media_type)


def missing() -> Response:
    """Return the 404 page."""
    page = asset("404.html")
    return Response(page.body, 404, HEADERS, page.media_type)

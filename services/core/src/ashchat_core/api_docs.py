"""The documentation of an HTTP API: Swagger UI, from files of this service.

FastAPI's page loads scripts from a third party, which could then act as the user. Here everything
has the API's own origin, which the content security policy enforces. Links are relative, so that
they hold with every path prefix.
"""

import html
from collections.abc import Awaitable, Callable
from functools import cache
from importlib import resources
from typing import Final

from fastapi import FastAPI
from fastapi.responses import Response

Endpoint = Callable[[], Awaitable[Response]]

FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
"""Files of the package fastapi-swagger, a current build of swagger-ui-dist, by media type."""

START: Final = "start.js"
START_SCRIPT: Final = """\
// validatorUrl would send the address of this page to a third party.
SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null
});
"""

HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{folder}/favicon-32x32.png">
<link rel="stylesheet" href="{folder}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{folder}/swagger-ui-bundle.js"></script>
<script src="{folder}/start.js"></script>
</body>
</html>
"""


def add(app: FastAPI, docs_url: str) -> None:
    """Serve the documentation at a path next to `openapi.json`."""

    async def page() -> Response:
        text = PAGE.format(title=html.escape(app.title), folder=docs_url.rsplit("/", 1)[1])
        return Response(text, headers=HEADERS, media_type="text/html; charset=utf-8")

    async def start() -> Response:
        return Response(START_SCRIPT, headers=HEADERS, media_type="text/javascript; charset=utf-8")

    endpoints: dict[str, Endpoint] = {docs_url: page, f"{docs_url}/{START}": start}
    endpoints |= {f"{docs_url}/{name}": _file(name) for name in FILES}
    for path, endpoint in endpoints.items():
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)


def _file(name: str) -> Endpoint:
    async def file() -> Response:
        return Response(_content(name), headers=HEADERS, media_type=FILES[name])

    return file


@cache
def _content(name: str) -> bytes:
    return resources.files("fastapi_swagger").joinpath("resources", name).read_bytes()

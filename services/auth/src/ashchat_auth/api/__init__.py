"""The HTTP API of auth: paths, envelope and status codes that the original's clients expect.

Every body is `{status, message, data}`; an error also has a machine-readable `reason`. The
OpenAPI description lists the reasons of each route.
"""

from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from ashchat_auth.api import account_routes, session_routes, sign_in_routes, two_factor_routes
from ashchat_auth.api.context import Context
from ashchat_auth.api.envelope import render
from ashchat_auth.keys import SigningKeys
from ashchat_auth.service import Auth
from ashchat_auth.settings import Settings
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.http import Border, create_app

JWKS_MAX_AGE_SECONDS: Final = 300

KEY_SET: Final = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
}


class KeySetResponse(JSONResponse):
    """A JWK set (RFC 7517, section 8.5.2)."""

    media_type = "application/jwk-set+json"


DESCRIPTION: Final = """
Accounts, sessions and tokens. Every body is `{status, message, data}`; an error also has a
machine-readable `reason`.

Errors of every path, in the same envelope: 404 `not_found` for an unknown path, 405
`method_not_allowed` for a method that the path does not support, 429 `too_many_requests` for a
network that makes too many requests, and 500 `internal` for an
unexpected error. Responses with 429 and 503 have the header `Retry-After`.
"""


def build(settings: Settings, auth: Auth, signer: SigningKeys) -> FastAPI:
    """Return the application."""
    app = create_app(
        title="AshChat auth",
        prefix="/auth",
        render=render,
        description=DESCRIPTION,
        border=Border(
            settings.allowed_origins,
            requests=NetworkRequests(
                settings.requests_per_network_per_minute, settings.trusted_proxies
            ),
        ),
    )
    context = Context(auth, settings.trusted_proxies)
    app.include_router(sign_in_routes.routes(context))
    app.include_router(session_routes.routes(context))
    app.include_router(two_factor_routes.routes(context))
    app.include_router(account_routes.routes(context))

    @app.get(
        "/.well-known/jwks.json",
        response_class=KeySetResponse,
        responses={200: {"content": {KeySetResponse.media_type: {"schema": KEY_SET}}}},
    )
    async def jwks() -> Response:
        """Return the public keys (RFC 7517)."""
        return KeySetResponse(
            signer.jwks(),
            headers={"Cache-Control": f"public, max-age={JWKS_MAX_AGE_SECONDS}"},
        )

    # The original's documentation has these two paths.
    @app.get("/v3/api-docs", include_in_schema=False)
    async def api_docs() -> Response:
        return JSONResponse(app.openapi())

    @app.get("/swagger-ui/{page:path}", include_in_schema=False)
    async def swagger(page: str, request: Request) -> Response:
        del page
        return RedirectResponse(f"{request.scope['root_path']}/docs")

    return app

"""The HTTP API of auth: paths, envelope and status codes as the original's clients know them.

Every body is `{status, message, data}`; an error has `reason` as well, which a machine can
match. The reasons of each route are in its OpenAPI description.
"""

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from ashchat_auth.api import own, sign_in
from ashchat_auth.api.answers import render
from ashchat_auth.api.context import Context
from ashchat_auth.keys import SigningKeys
from ashchat_auth.service import Auth
from ashchat_auth.settings import Settings
from ashchat_core.http import BodyLimit, create_app

JWKS_MAX_AGE_SECONDS = 300

KEY_SET = {
    "type": "object",
    "required": ["keys"],
    "properties": {"keys": {"type": "array", "items": {"type": "object"}}},
}


class KeySetResponse(JSONResponse):
    """A JWK set (RFC 7517, section 8.5.2)."""

    media_type = "application/jwk-set+json"


DESCRIPTION = """
Accounts, sessions and tokens. Every body is `{status, message, data}`; an error has `reason`
as well, which a machine can match.

Of every path and method, in the same envelope: a path that is not here is 404 `not_found`, a
method that a path does not have is 405 `method_not_allowed`, and a defect of ours is 500
`internal`. With 429 and 503 comes `Retry-After`.
"""


def build(settings: Settings, auth: Auth, signer: SigningKeys) -> FastAPI:
    """Return the application."""
    app = create_app(
        title="AshChat auth",
        prefix="/auth",
        render=render,
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url="/docs",
    )
    app.add_middleware(BodyLimit, render=render)
    context = Context(auth, settings.trusted_proxies)
    app.include_router(sign_in.routes(context))
    app.include_router(own.sessions(context))
    app.include_router(own.two_factor(context))
    app.include_router(own.account(context))

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

    # The original's documentation lived at these two.
    @app.get("/v3/api-docs", include_in_schema=False)
    async def api_docs() -> Response:
        return JSONResponse(app.openapi())

    @app.get("/swagger-ui/{page:path}", include_in_schema=False)
    async def swagger(page: str, request: Request) -> Response:
        del page
        return RedirectResponse(f"{request.scope['root_path']}/docs")

    return app

"""The HTTP API of auth: paths, envelope and status codes as the original's clients know them.

Every body is `{status, message, data}`; an error has `reason` as well, which a machine can
match. The reasons of each route are in its OpenAPI description.
"""

from typing import Annotated, Any

import email_validator
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from ashchat_auth.keys import KeyRing
from ashchat_auth.models import Device
from ashchat_auth.passwords import MAX_CHARS, MIN_CHARS
from ashchat_auth.service import Accounts
from ashchat_auth.settings import Settings
from ashchat_core.http import APIError, BodyLimit, client_address, create_app
from ashchat_core.tokens import device_hash

JWKS_MAX_AGE_SECONDS = 300

EMAIL_MAX_CHARS = 254
"""RFC 5321, section 4.5.3.1.3, as RFC 3696's erratum 1690 reads it."""

# A company's own mail may well live under .local or .internal.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def _address(text: str) -> str:
    """Return an address whose syntax is right (RFC 5321), its domain as it is in the DNS.

    Not every mail server takes a local part in other letters than ASCII (RFC 6531), so an
    address that has one could not be confirmed.
    """
    try:
        valid = email_validator.validate_email(
            text.strip(), check_deliverability=False, allow_smtputf8=False
        )
    except email_validator.EmailNotValidError as error:
        raise ValueError("not an e-mail address") from error
    return valid.ascii_email or valid.normalized


Address = Annotated[
    str,
    StringConstraints(max_length=EMAIL_MAX_CHARS),
    AfterValidator(_address),
    Field(examples=["ana@example.org"], json_schema_extra={"format": "email"}),
]

Text = StringConstraints(strip_whitespace=True, min_length=1, max_length=256)
Code = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[0-9]{6}$")]
LanguageTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]


class _Request(BaseModel):
    # The original's clients may send more than is needed.
    model_config = ConfigDict(extra="ignore")


class SignUp(_Request):
    """POST /signup."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]
    email: Address
    password: str = Field(min_length=MIN_CHARS, max_length=MAX_CHARS)
    preferredLanguage: LanguageTag  # noqa: N815 (the original's name)


class DeviceFields(_Request):
    """What identifies a device; the same in every request that has one."""

    deviceTokenId: Annotated[str, Text]  # noqa: N815
    deviceNotificationToken: Annotated[str, StringConstraints(max_length=512)] | None = None  # noqa: N815
    deviceOS: Annotated[str, StringConstraints(max_length=64)] | None = None  # noqa: N815

    def device(self) -> Device:
        """Return the device, its token hashed."""
        return Device(
            device_hash=device_hash(self.deviceTokenId),
            os=self.deviceOS,
            notification_token=self.deviceNotificationToken,
        )


class ConfirmEmail(DeviceFields):
    """POST /confirm-email."""

    email: Address
    emailCode: Code  # noqa: N815


class SignIn(_Request):
    """POST /signin."""

    email: Address
    password: str = Field(min_length=1, max_length=MAX_CHARS)
    deviceTokenId: Annotated[str, Text]  # noqa: N815


class ConfirmNewDevice(DeviceFields):
    """POST /confirm-new-device."""

    emailCode: Code  # noqa: N815


class Envelope(BaseModel):
    """The body of every answer."""

    status: int
    message: str
    data: Any = None


class ErrorEnvelope(Envelope):
    """The body of every error."""

    reason: str = Field(description="Machine-readable.")


class Nothing(Envelope):
    """An answer that says no more than its message."""

    data: None = None


class Account(BaseModel):
    """Which account was made."""

    user_id: str


class AccountMade(Envelope):
    """The answer to a right code."""

    data: Account


class Tokens(BaseModel):
    """An access token and the refresh token for the next one."""

    token: str = Field(description="JWT (RFC 9068), for the header Authorization: Bearer.")
    refresh_token: str = Field(description="Opaque; good once.")


class Refreshed(Envelope):
    """The answer to a refresh."""

    data: Tokens


class WhoAndTokens(Tokens):
    """The tokens and whose they are."""

    user_id: str


class Welcome(Envelope):
    """The answer to a sign-in on a known device."""

    data: WhoAndTokens


class Challenge(BaseModel):
    """What a new device needs: this token and the code that was mailed."""

    token: str = Field(description="TEMPORARY: for POST /confirm-new-device and nothing else.")
    info: str


class NewDevice(ErrorEnvelope):
    """The answer to a sign-in on a new device."""

    data: Challenge


def render(error: APIError) -> dict[str, Any]:
    """Return an error's body."""
    return {
        "status": error.status,
        "message": error.message,
        "data": error.data,
        "reason": error.reason,
    }


def _answer(status: int, message: str, data: Any = None) -> JSONResponse:
    return JSONResponse(
        {"status": status, "message": message, "data": data},
        status_code=status,
        headers={"Cache-Control": "no-store"},  # RFC 6749, section 5.1
    )


def _errors(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's responses: `_400="wrong_code, expired"`."""
    reasons = {"_413": "too_large", "_422": "invalid_request", "_503": "unavailable", **reasons}
    return {
        int(status[1:]): {"model": ErrorEnvelope, "description": text}
        for status, text in reasons.items()
    }


def bearer(authorization: Annotated[str | None, Header()] = None) -> str:
    """Return the bearer token (RFC 6750, section 2.1)."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise APIError(
            401,
            "missing_token",
            "send the header Authorization: Bearer <token>",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token.strip()


def device_token(
    device_token: Annotated[str | None, Header(convert_underscores=False)] = None,
    dashed: Annotated[str | None, Header(alias="Device-Token")] = None,
) -> str:
    """Return the device token; some proxies drop headers with underscores."""
    token = device_token or dashed
    if not token:
        raise APIError(400, "missing_device_token", "send the header device_token")
    return token


def build(settings: Settings, accounts: Accounts, signer: KeyRing, version: str) -> FastAPI:
    """Return the application."""
    app = create_app(
        title="AshChat auth",
        version=version,
        prefix="/auth",
        render=render,
        openapi_url="/openapi.json",
        docs_url="/docs",
    )
    app.add_middleware(BodyLimit, render=render)

    @app.post(
        "/api/user/signup",
        status_code=202,
        response_model=Nothing,
        responses=_errors(_429="too_many_requests"),
    )
    async def sign_up(body: SignUp, request: Request) -> Response:
        """Begin an account: a code is mailed. The same answer for a taken address."""
        await accounts.sign_up(
            name=body.name,
            email=body.email,
            password=body.password,
            language=body.preferredLanguage,
            address=client_address(request, settings.trusted_proxies),
        )
        return _answer(202, "a code is on its way to this address")

    @app.post(
        "/api/user/confirm-email",
        status_code=201,
        response_model=AccountMade,
        responses=_errors(
            _400="wrong_code, expired, too_many_tries",
            _409="email_taken",
            _429="too_many_requests",
        ),
    )
    async def confirm_email(body: ConfirmEmail, request: Request) -> Response:
        """Make the account with the mailed code."""
        user_id = await accounts.confirm_email(
            email=body.email,
            code=body.emailCode,
            device=body.device(),
            address=client_address(request, settings.trusted_proxies),
        )
        return _answer(201, "the account is made: sign in", {"user_id": user_id})

    @app.post(
        "/api/user/signin",
        response_model=Welcome,
        responses={
            **_errors(_401="wrong_credentials", _429="too_many_requests"),
            403: {"model": NewDevice, "description": "new_device"},
        },
    )
    async def sign_in(body: SignIn, request: Request) -> Response:
        """Sign in; a new device gets 403 and a mailed code."""
        signed_in = await accounts.sign_in(
            email=body.email,
            password=body.password,
            device_token=body.deviceTokenId,
            address=client_address(request, settings.trusted_proxies),
        )
        return _answer(
            200,
            "welcome",
            {
                "token": signed_in.token,
                "refresh_token": signed_in.refresh_token,
                "user_id": signed_in.user_id,
            },
        )

    @app.post(
        "/api/user/confirm-new-device",
        status_code=204,
        responses=_errors(
            _401="missing_token, invalid_token",
            _403="wrong_device, wrong_code, expired, too_many_tries",
            _404="no_such_user",
            _429="too_many_requests",
        ),
    )
    async def confirm_new_device(
        body: ConfirmNewDevice, request: Request, temporary: Annotated[str, Depends(bearer)]
    ) -> Response:
        """Confirm a new device with the mailed code and the temporary token."""
        await accounts.confirm_new_device(
            temporary=temporary,
            code=body.emailCode,
            device=body.device(),
            address=client_address(request, settings.trusted_proxies),
        )
        return Response(status_code=204)

    @app.get(
        "/api/user/refresh-token",
        response_model=Refreshed,
        responses=_errors(
            _400="missing_device_token",
            _401="missing_token, invalid_token, device_mismatch",
            _403="wrong_token",
            _404="no_such_user",
        ),
    )
    async def refresh(
        refresh_token: Annotated[str, Depends(bearer)],
        device: Annotated[str, Depends(device_token)],
    ) -> Response:
        """Exchange the refresh token for new tokens; the old one is used up."""
        fresh = await accounts.refresh(refresh_token=refresh_token, device_token=device)
        return _answer(
            200, "refreshed", {"token": fresh.token, "refresh_token": fresh.refresh_token}
        )

    @app.get("/.well-known/jwks.json")
    async def jwks() -> Response:
        """Return the public keys (RFC 7517)."""
        return JSONResponse(
            signer.jwks(),
            headers={"Cache-Control": f"public, max-age={JWKS_MAX_AGE_SECONDS}"},
            media_type="application/jwk-set+json",
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

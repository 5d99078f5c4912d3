"""Routes without a session: sign-up, sign-in, devices, refresh, password reset."""

from typing import Annotated, Final, Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, model_validator

from ashchat_auth.api.context import Context, DeviceHeader, RefreshToken, TemporaryToken
from ashchat_auth.api.envelope import Envelope, ErrorEnvelope, Nothing, answer, errors
from ashchat_auth.api.fields import (
    Address,
    Body,
    Code,
    DeviceFields,
    DeviceToken,
    GivenPassword,
    LanguageTag,
    Name,
    NewPassword,
    SecondFactorFields,
)
from ashchat_auth.service.second_factor import Factor
from ashchat_auth.service.sign_in import DeviceProof
from ashchat_core.tokens import device_hash

TOKEN_MAX_CHARS: Final = 2_048
"""Maximum length of a token in a body; ours have about 500 characters."""


class SignUp(Body):
    """POST /signup."""

    name: Name
    email: Address
    password: NewPassword
    preferredLanguage: LanguageTag  # noqa: N815 (the original's name)


class ConfirmEmail(DeviceFields):
    """POST /confirm-email."""

    email: Address
    emailCode: Code  # noqa: N815
    signUpToken: Annotated[  # noqa: N815
        str | None,
        Field(
            max_length=TOKEN_MAX_CHARS,
            description="The token from POST /signup: only that sign-up is confirmed. Without it, "
            "the newest sign-up of the address is.",
        ),
    ] = None


class SignIn(Body):
    """POST /signin."""

    email: Address
    password: GivenPassword
    deviceTokenId: DeviceToken  # noqa: N815


class ConfirmNewDevice(DeviceFields, SecondFactorFields):
    """POST /confirm-new-device: the required code.

    `emailCode` is the mailed code. It may also contain the authenticator's code if that is
    required, because the original's clients have this field only. `recoveryCode` replaces the
    authenticator's code.
    """

    emailCode: Code | None = None  # noqa: N815

    @model_validator(mode="after")
    def _one(self) -> Self:
        if not (self.emailCode or self.totpCode or self.recoveryCode):
            raise ValueError("emailCode, totpCode or recoveryCode is required")
        return self


class AskReset(Body):
    """POST /password."""

    email: Address


class ResetPassword(SecondFactorFields):
    """PATCH /password; a second factor where the account has one."""

    newPassword: NewPassword  # noqa: N815
    emailCode: Code  # noqa: N815


class SignUpToken(BaseModel):
    """What identifies a sign-up, besides the mailed code."""

    token: str = Field(description="A TEMPORARY token, for POST /confirm-email only.")


class SignUpBegun(Envelope):
    """The response to a sign-up; the same whether or not the address has an account."""

    data: SignUpToken


class Account(BaseModel):
    """The created account."""

    user_id: str
    device_token: str | None = Field(
        default=None, description="The device's token from now on, with `issueDeviceToken`."
    )


class AccountMade(Envelope):
    """The response to a right code."""

    data: Account


class Tokens(BaseModel):
    """An access token and the refresh token for the next one."""

    token: str = Field(description="JWT (RFC 9068), for the header Authorization: Bearer.")
    refresh_token: str = Field(description="Opaque; valid once.")


class IssuedToken(BaseModel):
    """The token that was issued for a device."""

    device_token: str = Field(description="The device's token from now on.")


class DeviceConfirmed(Envelope):
    """The response to a right code of a device that gets a token."""

    data: IssuedToken


class Refreshed(Envelope):
    """The response to a refresh."""

    data: Tokens


class WhoAndTokens(Tokens):
    """The tokens and their user."""

    user_id: str


class Welcome(Envelope):
    """The response to a sign-in on a known device."""

    data: WhoAndTokens


class Challenge(BaseModel):
    """What confirms a new device: this token and the required code."""

    token: str = Field(description="A TEMPORARY token, for POST /confirm-new-device only.")
    info: str


class NewDevice(ErrorEnvelope):
    """The response to a sign-in on a new device."""

    data: Challenge


class ResetToken(BaseModel):
    """What a reset requires besides the mailed code."""

    token: str = Field(description="A TEMPORARY token, for PATCH /password only.")


class ResetAsked(Envelope):
    """The response to a reset request; the same whether or not the address has an account."""

    data: ResetToken


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/user")
    auth = context.auth

    @router.post(
        "/signup",
        status_code=202,
        response_model=SignUpBegun,
        responses=errors(
            _422="invalid_request, password_too_common, password_too_personal",
            _429="too_many_requests",
        ),
    )
    async def sign_up(body: SignUp, request: Request) -> Response:
        """Begin a sign-up: mail a code. Repeated, it mails another code, after a growing wait.

        The response for a taken address is the same. Send its token with the code.
        """
        token = await auth.sign_up.begin(
            name=body.name,
            email=body.email,
            password=body.password,
            language=body.preferredLanguage,
            address=context.address(request),
        )
        return answer(202, "A code was requested for this address.", {"token": token})

    @router.post(
        "/confirm-email",
        status_code=201,
        response_model=AccountMade,
        responses=errors(
            _400="wrong_code, expired, too_many_tries",
            _409="email_taken",
            _429="too_many_requests",
        ),
    )
    async def confirm_email(body: ConfirmEmail, request: Request) -> Response:
        """Create the account with the mailed code."""
        device, issued = body.device()
        user_id = await auth.sign_up.confirm(
            email=body.email,
            code=body.emailCode,
            temporary=body.signUpToken,
            device=device,
            address=context.address(request),
        )
        account = Account(user_id=user_id, device_token=issued)
        return answer(
            201, "The account was created: sign in.", account.model_dump(exclude_none=True)
        )

    @router.post(
        "/signin",
        response_model=Welcome,
        responses={
            **errors(_401="wrong_credentials", _429="too_many_requests"),
            403: {
                "model": NewDevice,
                "description": "new_device (the mailed code is required), new_device_totp (the "
                "authenticator's code is required)",
            },
        },
    )
    async def sign_in(body: SignIn, request: Request) -> Response:
        """Sign in. A new device gets 403 with a token; `reason` is the kind of code it needs."""
        signed_in = await auth.sign_in.begin(
            email=body.email,
            password=body.password,
            device_token=body.deviceTokenId,
            address=context.address(request),
        )
        return answer(
            200,
            "Signed in.",
            {
                "token": signed_in.token,
                "refresh_token": signed_in.refresh_token,
                "user_id": signed_in.user_id,
            },
        )

    @router.post(
        "/confirm-new-device",
        status_code=204,
        responses={
            **errors(
                _401="missing_token, invalid_token",
                _403="wrong_device, wrong_code, wrong_recovery_code, expired, too_many_tries, "
                "two_factor_required",
                _404="no_such_user",
                _429="too_many_requests",
            ),
            200: {"model": DeviceConfirmed, "description": "With `issueDeviceToken`"},
        },
    )
    async def confirm_new_device(
        body: ConfirmNewDevice, request: Request, temporary: TemporaryToken
    ) -> Response:
        """Confirm a new device with the temporary token and the required code."""
        device, issued = body.device()
        await auth.sign_in.confirm_new_device(
            temporary=temporary,
            proof=DeviceProof(
                device_hash(body.deviceTokenId),
                body.emailCode or body.totpCode,
                body.recoveryCode,
            ),
            device=device,
            address=context.address(request),
        )
        if issued is None:
            return Response(status_code=204)
        return answer(200, "The device is confirmed: sign in.", {"device_token": issued})

    @router.get(
        "/refresh-token",
        response_model=Refreshed,
        responses=errors(
            _400="missing_device_token",
            _401="missing_token, invalid_token, device_mismatch",
            _403="wrong_token",
            _404="no_such_user",
        ),
    )
    async def refresh(
        request: Request, refresh_token: RefreshToken, device: DeviceHeader
    ) -> Response:
        """Exchange the refresh token for new tokens; it is valid once."""
        fresh = await auth.sessions.refresh(
            refresh_token=refresh_token, device_token=device, address=context.address(request)
        )
        tokens = {"token": fresh.token, "refresh_token": fresh.refresh_token}
        return answer(200, "Refreshed.", tokens)

    @router.post(
        "/password",
        status_code=202,
        response_model=ResetAsked,
        responses=errors(_429="too_many_requests"),
    )
    async def ask_reset(body: AskReset, request: Request) -> Response:
        """Request a reset: mail a code if the address has an account."""
        token = await auth.passwords.ask(email=body.email, address=context.address(request))
        sentence = "If this address has an account, a code was requested for it."
        return answer(202, sentence, {"token": token})

    @router.patch(
        "/password",
        response_model=Nothing,
        responses=errors(
            _400="wrong_code (also if expired or tried too often), wrong_recovery_code",
            _401="missing_token, invalid_token",
            _403="two_factor_required",
            _404="no_such_user",
            _422="invalid_request, password_too_common, password_too_personal",
            _429="too_many_requests",
        ),
    )
    async def reset(body: ResetPassword, request: Request, temporary: TemporaryToken) -> Response:
        """Set a new password with the mailed code; ends every session."""
        await auth.passwords.reset(
            temporary=temporary,
            code=body.emailCode,
            new_password=body.newPassword,
            factor=Factor(body.totpCode, body.recoveryCode),
            address=context.address(request),
        )
        return answer(200, "The password was changed: sign in.")

    return router

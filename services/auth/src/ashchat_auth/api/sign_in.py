"""Routes of the original: sign-up, sign-in, devices, refresh, password reset."""

from typing import Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, model_validator

from ashchat_auth.api.answers import Envelope, ErrorEnvelope, Nothing, answer, errors
from ashchat_auth.api.context import Context, DeviceHeader, RefreshToken, TemporaryToken
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


class SignIn(Body):
    """POST /signin."""

    email: Address
    password: GivenPassword
    deviceTokenId: DeviceToken  # noqa: N815


class ConfirmNewDevice(DeviceFields, SecondFactorFields):
    """POST /confirm-new-device: the code that was wanted.

    `emailCode` is the mailed one, and the authenticator's as well where that is wanted, so
    that the original's clients can do it; `recoveryCode` stands for the authenticator's.
    """

    emailCode: Code | None = None  # noqa: N815

    @model_validator(mode="after")
    def _one(self) -> Self:
        if not (self.emailCode or self.totpCode or self.recoveryCode):
            raise ValueError("emailCode, totpCode or recoveryCode is needed")
        return self


class AskReset(Body):
    """POST /password."""

    email: Address


class ResetPassword(SecondFactorFields):
    """PATCH /password; a second factor where the account has one."""

    newPassword: NewPassword  # noqa: N815
    emailCode: Code  # noqa: N815


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
    """What a new device needs: this token and the code that is wanted."""

    token: str = Field(description="TEMPORARY: for POST /confirm-new-device and nothing else.")
    info: str


class NewDevice(ErrorEnvelope):
    """The answer to a sign-in on a new device."""

    data: Challenge


class ResetToken(BaseModel):
    """What a reset needs beside the mailed code."""

    token: str = Field(description="TEMPORARY: for PATCH /password and nothing else.")


class ResetAsked(Envelope):
    """The answer to a reset; the same whether somebody has the address."""

    data: ResetToken


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/user")
    auth = context.auth

    @router.post(
        "/signup",
        status_code=202,
        response_model=Nothing,
        responses=errors(
            _422="invalid_request, password_too_common, password_too_personal",
            _429="too_many_requests",
        ),
    )
    async def sign_up(body: SignUp, request: Request) -> Response:
        """Begin an account: a code is mailed; again: another code, after a growing wait.

        The same answer for a taken address.
        """
        await auth.sign_up.begin(
            name=body.name,
            email=body.email,
            password=body.password,
            language=body.preferredLanguage,
            address=context.address(request),
        )
        return answer(202, "a code is on its way to this address")

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
        """Make the account with the mailed code."""
        user_id = await auth.sign_up.confirm(
            email=body.email,
            code=body.emailCode,
            device=body.device(),
            address=context.address(request),
        )
        return answer(201, "the account is made: sign in", {"user_id": user_id})

    @router.post(
        "/signin",
        response_model=Welcome,
        responses={
            **errors(_401="wrong_credentials", _429="too_many_requests"),
            403: {
                "model": NewDevice,
                "description": "new_device (the mailed code is wanted), new_device_totp (the "
                "authenticator's code is wanted)",
            },
        },
    )
    async def sign_in(body: SignIn, request: Request) -> Response:
        """Sign in; a new device gets 403, a token, and the reason says which code is wanted."""
        signed_in = await auth.sign_in.begin(
            email=body.email,
            password=body.password,
            device_token=body.deviceTokenId,
            address=context.address(request),
        )
        return answer(
            200,
            "welcome",
            {
                "token": signed_in.token,
                "refresh_token": signed_in.refresh_token,
                "user_id": signed_in.user_id,
            },
        )

    @router.post(
        "/confirm-new-device",
        status_code=204,
        responses=errors(
            _401="missing_token, invalid_token",
            _403="wrong_device, wrong_code, wrong_recovery_code, expired, too_many_tries, "
            "two_factor_required",
            _404="no_such_user",
            _429="too_many_requests",
        ),
    )
    async def confirm_new_device(
        body: ConfirmNewDevice, request: Request, temporary: TemporaryToken
    ) -> Response:
        """Confirm a new device with the temporary token and the code that is wanted."""
        await auth.sign_in.confirm_new_device(
            temporary=temporary,
            proof=DeviceProof(body.emailCode or body.totpCode, body.recoveryCode),
            device=body.device(),
            address=context.address(request),
        )
        return Response(status_code=204)

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
        """Exchange the refresh token for new tokens; the old one is used up."""
        fresh = await auth.sessions.refresh(
            refresh_token=refresh_token, device_token=device, address=context.address(request)
        )
        tokens = {"token": fresh.token, "refresh_token": fresh.refresh_token}
        return answer(200, "refreshed", tokens)

    @router.post(
        "/password",
        status_code=202,
        response_model=ResetAsked,
        responses=errors(_429="too_many_requests"),
    )
    async def ask_reset(body: AskReset, request: Request) -> Response:
        """Ask for a new password: a code is mailed if somebody has the address."""
        token = await auth.passwords.ask(email=body.email, address=context.address(request))
        sentence = "if this address has an account, a code is on its way to it"
        return answer(202, sentence, {"token": token})

    @router.patch(
        "/password",
        response_model=Nothing,
        responses=errors(
            _400="wrong_code (also: expired, tried too often), wrong_recovery_code",
            _401="missing_token, invalid_token",
            _403="two_factor_required",
            _404="no_such_user",
            _422="invalid_request, password_too_common, password_too_personal",
            _429="too_many_requests",
        ),
    )
    async def reset(body: ResetPassword, request: Request, temporary: TemporaryToken) -> Response:
        """Set a new password with the mailed code; every session is over then."""
        await auth.passwords.reset(
            temporary=temporary,
            code=body.emailCode,
            new_password=body.newPassword,
            factor=Factor(body.totpCode, body.recoveryCode),
            address=context.address(request),
        )
        return answer(200, "the password is changed: sign in")

    return router

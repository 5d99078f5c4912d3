"""Routes of a signed-in user's two-factor settings."""

import asyncio
from io import BytesIO
from typing import Annotated, Final

import segno
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from ashchat_auth.api.context import Context
from ashchat_auth.api.envelope import Envelope, answer, signed_in_errors
from ashchat_auth.api.fields import Body, Code
from ashchat_auth.api.proof import PROOF_ERRORS, WithPassword, WithPasswordAndFactor
from ashchat_auth.models import Caller

QR_SCALE: Final = 4


class ConfirmTwoFactor(Body):
    """POST /two-factor/confirm."""

    totpCode: Code  # noqa: N815


class TwoFactorState(BaseModel):
    """Whether the account has two-factor authentication."""

    enabled: bool
    recovery_codes_left: int


class TwoFactorAnswer(Envelope):
    """The state of two-factor authentication."""

    data: TwoFactorState


class Enrolling(BaseModel):
    """What the user enters into an authenticator; shown only now."""

    secret: str = Field(description="The secret in base32, to type in.")
    otpauth_uri: str
    qr_svg: str = Field(description="The URI as a QR code: an SVG element.")


class EnrollingAnswer(Envelope):
    """The response to an enrolment."""

    data: Enrolling


class RecoveryCodes(BaseModel):
    """Codes that replace the authenticator's code once each; shown only now."""

    recovery_codes: list[str]


class RecoveryCodesAnswer(Envelope):
    """A response with recovery codes."""

    data: RecoveryCodes


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/user/two-factor")
    flow = context.auth.two_factor
    SignedIn = Annotated[Caller, Depends(context.caller())]  # noqa: N806 (a type)

    @router.get("", response_model=TwoFactorAnswer, responses=signed_in_errors())
    async def state(caller: SignedIn) -> Response:
        """Return whether the account has two-factor authentication."""
        found = flow.state(caller)
        data = {"enabled": found.enabled, "recovery_codes_left": found.recovery_codes_left}
        return answer(200, "The state of two-factor authentication.", data)

    @router.post(
        "",
        response_model=EnrollingAnswer,
        responses=signed_in_errors(
            _403="wrong_password",
            _409="two_factor_enabled, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def enrol(body: WithPassword, caller: SignedIn) -> Response:
        """Begin an enrolment: return a new secret for an authenticator."""
        begun = await flow.enrol(caller, password=body.password)
        # Some milliseconds of computation: not on the event loop.
        svg = await asyncio.to_thread(_qr_svg, begun.uri)
        data = {"secret": begun.secret, "otpauth_uri": begun.uri, "qr_svg": svg}
        return answer(200, "Scan the code, then confirm with the authenticator's code.", data)

    @router.post(
        "/confirm",
        response_model=RecoveryCodesAnswer,
        responses=signed_in_errors(
            _400="wrong_code",
            _409="two_factor_enabled, no_enrolment, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def confirm(body: ConfirmTwoFactor, caller: SignedIn) -> Response:
        """Enable two-factor authentication with the authenticator's code; ends other sessions."""
        codes = await flow.confirm(caller, code=body.totpCode)
        return answer(
            200,
            "Two-factor authentication is enabled: store these codes safely.",
            {"recovery_codes": codes},
        )

    @router.post(
        "/recovery-codes",
        response_model=RecoveryCodesAnswer,
        responses=signed_in_errors(_409="two_factor_off, changed_meanwhile", **PROOF_ERRORS),
    )
    async def renew(body: WithPasswordAndFactor, caller: SignedIn) -> Response:
        """Create new recovery codes; the previous ones become invalid."""
        codes = await flow.renew(caller, password=body.password, factor=body.factor())
        return answer(200, "Store these codes safely.", {"recovery_codes": codes})

    @router.delete(
        "",
        status_code=204,
        responses=signed_in_errors(_409="two_factor_off, changed_meanwhile", **PROOF_ERRORS),
    )
    async def disable(body: WithPasswordAndFactor, caller: SignedIn) -> Response:
        """Disable two-factor authentication; ends other sessions."""
        await flow.disable(caller, password=body.password, factor=body.factor())
        return Response(status_code=204)

    return router


def _qr_svg(text: str) -> str:
    out = BytesIO()
    segno.make(text, error="m", micro=False).save(
        out, kind="svg", xmldecl=False, scale=QR_SCALE, title="otpauth"
    )
    return out.getvalue().decode().strip()

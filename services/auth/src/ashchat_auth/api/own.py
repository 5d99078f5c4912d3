"""Routes of somebody who is signed in: sessions, password, two-factor, account."""

import asyncio
from datetime import datetime
from io import BytesIO
from typing import Annotated, Self

import segno
from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, model_validator

from ashchat_auth.api.answers import Envelope, Nothing, answer, signed_in_errors
from ashchat_auth.api.context import Context
from ashchat_auth.api.fields import (
    Address,
    Body,
    Code,
    GivenPassword,
    LanguageTag,
    Name,
    NewPassword,
    SecondFactorFields,
)
from ashchat_auth.models import Caller, EventKind
from ashchat_auth.service.events import PAGE_EVENTS
from ashchat_auth.service.second_factor import Factor

QR_SCALE = 4
YEARS = range(2000, 3000)
"""What a time in a request may be in; beyond, some arithmetic overflows."""


def _plausible(moment: datetime) -> datetime:
    if moment.year not in YEARS:
        raise ValueError("not a plausible time")
    return moment


class ChangePassword(Body):
    """PUT /password."""

    oldPassword: GivenPassword  # noqa: N815
    newPassword: NewPassword  # noqa: N815


class WithPassword(Body):
    """The password again."""

    password: GivenPassword


class WithPasswordAndFactor(SecondFactorFields):
    """The password again, and a second factor where the account has one."""

    password: GivenPassword

    def factor(self) -> Factor:
        """Return the second factor that was given."""
        return Factor(self.totpCode, self.recoveryCode)


class ConfirmTwoFactor(Body):
    """POST /two-factor/confirm."""

    totpCode: Code  # noqa: N815


class ChangeProfile(Body):
    """PATCH /profile: what is given changes."""

    name: Name | None = None
    preferredLanguage: LanguageTag | None = None  # noqa: N815

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.name is None and self.preferredLanguage is None:
            raise ValueError("name or preferredLanguage is needed")
        return self


class ChangeEmail(Body):
    """POST /email."""

    newEmail: Address  # noqa: N815
    password: GivenPassword


class ConfirmEmailChange(Body):
    """PATCH /email: the codes of both ends."""

    oldCode: Code  # noqa: N815
    newCode: Code  # noqa: N815


class SessionItem(BaseModel):
    """A session."""

    id: str
    device_os: str | None
    created_at: datetime
    used_at: datetime
    current: bool


class SessionList(BaseModel):
    """The caller's sessions."""

    sessions: list[SessionItem]


class SessionsAnswer(Envelope):
    """The sessions, last used first."""

    data: SessionList


class Revoked(BaseModel):
    """How many sessions are over."""

    revoked: int


class RevokedAnswer(Envelope):
    """The answer to revoking several."""

    data: Revoked


class TwoFactorState(BaseModel):
    """Whether the account has two-factor."""

    enabled: bool
    recovery_codes_left: int


class TwoFactorAnswer(Envelope):
    """The state of two-factor."""

    data: TwoFactorState


class Enrolling(BaseModel):
    """What an authenticator needs; seen only now."""

    secret: str = Field(description="In base32, to type in.")
    otpauth_uri: str
    qr_svg: str = Field(description="The same as a QR code: an SVG element.")


class EnrollingAnswer(Envelope):
    """The answer to an enrolment."""

    data: Enrolling


class RecoveryCodes(BaseModel):
    """Codes that stand for the authenticator's, each once; seen only now."""

    recovery_codes: list[str]


class RecoveryCodesAnswer(Envelope):
    """The answer that has recovery codes."""

    data: RecoveryCodes


class EventItem(BaseModel):
    """What happened, when, from where."""

    id: str
    kind: EventKind
    at: datetime
    address: str | None
    device_os: str | None
    session_id: str | None
    count: int = Field(description="How often, in the same hour from the same address.")


class EventList(BaseModel):
    """A page of events."""

    events: list[EventItem]


class EventsAnswer(Envelope):
    """Events, newest first."""

    data: EventList


PROOF_400 = "wrong_code, wrong_recovery_code"
PROOF_403 = "wrong_password, two_factor_required"


def sessions(context: Context) -> APIRouter:
    """Return the routes of sessions and events."""
    router = APIRouter(prefix="/api/user")
    flows = context.auth
    caller_of = context.caller()

    @router.get("/sessions", response_model=SessionsAnswer, responses=signed_in_errors())
    async def all_sessions(caller: Annotated[Caller, Depends(caller_of)]) -> Response:
        """List who is signed in to this account."""
        found = await flows.sessions.all_of(caller)
        items = [SessionItem.model_validate(item, from_attributes=True) for item in found]
        return answer(200, "sessions", SessionList(sessions=items).model_dump(mode="json"))

    @router.delete(
        "/sessions/{session_id}",
        status_code=204,
        responses=signed_in_errors(_404="no_such_session"),
    )
    async def revoke(
        session_id: Annotated[str, Path(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")],
        caller: Annotated[Caller, Depends(caller_of)],
    ) -> Response:
        """End one session."""
        await flows.sessions.revoke(caller, session_id)
        return Response(status_code=204)

    @router.delete("/sessions", response_model=RevokedAnswer, responses=signed_in_errors())
    async def revoke_all(
        caller: Annotated[Caller, Depends(caller_of)],
        current: Annotated[bool, Query(description="Also this session.")] = False,  # noqa: FBT002
    ) -> Response:
        """End all other sessions, or all."""
        count = await flows.sessions.revoke_all(caller, current=current)
        return answer(200, "these sessions are over", {"revoked": count})

    @router.post("/signout", status_code=204, responses=signed_in_errors())
    async def sign_out(caller: Annotated[Caller, Depends(caller_of)]) -> Response:
        """End this session."""
        await flows.sessions.sign_out(caller)
        return Response(status_code=204)

    @router.get("/security-events", response_model=EventsAnswer, responses=signed_in_errors())
    async def events(
        caller: Annotated[Caller, Depends(caller_of)],
        before: Annotated[
            Annotated[AwareDatetime, AfterValidator(_plausible)] | None,
            Query(description="Only older ones: the `at` of the last of the page before."),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_EVENTS)] = PAGE_EVENTS,
    ) -> Response:
        """List what happened to this account, newest first."""
        found = await flows.events.page(caller.user.id, before=before, limit=limit)
        items = [EventItem.model_validate(item, from_attributes=True) for item in found]
        return answer(200, "security events", EventList(events=items).model_dump(mode="json"))

    return router


def two_factor(context: Context) -> APIRouter:
    """Return the routes of two-factor."""
    router = APIRouter(prefix="/api/user/two-factor")
    flow = context.auth.two_factor
    caller_of = context.caller()

    @router.get("", response_model=TwoFactorAnswer, responses=signed_in_errors())
    async def state(caller: Annotated[Caller, Depends(caller_of)]) -> Response:
        """Tell whether this account has two-factor."""
        found = flow.state(caller)
        data = {"enabled": found.enabled, "recovery_codes_left": found.recovery_codes_left}
        return answer(200, "two-factor", data)

    @router.post(
        "",
        response_model=EnrollingAnswer,
        responses=signed_in_errors(
            _403="wrong_password",
            _409="two_factor_enabled, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def enrol(body: WithPassword, caller: Annotated[Caller, Depends(caller_of)]) -> Response:
        """Begin an enrolment: a new secret for an authenticator."""
        begun = await flow.enrol(caller, password=body.password)
        # Some milliseconds of pure computing: not on the event loop.
        svg = await asyncio.to_thread(_qr_svg, begun.uri)
        data = {"secret": begun.secret, "otpauth_uri": begun.uri, "qr_svg": svg}
        return answer(200, "scan this, then confirm with the authenticator's code", data)

    @router.post(
        "/confirm",
        response_model=RecoveryCodesAnswer,
        responses=signed_in_errors(
            _400="wrong_code",
            _409="two_factor_enabled, no_enrolment, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def confirm(
        body: ConfirmTwoFactor, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Turn two-factor on with a code of the authenticator; other sessions are over."""
        codes = await flow.confirm(caller, code=body.totpCode)
        return answer(200, "two-factor is on: keep these codes safe", {"recovery_codes": codes})

    @router.post(
        "/recovery-codes",
        response_model=RecoveryCodesAnswer,
        responses=signed_in_errors(
            _400=PROOF_400,
            _403=PROOF_403,
            _409="two_factor_off, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def renew(
        body: WithPasswordAndFactor, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Make new recovery codes; the former ones are not good any more."""
        codes = await flow.renew(caller, password=body.password, factor=body.factor())
        return answer(200, "keep these codes safe", {"recovery_codes": codes})

    @router.delete(
        "",
        status_code=204,
        responses=signed_in_errors(
            _400=PROOF_400,
            _403=PROOF_403,
            _409="two_factor_off, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def disable(
        body: WithPasswordAndFactor, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Turn two-factor off; other sessions are over."""
        await flow.disable(caller, password=body.password, factor=body.factor())
        return Response(status_code=204)

    return router


def account(context: Context) -> APIRouter:
    """Return the routes of the account itself."""
    router = APIRouter(prefix="/api/user")
    flows = context.auth
    caller_of = context.caller()

    @router.put(
        "/password",
        response_model=Nothing,
        responses=signed_in_errors(
            _403="wrong_password",
            _409="changed_meanwhile",
            _422="invalid_request, password_too_common, password_too_personal",
            _429="too_many_requests",
        ),
    )
    async def change_password(
        body: ChangePassword, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Set a new password by the old one; other sessions are over."""
        await flows.passwords.change(
            caller, old_password=body.oldPassword, new_password=body.newPassword
        )
        return answer(200, "the password is changed")

    @router.patch(
        "/profile",
        response_model=Nothing,
        responses=signed_in_errors(_409="changed_meanwhile", _429="too_many_requests"),
    )
    async def change_profile(
        body: ChangeProfile, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Change name or preferred language."""
        await flows.account.change_profile(caller, name=body.name, language=body.preferredLanguage)
        return answer(200, "the profile is changed")

    @router.post(
        "/email",
        status_code=202,
        response_model=Nothing,
        responses=signed_in_errors(
            _403="wrong_password",
            _409="same_email, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def begin_email_change(
        body: ChangeEmail, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Begin to change the address: a code goes to the old one and one to the new one."""
        await flows.account.begin_email_change(
            caller, new_email=body.newEmail, password=body.password
        )
        return answer(202, "a code is on its way to each of the two addresses")

    @router.patch(
        "/email",
        response_model=Nothing,
        responses=signed_in_errors(
            _400="wrong_code, expired, too_many_tries",
            _409="no_email_change, email_taken, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def finish_email_change(
        body: ConfirmEmailChange, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Change the address with both codes."""
        await flows.account.finish_email_change(
            caller, old_code=body.oldCode, new_code=body.newCode
        )
        return answer(200, "the address is changed")

    @router.delete(
        "",
        status_code=204,
        responses=signed_in_errors(
            _400=PROOF_400, _403=PROOF_403, _409="changed_meanwhile", _429="too_many_requests"
        ),
    )
    async def delete(
        body: WithPasswordAndFactor, caller: Annotated[Caller, Depends(caller_of)]
    ) -> Response:
        """Delete this account and everything of it."""
        await flows.account.delete(caller, password=body.password, factor=body.factor())
        return Response(status_code=204)

    return router


def _qr_svg(text: str) -> str:
    out = BytesIO()
    segno.make(text, error="m", micro=False).save(
        out, kind="svg", xmldecl=False, scale=QR_SCALE, title="otpauth"
    )
    return out.getvalue().decode().strip()

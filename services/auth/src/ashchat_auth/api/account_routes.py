"""Routes of a signed-in user's account: password, profile, address, deletion."""

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Response
from pydantic import model_validator

from ashchat_auth.api.context import Context
from ashchat_auth.api.envelope import Nothing, answer, signed_in_errors
from ashchat_auth.api.fields import (
    Address,
    Body,
    Code,
    GivenPassword,
    LanguageTag,
    Name,
    NewPassword,
)
from ashchat_auth.api.proof import PROOF_ERRORS, WithPasswordAndFactor
from ashchat_auth.models import Caller


class ChangePassword(Body):
    """PUT /password."""

    oldPassword: GivenPassword  # noqa: N815
    newPassword: NewPassword  # noqa: N815


class ChangeProfile(Body):
    """PATCH /profile: missing fields stay as they are."""

    name: Name | None = None
    preferredLanguage: LanguageTag | None = None  # noqa: N815

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.name is None and self.preferredLanguage is None:
            raise ValueError("name or preferredLanguage is required")
        return self


class ChangeEmail(Body):
    """POST /email."""

    newEmail: Address  # noqa: N815
    password: GivenPassword


class ConfirmEmailChange(Body):
    """PATCH /email: the codes of both addresses."""

    oldCode: Code  # noqa: N815
    newCode: Code  # noqa: N815


def routes(context: Context) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/api/user")
    flows = context.auth
    SignedIn = Annotated[Caller, Depends(context.caller())]  # noqa: N806 (a type)

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
    async def change_password(body: ChangePassword, caller: SignedIn) -> Response:
        """Set a new password; ends other sessions."""
        await flows.passwords.change(
            caller, old_password=body.oldPassword, new_password=body.newPassword
        )
        return answer(200, "The password was changed.")

    @router.patch(
        "/profile",
        response_model=Nothing,
        responses=signed_in_errors(_409="changed_meanwhile", _429="too_many_requests"),
    )
    async def change_profile(body: ChangeProfile, caller: SignedIn) -> Response:
        """Change name or preferred language, or both."""
        await flows.account.change_profile(caller, name=body.name, language=body.preferredLanguage)
        return answer(200, "The profile was changed.")

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
    async def begin_email_change(body: ChangeEmail, caller: SignedIn) -> Response:
        """Begin a change of the address: mail one code to the old and one to the new address."""
        await flows.account.begin_email_change(
            caller, new_email=body.newEmail, password=body.password
        )
        return answer(202, "A code was requested for each of the two addresses.")

    @router.patch(
        "/email",
        response_model=Nothing,
        responses=signed_in_errors(
            _400="wrong_code, expired, too_many_tries",
            _409="no_email_change, email_taken, changed_meanwhile",
            _429="too_many_requests",
        ),
    )
    async def finish_email_change(body: ConfirmEmailChange, caller: SignedIn) -> Response:
        """Change the address with both codes."""
        await flows.account.finish_email_change(
            caller, old_code=body.oldCode, new_code=body.newCode
        )
        return answer(200, "The address was changed.")

    @router.delete(
        "",
        status_code=204,
        responses=signed_in_errors(_409="changed_meanwhile", **PROOF_ERRORS),
    )
    async def delete(body: WithPasswordAndFactor, caller: SignedIn) -> Response:
        """Delete the account with all its data."""
        await flows.account.delete(caller, password=body.password, factor=body.factor())
        return Response(status_code=204)

    return router

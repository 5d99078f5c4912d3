"""What all HTTP routes share: the gate, the shape of errors, and rates per user."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field

from ashchat_chat.users.revocations import Revocations
from ashchat_chat.wire.limits import AccountRate
from ashchat_core.admission.rules import Limiter
from ashchat_core.http import APIError
from ashchat_core.tokens import AccessToken, InvalidTokenError, TokenVerifier, device_hash


class RequestBody(BaseModel):
    """A request's body. The original's clients may send additional fields."""

    model_config = ConfigDict(extra="ignore")


class Problem(BaseModel):
    """The body of every error."""

    error: str
    details: Any = None
    reason: str = Field(description="Machine-readable reason.")


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller, and the credentials to act for the caller at static."""

    token: AccessToken
    raw_token: str = field(repr=False)
    raw_device: str = field(repr=False)


def render(error: APIError) -> dict[str, Any]:
    """Return an error's body."""
    return {"error": error.message, "details": error.data, "reason": error.reason}


def errors(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's error responses, such as `_404="no_such_user"`."""
    reasons.setdefault("_400", "missing_device_token")
    reasons.setdefault(
        "_401", "missing_token, invalid_token, token_expired, session_revoked, device_mismatch"
    )
    reasons.setdefault("_422", "invalid_request")
    reasons.setdefault("_503", "unavailable")
    return {
        int(status[1:]): {"model": Problem, "description": text} for status, text in reasons.items()
    }


class Gate:
    """Authorises a request by its two headers."""

    def __init__(self, verifier: TokenVerifier, revocations: Revocations) -> None:
        self._verifier = verifier
        self._revocations = revocations

    def __call__(
        self,
        authorization: Annotated[str | None, Header()] = None,
        device_token: Annotated[str | None, Header(convert_underscores=False)] = None,
        dashed: Annotated[str | None, Header(alias="Device-Token")] = None,
    ) -> Caller:
        """Return the caller.

        Raises:
            APIError: 401 or 400, in the original's order: token, device, match. An ended session
                has its own reason, because refreshing its token would not help.
        """
        scheme, _, raw = (authorization or "").partition(" ")
        raw = raw.strip()
        challenge = {"WWW-Authenticate": "Bearer"}
        if scheme.lower() != "bearer" or not raw:
            raise APIError(
                401,
                "missing_token",
                "Send the header Authorization: Bearer <token>.",
                headers=challenge,
            )
        try:
            token = self._verifier.verify(raw)
        except InvalidTokenError as error:
            reason = "token_expired" if error.reason == "expired" else "invalid_token"
            raise APIError(
                401, reason, str(error), data={"token": error.reason}, headers=challenge
            ) from None
        if self._revocations.revoked(
            user=token.user_id, session=token.session_id, epoch=token.epoch
        ):
            raise APIError(
                401, "session_revoked", "The session has ended: sign in again.", headers=challenge
            )
        device = (device_token or dashed or "").strip()
        if not device:
            raise APIError(400, "missing_device_token", "Send the header device_token.")
        if device_hash(device) != token.device_hash:
            raise APIError(401, "device_mismatch", "The token belongs to another device.")
        return Caller(token, raw, device)


class RateLimit:
    """A rate per user, on all pods."""

    def __init__(self, limiter: Limiter, rate: AccountRate, message: str) -> None:
        self._limiter = limiter
        self._rate = rate
        self._message = message

    async def charge(self, user: str, count: int = 1) -> None:
        """Charge requests to a user.

        Raises:
            APIError: 429, because the user's bucket has no room for them.
        """
        if not count:
            return
        if wait := await self._limiter.take([self._rate.bucket(user, count)]):
            raise APIError(
                429, "too_many_requests", self._message, headers={"Retry-After": str(wait)}
            )

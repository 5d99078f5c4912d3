"""The envelope of every response: `{status, message, data}`, and `reason` in errors."""

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from ashchat_core.http import APIError

Responses = dict[int | str, dict[str, Any]]


class Envelope(BaseModel):
    """The body of every response."""

    status: int
    message: str
    data: Any = None


class ErrorEnvelope(Envelope):
    """The body of every error."""

    reason: str = Field(description="Machine-readable reason.")


class Nothing(Envelope):
    """A response without data."""

    data: None = None


def render(error: APIError) -> dict[str, Any]:
    """Return an error's body."""
    return {
        "status": error.status,
        "message": error.message,
        "data": error.data,
        "reason": error.reason,
    }


def answer(status: int, message: str, data: Any = None) -> JSONResponse:
    """Return a successful response."""
    return JSONResponse(
        {"status": status, "message": message, "data": data},
        status_code=status,
        headers={"Cache-Control": "no-store"},  # RFC 6749, section 5.1
    )


def errors(**reasons: str) -> Responses:
    """Return OpenAPI's error responses, such as `_400="wrong_code, expired"`."""
    common = {"_413": "too_large", "_422": "invalid_request", "_503": "unavailable"}
    found = {**common, **reasons}
    return {
        int(status[1:]): {"model": ErrorEnvelope, "description": text}
        for status, text in sorted(found.items())
    }


def signed_in_errors(**reasons: str) -> Responses:
    """Return the error responses of a route that requires an access token."""
    own = {
        "_400": "missing_device_token",
        "_401": "missing_token, invalid_token, token_expired, device_mismatch, session_over",
    }
    for status, text in reasons.items():
        own[status] = f"{own[status]}, {text}" if status in own else text
    return errors(**own)

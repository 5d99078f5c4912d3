"""Who may upload: the bearer of an access token, on the device it was made for.

The rules, statuses and headers are those of chat's gate (a client has one set of headers).
"""

import secrets
from collections.abc import Mapping

from ashchat_core.http import APIError
from ashchat_core.tokens import AccessToken, InvalidTokenError, TokenVerifier, device_hash


def admit(headers: Mapping[str, str], verifier: TokenVerifier) -> AccessToken:
    """Return what the caller's token says.

    Raises:
        APIError: 401 without a token that is valid here, 400 without a device token,
            401 with another device's.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("missing_token", "send Authorization: Bearer <access token>")
    try:
        access = verifier.verify(token.strip())
    except InvalidTokenError as error:
        raise unauthorized(f"token_{error.reason}", str(error)) from None
    # Some proxies drop headers with an underscore.
    device = headers.get("device_token") or headers.get("device-token")
    if not device:
        raise APIError(400, "missing_device_token", "send the header device_token")
    if not secrets.compare_digest(device_hash(device), access.device_hash):
        raise unauthorized("device_mismatch", "the token belongs to another device")
    return access


def unauthorized(reason: str, sentence: str) -> APIError:
    """Return the refusal of a token."""
    return APIError(401, reason, sentence, headers={"WWW-Authenticate": "Bearer"})

"""Authorises uploads: an access token, sent from the device it was issued for.

Rules, statuses and headers are the same as in chat (a client has one set of headers).
"""

import secrets
from collections.abc import Mapping

from ashchat_core.http import APIError
from ashchat_core.tokens import AccessToken, InvalidTokenError, TokenVerifier, device_hash
from ashchat_static.ended_sessions import EndedSessions


class Gate:
    """Authorises a request by its two headers."""

    def __init__(self, verifier: TokenVerifier, ended: EndedSessions) -> None:
        self._verifier = verifier
        self._ended = ended

    async def admit(self, headers: Mapping[str, str]) -> AccessToken:
        """Return the claims of the caller's token.

        Raises:
            APIError: 401 without a valid token, 400 without a device token, 401 with the token of
                another device or of an ended session.
        """
        access = _verified(headers, self._verifier)
        if await self._ended.includes(access):
            raise unauthorized("session_revoked", "The session has ended: sign in again.")
        return access


def _verified(headers: Mapping[str, str], verifier: TokenVerifier) -> AccessToken:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("missing_token", "Send the header Authorization: Bearer <access token>.")
    try:
        access = verifier.verify(token.strip())
    except InvalidTokenError as error:
        raise unauthorized(f"token_{error.reason}", str(error)) from None
    # Some proxies remove headers with an underscore.
    device = headers.get("device_token") or headers.get("device-token")
    if not device:
        raise APIError(400, "missing_device_token", "Send the header device_token.")
    if not secrets.compare_digest(device_hash(device), access.device_hash):
        raise unauthorized("device_mismatch", "The token belongs to another device.")
    return access


def unauthorized(reason: str, sentence: str) -> APIError:
    """Return the error for a token that is not accepted."""
    return APIError(401, reason, sentence, headers={"WWW-Authenticate": "Bearer"})

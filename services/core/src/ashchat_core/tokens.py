"""Access tokens: JWTs signed with ES256, verified from a key set in a file.

One algorithm and one type, as RFC 8725 (JSON Web Token Best Current Practices) and RFC 9068
(JWT Profile for OAuth 2.0 Access Tokens) require. The key set is a file instead of a URL, so
that tokens can be verified while auth is down.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jwt
import structlog
from pydantic import BaseModel, ConfigDict

from ashchat_core.clocks import CLOCK_SKEW_SECONDS

ALGORITHM: Final = "ES256"
ACCESS_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 (RFC 9068, section 2.1)
SOCKET_TICKET_TYPE: Final = "socket-ticket+jwt"
SOCKET_TICKET_SECONDS: Final = 30
"""Lifetime of a ticket. The service that accepts tickets must remember used ones for that time
plus twice CLOCK_SKEW_SECONDS."""

JWKS: Final = "jwks"
"""Credential name under which services report the `key_set_revision` of their keys."""

SIGNING_KEYS: Final = "signing-keys"
"""Credential name under which auth reports the id of the active signing key."""

REREAD_SECONDS: Final = 5.0
"""How long a key that was removed from the set is still accepted."""

_REQUIRED: Final = ["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "sid", "epoch"]


class InvalidTokenError(Exception):
    """The token was not issued by auth, is not an access token, or is no longer valid."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        """Machine-readable: malformed, wrong_type, unknown_key, expired, invalid."""


class AccessToken(BaseModel):
    """The claims of a verified access token."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    session_id: str
    epoch: int
    """The account's epoch when the token was issued; see `messages.SessionRevoked`."""

    device_hash: str
    expires_at: datetime


class SocketTicket(BaseModel):
    """The claims of a verified ticket, which opens one socket."""

    model_config = ConfigDict(frozen=True)

    id: str
    """The service that accepts the ticket must refuse it the second time."""

    user_id: str
    session_id: str
    epoch: int
    expires_at: datetime
    """When the access token expires that the ticket was issued for, and with it the socket."""


def is_ticket(token: str) -> bool:
    """Return whether a token is meant to be a ticket for a socket; it is not verified."""
    try:
        return bool(jwt.get_unverified_header(token).get("typ") == SOCKET_TICKET_TYPE)
    except jwt.InvalidTokenError:
        return False


def device_hash(device_token: str) -> str:
    """Return the SHA-256, in hex, of a device token without surrounding white space."""
    return hashlib.sha256(device_token.strip().encode()).hexdigest()


def verify_access(
    token: str, key_of: Callable[[str], Any], *, issuer: str, audience: str
) -> AccessToken:
    """Return the claims of an access token.

    Args:
        token: The token.
        key_of: Returns the public key of a key id; raises InvalidTokenError for an unknown one.
        issuer: The required issuer.
        audience: The required audience.

    Raises:
        InvalidTokenError: the token is not valid; see its `reason`.
    """
    claims = _verified(token, ACCESS_TOKEN_TYPE, key_of, issuer=issuer, audience=audience)
    if claims.get("type") != "MAIN" or not isinstance(claims.get("dev"), str):
        raise InvalidTokenError("wrong_type", "This is not an access token.")
    return AccessToken(
        user_id=claims["sub"],
        session_id=claims["sid"],
        epoch=claims["epoch"],
        device_hash=claims["dev"],
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )


def verify_ticket(
    ticket: str, key_of: Callable[[str], Any], *, issuer: str, audience: str
) -> SocketTicket:
    """Return the claims of a ticket for a socket; see `verify_access`.

    Raises:
        InvalidTokenError: the ticket is not valid; see its `reason`.
    """
    claims = _verified(ticket, SOCKET_TICKET_TYPE, key_of, issuer=issuer, audience=audience)
    until = claims.get("until")
    if not isinstance(until, int):
        raise InvalidTokenError("wrong_type", "This is not a ticket.")
    return SocketTicket(
        id=claims["jti"],
        user_id=claims["sub"],
        session_id=claims["sid"],
        epoch=claims["epoch"],
        expires_at=datetime.fromtimestamp(until, UTC),
    )


def _verified(
    token: str, kind: str, key_of: Callable[[str], Any], *, issuer: str, audience: str
) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.InvalidTokenError:
        raise InvalidTokenError("malformed", "This is not a token.") from None
    if header.get("typ") != kind or header.get("alg") != ALGORITHM:
        raise InvalidTokenError("wrong_type", "This is another kind of token.")
    key = key_of(str(header.get("kid", "")))
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=issuer,
            audience=audience,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": _REQUIRED, "strict_aud": True},
        )
    except jwt.ExpiredSignatureError:
        raise InvalidTokenError("expired", "The token has expired: refresh it.") from None
    except jwt.InvalidTokenError:
        raise InvalidTokenError("invalid", "The token is not valid here.") from None
    if not isinstance(claims["epoch"], int):
        raise InvalidTokenError("wrong_type", "This is another kind of token.")
    return claims


def key_set_revision(kids: Iterable[str]) -> str:
    """Return a value that changes with the set of keys; key ids are public (RFC 7638)."""
    return hashlib.sha256("\n".join(sorted(kids)).encode()).hexdigest()[:12]


class TokenVerifier:
    """Verifies access tokens with the published keys."""

    def __init__(self, jwks_file: Path, *, issuer: str, audience: str) -> None:
        self._file = jwks_file
        self._issuer = issuer
        self._audience = audience
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read = b""
        self._read_at = 0.0

    def verify(self, token: str) -> AccessToken:
        """Return the claims of a token.

        Raises:
            InvalidTokenError: the token is not valid; see its `reason`.
        """
        return verify_access(token, self._key, issuer=self._issuer, audience=self._audience)

    def verify_ticket(self, ticket: str) -> SocketTicket:
        """Return the claims of a ticket for a socket.

        Raises:
            InvalidTokenError: the ticket is not valid; see its `reason`.
        """
        return verify_ticket(ticket, self._key, issuer=self._issuer, audience=self._audience)

    @property
    def revision(self) -> str:
        """The `key_set_revision` of the keys that verify tokens; empty if there are none."""
        self._load()
        return key_set_revision(self._keys) if self._keys else ""

    def _key(self, kid: str) -> jwt.PyJWK:
        # An unknown key may be new: the file is updated before a new key signs.
        if kid not in self._keys or time.monotonic() - self._read_at > REREAD_SECONDS:
            self._load()
        try:
            return self._keys[kid]
        except KeyError:
            raise InvalidTokenError(
                "unknown_key", "The token was signed with an unknown key."
            ) from None

    def _load(self) -> None:
        self._read_at = time.monotonic()
        try:
            text = self._file.read_bytes()
            if text == self._read:
                return
            keys = jwt.PyJWKSet.from_dict(json.loads(text)).keys
        except (OSError, ValueError, jwt.PyJWKSetError) as error:
            # The file is being replaced, or is broken: keep the known keys.
            structlog.get_logger("tokens").warning(
                "the key set is not readable", kind=type(error).__name__
            )
            return
        self._keys = {key.key_id: key for key in keys if key.key_id}
        self._read = text

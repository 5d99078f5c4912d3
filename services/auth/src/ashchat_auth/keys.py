"""Signing keys: files, several at a time, that may change while the service runs.

`<kid>.pem` are EC P-256 keys; `active` names the one that signs. All of them are published
(RFC 7517), so a token signed with the previous key is valid until it expires.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ashchat_auth.models import Purpose, Temporary
from ashchat_auth.watched_folder import WatchedFolder
from ashchat_core.clocks import CLOCK_SKEW_SECONDS
from ashchat_core.tokens import (
    ACCESS_TOKEN_TYPE,
    ALGORITHM,
    SOCKET_TICKET_SECONDS,
    SOCKET_TICKET_TYPE,
    AccessToken,
    InvalidTokenError,
    key_set_revision,
    verify_access,
)

TEMPORARY_TOKEN_TYPE: Final = "challenge+jwt"  # noqa: S105
TEMPORARY_TOKEN_MINUTES: Final = 10


@dataclass(frozen=True, slots=True)
class _Keys:
    active: str
    keys: dict[str, EllipticCurvePrivateKey]
    jwks: dict[str, Any]


class SigningKeys:
    """Signs and verifies access and temporary tokens, and publishes the public keys."""

    def __init__(self, folder: Path, *, issuer: str, audience: str, minutes: int) -> None:
        self._folder: WatchedFolder[_Keys] = WatchedFolder(folder, "*.pem", _load)
        self._issuer = issuer
        self._audience = audience
        self._life = timedelta(minutes=minutes)

    def access(
        self, *, user_id: str, session_id: str, epoch: int, device_hash: str, now: datetime
    ) -> str:
        """Return an access token (RFC 9068; `type` and `sub` as the original's clients know)."""
        return self._sign(
            {
                "aud": self._audience,
                "sub": user_id,
                "sid": session_id,
                "epoch": epoch,
                "dev": device_hash,
                "type": "MAIN",
            },
            ACCESS_TOKEN_TYPE,
            now,
            self._life,
        )

    def socket_ticket(
        self, *, user_id: str, session_id: str, epoch: int, until: datetime, now: datetime
    ) -> str:
        """Return a ticket that opens one socket, which is closed at `until`."""
        claims = {
            "aud": self._audience,
            "sub": user_id,
            "sid": session_id,
            "epoch": epoch,
            "until": int(until.timestamp()),
        }
        life = timedelta(seconds=SOCKET_TICKET_SECONDS)
        return self._sign(claims, SOCKET_TICKET_TYPE, now, life)

    def read_access(self, token: str) -> AccessToken:
        """Return the claims of an access token.

        Raises:
            InvalidTokenError: with the reason; see `ashchat_core.tokens`.
        """

        def key(kid: str) -> Any:
            found = self._folder.current().keys.get(kid)
            if found is None:
                raise InvalidTokenError("unknown_key", "the token was signed with an unknown key")
            return found.public_key()

        return verify_access(token, key, issuer=self._issuer, audience=self._audience)

    def temporary(self, claims: Temporary, now: datetime) -> str:
        """Return a token for one challenge and nothing else."""
        return self._sign(
            {
                "aud": self._issuer,
                "sub": claims.subject,
                "challenge": claims.challenge_id,
                "dev": claims.device_hash,
                "for": claims.purpose.value,
                "epoch": claims.epoch,
                "type": "TEMPORARY",
            },
            TEMPORARY_TOKEN_TYPE,
            now,
            timedelta(minutes=TEMPORARY_TOKEN_MINUTES),
        )

    def read_temporary(self, token: str) -> Temporary | None:
        """Return the claims of a temporary token; None if it is not valid."""
        keys = self._folder.current().keys
        try:
            header = jwt.get_unverified_header(token)
            key = keys[str(header.get("kid"))].public_key()
            if header.get("typ") != TEMPORARY_TOKEN_TYPE:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._issuer,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub", "challenge", "dev", "for"]},
            )
            return Temporary(
                purpose=Purpose(claims["for"]),
                subject=claims["sub"],
                challenge_id=claims["challenge"],
                device_hash=claims["dev"],
                epoch=claims["epoch"],
            )
        except (jwt.InvalidTokenError, KeyError, ValueError):
            return None

    @property
    def active(self) -> str:
        """The id of the key that signs; empty if there is none."""
        keys = self._usable()
        return keys.active if keys else ""

    @property
    def revision(self) -> str:
        """The `key_set_revision` of the keys that verify tokens; empty if there are none."""
        keys = self._usable()
        return key_set_revision(keys.keys) if keys else ""

    def _usable(self) -> _Keys | None:
        try:
            return self._folder.current()
        except (OSError, ValueError, TypeError):
            return None  # the start-up check waits for them

    def jwks(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517)."""
        return self._folder.current().jwks

    def _sign(self, claims: dict[str, Any], kind: str, now: datetime, life: timedelta) -> str:
        keys = self._folder.current()
        return jwt.encode(
            {
                "iss": self._issuer,
                "iat": now,
                "nbf": now,
                "exp": now + life,
                "jti": uuid4().hex,
                **claims,
            },
            keys.keys[keys.active],
            algorithm=ALGORITHM,
            headers={"kid": keys.active, "typ": kind},
        )


def _load(paths: list[Path], active: str) -> _Keys:
    keys: dict[str, EllipticCurvePrivateKey] = {}
    for path in paths:
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise TypeError(f"{path.name} is not an EC key")
        keys[path.stem] = key
    if active not in keys:
        raise ValueError("the active signing key is missing")
    return _Keys(active, keys, {"keys": [public_jwk(kid, key) for kid, key in keys.items()]})


def public_jwk(kid: str, key: EllipticCurvePrivateKey) -> dict[str, Any]:
    """Return the public half of a key as a JWK (RFC 7517, RFC 7518 section 6.2.1)."""
    jwk: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return {**jwk, "kid": kid, "alg": ALGORITHM, "use": "sig"}

"""Signing keys: files that may overlap and change while the service runs.

`<kid>.pem` are EC P-256 keys; `active` names the one that signs. All of them are
published (RFC 7517), so a token signed by the former one verifies until it expires.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ashchat_core.tokens import ACCESS_TOKEN_TYPE, ALGORITHM

TEMPORARY_TOKEN_TYPE = "challenge+jwt"  # noqa: S105
TEMPORARY_TOKEN_MINUTES = 10


@dataclass(frozen=True, slots=True)
class _Keys:
    active: str
    keys: dict[str, EllipticCurvePrivateKey]
    jwks: dict[str, Any]


class KeyRing:
    """Signs access and temporary tokens, and publishes the keys."""

    def __init__(self, folder: Path, *, issuer: str, audience: str, minutes: int) -> None:
        self._folder = folder
        self._issuer = issuer
        self._audience = audience
        self._life = timedelta(minutes=minutes)
        self._stamp: tuple[tuple[str, int], ...] = ()
        self._loaded: _Keys | None = None

    def access(self, *, user_id: str, session_id: str, device_hash: str, now: datetime) -> str:
        """Return an access token (RFC 9068; `type` and `sub` as the original's clients know)."""
        return self._sign(
            {
                "aud": self._audience,
                "sub": user_id,
                "sid": session_id,
                "dev": device_hash,
                "type": "MAIN",
            },
            ACCESS_TOKEN_TYPE,
            now,
            self._life,
        )

    def temporary(self, *, user_id: str, challenge_id: str, device_hash: str, now: datetime) -> str:
        """Return a token that is good for one challenge and for nothing else."""
        return self._sign(
            {
                "aud": self._issuer,
                "sub": user_id,
                "challenge": challenge_id,
                "dev": device_hash,
                "type": "TEMPORARY",
            },
            TEMPORARY_TOKEN_TYPE,
            now,
            timedelta(minutes=TEMPORARY_TOKEN_MINUTES),
        )

    def read_temporary(self, token: str) -> dict[str, Any] | None:
        """Return a temporary token's claims; None when it is not (any more) one of ours."""
        ring = self._ring()
        try:
            header = jwt.get_unverified_header(token)
            key = ring.keys[str(header.get("kid"))].public_key()
            if header.get("typ") != TEMPORARY_TOKEN_TYPE:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._issuer,
                options={"require": ["exp", "iss", "aud", "sub", "challenge", "dev"]},
            )
        except (jwt.InvalidTokenError, KeyError):
            return None
        return claims

    def jwks(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517)."""
        return self._ring().jwks

    def _sign(self, claims: dict[str, Any], kind: str, now: datetime, life: timedelta) -> str:
        ring = self._ring()
        return jwt.encode(
            {
                "iss": self._issuer,
                "iat": now,
                "nbf": now,
                "exp": now + life,
                "jti": uuid4().hex,
                **claims,
            },
            ring.keys[ring.active],
            algorithm=ALGORITHM,
            headers={"kid": ring.active, "typ": kind},
        )

    def _ring(self) -> _Keys:
        # The files' times are enough to see a change; a Secret mount is swapped as a whole.
        try:
            paths = sorted(self._folder.glob("*.pem"))
            files = [*paths, self._folder / "active"]
            stamp = tuple((path.name, path.stat().st_mtime_ns) for path in files)
            if self._loaded is None or stamp != self._stamp:
                self._loaded = _load(paths, (self._folder / "active").read_text().strip())
                self._stamp = stamp
        except (OSError, ValueError, TypeError) as error:
            # A folder that is being changed, or is broken: what was good stays.
            if self._loaded is None:
                raise
            structlog.get_logger("keys").error("signing keys unusable", kind=type(error).__name__)
        return self._loaded


def _load(paths: list[Path], active: str) -> _Keys:
    keys: dict[str, EllipticCurvePrivateKey] = {}
    for path in paths:
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise TypeError(f"{path.name} is not an EC key")
        keys[path.stem] = key
    if active not in keys:
        raise ValueError("the active signing key is not there")
    return _Keys(active, keys, {"keys": [public_jwk(kid, key) for kid, key in keys.items()]})


def public_jwk(kid: str, key: EllipticCurvePrivateKey) -> dict[str, Any]:
    """Return the public half of a key as a JWK (RFC 7517, RFC 7518 section 6.2.1)."""
    jwk: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    return {**jwk, "kid": kid, "alg": ALGORITHM, "use": "sig"}

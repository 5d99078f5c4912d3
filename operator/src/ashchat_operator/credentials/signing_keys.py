"""The keys that sign access tokens: EC P-256, and their public halves as a JWK set.

The id of a key is its thumbprint (RFC 7638), so that keys cannot be confused.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ACTIVE: Final = "active"
"""The file that names the key which signs."""

SUFFIX: Final = ".pem"
_COORDINATE_BYTES: Final = 32


class NotASigningKeyError(ValueError):
    """A file is not an EC P-256 private key."""


def new_key() -> bytes:
    """Return a new private key (PKCS 8, PEM)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def public_jwk(pem: bytes) -> dict[str, Any]:
    """Return the public half of a private key as a JWK with its thumbprint as `kid`.

    Raises:
        NotASigningKeyError: It is not an EC P-256 private key in PEM.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise NotASigningKeyError("not a private key in PEM") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotASigningKeyError("not a key on the curve P-256")
    numbers = key.public_key().public_numbers()
    required = {
        "crv": "P-256",
        "kty": "EC",
        "x": _base64url(numbers.x.to_bytes(_COORDINATE_BYTES)),
        "y": _base64url(numbers.y.to_bytes(_COORDINATE_BYTES)),
    }
    # RFC 7638, section 3: the required members only, sorted, without white space.
    canonical = json.dumps(required, sort_keys=True, separators=(",", ":")).encode()
    thumbprint = _base64url(hashlib.sha256(canonical).digest())
    return {**required, "kid": thumbprint, "use": "sig", "alg": "ES256"}


@dataclass(frozen=True, slots=True)
class SigningKeySet:
    """All keys whose tokens are accepted, and the one that signs."""

    keys: Mapping[str, bytes] = field(repr=False)
    active: str

    @classmethod
    def complete(cls, data: Mapping[str, bytes], generate: Callable[[], bytes] = new_key) -> Self:
        """Return the key set of a Secret; with a new key if it holds none.

        A file that is not a valid key is left out: it could not verify a token.
        """
        keys: dict[str, bytes] = {}
        for name, pem in data.items():
            if not name.endswith(SUFFIX):
                continue
            try:
                if public_jwk(pem)["kid"] == name.removesuffix(SUFFIX):
                    keys[name.removesuffix(SUFFIX)] = pem
            except NotASigningKeyError:
                continue
        active = data.get(ACTIVE, b"").decode("ascii", "ignore").strip()
        if not keys:
            pem = generate()
            active = str(public_jwk(pem)["kid"])
            keys[active] = pem
        elif active not in keys:
            active = min(keys)
        return cls(keys, active)

    def files(self) -> dict[str, bytes]:
        """Return the files that auth mounts."""
        return {
            **{f"{kid}{SUFFIX}": pem for kid, pem in self.keys.items()},
            ACTIVE: self.active.encode(),
        }

    def jwks(self) -> str:
        """Return the public halves as a JWK set (RFC 7517)."""
        public = [public_jwk(pem) for _, pem in sorted(self.keys.items())]
        return json.dumps({"keys": public}, sort_keys=True, indent=1) + "\n"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

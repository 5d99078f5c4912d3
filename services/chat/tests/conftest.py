"""Keys and tokens, for the tests of the borders."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ashchat_core.tokens import TokenVerifier, device_hash

Tokens = Callable[..., str]


@pytest.fixture(scope="session")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def verifier(key: ec.EllipticCurvePrivateKey, tmp_path: Path) -> TokenVerifier:
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [{**public, "kid": "1", "alg": "ES256", "use": "sig"}]}))
    return TokenVerifier(file, issuer="issuer", audience="ashchat")


@pytest.fixture
def token(key: ec.EllipticCurvePrivateKey) -> Tokens:
    """Make access tokens: right, but for the claims that a test changes."""

    def make(user: str = "ana", device: str = "device", **changes: object) -> str:
        now = int(time.time())
        claims = {
            "iss": "issuer", "aud": "ashchat", "sub": user, "sid": "s", "epoch": 1, "type": "MAIN",
            "iat": now, "nbf": now, "exp": now + 60, "jti": uuid.uuid4().hex,
            "dev": device_hash(device), **changes,
        }  # fmt: skip
        return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "1", "typ": "at+jwt"})

    return make

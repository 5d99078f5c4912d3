"""Tokens signed with AshChat's own key, which only a reader of its Secret can make."""

from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ashchat_dev.client import Person
from ashchat_dev.kube.cluster import Cluster


class Forger:
    """Makes tokens with AshChat's own key, valid except for what a test changes."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, kid: str) -> None:
        self.key = key
        self.kid = kid

    @classmethod
    async def of(cls, cluster: Cluster) -> Self:
        """Create a forger from the Secret with the current signing key.

        Raises:
            TypeError: The key is not of the type that AshChat generates.
        """
        keys = await cluster.secret(f"{cluster.name}-auth-signing-keys")
        kid = keys["active"].decode().strip()
        key = load_pem_private_key(keys[f"{kid}.pem"], None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{kid} is not on an elliptic curve")
        return cls(key, kid)

    def claims(self, who: Person, **changes: Any) -> dict[str, Any]:
        """Return the claims of a user's valid token with changes; None drops a claim."""
        good = jwt.decode(who.token, options={"verify_signature": False})
        return {key: value for key, value in {**good, **changes}.items() if value is not None}

    def token(self, who: Person, *, typ: str = "at+jwt", **changes: Any) -> str:
        """Return a token signed with AshChat's own key."""
        return jwt.encode(
            self.claims(who, **changes),
            self.key,
            algorithm="ES256",
            headers={"kid": self.kid, "typ": typ},
        )


async def status_with(who: Person, token: str) -> int:
    """Return the status with which the chat API responds to a token."""
    headers = {"Authorization": f"Bearer {token}", "device_token": who.device_token}
    return (await who.chat.get("/user", headers=headers)).status

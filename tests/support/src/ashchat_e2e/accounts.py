"""Account operations of a signed-in user."""

from datetime import UTC, datetime
from typing import Any

import pyotp

from ashchat_dev.client import Person, Reply, RequestRefusedError


async def own(who: Person, method: str, path: str, **body: Any) -> Reply:
    """Send a request as a signed-in user."""
    return await who.auth.request(method, path, json=body or None, headers=who.headers)


def totp(secret: str, steps: int = 0) -> str:
    """Return an authenticator's current code, or one some steps later (RFC 6238)."""
    return pyotp.TOTP(secret).at(datetime.now(UTC), counter_offset=steps)


async def with_two_factor(who: Person) -> tuple[str, list[str]]:
    """Turn on two-factor; return the secret and the recovery codes.

    Raises:
        RequestRefusedError: It could not be turned on.
    """
    begun = await own(who, "POST", "/two-factor", password=who.password)
    if begun.status != 200:
        raise RequestRefusedError("enrol", begun)
    secret = str(begun.data["secret"])
    confirmed = await own(who, "POST", "/two-factor/confirm", totpCode=totp(secret))
    if confirmed.status != 200:
        raise RequestRefusedError("confirm two-factor", confirmed)
    return secret, list(confirmed.data["recovery_codes"])

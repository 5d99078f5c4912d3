"""What every route has: the flows, who the client is, who is calling."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request

from ashchat_auth.models import Caller
from ashchat_auth.service import Auth
from ashchat_core.http import APIError, client_address


def bearer(authorization: Annotated[str | None, Header()] = None) -> str:
    """Return the bearer token (RFC 6750, section 2.1)."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise APIError(
            401,
            "missing_token",
            "send the header Authorization: Bearer <token>",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token.strip()


def device_token(
    device_token: Annotated[str | None, Header(convert_underscores=False)] = None,
    dashed: Annotated[str | None, Header(alias="Device-Token")] = None,
) -> str:
    """Return the device token; some proxies drop headers with underscores."""
    token = device_token or dashed
    if not token:
        raise APIError(400, "missing_device_token", "send the header device_token")
    return token


Bearer = Annotated[str, Depends(bearer)]
DeviceHeader = Annotated[str, Depends(device_token)]


@dataclass(frozen=True, slots=True)
class Context:
    """What the routes are made from."""

    auth: Auth
    trusted_proxies: str

    def address(self, request: Request) -> str:
        """Return the client's network address, as the trusted edge tells it."""
        return client_address(request, self.trusted_proxies)

    def caller(self) -> Callable[..., Awaitable[Caller]]:
        """Return the dependency that finds out who is calling."""

        async def find(request: Request, token: Bearer, device: DeviceHeader) -> Caller:
            return await self.auth.sessions.caller(
                token=token, device_token=device, address=self.address(request)
            )

        return find

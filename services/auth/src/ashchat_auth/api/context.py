"""Shared by the routes: the flows, the client's address, the caller."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ashchat_auth.models import Caller
from ashchat_auth.service import Auth
from ashchat_core.client_address import client_address
from ashchat_core.http import APIError


def _bearer(name: str, description: str) -> Callable[..., Awaitable[str]]:
    """Return the dependency that reads a bearer token (RFC 6750, section 2.1)."""
    scheme = HTTPBearer(scheme_name=name, description=description, auto_error=False)

    async def find(
        found: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)],
    ) -> str:
        if found is None or not found.credentials.strip():
            raise APIError(
                401,
                "missing_token",
                "Send the header Authorization: Bearer <token>.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return found.credentials.strip()

    return find


def device_token(
    device_token: Annotated[str | None, Header(convert_underscores=False)] = None,
    dashed: Annotated[str | None, Header(alias="Device-Token")] = None,
) -> str:
    """Return the device token; some proxies remove headers with underscores."""
    token = device_token or dashed
    if not token:
        raise APIError(400, "missing_device_token", "Send the header device_token.")
    return token


AccessToken = Annotated[
    str, Depends(_bearer("access", "The access token from /signin or /refresh-token."))
]
RefreshToken = Annotated[str, Depends(_bearer("refresh", "The newest refresh token; valid once."))]
TemporaryToken = Annotated[
    str, Depends(_bearer("temporary", "The token from a challenge or a reset."))
]
DeviceHeader = Annotated[str, Depends(device_token)]


@dataclass(frozen=True, slots=True)
class Context:
    """What the routes need."""

    auth: Auth
    trusted_proxies: str

    def address(self, request: Request) -> str:
        """Return the client's network address, as reported by the trusted edge."""
        return client_address(request, self.trusted_proxies)

    def caller(self) -> Callable[..., Awaitable[Caller]]:
        """Return the dependency that authenticates the caller."""

        async def find(request: Request, token: AccessToken, device: DeviceHeader) -> Caller:
            return await self.auth.sessions.caller(
                token=token, device_token=device, address=self.address(request)
            )

        return find

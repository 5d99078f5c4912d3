"""The open sockets of users, as all pods report them."""

import secrets
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self


@dataclass(frozen=True, slots=True)
class OnlineSocket:
    """One open socket of a user, as all pods know it."""

    ref: str
    online_at: int
    """In milliseconds since 1970."""
    visible: bool = True

    @classmethod
    def new(cls, *, visible: bool = True) -> Self:
        """Return a socket that is opened now."""
        return cls(secrets.token_hex(6), int(time.time() * 1000), visible)

    def encode(self) -> str:
        """Return the socket as a string."""
        return f"{self.ref}:{self.online_at}:{int(self.visible)}"

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return the socket in a string."""
        ref, online_at, visible = text.split(":")
        return cls(ref, int(online_at), visible == "1")

    def meta(self) -> dict[str, Any]:
        """Return the socket as Phoenix.Presence has it: a leave has the `phx_ref` of the join."""
        return {"online_at": self.online_at, "phx_ref": self.ref}


Sockets = Mapping[str, Collection[OnlineSocket]]
"""Sockets by user."""


class OnlineStore(Protocol):
    """Where all pods report their sockets. Methods may raise what `away` lists."""

    async def enter(self, user: str, socket: OnlineSocket, limit: int) -> bool:
        """Report a socket for a while; return False if the user has `limit` on all pods."""
        ...

    async def refresh(self, sockets: Sockets) -> None:
        """Report sockets for a while."""
        ...

    async def leave(self, sockets: Sockets) -> None:
        """Report that sockets are closed."""
        ...

    async def sockets(self, users: Collection[str]) -> dict[str, set[OnlineSocket]]:
        """Return the sockets of users on all pods."""
        ...

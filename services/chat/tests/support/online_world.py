"""Where the pods of a test report the sockets of their users."""

import asyncio
from collections.abc import Collection

from ashchat_chat.users.online import OnlineSocket, Sockets


class AwayError(Exception):
    """Redis does not answer."""


class Shared:
    """Where all pods report their sockets."""

    def __init__(self) -> None:
        self.there: dict[str, set[OnlineSocket]] = {}
        self.away = False
        self.calls = 0

    async def _ask(self) -> None:
        self.calls += 1
        await asyncio.sleep(0)
        if self.away:
            raise AwayError

    async def enter(self, user: str, socket: OnlineSocket, limit: int) -> bool:
        await self._ask()
        sockets = self.there.setdefault(user, set())
        if len(sockets) >= limit:
            return False
        sockets.add(socket)
        return True

    async def refresh(self, sockets: Sockets) -> None:
        await self._ask()
        for user, one in sockets.items():
            self.there.setdefault(user, set()).update(one)

    async def leave(self, sockets: Sockets) -> None:
        await self._ask()
        for user, one in sockets.items():
            self.there.get(user, set()).difference_update(one)

    async def sockets(self, users: Collection[str]) -> dict[str, set[OnlineSocket]]:
        await self._ask()
        return {user: set(self.there.get(user, ())) for user in users}

"""A member of a group who is removed and added again, all the time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import httpx2

from ashchat_dev.client import Person, Reply
from ashchat_e2e.histories.member import Member
from ashchat_e2e.resuming import AGAIN_S

STAYS_S: Final = 3.0
"""How long a guest is a member, and then is not."""

NOT_NOW: Final = frozenset({429, 502, 503, 504})
DONE: Final = frozenset({200, 204})
NOT_A_MEMBER: Final = "not_a_member"


@dataclass(eq=False, kw_only=True)
class Guest(Member):
    """A member who listens only."""

    owner: Person
    removals: int = 0

    async def live(self, over: asyncio.Event) -> None:
        """Be removed and added again until the event is set; be a member at the end."""
        path = f"/rooms/{self.chat_id}/members"
        tag = await self.person.tag()
        while not over.is_set():
            await asyncio.sleep(STAYS_S)
            own = f"{path}/{self.person.user_id}"
            await _until_done(lambda: self.owner.chat.request("DELETE", own))  # noqa: B023
            self.removals += 1
            await asyncio.sleep(STAYS_S)
            await _until_done(lambda: self.owner.chat.post(path, json={"members": [tag]}))


async def _until_done(call: Callable[[], Awaitable[Reply]]) -> None:
    """Repeat a change until it is made; a repetition finds it made.

    Raises:
        AssertionError: It was refused.
    """
    while True:
        try:
            reply = await call()
        except httpx2.TransportError:
            reply = None
        if reply is not None and (reply.status in DONE or reply.reason == NOT_A_MEMBER):
            return
        assert reply is None or reply.status in NOT_NOW, reply
        await asyncio.sleep(AGAIN_S)

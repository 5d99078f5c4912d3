"""A member of a group who is removed and added again, all the time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import httpx2

from ashchat_dev.client import Person, Reply
from ashchat_e2e.histories.member import Member, membership
from ashchat_e2e.histories.records import MEMBERS, Operation
from ashchat_e2e.resuming import AGAIN_S

STAYS_S: Final = 3.0
"""How long a guest is a member, and then is not."""

NOT_NOW: Final = frozenset({429, 502, 503, 504})
DONE: Final = frozenset({200, 204})
NOT_A_MEMBER: Final = "not_a_member"
MEMBER: Final = "member"


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
            removal = self._begin_change(None)
            await until_done(
                lambda: self.owner.chat.request("DELETE", own),  # noqa: B023
                made=NOT_A_MEMBER,
            )
            removal.acknowledge(None)
            self.removals += 1
            await asyncio.sleep(STAYS_S)
            addition = self._begin_change(MEMBER)
            await until_done(lambda: self.owner.chat.post(path, json={"members": [tag]}))
            addition.acknowledge(None)

    def _begin_change(self, role: str | None) -> Operation:
        by = self.owner.user_id
        key = membership(by, self.person.user_id, role)
        return self.run.begin_again(Operation(key, self.chat_id, by, MEMBERS))


async def until_done(call: Callable[[], Awaitable[Reply]], *, made: str | None = None) -> None:
    """Repeat a change until it is made; a repetition finds it made.

    Args:
        call: Makes the change.
        made: The reason of the refusal of a repetition. Whether it was made is checked in the log.

    Raises:
        AssertionError: It was refused.
    """
    while True:
        try:
            reply = await call()
        except httpx2.TransportError:
            reply = None
        if reply is not None:
            if reply.status in DONE or (made is not None and reply.reason == made):
                return
            assert reply.status in NOT_NOW, reply
        await asyncio.sleep(AGAIN_S)

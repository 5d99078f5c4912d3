"""Members of a group who give each other roles, and pass on its ownership, all the time."""

import asyncio
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from ashchat_dev.client import Person
from ashchat_e2e.histories.guest import until_done
from ashchat_e2e.histories.member import membership
from ashchat_e2e.histories.records import MEMBERS, Operation, Run

OWNER: Final = "owner"
ADMIN: Final = "admin"
MEMBER: Final = "member"
REIGNS_S: Final = 1.5
"""Between two changes of roles."""

NOT_ALLOWED: Final = "not_allowed"


@dataclass(eq=False)
class Succession:
    """Two members who pass on the ownership of a group, and who promote and demote a third one.

    Each of the two is the owner or an admin all the time, so both can remove and add a guest.
    """

    room: str
    first: Person
    second: Person
    third: Person
    run: Run
    changes: int = 0
    """How many changes were acknowledged."""

    async def reign(self, over: asyncio.Event) -> None:
        """Change roles until the event is set."""
        first, second, third = self.first, self.second, self.third
        changes = (
            (first, third, ADMIN),
            (first, second, OWNER),
            (second, third, MEMBER),
            (second, first, OWNER),
        )
        for by, user, role in cycle(changes):
            if over.is_set():
                return
            await self._give(by, user, role)
            await asyncio.sleep(REIGNS_S)

    async def _give(self, by: Person, user: Person, role: str) -> None:
        """Give a user a role. A repetition of a transfer is refused: they are no owner any more."""
        key = membership(by.user_id, user.user_id, role)
        operation = self.run.begin_again(Operation(key, self.room, by.user_id, MEMBERS))
        path = f"/rooms/{self.room}/members/{user.user_id}"
        await until_done(
            lambda: by.chat.request("PATCH", path, json={"role": role}),
            made=NOT_ALLOWED if role == OWNER else None,
        )
        operation.acknowledge(None)
        self.changes += 1

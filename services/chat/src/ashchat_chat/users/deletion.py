"""An account is deleted: what chat has of a person goes; the others keep a room that holds.

Every step can be done again, and the message is acknowledged after the last: whatever dies
in the middle, the next delivery starts again and finds what is left. The order matters:

1. Their grave: whatever comes later about them (a redelivered sign-up) makes nothing.
2. Their sockets close, on all pods, and their tokens are good for nothing.
3. Profile and devices: nobody finds them any more.
4. Each room: a placeholder takes their place (an event, behind which nothing of theirs can
   be committed), the room's document is brought up to it, what they wrote is overwritten in
   the log, and their document in the room is deleted last. `rev` stays, so resuming does too.
5. What Redis says of them.

No I/O library is imported here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import structlog

from ashchat_chat.rooms.assembly import Rooms
from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.events import AnyEvent, Sent
from ashchat_chat.rooms.identifiers import placeholder
from ashchat_chat.users.revocations import Revocations, user_over

PAGE_EVENTS = 500


class DeletionStore(Protocol):
    """What is deleted from. Every method may raise StoreUnavailableError, and can be done again."""

    async def bury(self, gone: str, at: datetime) -> None:
        """Record permanently that this placeholder's account was deleted."""
        ...

    async def remove_person(self, user_id: str) -> None:
        """Delete a user's profile and devices."""
        ...

    async def rooms_to_erase(self, user_id: str) -> list[str]:
        """Return some of the rooms whose logs have named a user."""
        ...

    async def after(self, revs: dict[str, int], limit: int) -> list[AnyEvent]:
        """Return events; see LogStore."""
        ...

    async def rewrite(self, events: Sequence[AnyEvent]) -> None:
        """Replace the events of the same revisions."""
        ...

    async def erased(self, room: str, user_id: str, gone: str) -> None:
        """Delete what else names a user in a room, last of all the user's document there."""
        ...


class Online(Protocol):
    """Who is online. The method may raise what Redis' client raises."""

    async def forget(self, user: str) -> None:
        """Delete everything about a user."""
        ...


class Deletion:
    """Deletes accounts."""

    def __init__(
        self, store: DeletionStore, rooms: Rooms, revocations: Revocations, online: Online
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._revocations = revocations
        self._online = online
        self._log = structlog.get_logger("deletion")

    async def delete(self, user_id: str, at: datetime) -> None:
        """Delete all data of a user; repeating it is safe.

        Raises:
            StoreUnavailableError, or what Redis' client raises: not now; some of it is done.
        """
        gone = placeholder(user_id)
        await self._store.bury(gone, at)
        await self._revocations.revoke([user_over(user_id)])
        await self._store.remove_person(user_id)
        count = 0
        # Repeat until there is none: another user may be creating a room with this one.
        while rooms := await self._store.rooms_to_erase(user_id):
            for room in rooms:
                await self._erase(room, user_id, gone)
                count += 1
        await self._online.forget(user_id)
        self._log.info("an account was deleted", rooms=count)

    async def _erase(self, room: str, user_id: str, gone: str) -> None:
        try:
            await self._rooms.appending.depart(room, user_id)
        except NoSuchRoomError:
            # The room was never made.
            await self._store.erased(room, user_id, gone)
            return
        rev = 0
        theirs: set[int] = set()
        while events := await self._store.after({room: rev}, PAGE_EVENTS):
            theirs |= {
                event.rev
                for event in events
                if isinstance(event, Sent) and event.sender in {user_id, gone}
            }
            changed = [event.erased_for(user_id, theirs) for event in events]
            await self._store.rewrite([event for event in changed if event is not None])
            rev = events[-1].rev
        await self._store.erased(room, user_id, gone)

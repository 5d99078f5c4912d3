"""How far each member has read: outside the log, raised by acknowledgements, pushed as receipts.

Acknowledging makes no event. Positions that are raised within a moment are written together and
published once per room, so that a large room in which every member acknowledges every message
costs the log nothing.
"""

import asyncio
import json
from collections.abc import Mapping

from ashchat_chat.channels import POSITIONS_CHANNEL
from ashchat_chat.pushes import ReadReceipt
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.identifiers import is_placeholder
from ashchat_chat.rooms.ports import (
    Fanout,
    Position,
    PositionStore,
    Push,
    StoreUnavailableError,
)
from ashchat_chat.rooms.protocol1 import report_read
from ashchat_chat.rooms.room import Room

COALESCE_SECONDS = 0.1
"""How long raised positions are gathered before they are written."""

RECEIPTS_MAX_MEMBERS = 50
"""In larger rooms a receipt is pushed to the user's own sockets only."""

Key = tuple[str, str]
"""Room and user."""


class Positions:
    """Raises positions, and reports them to the rooms' sockets."""

    def __init__(self, store: PositionStore, fanout: Fanout, directory: RoomDirectory) -> None:
        self._store = store
        self._fanout = fanout
        self._directory = directory
        self._raised: dict[Key, Position] = {}
        self._written: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()

    async def acknowledge(self, room_id: str, user: str, position: Position) -> Position:
        """Raise a member's position, up to the newest message; return when it is stored.

        Raises:
            NoSuchRoomError: the room does not exist, or the user is not in it.
            StoreUnavailableError: it may have been stored; repeating it is safe.
        """
        room = await self._directory.get(room_id)
        if user not in room.view.members:
            raise NoSuchRoomError
        if max(position.read, position.delivered) > room.view.n:
            await self._directory.refresh(room)
        head = room.view.n
        position = Position(min(position.read, head), min(position.delivered, head))
        self.raise_soon(room_id, user, position)
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._written)
        return position

    def raise_soon(self, room_id: str, user: str, position: Position) -> None:
        """Raise a member's position without waiting for the store."""
        key = (room_id, user)
        self._raised[key] = position.raised(self._raised.get(key, Position()))
        self._wake.set()

    async def load(self, room: Room) -> None:
        """Read the positions of a room's members.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        found = await self._store.positions([room.id])
        self._apply(room, found.get(room.id, {}))

    def heard(self, text: str) -> None:
        """Accept the positions that a pod published."""
        body = json.loads(text)
        room = self._directory.loaded(body["room"])
        if room is not None:
            positions = body["positions"].items()
            self._apply(room, {user: Position(*values) for user, values in positions})

    async def run(self) -> None:
        """Write raised positions; until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(COALESCE_SECONDS)
            self._wake.clear()
            raised, self._raised = self._raised, {}
            written, self._written = self._written, None
            try:
                await self._store.raise_positions(raised)
            except StoreUnavailableError as error:
                for (room_id, user), position in raised.items():
                    self.raise_soon(room_id, user, position)
                if written is not None:
                    written.set_exception(error)
                    written.exception()  # a caller may have gone
                continue
            if written is not None:
                written.set_result(None)
            self._report(raised)

    def _report(self, raised: Mapping[Key, Position]) -> None:
        by_room: dict[str, dict[str, Position]] = {}
        for (room_id, user), position in raised.items():
            by_room.setdefault(room_id, {})[user] = position
        for room_id, positions in by_room.items():
            room = self._directory.loaded(room_id)
            if room is not None:
                self._apply(room, positions)
            published = {user: [one.read, one.delivered] for user, one in positions.items()}
            body = {"room": room_id, "positions": published}
            self._fanout.publish(POSITIONS_CHANNEL, json.dumps(body))

    def _apply(self, room: Room, positions: Mapping[str, Position]) -> None:
        """Raise what this pod knows, and push what rose to the room's sockets."""
        for user, position in positions.items():
            before = room.positions.get(user, Position())
            after = before.raised(position)
            if after == before:
                continue
            room.positions[user] = after
            if room.occupied and (after.read, after.delivered) != (before.read, before.delivered):
                _push_receipt(room, user, after)
        report_read(room)


def _push_receipt(room: Room, user: str, position: Position) -> None:
    if is_placeholder(user):
        return
    payload: ReadReceipt = {"user_id": user, "delivered": position.delivered, "read": position.read}
    push = Push(f"chat:{room.id}", "receipt", payload)
    own_only = len(room.view.members) > RECEIPTS_MAX_MEMBERS
    for readers in room.two.values():
        for reader in readers:
            if reader.user == user or not own_only:
                reader.send(push)

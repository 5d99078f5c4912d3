"""Messages read back from the log: a range of numbered messages, and the events about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.events import AnyEvent
from ashchat_chat.rooms.folds import fold_messages
from ashchat_chat.rooms.ports import HistoryStore, Position, PositionStore
from ashchat_chat.rooms.room import Room
from ashchat_chat.rooms.views import MessageView

PAGE_MAX = 100
"""Maximum messages in one page."""


class HistorySource(HistoryStore, PositionStore, Protocol):
    """What pages are read from."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages of a room, oldest first."""

    rev: int
    """The revision of the log that the page includes."""
    n: int
    """The number of the room's newest message."""
    messages: list[MessageView]
    read_by_others: dict[str, int]
    """By sender: up to which message all other members have read."""
    more_before: bool
    more_after: bool


class History:
    """Pages of messages, for members of their room."""

    def __init__(self, store: HistorySource, directory: RoomDirectory) -> None:
        self._store = store
        self._directory = directory

    async def before(self, room_id: str, user: str, n: int | None, limit: int) -> Page:
        """Return the messages before number `n`; None: the newest ones.

        Raises:
            NoSuchRoomError: the room does not exist, or the user is not in it.
            StoreUnavailableError: the store could not be read.
        """
        room = await self._current(room_id, user)
        last = room.view.n if n is None else min(n - 1, room.view.n)
        return await self._page(room, user, last - limit + 1, last)

    async def after(self, room_id: str, user: str, n: int, limit: int) -> Page:
        """Return the messages after number `n`; raises like `before`."""
        room = await self._current(room_id, user)
        return await self._page(room, user, n + 1, n + limit)

    async def around(self, room_id: str, user: str, n: int, limit: int) -> Page:
        """Return message `n` in the middle of a page; raises like `before`."""
        room = await self._current(room_id, user)
        first = n - limit // 2
        return await self._page(room, user, first, first + limit - 1)

    async def at(self, room_id: str, user: str, at: datetime, limit: int) -> Page:
        """Return the first messages that are not older than a time; raises like `before`."""
        room = await self._current(room_id, user)
        first = await self._first_at(room, at)
        return await self._page(room, user, first, first + limit - 1)

    async def _current(self, room_id: str, user: str) -> Room:
        room = await self._directory.get(room_id)
        await self._directory.refresh(room)
        if user not in room.view.members:
            raise NoSuchRoomError
        return room

    async def _page(self, room: Room, user: str, first: int, last: int) -> Page:
        view = room.view
        _, oldest = view.visible_from(user)
        first, last = max(oldest, first), min(last, view.n)
        messages: list[MessageView] = []
        if first <= last:
            found = await read_messages(self._store, {room.id: (first, last)})
            messages = found.get(room.id, [])
        positions = await self._store.positions([room.id])
        return Page(
            rev=view.rev,
            n=view.n,
            messages=messages,
            read_by_others=read_by_others(room, positions.get(room.id, {}), messages),
            more_before=first > oldest,
            more_after=last < view.n,
        )

    async def _first_at(self, room: Room, at: datetime) -> int:
        """Return the number of the first message not older than a time, by binary search."""
        low, high = 1, room.view.n + 1
        while low < high:
            middle = (low + high) // 2
            found = await self._store.numbered({room.id: (middle, middle)})
            if found and found[0].at < at:
                low = middle + 1
            else:
                high = middle
        return low


async def read_messages(
    store: HistoryStore, ranges: Mapping[str, tuple[int, int]]
) -> dict[str, list[MessageView]]:
    """Return, by room, the messages numbered from a first up to a last one, oldest first.

    Raises:
        StoreUnavailableError: the store could not be read.
    """
    sent = await store.numbered(ranges)
    by_room: dict[str, list[AnyEvent]] = {}
    for message in sent:
        by_room.setdefault(message.room, []).append(message)
    revs = {room: [one.rev for one in messages] for room, messages in by_room.items()}
    for event in await store.about(revs) if revs else ():
        by_room[event.room].append(event)
    return {room: fold_messages([], events) for room, events in by_room.items()}


def read_by_others(
    room: Room, positions: Mapping[str, Position], messages: Sequence[MessageView]
) -> dict[str, int]:
    """Return, for each sender, up to which message all other members have read."""
    room.positions |= {
        user: room.positions.get(user, Position()).raised(one) for user, one in positions.items()
    }
    return {sender: room.read_by_others(sender) for sender in {one.sender for one in messages}}

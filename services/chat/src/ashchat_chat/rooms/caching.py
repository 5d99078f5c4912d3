"""Writes what is cached of logs: members' documents, and rooms' documents with a view and preview.

The log is the truth and the cache is lazy. A room's document is valid for the log up to its
revision; readers fold the events after it. Members' documents are written before that revision
moves on, so that every room whose document is up to date is found by its members.
"""

import asyncio
from collections.abc import Iterable
from typing import assert_never

from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.events import (
    AnyEvent,
    Deleted,
    Edited,
    Members,
    Opaque,
    Reacted,
    RoomChanged,
    Sent,
    Translated,
)
from ashchat_chat.rooms.identifiers import is_placeholder, placeholder
from ashchat_chat.rooms.ports import CachedRoom, CacheStore, Preview, StoreUnavailableError
from ashchat_chat.rooms.room import Room
from ashchat_chat.rooms.views import RoomView

FLUSH_SECONDS = 1.0
MEMBERS_PER_SECOND = 100.0
"""A room with more members is written more rarely, because each member's document is written."""

FLUSH_MAX_ROOMS = 200
"""Rooms in one write."""


class RoomCache:
    """Keeps the documents of the rooms that this pod writes to."""

    def __init__(self, store: CacheStore, directory: RoomDirectory) -> None:
        self._store = store
        self._directory = directory
        self._due: dict[str, float] = {}
        directory.listen(_note)

    def changed(self, room: Room) -> None:
        """Write a room's document soon."""
        delay = max(FLUSH_SECONDS, len(room.view.members) / MEMBERS_PER_SECOND)
        self._due.setdefault(room.id, monotonic() + delay)

    async def settle_members(self, room: Room) -> None:
        """Write what the log says about members; if the store is unavailable, later."""
        try:
            await self._project_members(room)
        except StoreUnavailableError:
            self.changed(room)

    async def run(self) -> None:
        """Write the documents that are due; until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS / 2)
            now = monotonic()
            due = [room_id for room_id, at in self._due.items() if at <= now]
            for start in range(0, len(due), FLUSH_MAX_ROOMS):
                await self._flush_or_retry(due[start : start + FLUSH_MAX_ROOMS])

    async def flush(self, room_ids: Iterable[str]) -> None:
        """Write rooms' documents now.

        Raises:
            StoreUnavailableError: not now; repeating it is safe.
        """
        rooms = [room for one in room_ids if (room := self._directory.loaded(one)) is not None]
        for room in rooms:
            await self._project_members(room)
        await self._store.cache([_cached(room) for room in rooms])
        for room in rooms:
            self._due.pop(room.id, None)

    async def _flush_or_retry(self, room_ids: list[str]) -> None:
        for room_id in room_ids:
            self._due.pop(room_id, None)
        try:
            await self.flush(room_ids)
        except StoreUnavailableError:
            again = monotonic() + FLUSH_SECONDS
            self._due |= {room_id: again for room_id in room_ids if room_id not in self._due}

    async def _project_members(self, room: Room) -> None:
        events = list(room.member_events)
        if events:
            await self._store.project_members(room.id, events, room.view)
            del room.member_events[: len(events)]


def _note(room: Room, before: RoomView, event: AnyEvent) -> None:
    """Remember what the next write of the room's document needs."""
    match event:
        case Sent():
            room.last = event
        case Edited():
            if room.last is not None and room.last.rev == event.about:
                room.last = room.last.model_copy(update={"text": event.text})
        case Deleted():
            room.deleted.add(event.about)
            if room.last is not None and room.last.rev == event.about:
                room.last = room.last.purged()
        case Members():
            room.member_events.append(event)
            _note_departed(room, before, event)
        case RoomChanged() | Reacted() | Translated() | Opaque():
            pass
        case _:
            assert_never(event)


def _note_departed(room: Room, before: RoomView, event: Members) -> None:
    """Remember the users whose accounts were deleted, and forget what they wrote last."""
    gone = {change.user for change in event.changes if is_placeholder(change.user)}
    if not gone:
        return
    room.departed |= {user for user in before.members if placeholder(user) in gone}
    if room.last is not None and placeholder(room.last.sender) in gone:
        room.last = None


def _cached(room: Room) -> CachedRoom:
    last = room.last
    if last is None:
        return CachedRoom(room.view, room.opened_at)
    return CachedRoom(room.view, last.at, Preview.of(last))

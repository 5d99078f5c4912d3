"""The list of a user's rooms, most recently active first, in a fixed number of queries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.events import AnyEvent, Deleted, Edited
from ashchat_chat.rooms.folds import fold_messages, fold_room
from ashchat_chat.rooms.ports import PREVIEW_CHARS, CachedRoom, Membership, Position, Preview
from ashchat_chat.rooms.room import Room
from ashchat_chat.rooms.views import RoomView

ROOMS_MAX = 100
"""Maximum rooms in one page."""

TAIL_MAX_EVENTS = 2_000
"""Events that are folded onto the cached views of a page; rooms with more are loaded."""

Cursor = tuple[datetime, str]
"""The last activity and the id of the last room of a page."""


class RoomListStore(Protocol):
    """What lists are read from. Every method may raise StoreUnavailableError."""

    async def memberships(self, user: str, after: Cursor | None, limit: int) -> list[Membership]:
        """Return a user's rooms after a cursor, most recently active first."""
        ...

    async def rooms(self, rooms: Sequence[str]) -> dict[str, CachedRoom]:
        """Return rooms' documents, by room."""
        ...

    async def after(self, revs: Mapping[str, int], limit: int) -> list[AnyEvent]:
        """Return events; see LogStore."""
        ...


@dataclass(frozen=True, slots=True)
class RoomSummary:
    """A room as one of its members sees it in a list."""

    view: RoomView
    active_at: datetime
    preview: Preview | None
    position: Position

    @property
    def room(self) -> str:
        """The room's id."""
        return self.view.room

    def read(self, user: str) -> int:
        """Return up to where a user has read; what was there before joining is read."""
        return max(self.position.read, self.view.members[user].joined_n)

    def unread(self, user: str) -> int:
        """Return the number of messages that a user has not read."""
        return max(0, self.view.n - self.read(user))


class RoomList:
    """Lists rooms."""

    def __init__(self, store: RoomListStore, directory: RoomDirectory) -> None:
        self._store = store
        self._directory = directory

    async def page(
        self, user: str, *, after: Cursor | None = None, limit: int
    ) -> tuple[list[RoomSummary], Cursor | None]:
        """Return rooms of a user, and the cursor of the next page; None: there is none.

        Heads and unread counts are those of the log at the time of the call. The order is that
        of the cached last activity, which may be some seconds old.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        found = await self._store.memberships(user, after, limit + 1)
        more, found = len(found) > limit, found[:limit]
        cached = await self._store.rooms([one.room for one in found]) if found else {}
        current = await self._current(cached)
        summaries = [
            RoomSummary(
                current[one.room].view,
                current[one.room].active_at,
                _shown(current[one.room], user),
                one.position,
            )
            for one in found
            if one.room in current and user in current[one.room].view.members
        ]
        return summaries, (found[-1].active_at, found[-1].room) if more else None

    async def _current(self, cached: Mapping[str, CachedRoom]) -> dict[str, CachedRoom]:
        """Return rooms up to the head of their logs."""
        if not cached:
            return {}
        revs = {room: one.view.rev for room, one in cached.items()}
        events = await self._store.after(revs, TAIL_MAX_EVENTS)
        tails: dict[str, list[AnyEvent]] = {}
        for event in events:
            tails.setdefault(event.room, []).append(event)
        # Events come by room: if the limit cut them off, the last room's and later ones are short.
        complete_below = events[-1].room if len(events) >= TAIL_MAX_EVENTS else None
        result: dict[str, CachedRoom] = {}
        for room_id, one in cached.items():
            if one.view.rev == 0 or (complete_below is not None and room_id >= complete_below):
                result[room_id] = _of_loaded(await self._loaded(room_id), one)
            else:
                result[room_id] = _with_tail(one, tails.get(room_id, []))
        return result

    async def _loaded(self, room_id: str) -> Room:
        room = await self._directory.get(room_id)
        await self._directory.refresh(room)
        return room


def _shown(room: CachedRoom, user: str) -> Preview | None:
    """Return a room's preview, if it is of a message that a user sees."""
    preview = room.preview
    return preview if preview is not None and room.view.shows(user, preview.rev) else None


def _of_loaded(room: Room, cached: CachedRoom) -> CachedRoom:
    last = room.last
    if last is None or last.rev <= cached.view.rev:
        return CachedRoom(room.view, cached.active_at, cached.preview)
    return CachedRoom(room.view, last.at, Preview.of(last))


def _with_tail(cached: CachedRoom, tail: Sequence[AnyEvent]) -> CachedRoom:
    view = fold_room(cached.view, tail)
    messages = fold_messages([], tail)
    if messages:
        return CachedRoom(view, messages[-1].at, Preview.of(messages[-1]))
    preview = cached.preview
    for event in tail:
        if preview is not None and event.message_rev == preview.rev:
            match event:
                case Edited():
                    preview = replace(preview, text=event.text[:PREVIEW_CHARS])
                case Deleted():
                    preview = replace(preview, text="")
                case _:
                    pass
    return CachedRoom(view, cached.active_at, preview)

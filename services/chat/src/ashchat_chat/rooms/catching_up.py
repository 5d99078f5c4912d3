"""Receives other pods' events, and recovers from the store what the fan-out lost.

The fan-out is lossy: holes are filled from the store, and heads are compared after every
(re)subscription and regularly, since the loss of a last event leaves no hole.
"""

import asyncio
import contextlib
import json
from collections.abc import Sequence

from ashchat_chat import metrics
from ashchat_chat.channels import ROOM_CHANNEL
from ashchat_chat.clock import monotonic
from ashchat_chat.rooms import room as room_module
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.events import parse
from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.ports import LogStore, StoreUnavailableError
from ashchat_chat.rooms.positions import Positions

CHECK_ROOMS = 200
"""Rooms in one comparison."""

FILL_MAX_EVENTS = 1_000
"""Events in one comparison."""


class CatchingUp:
    """Keeps the occupied rooms of this pod complete."""

    def __init__(
        self, store: LogStore, directory: RoomDirectory, live: LiveRooms, positions: Positions
    ) -> None:
        self._store = store
        self._directory = directory
        self._live = live
        self._positions = positions
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()
        directory.call_on_gap(self._mark_dirty)

    def heard(self, channel: str, text: str) -> None:
        """Accept what a pod published about a room."""
        room = self._directory.loaded(channel.removeprefix(ROOM_CHANNEL))
        if room is None:
            return
        body = json.loads(text)
        if "event" in body:
            room.touched()
            self._directory.offer(room, [parse(body["event"])])
        elif "positions" in body:
            self._positions.heard(room, body["positions"])
        elif "typing" in body:
            self._live.heard_typing(room.id, body["typing"])

    def subscribed(self, channel: str) -> None:
        """Compare heads after a (re)subscription: earlier publications were not received."""
        self._mark_dirty(channel.removeprefix(ROOM_CHANNEL))

    async def compare(self) -> None:
        """Fill the holes, and compare heads, in batches; until cancelled."""
        while True:
            # Not wait_for: before Python 3.12 it may swallow a cancellation (gh-86296).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(room_module.CHECK_FIRST_SECONDS / 2):
                    await self._wake.wait()
            self._wake.clear()
            due = self._due()
            self._dirty.clear()
            try:
                for start in range(0, len(due), CHECK_ROOMS):
                    await self._fill(due[start : start + CHECK_ROOMS])
            except StoreUnavailableError:
                self._dirty.update(due)
                await asyncio.sleep(1.0)
                self._wake.set()

    def _due(self) -> list[str]:
        """Return the loaded rooms with a hole, and those whose heads are to be compared."""
        now = monotonic()
        due = {room_id for room_id in self._dirty if self._directory.loaded(room_id)}
        for room_id in self._live.occupied():
            room = self._directory.loaded(room_id)
            if room is not None and room.check_at <= now:
                due.add(room_id)
        return sorted(due)

    async def _fill(self, room_ids: Sequence[str]) -> None:
        rooms = {one: room for one in room_ids if (room := self._directory.loaded(one))}
        if not rooms:
            return
        revs = {room_id: room.view.rev for room_id, room in rooms.items()}
        events = await self._store.after(revs, FILL_MAX_EVENTS)
        for event in events:
            room = rooms[event.room]
            if event.rev > room.view.rev:
                metrics.FILLED.inc()
                room.touched()
            self._directory.offer(room, [event])
        if len(events) >= FILL_MAX_EVENTS:
            for room_id in room_ids:
                self._mark_dirty(room_id)
        now = monotonic()
        for room in rooms.values():
            if room.check_at <= now:
                room.check_at = now + room.check_every
                room.check_every = min(room.check_every * 2, room_module.CHECK_MAX_SECONDS)

    def _mark_dirty(self, room_id: str) -> None:
        if self._directory.loaded(room_id):
            self._dirty.add(room_id)
            self._wake.set()

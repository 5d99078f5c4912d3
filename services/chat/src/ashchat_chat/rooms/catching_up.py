"""Receives other pods' events, and reads from the store what was not received.

Publications are resumable, so rooms are compared with the store only where an event may be missing:
a hole, a stream that was trimmed or lost, a pod that died after a commit, an insert or a
publication whose outcome is not known.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import structlog

from ashchat_chat import metrics
from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.events import AnyEvent, parse
from ashchat_chat.rooms.ports import LogStore, Publication, StoreUnavailableError
from ashchat_chat.rooms.room import Room

COMPARE_ROOMS = 200
"""Rooms in one comparison."""

COMPARE_MAX_EVENTS = 1_000
"""Events in one comparison."""

HOLE_SECONDS = 0.05
"""How long a hole may last before it is read: events of two pods may arrive swapped."""

AGAIN_SECONDS = 1.0
"""How long to wait after the store was unavailable."""

DOUBT_SECONDS = 15.0
"""How long an insert whose outcome is not known may still be executed by the server."""

DOUBT_AGAIN_SECONDS = 2.0
UNKNOWN_LOADS = 16
"""Maximum rooms that are loaded concurrently because of a publication."""

UNKNOWN_ROOMS = 5_000
UNKNOWN_EVENTS = 100
"""Maximum publications that wait for one of them; the newest are kept."""


class Elsewhere(Protocol):
    """What needs events although no socket of this pod has joined their room."""

    def wants(self, members: Collection[str]) -> bool:
        """Return whether it needs the events of a room with these members (empty: with many)."""
        ...

    def show(self, room: Room, event: AnyEvent) -> None:
        """Accept a published event of a room that was not in memory when it was published."""
        ...

    def missed(self) -> None:
        """Read from the store what it may have missed."""
        ...


class CatchingUp:
    """Keeps the rooms of this pod complete."""

    def __init__(self, store: LogStore, directory: RoomDirectory) -> None:
        self._store = store
        self._directory = directory
        self._holes: set[str] = set()
        self._stale: set[str] = set()
        self._doubtful: dict[str, float] = {}
        """Until when this pod's own insert may be found in a room, unpublished."""
        self._unknown: dict[str, deque[Publication]] = {}
        """Publications of rooms that are being loaded because of them."""
        self._loading: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(UNKNOWN_LOADS)
        self._elsewhere: Elsewhere | None = None
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("rooms")
        directory.call_on_gap(self._hole)

    def serve_elsewhere(self, elsewhere: Elsewhere) -> None:
        """Load rooms that no socket has joined, if something else needs their events."""
        self._elsewhere = elsewhere

    def heard(self, publication: Publication) -> None:
        """Accept an event that another pod published."""
        room_id = publication.room
        if room_id in self._unknown:
            self._unknown[room_id].append(publication)
        else:
            room = self._directory.loaded(room_id)
            # What was read when the room was loaded is not shown before it is published.
            if room is None or publication.rev <= room.loaded_rev:
                self._consider(publication)
        if not self._directory.knows(room_id):
            return
        if publication.text:
            self._directory.heard(parse(json.loads(publication.text)))
        else:
            self._directory.distrust_one(room_id)
            self._stale.add(room_id)
            self._wake.set()

    def _consider(self, publication: Publication) -> None:
        """Load a room that is not in memory, if something needs its events."""
        elsewhere = self._elsewhere
        if elsewhere is None or not elsewhere.wants(publication.members):
            return
        if len(self._unknown) < UNKNOWN_ROOMS:
            self._unknown[publication.room] = deque([publication], UNKNOWN_EVENTS)
            loading = asyncio.create_task(self._load(publication.room, elsewhere))
            self._loading.add(loading)
            loading.add_done_callback(self._loading.discard)

    def missed(self, concerns: Callable[[str], bool]) -> None:
        """Compare rooms with the store, the idle ones when they are used next."""
        self._stale.update(self._directory.distrust(concerns))
        self._wake.set()
        if self._elsewhere is not None:
            self._elsewhere.missed()

    def doubt(self, room_id: str) -> None:
        """Find, and publish, what this pod may have committed to a room."""
        self._doubtful[room_id] = monotonic() + DOUBT_SECONDS
        self._wake.set()

    async def run(self) -> None:
        """Compare rooms when there is a reason to; until cancelled."""
        while True:
            # Not wait_for: before Python 3.12 it may swallow a cancellation (gh-86296).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DOUBT_AGAIN_SECONDS if self._doubtful else None):
                    await self._wake.wait()
            self._wake.clear()
            if self._holes and not self._stale:
                await asyncio.sleep(HOLE_SECONDS)
            due = self._due()
            try:
                for start in range(0, len(due), COMPARE_ROOMS):
                    await self._compare(due[start : start + COMPARE_ROOMS])
            except StoreUnavailableError:
                self._stale.update(due)
                await asyncio.sleep(AGAIN_SECONDS)
                self._wake.set()

    async def _load(self, room_id: str, elsewhere: Elsewhere) -> None:
        """Load a room because of what was published, and show that and all that came after it."""
        try:
            async with self._turns:
                room = await self._directory.get(room_id)
                waiting = self._unknown[room_id]
                first = min(publication.rev for publication in waiting)
                for event in self._directory.recent.after(room_id, first - 1) or ():
                    elsewhere.show(room, event)
        except (NoSuchRoomError, StoreUnavailableError) as error:
            # What is not shown stays pending.
            self._log.info("a room could not be loaded", kind=type(error).__name__)
        finally:
            del self._unknown[room_id]

    def _due(self) -> list[str]:
        now = monotonic()
        for room_id in [one for one, until in self._doubtful.items() if until < now]:
            del self._doubtful[room_id]
        holes = {
            room_id
            for room_id in self._holes
            if (room := self._directory.loaded(room_id)) and room.sequencer.gap
        }
        due = holes | self._stale | self._doubtful.keys()
        self._holes.clear()
        self._stale.clear()
        return sorted(due)

    async def _compare(self, room_ids: Sequence[str]) -> None:
        rooms = {one: room for one in room_ids if (room := self._directory.loaded(one))}
        if not rooms:
            return
        metrics.COMPARED.inc(len(rooms))
        for room in rooms.values():
            room.stale = False
        try:
            events = await self._store.after(
                {room_id: room.view.rev for room_id, room in rooms.items()}, COMPARE_MAX_EVENTS
            )
        except BaseException:
            for room in rooms.values():
                room.stale = True
            raise
        for event in events:
            room = rooms[event.room]
            if event.rev > room.view.rev:
                metrics.FILLED.inc()
            self._directory.offer(room, [event])
            if event.room in self._doubtful:
                self._directory.publish(event, room.view.members)
        if len(events) >= COMPARE_MAX_EVENTS:
            self._stale.update(rooms)
            self._wake.set()

    def _hole(self, room_id: str) -> None:
        self._holes.add(room_id)
        self._wake.set()

"""The rooms that this pod has loaded, each with a view of its log up to the newest event known."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime

from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.events import AnyEvent, Deleted, Members, parse
from ashchat_chat.rooms.ports import Broadcast, CachedRoom, ConflictError, LogStore
from ashchat_chat.rooms.recent import RecentEvents
from ashchat_chat.rooms.room import Room
from ashchat_chat.rooms.sequence import Sequencer
from ashchat_chat.rooms.views import RoomView

IDLE_ROOMS = 5_000
"""Maximum rooms without a socket whose view stays in memory, so that a send needs no reading."""

REFRESH_PAGE = 200
"""Events in one read."""

Listener = Callable[[Room, RoomView, AnyEvent], None]
"""Called with each event in order, and the view before it."""


class RoomDirectory:
    """Loads rooms, and passes each room's events on in order, each once, without a hole."""

    def __init__(
        self,
        store: LogStore,
        broadcast: Broadcast,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._broadcast = broadcast
        self._now = now
        self._rooms: OrderedDict[str, Room] = OrderedDict()
        self._loading: dict[str, asyncio.Future[Room]] = {}
        self._opening: dict[str, Room] = {}
        """Rooms whose log is being read; what is published meanwhile must not be missed."""
        self.recent = RecentEvents()
        self._listeners: list[Listener] = []
        self._on_gap: Callable[[str], None] = lambda _: None
        self._on_stale: Callable[[Room], None] = lambda _: None
        self._on_opened: Callable[[Room, AnyEvent], None] = lambda *_: None

    def listen(self, listener: Listener) -> None:
        """Call a listener for every event from now on."""
        self._listeners.append(listener)

    def call_on_gap(self, on_gap: Callable[[str], None]) -> None:
        """Call a function with a room's id when an event is held because others are missing."""
        self._on_gap = on_gap

    def call_on_stale(self, on_stale: Callable[[Room], None]) -> None:
        """Call a function with a room that was loaded, and whose document was behind its log."""
        self._on_stale = on_stale

    def call_on_opened(self, on_opened: Callable[[Room, AnyEvent], None]) -> None:
        """Call a function with a room that is new, and its first event."""
        self._on_opened = on_opened

    def publish(self, event: AnyEvent, members: Collection[str]) -> None:
        """Publish a committed event to the other pods; publishing it again is harmless."""
        if isinstance(event, Members):
            members = {*members, *(change.user for change in event.changes)}
        self._broadcast.publish(event, members)

    def loaded(self, room_id: str) -> Room | None:
        """Return a room if it is in memory."""
        return self._rooms.get(room_id)

    def knows(self, room_id: str) -> bool:
        """Return whether a room is in memory, or its log is being read."""
        return room_id in self._rooms or room_id in self._opening

    def heard(self, event: AnyEvent) -> None:
        """Accept an event that another pod published."""
        room = self._rooms.get(event.room) or self._opening.get(event.room)
        if room is not None:
            self.offer(room, [event])

    def distrust_one(self, room_id: str) -> None:
        """Mark a room as stale."""
        room = self._rooms.get(room_id) or self._opening.get(room_id)
        if room is not None:
            room.stale = True

    def distrust(self, concerns: Callable[[str], bool]) -> list[str]:
        """Mark rooms as stale; return those that are in use."""
        rooms = (*self._rooms.values(), *self._opening.values())
        stale = [room for room in rooms if concerns(room.id)]
        for room in stale:
            room.stale = True
        return [room.id for room in stale if room.in_use]

    async def get(self, room_id: str) -> Room:
        """Return a room whose view is at most the delay of a publication behind its log.

        Raises:
            NoSuchRoomError: the room does not exist.
            StoreUnavailableError: the store could not be read.
        """
        room = self._rooms.get(room_id)
        if room is not None:
            self._rooms.move_to_end(room_id)
            if room.stale:
                await self.refresh(room)
            return room
        loading = self._loading.get(room_id)
        if loading is None:
            loading = asyncio.ensure_future(self._load(room_id))
            self._loading[room_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(room_id, None))
        return await asyncio.shield(loading)

    async def get_for(self, user: str, room_id: str) -> Room:
        """Return a room, for one of its members.

        Raises:
            NoSuchRoomError: the room does not exist, or the user is not in it.
            StoreUnavailableError: the store could not be read.
        """
        room = await self.get(room_id)
        if user not in room.view.members:
            # Another pod may have added the user.
            await self.refresh(room)
        if user not in room.view.members:
            raise NoSuchRoomError
        return room

    async def refresh(self, room: Room) -> None:
        """Bring a room's view to the head of the log.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        room.stale = False
        try:
            while True:
                events = await self._store.after({room.id: room.view.rev}, REFRESH_PAGE)
                self.offer(room, events)
                if len(events) < REFRESH_PAGE:
                    return
        except BaseException:
            room.stale = True
            raise

    def offer(self, room: Room, events: Iterable[AnyEvent]) -> None:
        """Accept events in any order, and pass on those that are next."""
        for before, event in room.accept(events):
            if isinstance(event, Members | Deleted):
                # Texts are removed from the log: those of a message, or of a deleted account.
                self.recent.forget(room.id)
            self.recent.add(event)
            for listener in self._listeners:
                listener(room, before, event)
        if room.sequencer.gap:
            self._on_gap(room.id)

    async def _load(self, room_id: str) -> Room:
        record = await self._store.room(room_id)
        if record is None:
            raise NoSuchRoomError
        room = Room(record.view, Sequencer(record.view.rev), record.active_at)
        self.recent.forget(room_id)
        self._opening[room_id] = room
        try:
            written = await self._read_log(room, record)
            if room.stale:
                await self.refresh(room)
            room.loaded_rev = room.view.rev
            self._rooms[room_id] = room
        finally:
            del self._opening[room_id]
        if room.view.rev > record.view.rev:
            # The pod that appended the events has not written the document yet, or has died.
            self._on_stale(room)
        for event in written:
            self._on_opened(room, event)
        self._evict(room_id)
        return room

    async def _read_log(self, room: Room, record: CachedRoom) -> list[AnyEvent]:
        """Fold the log, and write its first events if they are missing; return those."""
        await self.refresh(room)
        written: list[AnyEvent] = []
        while room.view.rev < len(record.founding):
            # The room's document was written, and its first events not yet.
            place = {"room": room.id, "rev": room.view.rev + 1, "at": self._now()}
            event = parse({**record.founding[room.view.rev], **place})
            try:
                await self._store.insert(event)
            except ConflictError:
                await self.refresh(room)
                continue
            self.offer(room, [event])
            written.append(event)
        for event in written:
            self.publish(event, room.view.members)
        return written

    def _evict(self, newest: str) -> None:
        """Remove the least recently used room without a socket, if there are too many."""
        if len(self._rooms) > IDLE_ROOMS:
            idle = (key for key, room in self._rooms.items() if not room.in_use)
            oldest = next(idle, newest)
            if oldest != newest:
                del self._rooms[oldest]
                self.recent.forget(oldest)

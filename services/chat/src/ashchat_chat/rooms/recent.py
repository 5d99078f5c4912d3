"""The last events of active rooms, in memory: they answer most resumes without the store."""

import sys
from collections import OrderedDict, deque

from ashchat_chat.rooms.events import AnyEvent

RECENT_BYTES = 32 * 1024 * 1024
"""Maximum memory of all recent events of a pod, estimated."""

RECENT_EVENTS = 1_000
"""Maximum recent events of a room: a longer gap is not replayed anyway."""

EVENT_BYTES = 1_500
"""What an event costs without its text: measured, a parsed message of 100 characters has 1,400."""


class RecentEvents:
    """Keeps a contiguous end of each room's log, least recently active rooms last."""

    def __init__(self, *, max_bytes: int | None = None) -> None:
        self._max = RECENT_BYTES if max_bytes is None else max_bytes
        self._rooms: OrderedDict[str, deque[AnyEvent]] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """What is kept, in bytes, estimated."""
        return self._bytes

    def add(self, event: AnyEvent) -> None:
        """Keep the newest event of a room."""
        events = self._rooms.setdefault(event.room, deque())
        if events and events[-1].rev != event.rev - 1:
            self._clear(events)
        events.append(event)
        self._bytes += _size(event)
        self._rooms.move_to_end(event.room)
        if len(events) > RECENT_EVENTS:
            self._drop(events)
        while self._bytes > self._max:
            room, oldest = next(iter(self._rooms.items()))
            self._drop(oldest)
            if not oldest:
                del self._rooms[room]

    def after(self, room: str, rev: int) -> list[AnyEvent] | None:
        """Return the events after a revision, oldest first; None: they are not all kept."""
        events = self._rooms.get(room)
        if not events or rev < events[0].rev - 1:
            return None
        return [event for event in events if event.rev > rev]

    def forget(self, room: str) -> None:
        """Keep nothing of a room: it is not followed any more, or was rewritten."""
        self._clear(self._rooms.pop(room, deque()))

    def _clear(self, events: deque[AnyEvent]) -> None:
        while events:
            self._drop(events)

    def _drop(self, events: deque[AnyEvent]) -> None:
        self._bytes -= _size(events.popleft())


def _size(event: AnyEvent) -> int:
    return EVENT_BYTES + sys.getsizeof(getattr(event, "text", None) or "")

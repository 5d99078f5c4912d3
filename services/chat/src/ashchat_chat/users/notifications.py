"""Notifications: messages for users who are connected, but not in that chat.

They are derived from the events of rooms on the pod that the reader is connected to. Protocol 1's
`new_notification` is like `receive_message`: once, in the reader's language, when the translation
is there or after 5 s. What the client has received moves a stored cursor, so `pending_notification`
repeats nothing that was shown, and everything that was lost on the way.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from ashchat_chat.clock import monotonic
from ashchat_chat.pushes import ChatReference, Notification
from ashchat_chat.rooms.chats import Pending
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.events import AnyEvent, Members, Sent
from ashchat_chat.rooms.holdback import Holdback, Ready
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.ports import Push, StoreUnavailableError, Subscriber
from ashchat_chat.rooms.room import Room
from ashchat_chat.rooms.views import RoomView

FLUSH_SECONDS = 0.05
"""How long what was received is gathered before it is stored."""

AGAIN_SECONDS = 1.0
"""How long to wait after the store was unavailable."""

READ_AGAIN_SECONDS = 30.0
"""How often the pending notifications of all users are read after events may have been missed."""

READERS = 8
"""Maximum users whose pending notifications are read concurrently then."""


class InboxStore(Protocol):
    """What is kept of notifications. Every method may raise StoreUnavailableError."""

    async def pending(self, user: str, language: str) -> list[Pending]:
        """Return the messages that a user has not been shown, oldest first."""
        ...

    async def notified(self, received: Mapping[tuple[str, str], int]) -> None:
        """Record up to which message users have received notifications, by room and user."""
        ...


@dataclass(slots=True, eq=False)
class _Box:
    subscribers: set[Subscriber] = field(default_factory=set)
    holds: dict[str, Holdback] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    shown: dict[str, int] = field(default_factory=dict)
    """Up to which message of a room this user's sockets here were sent notifications."""
    paused: list[tuple[Room, AnyEvent]] | None = None
    """What happens while the pending ones are read: it comes after them."""


class Inbox:
    """The notifications of the users with sockets on this pod."""

    def __init__(self, store: InboxStore, rooms: LiveRooms, directory: RoomDirectory) -> None:
        self._store = store
        self._rooms = rooms
        self._boxes: dict[str, _Box] = {}
        self._received: dict[tuple[str, str], int] = {}
        self._again: set[str] = set()
        self._read_again_at = float("-inf")
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("inbox")
        self._directory = directory
        directory.listen(self._happened)
        directory.call_on_opened(self.show)

    async def attach(self, subscriber: Subscriber) -> None:
        """Push what is pending, then serve the socket live.

        Raises:
            StoreUnavailableError: what is pending could not be read.
        """
        user = subscriber.user
        box = self._boxes.get(user)
        if box is not None:
            box.subscribers.add(subscriber)
            return
        box = self._boxes[user] = _Box({subscriber}, paused=[])
        try:
            await self._push_pending(subscriber, box)
        finally:
            paused, box.paused = box.paused or [], None
            for room, event in paused:
                self._take(user, box, room, event)

    def detach(self, subscriber: Subscriber) -> None:
        """Serve a socket no longer; harmless when it was not served."""
        box = self._boxes.get(subscriber.user)
        if box is None:
            return
        box.subscribers.discard(subscriber)
        if not box.subscribers:
            if box.timer is not None:
                box.timer.cancel()
            del self._boxes[subscriber.user]

    def wants(self, members: Collection[str]) -> bool:
        """Return whether a room with these members (empty: with many) may have notifications."""
        if not members:
            return bool(self._boxes)
        return any(member in self._boxes for member in members)

    def show(self, room: Room, event: AnyEvent) -> None:
        """Show a published event of a room that was not in memory when it was published."""
        before = RoomView(room=room.id) if event.rev == 1 else room.view
        self._serve(room, before, event)

    def missed(self) -> None:
        """Read the pending notifications again: events may not have been heard."""
        if monotonic() - self._read_again_at >= READ_AGAIN_SECONDS:
            self._read_again_at = monotonic()
            self._again.update(self._boxes)
            self._wake.set()

    def _happened(self, room: Room, before: RoomView, event: AnyEvent) -> None:
        # What is read while a room is being loaded happened earlier.
        if self._directory.loaded(room.id) is room:
            self._serve(room, before, event)

    def _serve(self, room: Room, before: RoomView, event: AnyEvent) -> None:
        if isinstance(event, Members):
            for change in event.changes:
                if change.role is None:
                    self._tell(change.user, "chat_removed", room)
        members = room.view.members
        few = len(members) <= len(self._boxes)
        here = [user for user in (members if few else self._boxes) if self._is_here(user, members)]
        for user in here:
            box = self._boxes[user]
            if isinstance(event, Members) and user not in before.members:
                self._tell(user, "chat_created", room)
            elif box.paused is not None:
                box.paused.append((room, event))
            else:
                self._take(user, box, room, event)

    def _tell(self, user: str, event: str, room: Room) -> None:
        box = self._boxes.get(user)
        if box is not None:
            payload: ChatReference = {"chat_id": room.id}
            push = Push(f"notifications:{user}", event, payload)
            for subscriber in box.subscribers:
                subscriber.send(push)

    def _is_here(self, user: str, members: Collection[str]) -> bool:
        return user in self._boxes and user in members

    def _take(self, user: str, box: _Box, room: Room, event: AnyEvent) -> None:
        hold = box.holds.get(room.id)
        if hold is None:
            if not isinstance(event, Sent) or event.sender == user or not box.subscribers:
                return
            hold = Holdback(next(iter(box.subscribers)).language)
            box.holds[room.id] = hold
        self._show(user, box, hold.take(event, monotonic()))
        self._tidy(user, box)

    async def flush(self) -> None:
        """Store what was received, and read what may have been missed; until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(FLUSH_SECONDS)
            received, self._received = self._received, {}
            if received:
                try:
                    await self._store.notified(received)
                except StoreUnavailableError:
                    for (room, user), n in received.items():
                        self._note(room, user, n)
                    await asyncio.sleep(AGAIN_SECONDS)
            again, self._again = list(self._again), set()
            for start in range(0, len(again), READERS):
                await asyncio.gather(*map(self._read_again, again[start : start + READERS]))

    async def _read_again(self, user: str) -> None:
        box = self._boxes.get(user)
        if box is None or box.paused is not None or not box.subscribers:
            return
        try:
            await self._push_pending(next(iter(box.subscribers)), box, event="new_notification")
        except StoreUnavailableError:
            self._again.add(user)
            self._wake.set()

    async def _push_pending(
        self, subscriber: Subscriber, box: _Box, *, event: str = "pending_notification"
    ) -> None:
        user = subscriber.user
        for message in await self._store.pending(user, subscriber.language):
            if message.n <= box.shown.get(message.room, 0):
                continue
            if self._rooms.has_joined(message.room, user):
                continue
            payload: Notification = {
                "chat_id": message.room,
                "sender_id": message.sender,
                "content": message.text,
                "timestamp": message.timestamp,
            }
            await subscriber.drained()
            push = Push(f"notifications:{user}", event, payload)
            for one in box.subscribers if event == "new_notification" else (subscriber,):
                one.send(push)
                self._confirm(one, message.room, message.n)
            box.shown[message.room] = message.n

    def _show(self, user: str, box: _Box, ready: list[Ready]) -> None:
        for message in ready:
            event = message.event
            if (
                event.sender == user
                or self._rooms.has_joined(event.room, user)
                or self._rooms.read_position(event.room, user) >= event.n
                or event.n <= box.shown.get(event.room, 0)
            ):
                continue
            payload: Notification = {
                "chat_id": event.room,
                "sender_id": event.sender,
                "content": message.text,
                "timestamp": timestamp(event.at),
            }
            push = Push(f"notifications:{user}", "new_notification", payload)
            for subscriber in box.subscribers:
                subscriber.send(push)
                self._confirm(subscriber, event.room, event.n)
            box.shown[event.room] = event.n

    def _confirm(self, subscriber: Subscriber, room: str, n: int) -> None:
        """Move the cursor when the client has received what was sent, not earlier."""
        user = subscriber.user
        subscriber.when_received(lambda: self._note(room, user, n))

    def _note(self, room: str, user: str, n: int) -> None:
        self._received[room, user] = max(n, self._received.get((room, user), 0))
        self._wake.set()

    def _tidy(self, user: str, box: _Box) -> None:
        box.holds = {room: hold for room, hold in box.holds.items() if hold.deadline is not None}
        if box.timer is not None:
            box.timer.cancel()
            box.timer = None
        deadlines = [hold.deadline for hold in box.holds.values() if hold.deadline is not None]
        if deadlines:
            box.timer = asyncio.get_running_loop().call_at(min(deadlines), self._expire, user, box)

    def _expire(self, user: str, box: _Box) -> None:
        for hold in box.holds.values():
            self._show(user, box, hold.expire(monotonic()))
        self._tidy(user, box)

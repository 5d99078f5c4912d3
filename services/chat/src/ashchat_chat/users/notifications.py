"""Notifications: messages for people who are connected, but not in that chat.

Protocol 1's `new_notification` is like `receive_message`: once, in the reader's language,
when the translation is there or after 5 s. What was shown moves a stored cursor, so
`pending_notification` never repeats it, and needs no memory of any process.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from ashchat_chat.channels import USER_CHANNEL
from ashchat_chat.clock import monotonic
from ashchat_chat.rooms.chats import Pending
from ashchat_chat.rooms.events import Sent, parse
from ashchat_chat.rooms.holdback import Holdback, Ready
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.rooms.live import LiveRooms
from ashchat_chat.rooms.ports import Fanout, Push, StoreUnavailableError, Subscriber

FLUSH_SECONDS = 0.05
"""How long what was shown is gathered before it is kept."""


class InboxStore(Protocol):
    """What is kept of notifications. Every method may raise StoreUnavailableError."""

    async def pending(self, user: str, language: str) -> list[Pending]:
        """Return the messages that a user has not been shown, oldest first."""
        ...

    async def notified(self, room: str, user: str, n: int) -> None:
        """Record that a user was shown a room's messages up to a number."""
        ...


@dataclass(slots=True, eq=False)
class _Box:
    subscribers: set[Subscriber] = field(default_factory=set)
    holds: dict[str, Holdback] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    paused: list[str] | None = None
    """What is heard while the pending ones are read: it comes after them."""


class Inbox:
    """The notifications of the people with sockets on this pod."""

    def __init__(self, store: InboxStore, fanout: Fanout, rooms: LiveRooms) -> None:
        self._store = store
        self._fanout = fanout
        self._rooms = rooms
        self._boxes: dict[str, _Box] = {}
        self._shown: dict[tuple[str, str], int] = {}
        self._again: set[str] = set()
        self._wake = asyncio.Event()
        self._log = structlog.get_logger("inbox")

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
            await self._fanout.subscribe(USER_CHANNEL + user)
            await self._push_pending(subscriber)
        finally:
            paused, box.paused = box.paused or [], None
            for text in paused:
                self.heard(USER_CHANNEL + user, text)

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
            self._fanout.unsubscribe(USER_CHANNEL + subscriber.user)

    def heard(self, channel: str, text: str) -> None:
        """Take what was published for a person."""
        user = channel.removeprefix(USER_CHANNEL)
        box = self._boxes.get(user)
        if box is None:
            return
        if box.paused is not None:
            box.paused.append(text)
            return
        body = json.loads(text)
        if "chat_created" in body:
            push = Push(f"notifications:{user}", "chat_created", {"chat_id": body["chat_created"]})
            for subscriber in box.subscribers:
                subscriber.send(push)
            return
        event = parse(body["event"])
        hold = box.holds.get(event.room)
        if hold is None:
            if not isinstance(event, Sent):
                return
            hold = Holdback(next(iter(box.subscribers)).language)
            box.holds[event.room] = hold
        self._show(user, box, hold.take(event, monotonic()))
        self._tidy(user, box)

    def subscribed(self, channel: str) -> None:
        """A (re)subscription: what was published before it was not heard."""
        user = channel.removeprefix(USER_CHANNEL)
        if user in self._boxes:
            self._again.add(user)
            self._wake.set()

    async def flush(self) -> None:
        """Keep what was shown, and look again after an outage; until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(FLUSH_SECONDS)
            shown, self._shown = self._shown, {}
            for (room, user), n in shown.items():
                try:
                    await self._store.notified(room, user, n)
                except StoreUnavailableError:
                    self._note(room, user, n)
            again, self._again = self._again, set()
            for user in again:
                box = self._boxes.get(user)
                try:
                    # The subscription that `attach` itself makes is paused still.
                    if box is not None and box.paused is not None:
                        continue
                    for subscriber in list(box.subscribers if box else ()):
                        await self._push_pending(subscriber, event="new_notification")
                except StoreUnavailableError:
                    self._again.add(user)
                    self._wake.set()

    async def _push_pending(
        self, subscriber: Subscriber, *, event: str = "pending_notification"
    ) -> None:
        user = subscriber.user
        for message in await self._store.pending(user, subscriber.language):
            if message.n <= self._shown.get((message.room, user), 0):
                continue
            if self._rooms.has_joined(message.room, user):
                continue
            payload = {
                "chat_id": message.room,
                "sender_id": message.sender,
                "content": message.text,
                "timestamp": message.timestamp,
            }
            await subscriber.drained()
            subscriber.send(Push(f"notifications:{user}", event, payload))
            self._note(message.room, user, message.n)

    def _show(self, user: str, box: _Box, ready: list[Ready]) -> None:
        for message in ready:
            event = message.event
            if (
                self._rooms.has_joined(event.room, user)
                or self._rooms.read_position(event.room, user) >= event.n
                or event.n <= self._shown.get((event.room, user), 0)
            ):
                continue
            payload = {
                "chat_id": event.room,
                "sender_id": event.sender,
                "content": message.text,
                "timestamp": timestamp(event.at),
            }
            push = Push(f"notifications:{user}", "new_notification", payload)
            for subscriber in box.subscribers:
                subscriber.send(push)
            self._note(event.room, user, event.n)

    def _note(self, room: str, user: str, n: int) -> None:
        self._shown[room, user] = max(n, self._shown.get((room, user), 0))
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

"""Protocol 1, the original's: sockets that get each message once, without ids.

A joined room counts as being in view: what a client has received is read.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import assert_never

from ashchat_chat.clock import monotonic
from ashchat_chat.pushes import MessageReceived, MessageSent
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
from ashchat_chat.rooms.holdback import Holdback, Ready
from ashchat_chat.rooms.ports import Position, Push, Subscriber, group_profile
from ashchat_chat.rooms.room import Room


class Protocol1:
    """Serves the sockets of protocol 1."""

    def __init__(self, read: Callable[[str, str, Position], None]) -> None:
        self._raise = read

    def attach(self, room: Room, subscriber: Subscriber) -> None:
        """Serve a socket; everything in the room so far is read."""
        room.one.setdefault(subscriber.language, {})[subscriber] = room.view.rev
        room.holds.setdefault(subscriber.language, Holdback(subscriber.language))
        self._read(room, subscriber.user, room.view.n)

    def detach(self, room: Room, subscriber: Subscriber) -> None:
        """Stop serving a socket; harmless when it was not served."""
        readers = room.one.get(subscriber.language, {})
        readers.pop(subscriber, None)
        if not readers:
            room.one.pop(subscriber.language, None)
            room.holds.pop(subscriber.language, None)

    def emptied(self, room: Room) -> None:
        """Stop the timer of a room without sockets."""
        if room.timer is not None:
            room.timer.cancel()
            room.timer = None

    def dispatch(self, room: Room, event: AnyEvent) -> None:
        """Show what an event means to the sockets of protocol 1."""
        if not room.one:
            return
        now = monotonic()
        for language, hold in room.holds.items():
            self._show(room, language, hold.take(event, now))
        match event:
            case Sent():
                room.unread.append((event.n, event.sender, event.client_id))
            case Members() | Translated() | Edited() | Deleted() | Reacted() | Opaque():
                pass
            case RoomChanged():
                self._introduce_group(room)
            case _:
                assert_never(event)
        self._set_timer(room)

    def _introduce_group(self, room: Room) -> None:
        push = Push(f"chat:{room.id}", "receiver_info", group_profile(room.view).payload())
        for readers in room.one.values():
            for reader in readers:
                reader.send(push)

    def _read(self, room: Room, user: str, n: int) -> None:
        if n > room.read_position(user):
            self._raise(room.id, user, Position(read=n))

    def _show(self, room: Room, language: str, ready: Iterable[Ready]) -> None:
        for message in ready:
            event = message.event
            payload: MessageReceived = {
                "chat_id": room.id,
                "content": message.text,
                "sender_id": event.sender,
            }
            push = Push(f"chat:{room.id}", "receive_message", payload)
            for reader, joined_at in room.one.get(language, {}).items():
                # What was there before the join came with the chat's history.
                if reader.user != event.sender and event.rev > joined_at:
                    reader.send(push)
                    read = partial(self._read, room, reader.user, event.n)
                    reader.when_received(read)

    def _set_timer(self, room: Room) -> None:
        if room.timer is not None:
            room.timer.cancel()
            room.timer = None
        deadlines = [hold.deadline for hold in room.holds.values() if hold.deadline is not None]
        if deadlines:
            room.timer = asyncio.get_running_loop().call_at(min(deadlines), self._expire, room)

    def _expire(self, room: Room) -> None:
        now = monotonic()
        for language, hold in room.holds.items():
            self._show(room, language, hold.expire(now))
        self._set_timer(room)


def report_read(room: Room) -> None:
    """Report to senders that their messages were read by all other members."""
    still: list[tuple[int, str, str]] = []
    read = {sender: room.read_by_others(sender) for _, sender, _ in room.unread}
    for n, sender, client_id in room.unread:
        if read[sender] < n:
            still.append((n, sender, client_id))
            continue
        payload: MessageSent = {
            "mobile_ref_id": client_id,
            "status": "READED",
            "chat_id": room.id,
        }
        push = Push(f"chat:{room.id}", "message_sent", payload)
        for readers in room.one.values():
            for reader in readers:
                if reader.user == sender:
                    reader.send(push)
    room.unread.clear()
    room.unread.extend(still)

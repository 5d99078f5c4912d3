"""The sockets of this pod that have joined rooms, and what they are sent as it happens.

Every socket of a room gets its events in order, without a hole and each once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ashchat_chat import metrics
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.events import AnyEvent, Members
from ashchat_chat.rooms.identifiers import is_placeholder
from ashchat_chat.rooms.ports import (
    PROTOCOLS,
    Availability,
    LogStore,
    Push,
    Subscriber,
    availability_protocols,
    deleted_profile,
)
from ashchat_chat.rooms.positions import Positions
from ashchat_chat.rooms.protocol1 import Protocol1
from ashchat_chat.rooms.room import Room
from ashchat_chat.rooms.views import RoomView

RESUME_MAX_EVENTS = 1_000
"""A longer gap is answered with `reset`: fetching pages is cheaper than replaying."""

REPLAY_PAGE = 200
"""Events in one read of a replay."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to a join."""

    rev: int
    """The head of the log."""
    since: int
    """From where the socket is served: the events after it come next."""
    reset: bool
    """The gap is not replayed: the client must fetch the room."""
    view: RoomView
    """The room as it is at its head."""
    read: int
    """Up to where the user has read."""


class LiveRooms:
    """Serves the sockets that have joined rooms."""

    def __init__(
        self,
        store: LogStore,
        directory: RoomDirectory,
        protocol1: Protocol1,
        positions: Positions,
    ) -> None:
        self._store = store
        self._directory = directory
        self._protocol1 = protocol1
        self._positions = positions
        self._occupied: set[str] = set()
        self._rooms_of: dict[str, set[str]] = {}
        directory.listen(self._follow)

    # Joining

    async def join(self, room_id: str, user: str, since: int | None) -> Joined:
        """Prepare a join: check membership, and how far the log and the user are.

        Raises:
            NoSuchRoomError: the room does not exist, or the user is not in it.
            StoreUnavailableError: the store could not be read.
        """
        room = await self._directory.get_for(user, room_id)
        if not room.occupied:
            await self._positions.load(room)
        if since is not None and since > room.view.rev:
            # Another pod was quicker to serve this client than its publication to arrive here.
            await self._directory.refresh(room)
        if user not in room.view.members:
            raise NoSuchRoomError
        head = room.view.rev
        # Ahead of the log: it was restored from a backup, or the client is mistaken.
        reset = since is not None and (since > head or head - since > RESUME_MAX_EVENTS)
        if reset:
            metrics.RESETS.inc()
        return Joined(
            rev=head,
            since=head if since is None or reset else since,
            reset=reset,
            view=room.view,
            read=room.read_position(user),
        )

    async def attach(self, room_id: str, subscriber: Subscriber, since: int) -> None:
        """Replay what came after `since`, then serve the socket live.

        Raises:
            NoSuchRoomError: the room was deleted.
            StoreUnavailableError: the gap could not be read.
        """
        room = await self._directory.get(room_id)
        if subscriber.gone:
            return
        self._occupy(room, subscriber)
        try:
            await self._replay(room, subscriber, since)
        except BaseException:
            self.detach(room_id, subscriber)
            raise
        if subscriber not in room.replaying:
            # It has left meanwhile.
            return
        # Without an await since the comparison in `_replay`, no event falls in between.
        room.replaying.discard(subscriber)
        if subscriber.protocol == 1:
            self._protocol1.attach(room, subscriber)
        else:
            room.two.setdefault(subscriber.language, set()).add(subscriber)

    def _occupy(self, room: Room, subscriber: Subscriber) -> None:
        """Count a socket that is served from the log: its room must stay loaded."""
        room.replaying.add(subscriber)
        self._occupied.add(room.id)
        for member in room.view.members:
            self._rooms_of.setdefault(member, set()).add(room.id)
        metrics.ROOMS.set(len(self._occupied))

    async def _replay(self, room: Room, subscriber: Subscriber, since: int) -> None:
        cursor = since
        while cursor < room.view.rev and not subscriber.gone:
            await subscriber.drained()
            recent = self._directory.recent.after(room.id, cursor)
            if recent is not None:
                events = recent[:REPLAY_PAGE]
            else:
                events = await self._store.after({room.id: cursor}, REPLAY_PAGE)
            if not events:
                return
            # The store may be ahead of what this pod has received.
            self._directory.offer(room, events)
            for event in events:
                if subscriber.user not in room.view.members:
                    raise NoSuchRoomError
                if subscriber.protocol != 1 and _visible(room, event, subscriber):
                    push = _event_push(room.id, event)
                    while not subscriber.send(push):
                        await subscriber.drained()
            cursor = events[-1].rev

    def detach(self, room_id: str, subscriber: Subscriber) -> None:
        """Stop serving a socket; harmless when it was not served."""
        room = self._directory.loaded(room_id)
        if room is None:
            return
        readers = room.two.get(subscriber.language, set())
        readers.discard(subscriber)
        if not readers:
            room.two.pop(subscriber.language, None)
        self._protocol1.detach(room, subscriber)
        room.replaying.discard(subscriber)
        if not room.occupied and room_id in self._occupied:
            self._occupied.discard(room_id)
            for member in room.view.members:
                self._not_here(room_id, member)
            metrics.ROOMS.set(len(self._occupied))
            self._protocol1.emptied(room)

    # Serving

    def tell(
        self,
        room_id: str,
        event: str,
        payload: Mapping[str, Any],
        *,
        but: str = "",
        protocols: Collection[int] = PROTOCOLS,
    ) -> None:
        """Push an event that is not of the log to the room's sockets on this pod."""
        room = self._directory.loaded(room_id)
        if room is None:
            return
        push = Push(f"chat:{room_id}", event, payload)
        for subscriber in room.subscribers():
            if subscriber.user != but and subscriber.protocol in protocols:
                subscriber.send(push)

    def report_availability(self, room_id: str, who: Availability) -> None:
        """Report to the room's sockets on this pod that a member came or went."""
        room = self._directory.loaded(room_id)
        for protocol in availability_protocols(room.view) if room else ():
            payload = who.payload(protocol)
            self.tell(room_id, "receiver_online", payload, but=who.user, protocols=(protocol,))

    def is_direct(self, room_id: str) -> bool:
        """Return whether a room is one of two users, as far as this pod knows."""
        room = self._directory.loaded(room_id)
        return room is None or room.view.kind == "direct"

    def occupied(self) -> frozenset[str]:
        """Return the rooms that have sockets on this pod."""
        return frozenset(self._occupied)

    def rooms_of(self, user: str) -> frozenset[str]:
        """Return a user's rooms that have sockets on this pod."""
        return frozenset(self._rooms_of.get(user, ()))

    def people(self) -> set[str]:
        """Return the members of the rooms that have sockets on this pod."""
        return set(self._rooms_of)

    def has_joined(self, room_id: str, user: str) -> bool:
        """Return whether a socket of the user on this pod has joined the room."""
        room = self._directory.loaded(room_id)
        return room is not None and any(one.user == user for one in room.subscribers())

    def read_position(self, room_id: str, user: str) -> int:
        """Return a user's read position, as far as this pod knows."""
        room = self._directory.loaded(room_id)
        return room.read_position(user) if room is not None else 0

    def _follow(self, room: Room, before: RoomView, event: AnyEvent) -> None:
        if not room.occupied:
            return
        self._dispatch(room, event)
        if isinstance(event, Members):
            self._members_changed(room.id, before.members, room.view.members)

    def _dispatch(self, room: Room, event: AnyEvent) -> None:
        push = _event_push(room.id, event)
        behind: list[Subscriber] = []
        for language, readers in room.two.items():
            if event.visible_to(language):
                behind += [
                    reader
                    for reader in readers
                    if room.view.shows(reader.user, event.message_rev) and not reader.send(push)
                ]
        for reader in behind:
            room.two[reader.language].discard(reader)
            room.replaying.add(reader)
            reader.fell_behind(event.rev - 1)
        self._protocol1.dispatch(room, event)

    def _members_changed(self, room_id: str, before: Collection[str], now: Collection[str]) -> None:
        removed = set(before) - set(now)
        for user in removed:
            self._not_here(room_id, user)
        room = self._directory.loaded(room_id)
        for subscriber in room.subscribers() if room else ():
            if subscriber.user in removed:
                # After the event that reports it.
                self.detach(room_id, subscriber)
                subscriber.end()
        for user in set(now) - set(before):
            self._rooms_of.setdefault(user, set()).add(room_id)
            if is_placeholder(user):
                self.tell(room_id, "receiver_info", deleted_profile(user).payload())
                self.report_availability(room_id, Availability(user, online=False))

    def _not_here(self, room_id: str, user: str) -> None:
        here = self._rooms_of.get(user, set())
        here.discard(room_id)
        if not here:
            self._rooms_of.pop(user, None)


def _visible(room: Room, event: AnyEvent, subscriber: Subscriber) -> bool:
    """Return whether a socket is sent an event of the past."""
    first, _ = room.view.visible_from(subscriber.user)
    return (
        event.rev >= first
        and event.visible_to(subscriber.language)
        and room.view.shows(subscriber.user, event.message_rev)
    )


def _event_push(room_id: str, event: AnyEvent) -> Push:
    return Push(f"chat:{room_id}", "event", event.payload())

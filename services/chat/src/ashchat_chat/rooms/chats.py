"""Chats: the rules behind the routes of chats and their messages."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ashchat_chat.channels import USER_CHANNEL
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import ChatExistsError, NoSuchUserError, SelfChatError
from ashchat_chat.rooms.events import AnyEvent
from ashchat_chat.rooms.folds import fold_messages, fold_room
from ashchat_chat.rooms.identifiers import is_placeholder, placeholder, timestamp
from ashchat_chat.rooms.ports import ConflictError, Fanout, Profile, RoomRecord, deleted_profile
from ashchat_chat.rooms.projecting import Projecting
from ashchat_chat.rooms.views import MessageView, RoomView

CHATS_MAX = 200
"""Chats in one list: the most recently active ones."""

WINDOW_EVENTS = 150
"""How far back a list of chats looks in each log, in events."""

WINDOW_MESSAGES = 50
"""Messages of each chat in the list; older ones are paged."""

TAIL_MAX_EVENTS = 2_000
"""Events that are folded while answering; beyond that the projections are brought up first."""

PENDING_MAX = 100
PAGE_MAX = 100


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that a user has not been shown."""

    room: str
    rev: int
    sender: str
    text: str
    timestamp: str


class ChatStore(Protocol):
    """Rooms and projections. Every method may raise StoreUnavailableError."""

    async def profile(self, user_id: str) -> Profile | None:
        """Return a user's profile."""
        ...

    async def profiles(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles there are, by id."""
        ...

    async def by_tag(self, tag: str) -> Profile | None:
        """Return the profile with a tag."""
        ...

    async def buried(self, gone: Sequence[str]) -> bool:
        """Return whether the account of any of these placeholders was deleted."""
        ...

    async def remove_direct_room(self, room: str, members: tuple[str, str]) -> None:
        """Remove a room in which nothing was said, unless its members have changed."""
        ...

    async def add_direct_room(self, room: str, members: tuple[str, str], at: datetime) -> None:
        """Keep a new room of two. Raises ConflictError: the two have one."""
        ...

    async def direct_room(self, members: tuple[str, str]) -> str | None:
        """Return the room of two people."""
        ...

    async def rooms_of(self, user_id: str, limit: int) -> list[tuple[RoomRecord, int]]:
        """Return a user's rooms, most recently active first, each with its notification cursor."""
        ...

    async def after(self, revs: Mapping[str, int], limit: int) -> list[AnyEvent]:
        """Return events; see LogStore."""
        ...

    async def room(self, room: str) -> RoomRecord | None:
        """Return a room."""
        ...

    async def window(self, floors: Mapping[str, int]) -> dict[str, list[MessageView]]:
        """Return projected messages after these revisions, by room, oldest first."""
        ...

    async def page(self, room: str, before: int, limit: int) -> list[MessageView]:
        """Return the last projected messages before a revision, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class ChatView:
    """A chat as one of its users sees it."""

    room: RoomView
    receiver: Profile | None
    messages: list[MessageView]
    unread: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages of a room, oldest first."""

    view: RoomView
    messages: list[MessageView]
    more: bool


def tail_view(
    record: RoomRecord, known: Sequence[MessageView], events: Sequence[AnyEvent]
) -> tuple[RoomView, list[MessageView]]:
    """Return a room and its messages: the projections, and the log's tail folded onto them."""
    tail = [event for event in events if event.rev > record.projected.rev]
    return fold_room(record.projected, tail), fold_messages(known, tail)


class Chats:
    """The chats of users."""

    def __init__(
        self,
        store: ChatStore,
        directory: RoomDirectory,
        projecting: Projecting,
        fanout: Fanout,
    ) -> None:
        self._store = store
        self._directory = directory
        self._projecting = projecting
        self._fanout = fanout

    async def open_direct(self, user_id: str, receiver_tag: str) -> tuple[str, Profile]:
        """Make the chat of two people; return its id and the other one.

        Raises:
            NoSuchUserError: nobody has that tag, or the caller has no profile yet.
            SelfChatError: it is the caller's own.
            ChatExistsError: the two have a chat.
        """
        receiver = await self._store.by_tag(receiver_tag)
        if receiver is None:
            raise NoSuchUserError
        if receiver.user_id == user_id:
            raise SelfChatError
        if await self._store.profile(user_id) is None:
            raise NoSuchUserError
        first, second = sorted((user_id, receiver.user_id))
        room = secrets.token_hex(16)
        try:
            await self._store.add_direct_room(room, (first, second), datetime.now(UTC))
        except ConflictError:
            raise ChatExistsError(await self._store.direct_room((first, second)) or "") from None
        # Looked at afterwards, as in `_removed`.
        if await self._store.buried([placeholder(first), placeholder(second)]):
            await self._store.remove_direct_room(room, (first, second))
            raise NoSuchUserError
        # Writes the log's first event, as the first access would.
        await self._directory.membership(room, user_id)
        for user in (first, second):
            self._fanout.publish(USER_CHANNEL + user, json.dumps({"chat_created": room}))
        return room, receiver

    async def chats(self, user_id: str) -> list[ChatView]:
        """Return a user's chats, most recently active first, in a fixed number of queries."""
        found = await self._read_rooms(user_id)
        others = {member for view, _, _ in found for member in view.members if member != user_id}
        known = sorted(who for who in others if not is_placeholder(who))
        profiles = {who: deleted_profile(who) for who in others if is_placeholder(who)}
        profiles |= await self._store.profiles(known) if known else {}
        result: list[ChatView] = []
        for view, messages, _ in found:
            receiver = next((who for who in view.members if who != user_id), "")
            read = view.reads.get(user_id, 0)
            unread = sum(
                1 for one in messages if one.rev > read and one.sender != user_id and not one.erased
            )
            result.append(
                ChatView(view, profiles.get(receiver), messages[-WINDOW_MESSAGES:], unread)
            )
        return result

    async def page(self, user_id: str, room_id: str, *, before: int | None, limit: int) -> Page:
        """Return messages of a room, for one of its members.

        Raises:
            NoSuchRoomError: there is none, or the user is not in it.
        """
        await self._directory.membership(room_id, user_id)
        record = await self._store.room(room_id)
        if record is None:
            raise NoSuchUserError
        events = await self._store.after({room_id: record.projected.rev}, TAIL_MAX_EVENTS)
        if len(events) >= TAIL_MAX_EVENTS:
            await self._projecting.project(room_id)
            return await self.page(user_id, room_id, before=before, limit=limit)
        head = events[-1].rev if events else record.projected.rev
        upper = head + 1 if before is None else before
        # One more than requested shows whether there are more.
        known = await self._store.page(room_id, upper, limit + 1)
        view, messages = tail_view(record, known, events)
        messages = [message for message in messages if message.rev < upper]
        return Page(view, messages[-limit:], more=len(messages) > limit)

    async def pending(self, user_id: str, language: str) -> list[Pending]:
        """Return the messages that a user has not been shown, oldest first, in a language."""
        waiting: list[tuple[datetime, Pending]] = []
        for view, messages, notified in await self._read_rooms(user_id):
            seen = max(view.reads.get(user_id, 0), notified)
            waiting += [
                (
                    message.at,
                    Pending(
                        room=view.room,
                        rev=message.rev,
                        sender=message.sender,
                        text=message.text_for(language) or message.text,
                        timestamp=timestamp(message.at),
                    ),
                )
                for message in messages
                if message.rev > seen and message.sender != user_id and not message.erased
            ]
        waiting.sort(key=lambda one: one[0])
        return [message for _, message in waiting[-PENDING_MAX:]]

    async def _read_rooms(self, user_id: str) -> list[tuple[RoomView, list[MessageView], int]]:
        found = await self._store.rooms_of(user_id, CHATS_MAX)
        if not found:
            return []
        projected = {record.room: record.projected.rev for record, _ in found}
        events = await self._store.after(projected, TAIL_MAX_EVENTS)
        if len(events) >= TAIL_MAX_EVENTS:
            for room in {event.room for event in events}:
                await self._projecting.project(room)
            return await self._read_rooms(user_id)
        tails: dict[str, list[AnyEvent]] = {}
        for event in events:
            tails.setdefault(event.room, []).append(event)
        floors = {room: max(0, rev - WINDOW_EVENTS) for room, rev in projected.items() if rev}
        windows = await self._store.window(floors) if floors else {}
        return [
            (*tail_view(record, windows.get(record.room, []), tails.get(record.room, [])), cursor)
            for record, cursor in found
        ]


def message_body(message: MessageView, view: RoomView, language: str) -> dict[str, Any]:
    """Return a message as the HTTP API has it; `id` is the client's own, as in the original."""
    read = view.read_by_others(message.sender) >= message.rev
    return {
        "id": message.client_id,
        "message_id": message.id,
        "rev": message.rev,
        "sender_id": message.sender,
        "content": message.text,
        "translated_content": message.text_for(language),
        "language": message.language,
        "translations": {
            target: translation.text
            for target, translation in sorted(message.translations.items())
            if translation.outcome == "translated"
        },
        "timestamp": timestamp(message.at),
        "status": "READED" if read else "SENT",
        "erased": message.erased,
    }

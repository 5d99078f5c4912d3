"""Chats: the rules behind the routes that the original has, and behind notifications."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ashchat_chat.rooms.caching import RoomCache
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import ChatExistsError, NoSuchUserError, SelfChatError
from ashchat_chat.rooms.history import read_messages
from ashchat_chat.rooms.identifiers import is_placeholder, message_id, placeholder, timestamp
from ashchat_chat.rooms.ports import (
    ConflictError,
    HistoryStore,
    Position,
    PositionStore,
    Profile,
    deleted_profile,
    group_profile,
)
from ashchat_chat.rooms.positions import RECEIPTS_MAX_MEMBERS
from ashchat_chat.rooms.room_list import Cursor, RoomList, RoomSummary
from ashchat_chat.rooms.views import MessageView

CHATS_MAX = 50
"""Chats in one list: the most recently active ones."""

CHAT_MESSAGES = 20
"""Newest messages of each chat in the list; older ones are paged."""

CHATS_CHARS = 1_000_000
"""Characters of messages in one list; chats beyond it come without messages."""

CHATS_AT_ONCE = 10
"""Chats whose messages are read by one query."""

PENDING_MAX = 100
PENDING_ROOMS = 100
"""Rooms that are searched for pending notifications: the most recently active ones."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that a user has not been shown."""

    room: str
    n: int
    sender: str
    text: str
    timestamp: str


class ChatStore(HistoryStore, PositionStore, Protocol):
    """Rooms and their messages. Every method may raise StoreUnavailableError."""

    async def profile(self, user_id: str) -> Profile | None:
        """Return a user's profile."""
        ...

    async def profiles(self, user_ids: Sequence[str]) -> dict[str, Profile]:
        """Return the profiles that exist, by id."""
        ...

    async def by_tag(self, tag: str) -> Profile | None:
        """Return the profile with a tag."""
        ...

    async def mentions(self, user: str, after: Mapping[str, int]) -> dict[str, int]:
        """Return, by room, how many messages after a number mention a user."""
        ...

    async def buried(self, gone: Sequence[str]) -> bool:
        """Return whether the account of any of these placeholders was deleted."""
        ...

    async def prepare_members(self, room: str, users: Sequence[str]) -> None:
        """Make sure that each user has a document in a room; see CacheStore."""
        ...

    async def discard_members(self, room: str) -> None:
        """Delete the documents that were prepared for a room that does not exist."""
        ...

    async def add_direct_room(self, room: str, members: tuple[str, str], at: datetime) -> None:
        """Store a new room of two. Raises ConflictError: the two have one."""
        ...

    async def remove_direct_room(self, room: str, members: tuple[str, str]) -> None:
        """Remove a room in which nothing was said, unless its members have changed."""
        ...

    async def direct_room(self, members: tuple[str, str]) -> str | None:
        """Return the room of two users."""
        ...


@dataclass(frozen=True, slots=True)
class ChatView:
    """A chat as one of its users sees it."""

    summary: RoomSummary
    receiver: Profile | None
    messages: list[MessageView]
    positions: Mapping[str, Position]

    def read_by_others(self, user: str) -> int:
        """Return up to where all other members have read."""
        others = [one for one in self.summary.view.members if one != user]
        return min((self._read(one) for one in others), default=0)

    def _read(self, user: str) -> int:
        joined = self.summary.view.members[user].joined_n
        return max(joined, self.positions.get(user, Position()).read)


@dataclass(frozen=True, slots=True)
class ListedRoom:
    """A room in a list."""

    summary: RoomSummary
    name: str
    picture: str
    mentions: int
    """Unread messages that mention the user."""


class Chats:
    """The chats of users."""

    def __init__(
        self,
        store: ChatStore,
        directory: RoomDirectory,
        cache: RoomCache,
        room_list: RoomList,
    ) -> None:
        self._store = store
        self._directory = directory
        self._cache = cache
        self._list = room_list

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
        existing = await self._store.direct_room((first, second))
        if existing is not None:
            raise ChatExistsError(existing)
        room = secrets.token_hex(16)
        await self._store.prepare_members(room, [first, second])
        try:
            await self._store.add_direct_room(room, (first, second), datetime.now(UTC))
        except ConflictError:
            await self._store.discard_members(room)
            raise ChatExistsError(await self._store.direct_room((first, second)) or "") from None
        # Looked at afterwards, as in `_removed`.
        if await self._store.buried([placeholder(first), placeholder(second)]):
            await self._store.remove_direct_room(room, (first, second))
            await self._store.discard_members(room)
            raise NoSuchUserError
        # Writes the log's first event, as the first access would.
        await self._directory.get_for(user_id, room)
        await self._cache.flush([room])
        return room, receiver

    async def chats(self, user_id: str) -> list[ChatView]:
        """Return a user's chats, most recently active first, with bounded cost.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        summaries, _ = await self._list.page(user_id, limit=CHATS_MAX)
        small = [one.room for one in summaries if len(one.view.members) <= RECEIPTS_MAX_MEMBERS]
        positions = await self._store.positions(small) if small else {}
        messages = await self._newest(user_id, summaries)
        receivers = await self._receivers(user_id, summaries)
        return [
            ChatView(
                one,
                receivers.get(one.room),
                messages.get(one.room, []),
                positions.get(one.room, {}),
            )
            for one in summaries
        ]

    async def rooms(
        self, user_id: str, *, after: Cursor | None, limit: int
    ) -> tuple[list[ListedRoom], Cursor | None]:
        """Return a page of a user's rooms, and the cursor of the next one.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        summaries, following = await self._list.page(user_id, after=after, limit=limit)
        receivers = await self._receivers(user_id, summaries)
        after_n = {one.room: one.read(user_id) for one in summaries if one.unread(user_id)}
        mentions = await self._store.mentions(user_id, after_n) if after_n else {}
        listed = [
            _listed(one, receivers.get(one.room), mentions.get(one.room, 0)) for one in summaries
        ]
        return listed, following

    async def _newest(
        self, user_id: str, summaries: Sequence[RoomSummary]
    ) -> dict[str, list[MessageView]]:
        """Return the newest messages of the first chats, up to a number of characters."""
        result: dict[str, list[MessageView]] = {}
        chars = 0
        for start in range(0, len(summaries), CHATS_AT_ONCE):
            ranges = {
                one.room: _newest_range(one, user_id)
                for one in summaries[start : start + CHATS_AT_ONCE]
                if one.view.n
            }
            found = await read_messages(self._store, ranges) if ranges else {}
            for room in ranges:
                chars += sum(map(_chars, found.get(room, [])))
                if chars > CHATS_CHARS:
                    return result
                result[room] = found.get(room, [])
        return result

    async def _receivers(
        self, user_id: str, summaries: Sequence[RoomSummary]
    ) -> dict[str, Profile]:
        """Return, by room, the profile of the other member, or of the group."""
        others = {
            one.room: next((who for who in one.view.members if who != user_id), "")
            for one in summaries
            if one.view.kind == "direct"
        }
        known = sorted({who for who in others.values() if who and not is_placeholder(who)})
        profiles = await self._store.profiles(known) if known else {}
        profiles |= {who: deleted_profile(who) for who in others.values() if is_placeholder(who)}
        found = {room: profiles[who] for room, who in others.items() if who in profiles}
        groups = [one.view for one in summaries if one.view.kind == "group"]
        return found | {view.room: group_profile(view) for view in groups}

    async def pending(self, user_id: str, language: str) -> list[Pending]:
        """Return the newest messages that a user has not been shown, oldest first.

        Raises:
            StoreUnavailableError: the store could not be read.
        """
        summaries, _ = await self._list.page(user_id, limit=PENDING_ROOMS)
        ranges: dict[str, tuple[int, int]] = {}
        left = PENDING_MAX
        for one in summaries:
            shown = max(one.read(user_id), one.position.notified)
            first = max(shown + 1, one.view.n - left + 1)
            if first <= one.view.n and left:
                ranges[one.room] = (first, one.view.n)
                left -= one.view.n - first + 1
        found = await read_messages(self._store, ranges) if ranges else {}
        waiting = sorted(
            (
                message
                for messages in found.values()
                for message in messages
                if message.sender != user_id and not message.gone
            ),
            key=lambda message: message.at,
        )
        return [
            Pending(
                room=message.room,
                n=message.n,
                sender=message.sender,
                text=message.text_for(language) or message.text,
                timestamp=timestamp(message.at),
            )
            for message in waiting
        ]


def _listed(summary: RoomSummary, receiver: Profile | None, mentions: int) -> ListedRoom:
    if receiver is None:
        return ListedRoom(summary, "", "", mentions)
    return ListedRoom(summary, receiver.nickname, receiver.photo_url, mentions)


def _newest_range(summary: RoomSummary, user: str) -> tuple[int, int]:
    """Return the first and the last number of the newest messages that a user sees."""
    _, oldest = summary.view.visible_from(user)
    return max(oldest, summary.view.n - CHAT_MESSAGES + 1), summary.view.n


def _chars(message: MessageView) -> int:
    return len(message.text) + sum(len(one.text or "") for one in message.translations.values())


def message_body(
    message: MessageView, user: str, read_by_others: int, language: str
) -> dict[str, Any]:
    """Return a message as the HTTP API has it; `id` is the client's own, as in the original."""
    read = read_by_others >= message.n
    return {
        "id": message.client_id,
        "message_id": message.id,
        "rev": message.rev,
        "n": message.n,
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
        "deleted": message.deleted,
        "edited_at": timestamp(message.edited_at) if message.edited_at else None,
        "text_version": message.text_version,
        "reply_to": message_id(message.room, message.reply_to) if message.reply_to else None,
        "mentions": list(message.mentions),
        "reactions": [
            {"emoji": emoji, "count": len(users), "mine": user in users}
            for emoji, users in sorted(message.reactions.items())
        ],
    }

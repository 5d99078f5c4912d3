"""What the rules need from outside, as Protocols; `adapters` and `wire` implement them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, Self

from ashchat_chat.pushes import MemberOffline, MemberOnline, ReceiverInfo, ReceiverOnline
from ashchat_chat.rooms.events import AnyEvent, Members, Sent, Text
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.rooms.views import MessageView, RoomView
from ashchat_core import languages

PREVIEW_CHARS = 140

AVAILABILITY_MAX_MEMBERS: Final = 50
"""In larger rooms members do not see which of the others are online, or when they were."""

PROTOCOLS: Final = (1, 2)
"""The versions of the protocol that a socket can join a room with."""


class StoreUnavailableError(Exception):
    """The store does not answer; what was asked may or may not have been done."""


class ConflictError(Exception):
    """A unique value is stored already: a revision, a client's id, a pair, a tag."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A user as others see them."""

    user_id: str
    nickname: str
    tag: str
    language: str
    description: str = ""
    photo_url: str = ""
    last_seen_at: datetime | None = None
    """When the user was last online and visible; not part of what every user may see."""

    def payload(self) -> ReceiverInfo:
        """Return the profile as the socket and the HTTP API have it."""
        return {
            "nickname": self.nickname,
            "description": self.description,
            "photo_url": self.photo_url,
            "preferred_language": self.language,
            "tag_user_id": self.tag,
        }


def deleted_profile(gone: str) -> Profile:
    """Return the profile of a placeholder."""
    return Profile(gone, nickname="deleted user", tag="", language=languages.UNKNOWN)


def group_profile(view: RoomView) -> Profile:
    """Return a group as protocol 1 sees it: the receiver of its chat."""
    return Profile(
        view.room,
        nickname=view.name,
        tag="",
        language=languages.UNKNOWN,
        description=view.description,
        photo_url=view.picture,
    )


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a user is online, as the other members of a room see it."""

    user: str
    online: bool
    last_seen_at: datetime | None = None
    """When the user was last online and visible; None: not known."""

    def payload(self, protocol: int) -> ReceiverOnline | MemberOnline | MemberOffline:
        """Return what `receiver_online` has in a protocol; in the first one, as the original."""
        if protocol == 1:
            return {"status": "online" if self.online else "offline"}
        if self.online:
            return {"user_id": self.user, "status": "online"}
        seen = timestamp(self.last_seen_at) if self.last_seen_at else None
        return {"user_id": self.user, "status": "offline", "last_seen_at": seen}


def availability_protocols(view: RoomView) -> tuple[int, ...]:
    """Return the protocols whose sockets are sent which of a room's members are online.

    To protocol 1 a group is one receiver, which is never online.
    """
    if view.kind == "direct":
        return PROTOCOLS
    return (2,) if len(view.members) <= AVAILABILITY_MAX_MEMBERS else ()


@dataclass(frozen=True, slots=True)
class Preview:
    """The newest message of a room, shortened."""

    rev: int
    n: int
    at: datetime
    sender: str
    text: str

    @classmethod
    def of(cls, message: Sent | MessageView) -> Self | None:
        """Return the preview of a message; None: it was erased."""
        if message.erased:
            return None
        text = message.text[:PREVIEW_CHARS]
        return cls(message.rev, message.n, message.at, message.sender, text)


@dataclass(frozen=True, slots=True)
class CachedRoom:
    """A room as its document has it: the fold of its log up to some revision."""

    view: RoomView
    active_at: datetime
    preview: Preview | None = None
    founding: tuple[Mapping[str, Any], ...] = ()
    """The first events, apart from their place, until they are in the log."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a member is, in numbers of messages. Positions only rise."""

    read: int = 0
    delivered: int = 0
    notified: int = 0

    def raised(self, other: "Position") -> "Position":
        """Return the higher of both, each by itself."""
        return Position(
            max(self.read, other.read),
            max(self.delivered, other.delivered, self.read, other.read),
            max(self.notified, other.notified),
        )


@dataclass(frozen=True, slots=True)
class Membership:
    """A room of a user, and how far the user is in it."""

    room: str
    active_at: datetime
    position: Position


class LogStore(Protocol):
    """The log. Every method may raise StoreUnavailableError."""

    async def insert(self, event: AnyEvent) -> None:
        """Commit an event. Raises ConflictError: its revision or its client's id is taken."""
        ...

    async def by_client_id(self, room: str, sender: str, client_id: str) -> AnyEvent | None:
        """Return the event of a sender's own id."""
        ...

    async def at(self, room: str, rev: int) -> AnyEvent | None:
        """Return one event."""
        ...

    async def after(self, revs: Mapping[str, int], limit: int) -> list[AnyEvent]:
        """Return the events after these revisions, by room and revision, at most `limit`.

        The events of each room are contiguous; which rooms come short is not reported.
        """
        ...

    async def room(self, room: str) -> CachedRoom | None:
        """Return a room's document."""
        ...

    async def languages(self, users: Sequence[str]) -> dict[str, str]:
        """Return the languages that users read; a user without a profile is left out."""
        ...


class TextQuota(Protocol):
    """How much text an account may store."""

    async def charge(self, user: str, chars: int) -> int:
        """Charge a text to an account; return the seconds until there is room, or 0."""
        ...

    def give_back(self, user: str, chars: int) -> None:
        """Undo a charge: the text was not stored."""
        ...


class HistoryStore(Protocol):
    """Messages as they are read back. Every method may raise StoreUnavailableError."""

    async def numbered(self, ranges: Mapping[str, tuple[int, int]]) -> list[Sent]:
        """Return, by room and number, the messages numbered from a first up to a last one."""
        ...

    async def about(self, revs: Mapping[str, Sequence[int]]) -> list[AnyEvent]:
        """Return the events that refer to these messages, by room and revision."""
        ...


class CacheStore(Protocol):
    """What is cached of logs. Every method may raise StoreUnavailableError, and be repeated."""

    async def prepare_members(self, room: str, users: Sequence[str]) -> None:
        """Make sure that each user has a document in a room, before its log names the user."""
        ...

    async def project_members(self, room: str, events: Sequence[Members], view: RoomView) -> None:
        """Write what events say about members, unless something newer is stored."""
        ...

    async def cache(self, rooms: Sequence[CachedRoom]) -> None:
        """Write rooms' documents, each unless it has a newer revision."""
        ...


class PositionStore(Protocol):
    """Members' positions. Every method may raise StoreUnavailableError, and be repeated."""

    async def positions(self, rooms: Sequence[str]) -> dict[str, dict[str, Position]]:
        """Return the positions of rooms' members, by room and user."""
        ...

    async def raise_positions(self, positions: Mapping[tuple[str, str], Position]) -> None:
        """Raise positions, by room and user, those of users who have a document in the room."""
        ...


class RoomStore(LogStore, HistoryStore, CacheStore, PositionStore, Protocol):
    """All that rooms are stored in."""


class Fanout(Protocol):
    """The lossy path to every pod, for what is true for seconds. No method raises or waits."""

    def publish(self, channel: str, text: str) -> None:
        """Publish on one of the channels that every pod hears."""
        ...


class Broadcast(Protocol):
    """The resumable path to every pod, for committed events. No method raises or waits."""

    def publish(self, event: AnyEvent, members: Collection[str]) -> None:
        """Publish a committed event of a room with these members."""
        ...


@dataclass(frozen=True, slots=True)
class Publication:
    """An event that another pod published."""

    room: str
    rev: int
    members: tuple[str, ...]
    """The room's members; empty if there are many."""
    text: str
    """The event; empty if it is large and must be read from the store."""


class Listener(Protocol):
    """What a pod does with the events that it receives."""

    def heard(self, publication: Publication) -> None:
        """Accept an event that another pod published."""
        ...

    def missed(self, concerns: Callable[[str], bool]) -> None:
        """Compare the rooms that this concerns with the store: events may not have been heard."""
        ...


@dataclass(slots=True, eq=False)
class Push:
    """A frame for every socket on a topic. One object per frame, so that it is encoded once."""

    topic: str
    event: str
    payload: Mapping[str, Any]
    encoded: bytes | None = field(default=None, repr=False)
    """Set by the first socket that sends it."""


class Subscriber(Protocol):
    """A socket that has joined a topic."""

    @property
    def user(self) -> str:
        """Whose socket it is."""
        ...

    @property
    def language(self) -> str:
        """What its reader reads."""
        ...

    @property
    def protocol(self) -> int:
        """1 or 2."""
        ...

    @property
    def gone(self) -> bool:
        """Whether it takes nothing more."""
        ...

    def send(self, push: Push) -> bool:
        """Queue a frame, and return True; False: there is no room for it. Never waits.

        Only sockets that have joined a room with protocol 2 return False: they can be served from
        the log again.
        """
        ...

    def fell_behind(self, since: int) -> None:
        """Attach the socket again, from a revision on, when it has room."""
        ...

    async def drained(self) -> None:
        """Wait until there is room."""
        ...

    def when_received(self, call: Callable[[], None]) -> None:
        """Call a function once the client has received everything that was sent so far."""
        ...

    def end(self) -> None:
        """Leave the topic, because the user may not see it any more."""
        ...


Job = Callable[[Text], None]
"""Requests the translations of a message's text."""

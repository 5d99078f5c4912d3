"""What the rules need from outside, as Protocols; `adapters` and `wire` implement them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ashchat_chat.rooms.events import AnyEvent, Sent
from ashchat_chat.rooms.views import MessageView, RoomView
from ashchat_core import languages


class StoreUnavailableError(Exception):
    """The store does not answer; what was asked may or may not have been done."""


class ConflictError(Exception):
    """Something unique is there already: a revision, a client's id, a pair, a tag."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A person as others see them."""

    user_id: str
    nickname: str
    tag: str
    language: str
    description: str = ""
    photo_url: str = ""

    def payload(self) -> dict[str, Any]:
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


@dataclass(frozen=True, slots=True)
class RoomRecord:
    """A room's document: who is in it, and how far its projections go."""

    room: str
    members: tuple[str, ...]
    projected: RoomView
    active_at: datetime


class LogStore(Protocol):
    """The log and its projections. Every method may raise StoreUnavailableError."""

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

        The events of each room are contiguous; which rooms come short is not said.
        """
        ...

    async def room(self, room: str) -> RoomRecord | None:
        """Return a room."""
        ...

    async def project(
        self, view: RoomView, messages: Sequence[MessageView], active_at: datetime | None
    ) -> None:
        """Write projections that are valid for the log up to `view.rev`."""
        ...

    async def messages(self, room: str, revs: Sequence[int]) -> list[MessageView]:
        """Return projected messages by their revisions."""
        ...

    async def languages(self, users: Sequence[str]) -> dict[str, str]:
        """Return what people read; who has no profile is left out."""
        ...


class Fanout(Protocol):
    """The lossy way to the other pods. No method raises for a lost connection."""

    def publish(self, channel: str, text: str) -> None:
        """Send, some time."""
        ...

    async def subscribe(self, channel: str) -> None:
        """Return when subscribed, or after a moment without (it is tried on)."""
        ...

    def unsubscribe(self, channel: str) -> None:
        """Hear no more of it."""
        ...


@dataclass(slots=True, eq=False)
class Push:
    """A frame for every socket on a topic. One object per frame, so that it is encoded once."""

    topic: str
    event: str
    payload: dict[str, Any]
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


Job = Callable[[Sent], None]

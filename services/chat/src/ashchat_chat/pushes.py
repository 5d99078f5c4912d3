"""Payloads that the server pushes, apart from the events of logs (`rooms.events`).

They are TypedDicts: plain dictionaries when the service runs, checked by mypy where they are made,
and the source of the schemas in the AsyncAPI document (`wire.asyncapi`).
"""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypeAliasType, TypedDict

Count = Annotated[int, Field(ge=0)]
Ordinal = Annotated[int, Field(ge=1)]

Timestamp = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        description="ISO 8601, UTC, milliseconds.",
        json_schema_extra={"format": "date-time"},
    ),
]


@with_config(ConfigDict(extra="forbid"))
class WirePayload(TypedDict):
    """Base of every payload that the server sends: it has no other fields."""


class Nothing(WirePayload):
    """An empty object."""


class ReceiverInfo(WirePayload):
    """The other member of a direct chat, or the group."""

    nickname: str
    description: str
    photo_url: str
    preferred_language: str
    tag_user_id: str


class ReceiverOnline(WirePayload):
    """Protocol 1: whether the other member of a direct chat is online."""

    status: Literal["online", "offline"]


class MemberOnline(WirePayload):
    """Protocol 2: another member is online."""

    user_id: str
    status: Literal["online"]


class MemberOffline(WirePayload):
    """Protocol 2: another member is not online any more."""

    user_id: str
    status: Literal["offline"]
    last_seen_at: Annotated[Timestamp | None, Field(description="null: not known.")]


class TypingShown(WirePayload):
    """Whether a member is typing."""

    is_typing: bool
    user_id: str


class MessageSent(WirePayload):
    """Protocol 1: a message was stored (SENT), or read by all other members (READED)."""

    mobile_ref_id: str
    status: Literal["SENT", "READED"]
    chat_id: str


class MessageReceived(WirePayload):
    """Protocol 1: a message of another member."""

    chat_id: str
    content: str
    sender_id: str


class ReadReceipt(WirePayload):
    """Protocol 2: how far a member is, in numbers of messages."""

    user_id: str
    delivered: Count
    read: Count


class Notification(WirePayload):
    """A message in a chat that is not in view."""

    chat_id: str
    sender_id: str
    content: str
    timestamp: Timestamp


class ChatReference(WirePayload):
    """A chat that the user has joined or left."""

    chat_id: str


class PresenceMeta(WirePayload):
    """One open socket of a user."""

    online_at: Annotated[int, Field(ge=0, description="Milliseconds since 1970.")]
    phx_ref: Annotated[str, Field(description="A leave has that of its join.")]


class PresenceMetas(WirePayload):
    """The open sockets of a user."""

    metas: list[PresenceMeta]


PresenceState = TypeAliasType("PresenceState", dict[str, PresenceMetas])
"""Users who are online, by user id."""


class PresenceDiff(WirePayload):
    """The sockets that were opened and closed since the last frame."""

    joins: PresenceState
    leaves: PresenceState

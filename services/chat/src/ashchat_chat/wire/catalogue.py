"""Every event of the socket: topic, direction, payload, reply, and the reasons of a refusal.

The AsyncAPI document is generated from these tables (`wire.asyncapi`). The tests compare them with
docs/reference/protocol.md and with every frame that they receive. Nothing is validated against
them while the service runs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, get_type_hints

from ashchat_chat import pushes
from ashchat_chat.pushes import Nothing
from ashchat_chat.rooms.errors import Reason
from ashchat_chat.rooms.events import KINDS
from ashchat_chat.rooms.ports import PROTOCOLS
from ashchat_chat.wire import phoenix, requests
from ashchat_chat.wire.reasons import AnyReason, FrameReason
from ashchat_chat.wire.requests import AnyObject, AnyValue, ChatEvent


class Topic(StrEnum):
    """The topics; braces enclose what differs from one to the next."""

    CHAT = "chat:{chat_id}"
    NOTIFICATIONS = "notifications:{user_id}"
    LOBBY = "presence:lobby"
    PHOENIX = "phoenix"
    OTHER = "{topic}"

    @classmethod
    def of(cls, topic: str) -> "Topic":
        """Return the kind of a topic."""
        for kind in (cls.LOBBY, cls.PHOENIX):
            if topic == kind:
                return kind
        prefix, _, rest = topic.partition(":")
        if prefix == "chat" and rest:
            return cls.CHAT
        return cls.NOTIFICATIONS if prefix == "notifications" else cls.OTHER


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client may send."""

    topic: Topic
    event: str | None
    """None: every event that has no other row."""
    payload: Any = AnyObject
    reply: Any = Nothing
    """The payload of a reply "ok"; None: there is none."""
    reasons: frozenset[AnyReason]
    protocols: tuple[int, ...] = PROTOCOLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What the server sends by itself."""

    topic: Topic
    event: str
    payloads: tuple[Any, ...]
    """One of them."""
    protocols: tuple[int, ...] = PROTOCOLS
    of_join: bool = False
    """Whether the frame carries the reference of the join."""


def _reasons(*parts: AnyReason | Iterable[AnyReason]) -> frozenset[AnyReason]:
    found: set[AnyReason] = set()
    for part in parts:
        found |= {part} if isinstance(part, FrameReason | Reason) else set(part)
    return frozenset(found)


BINARY: Final = _reasons(FrameReason.BINARY_NOT_SUPPORTED)
FRAME: Final = _reasons(
    BINARY, FrameReason.INVALID_PAYLOAD, FrameReason.INTERNAL, FrameReason.UNAVAILABLE
)
"""Reasons of every join and every event."""

JOIN: Final = _reasons(FRAME, FrameReason.TOO_MANY_TOPICS)
EVENT: Final = _reasons(FRAME, FrameReason.NOT_JOINED, FrameReason.UNKNOWN_EVENT)
CHAT: Final = _reasons(EVENT, FrameReason.RATE_LIMITED, FrameReason.CHAT_NOT_FOUND)
"""Reasons of every event of a chat's topic: the user may have been removed since the join."""

ABOUT_MESSAGE: Final = _reasons(CHAT, FrameReason.INVALID_MESSAGE, Reason.NO_SUCH_MESSAGE)
"""Reasons of every event that names a message."""

JOIN_CHAT: Final = _reasons(
    JOIN, FrameReason.CHAT_NOT_FOUND, FrameReason.UNSUPPORTED_PROTOCOL, FrameReason.INVALID_SINCE
)

REQUESTS: Final = (
    Request(
        topic=Topic.CHAT,
        event=phoenix.JOIN,
        payload=requests.JoinWithProtocol1,
        reasons=JOIN_CHAT - {FrameReason.INVALID_SINCE},
        protocols=(1,),
    ),
    Request(
        topic=Topic.CHAT,
        event=phoenix.JOIN,
        payload=requests.JoinWithProtocol2,
        reply=requests.Joined2,
        reasons=JOIN_CHAT,
        protocols=(2,),
    ),
    Request(
        topic=Topic.CHAT,
        event=ChatEvent.SEND_MESSAGE,
        payload=requests.SendMessage,
        reply=requests.MessageStored,
        reasons=_reasons(
            ABOUT_MESSAGE,
            Reason.MESSAGE_DELETED,
            Reason.ID_TAKEN,
            FrameReason.TOO_LONG,
            FrameReason.RECEIVER_DELETED,
            Reason.TOO_MANY_MENTIONS,
            Reason.MENTION_ALL_NOT_ALLOWED,
            Reason.TEXT_QUOTA_EXCEEDED,
        ),
    ),
    Request(
        topic=Topic.CHAT,
        event=ChatEvent.EDIT_MESSAGE,
        payload=requests.EditMessage,
        reply=requests.EditStored,
        reasons=_reasons(
            ABOUT_MESSAGE,
            Reason.MESSAGE_DELETED,
            Reason.ID_TAKEN,
            FrameReason.TOO_LONG,
            Reason.NOT_ALLOWED,
            Reason.TOO_MANY_EDITS,
            Reason.TOO_MANY_MENTIONS,
            Reason.MENTION_ALL_NOT_ALLOWED,
            Reason.TEXT_QUOTA_EXCEEDED,
        ),
    ),
    Request(
        topic=Topic.CHAT,
        event=ChatEvent.DELETE_MESSAGE,
        payload=requests.MessageNamed,
        reasons=_reasons(ABOUT_MESSAGE, Reason.NOT_ALLOWED),
    ),
    Request(
        topic=Topic.CHAT,
        event=ChatEvent.REACT,
        payload=requests.React,
        reasons=_reasons(
            ABOUT_MESSAGE,
            Reason.MESSAGE_DELETED,
            Reason.ID_TAKEN,
            Reason.TOO_MANY_REACTIONS,
            Reason.TEXT_QUOTA_EXCEEDED,
        ),
    ),
    Request(
        topic=Topic.CHAT,
        event=ChatEvent.TRANSLATE_AGAIN,
        payload=requests.MessageNamed,
        reasons=_reasons(ABOUT_MESSAGE, Reason.MESSAGE_DELETED, Reason.NOTHING_FAILED),
    ),
    Request(
        topic=Topic.CHAT,
        event=ChatEvent.TYPING,
        payload=requests.SetTyping,
        reply=None,
        reasons=EVENT,
    ),
    Request(
        topic=Topic.CHAT,
        event=ChatEvent.ACK,
        payload=requests.Acknowledge,
        reply=requests.Acknowledged,
        reasons=_reasons(CHAT, FrameReason.INVALID_N),
    ),
    Request(
        topic=Topic.NOTIFICATIONS,
        event=phoenix.JOIN,
        reasons=_reasons(JOIN, FrameReason.FORBIDDEN),
    ),
    Request(topic=Topic.LOBBY, event=phoenix.JOIN, reasons=JOIN),
    Request(
        topic=Topic.LOBBY,
        event="visibility",
        payload=requests.SetVisibility,
        reply=requests.VisibilitySet,
        reasons=_reasons(EVENT, FrameReason.INVALID_VISIBILITY),
    ),
    *(
        Request(
            topic=topic, event=phoenix.JOIN, reply=None, reasons=JOIN | {FrameReason.UNKNOWN_TOPIC}
        )
        for topic in (Topic.PHOENIX, Topic.OTHER)
    ),
    Request(topic=Topic.PHOENIX, event=phoenix.HEARTBEAT, payload=AnyValue, reasons=BINARY),
    *(
        Request(topic=topic, event=phoenix.LEAVE, payload=AnyValue, reasons=BINARY)
        for topic in Topic
    ),
    *(Request(topic=topic, event=None, reply=None, reasons=EVENT) for topic in Topic),
)
"""What clients may send."""

LOG_PAYLOADS: Final = tuple(get_type_hints(kind.payload)["return"] for kind in KINDS)
"""The payloads of the events of logs."""

PUSHES: Final = (
    Pushed(topic=Topic.CHAT, event="receiver_info", payloads=(pushes.ReceiverInfo,)),
    Pushed(
        topic=Topic.CHAT,
        event="receiver_online",
        payloads=(pushes.ReceiverOnline,),
        protocols=(1,),
    ),
    Pushed(
        topic=Topic.CHAT,
        event="receiver_online",
        payloads=(pushes.MemberOnline, pushes.MemberOffline),
        protocols=(2,),
    ),
    Pushed(topic=Topic.CHAT, event="typing", payloads=(pushes.TypingShown,)),
    Pushed(topic=Topic.CHAT, event="message_sent", payloads=(pushes.MessageSent,), protocols=(1,)),
    Pushed(
        topic=Topic.CHAT,
        event="receive_message",
        payloads=(pushes.MessageReceived,),
        protocols=(1,),
    ),
    Pushed(topic=Topic.CHAT, event="event", payloads=LOG_PAYLOADS, protocols=(2,)),
    Pushed(topic=Topic.CHAT, event="receipt", payloads=(pushes.ReadReceipt,), protocols=(2,)),
    *(
        Pushed(topic=Topic.NOTIFICATIONS, event=event, payloads=(payload,))
        for event, payload in (
            ("pending_notification", pushes.Notification),
            ("new_notification", pushes.Notification),
            ("chat_created", pushes.ChatReference),
            ("chat_removed", pushes.ChatReference),
        )
    ),
    Pushed(topic=Topic.LOBBY, event="presence_state", payloads=(pushes.PresenceState,)),
    Pushed(topic=Topic.LOBBY, event="presence_diff", payloads=(pushes.PresenceDiff,)),
    *(
        Pushed(topic=topic, event=event, payloads=(Nothing,), of_join=True)
        for topic in (Topic.CHAT, Topic.NOTIFICATIONS, Topic.LOBBY)
        for event in (phoenix.CLOSE, phoenix.ERROR)
    ),
)
"""What the server pushes."""

ROWS: Final[tuple[Request | Pushed, ...]] = (*REQUESTS, *PUSHES)
"""All of it."""

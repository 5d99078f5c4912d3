"""Payloads that clients send, and those of the replies, for the schemas of the AsyncAPI document.

What a client sends is checked by `wire.payloads`; fields that are not listed here are ignored.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypeAliasType, TypedDict

from ashchat_chat.pushes import Count, Ordinal, Timestamp, WirePayload
from ashchat_chat.wire import limits
from ashchat_core.messages import TEXT_MAX_CHARS

Content = Annotated[str, Field(min_length=1, max_length=TEXT_MAX_CHARS)]
OwnId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=limits.REF_MAX_CHARS,
        description="The client's own id, unique per sender and chat.",
    ),
]
MessageId = Annotated[str, Field(pattern=r"^.+\.\d+$")]


class ChatEvent(StrEnum):
    """What a client may send on a chat's topic, apart from joining and leaving."""

    SEND_MESSAGE = "send_message"
    EDIT_MESSAGE = "edit_message"
    DELETE_MESSAGE = "delete_message"
    REACT = "react"
    TRANSLATE_AGAIN = "translate_again"
    TYPING = "typing"
    ACK = "ack"


AnyValue = TypeAliasType("AnyValue", Any)
"""A payload that is not read."""


class AnyObject(TypedDict):
    """An object whose fields are ignored."""


class JoinWithProtocol1(TypedDict):
    """Join a chat as the original's clients do."""

    protocol: NotRequired[Literal[1]]


class JoinWithProtocol2(TypedDict):
    """Join a chat and be sent its log."""

    protocol: Literal[2]
    since: NotRequired[
        Annotated[Count | None, Field(description="The revision after which to resume.")]
    ]


class Joined2(WirePayload):
    """Where the chat's log is, and which pod serves the socket."""

    protocol: Literal[2]
    pod: str
    rev: Count
    reset: bool
    n: Count
    read_n: Count


class SendMessage(TypedDict):
    """Send a message."""

    content: Content
    mobile_ref_id: OwnId
    reply_to: NotRequired[MessageId | None]


class MessageStored(WirePayload):
    """The message is stored."""

    chat_id: str
    mobile_ref_id: str
    message_id: str
    rev: Ordinal
    n: Ordinal
    at: Timestamp
    duplicate: bool


class EditMessage(TypedDict):
    """Give an own message another text."""

    message_id: MessageId
    content: Content
    mobile_ref_id: OwnId


class EditStored(WirePayload):
    """The edit is stored."""

    rev: Ordinal
    at: Timestamp
    duplicate: bool


class MessageNamed(TypedDict):
    """Name a message: to delete it, or to request its translation again."""

    message_id: MessageId


class React(TypedDict):
    """Put an emoji on a message, or take it back."""

    message_id: MessageId
    emoji: str
    on: NotRequired[bool]
    mobile_ref_id: NotRequired[OwnId | None]


class SetTyping(TypedDict):
    """Report that the user is typing, or has stopped."""

    is_typing: bool


class Acknowledge(TypedDict):
    """Raise the user's positions, in numbers of messages: one of them, or both."""

    n: NotRequired[Annotated[Ordinal | None, Field(description="Read up to this message.")]]
    delivered: NotRequired[
        Annotated[Ordinal | None, Field(description="Received up to this message.")]
    ]


class Acknowledged(WirePayload):
    """The user's positions."""

    n: Count
    delivered: Count


class SetVisibility(TypedDict):
    """Show this socket to other users, or hide it."""

    visible: bool


class VisibilitySet(WirePayload):
    """Whether this socket is shown to other users."""

    visible: bool

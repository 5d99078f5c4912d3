"""Why a frame is refused, apart from the rules of rooms (`rooms.errors.Reason`)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from ashchat_chat.rooms.errors import Reason


class FrameReason(StrEnum):
    """Machine-readable reasons of the socket."""

    BINARY_NOT_SUPPORTED = "binary_not_supported"
    INVALID_PAYLOAD = "invalid_payload"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    NOT_JOINED = "not_joined"
    UNKNOWN_EVENT = "unknown_event"
    UNKNOWN_TOPIC = "unknown_topic"
    TOO_MANY_TOPICS = "too_many_topics"
    FORBIDDEN = "forbidden"
    CHAT_NOT_FOUND = "chat_not_found"
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    INVALID_SINCE = "invalid_since"
    INVALID_MESSAGE = "invalid_message"
    TOO_LONG = "too_long"
    RECEIVER_DELETED = "receiver_deleted"
    INVALID_N = "invalid_n"
    INVALID_VISIBILITY = "invalid_visibility"


AnyReason = FrameReason | Reason

LIMIT: Final = {"limit": int}
RETRY: Final = {"retry_after_ms": int}

DETAILS: Final[Mapping[AnyReason, Mapping[str, Any]]] = {
    FrameReason.UNAVAILABLE: RETRY,
    FrameReason.RATE_LIMITED: RETRY,
    FrameReason.UNSUPPORTED_PROTOCOL: {"supported": list[int]},
    FrameReason.INVALID_MESSAGE: {"field": str},
    FrameReason.TOO_LONG: LIMIT,
    Reason.TOO_MANY_EDITS: LIMIT,
    Reason.TOO_MANY_MENTIONS: LIMIT,
    Reason.TOO_MANY_REACTIONS: LIMIT,
    Reason.TEXT_QUOTA_EXCEEDED: RETRY,
}
"""What a refusal has besides `reason`: the fields and their types."""

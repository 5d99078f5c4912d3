"""Checks of what clients send in frames."""

from typing import Any, Final

from ashchat_chat.rooms.identifiers import message_place
from ashchat_chat.rooms.ports import PROTOCOLS
from ashchat_chat.text import is_storable
from ashchat_chat.wire import limits
from ashchat_chat.wire.phoenix import Payload
from ashchat_chat.wire.reasons import FrameReason
from ashchat_chat.wire.requests import ChatEvent
from ashchat_core.messages import TEXT_MAX_CHARS
from ashchat_core.text import is_emoji, is_visible

UNAVAILABLE: Final[Payload] = {"reason": FrameReason.UNAVAILABLE, "retry_after_ms": 1_000}


class RequestRejectedError(Exception):
    """A frame that is answered with an error."""

    def __init__(self, reason: FrameReason, **more: Any) -> None:
        super().__init__(reason)
        self.response: Payload = {"reason": reason, **more}


def join_of_chat(payload: Payload) -> tuple[int, int | None]:
    """Return the protocol of a join of a chat, and the revision after which to resume.

    Raises:
        RequestRejectedError: it is another protocol, or not a valid revision.
    """
    protocol, since = payload.get("protocol", 1), payload.get("since")
    if protocol not in PROTOCOLS or isinstance(protocol, bool):
        raise RequestRejectedError(FrameReason.UNSUPPORTED_PROTOCOL, supported=list(PROTOCOLS))
    if protocol == 1 or since is None:
        return protocol, None
    if not is_natural(since):
        raise RequestRejectedError(FrameReason.INVALID_SINCE)
    return protocol, since


def chat_event(name: str) -> ChatEvent:
    """Return the event of a chat's topic that has this name.

    Raises:
        RequestRejectedError: there is none.
    """
    try:
        return ChatEvent(name)
    except ValueError:
        raise RequestRejectedError(FrameReason.UNKNOWN_EVENT) from None


def visibility(payload: Payload) -> bool:
    """Return whether a socket is to be visible.

    Raises:
        RequestRejectedError: it is not a boolean.
    """
    visible = payload.get("visible")
    if not isinstance(visible, bool):
        raise RequestRejectedError(FrameReason.INVALID_VISIBILITY)
    return visible


def message_text(payload: Payload) -> str:
    """Return the text of a message.

    Raises:
        RequestRejectedError: it is not a text, nothing of it is visible, or it is too long.
    """
    text = payload.get("content")
    if not isinstance(text, str) or not is_storable(text) or not is_visible(text):
        raise RequestRejectedError(FrameReason.INVALID_MESSAGE, field="content")
    if len(text) > TEXT_MAX_CHARS:
        raise RequestRejectedError(FrameReason.TOO_LONG, limit=TEXT_MAX_CHARS)
    return text


def reaction(payload: Payload) -> tuple[str, bool]:
    """Return the emoji of a reaction, and whether it is put on the message or taken back.

    Raises:
        RequestRejectedError: it is not one emoji.
    """
    emoji, on = payload.get("emoji"), payload.get("on", True)
    if not isinstance(emoji, str) or not is_emoji(emoji):
        raise RequestRejectedError(FrameReason.INVALID_MESSAGE, field="emoji")
    if not isinstance(on, bool):
        raise RequestRejectedError(FrameReason.INVALID_MESSAGE, field="on")
    return emoji, on


def own_id(payload: Payload) -> str:
    """Return the client's own id of a message or of a change.

    Raises:
        RequestRejectedError: it is not a valid id.
    """
    found = payload.get("mobile_ref_id")
    if (
        not isinstance(found, str)
        or not 1 <= len(found) <= limits.REF_MAX_CHARS
        or not is_storable(found)
    ):
        raise RequestRejectedError(FrameReason.INVALID_MESSAGE, field="mobile_ref_id")
    return found


def optional_own_id(payload: Payload) -> str:
    """Return the client's own id of a change; empty if it is absent or null.

    Raises:
        RequestRejectedError: it is not a valid id.
    """
    return "" if payload.get("mobile_ref_id") is None else own_id(payload)


def message_rev(room_id: str, payload: Payload, field: str) -> int:
    """Return the revision of the message that a field names.

    Raises:
        RequestRejectedError: it is not the id of a message of the room.
    """
    found = payload.get(field)
    place = message_place(found) if isinstance(found, str) else None
    if place is None or place[0] != room_id or place[1] > limits.REV_MAX:
        raise RequestRejectedError(FrameReason.INVALID_MESSAGE, field=field)
    return place[1]


def optional_message_rev(room_id: str, payload: Payload, field: str) -> int | None:
    """Return the revision of the message that a field names; None if it is absent or null.

    Raises:
        RequestRejectedError: it is not the id of a message of the room.
    """
    return None if payload.get(field) is None else message_rev(room_id, payload, field)


def is_natural(value: Any) -> bool:
    """Return whether a value is an integer that is not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0

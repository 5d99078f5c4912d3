"""Checks of what clients send in frames."""

from typing import Any, Final

from ashchat_chat.rooms.identifiers import message_place
from ashchat_chat.text import is_storable
from ashchat_chat.wire import limits
from ashchat_chat.wire.phoenix import Payload
from ashchat_core.messages import TEXT_MAX_CHARS
from ashchat_core.text import is_emoji, is_visible

UNAVAILABLE: Final[Payload] = {"reason": "unavailable", "retry_after_ms": 1_000}


class RequestRejectedError(Exception):
    """A frame that is answered with an error."""

    def __init__(self, reason: str, **more: Any) -> None:
        super().__init__(reason)
        self.response: Payload = {"reason": reason, **more}


def message_text(payload: Payload) -> str:
    """Return the text of a message.

    Raises:
        RequestRejectedError: it is not a text, nothing of it is visible, or it is too long.
    """
    text = payload.get("content")
    if not isinstance(text, str) or not is_storable(text) or not is_visible(text):
        raise RequestRejectedError("invalid_message", field="content")
    if len(text) > TEXT_MAX_CHARS:
        raise RequestRejectedError("too_long", limit=TEXT_MAX_CHARS)
    return text


def reaction(payload: Payload) -> tuple[str, bool]:
    """Return the emoji of a reaction, and whether it is put on the message or taken back.

    Raises:
        RequestRejectedError: it is not one emoji.
    """
    emoji, on = payload.get("emoji"), payload.get("on", True)
    if not isinstance(emoji, str) or not is_emoji(emoji):
        raise RequestRejectedError("invalid_message", field="emoji")
    if not isinstance(on, bool):
        raise RequestRejectedError("invalid_message", field="on")
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
        raise RequestRejectedError("invalid_message", field="mobile_ref_id")
    return found


def message_rev(room_id: str, payload: Payload, field: str) -> int:
    """Return the revision of the message that a field names.

    Raises:
        RequestRejectedError: it is not the id of a message of the room.
    """
    found = payload.get(field)
    place = message_place(found) if isinstance(found, str) else None
    if place is None or place[0] != room_id or place[1] > limits.REV_MAX:
        raise RequestRejectedError("invalid_message", field=field)
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

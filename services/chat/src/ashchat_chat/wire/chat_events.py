"""What the events of a chat's topic do, apart from joining and typing; each returns the answer."""

import asyncio
from typing import Any, Literal

from ashchat_chat.pushes import Nothing
from ashchat_chat.rooms.appending import Draft
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.rooms.ports import Position
from ashchat_chat.wire import limits
from ashchat_chat.wire.admission import Admitted
from ashchat_chat.wire.limits import Bucket
from ashchat_chat.wire.payloads import (
    RequestRejectedError,
    is_natural,
    message_rev,
    message_text,
    optional_message_rev,
    optional_own_id,
    own_id,
    reaction,
)
from ashchat_chat.wire.phoenix import Payload
from ashchat_chat.wire.reasons import FrameReason
from ashchat_chat.wire.requests import Acknowledged, ChatEvent, EditStored, MessageStored
from ashchat_chat.wire.rules import Rules

ChangeEvent = Literal[
    ChatEvent.EDIT_MESSAGE,
    ChatEvent.DELETE_MESSAGE,
    ChatEvent.REACT,
    ChatEvent.TRANSLATE_AGAIN,
]
"""What changes a message."""


async def send_message(
    rules: Rules, who: Admitted, room_id: str, payload: Payload
) -> MessageStored:
    """Commit a message.

    Raises:
        RequestRejectedError, NoSuchRoomError, RefusedError, ReceiverDeletedError,
        StoreUnavailableError
    """
    text, client_id = message_text(payload), own_id(payload)
    reply_to = optional_message_rev(room_id, payload, "reply_to")
    _limit(rules.sending, who.user, limits.MESSAGES)
    draft = Draft(text, client_id, who.language, reply_to)
    event, fresh = await rules.rooms.messages.send(room_id, who.user, draft)
    return {
        "chat_id": room_id,
        "mobile_ref_id": client_id,
        "message_id": event.message_id,
        "rev": event.rev,
        "n": event.n,
        "at": timestamp(event.at),
        "duplicate": not fresh,
    }


async def change_message(
    rules: Rules, who: Admitted, room_id: str, event: ChangeEvent, payload: Payload
) -> EditStored | Nothing:
    """Edit a message, delete it, react to it, or request its translation again.

    Raises:
        RequestRejectedError, NoSuchRoomError, RefusedError, StoreUnavailableError
    """
    messages = rules.rooms.messages
    rev = message_rev(room_id, payload, "message_id")
    _limit(rules.sending, who.user, limits.MESSAGES)
    match event:
        case ChatEvent.EDIT_MESSAGE:
            draft = Draft(message_text(payload), own_id(payload), who.language)
            edited, fresh = await messages.edit(room_id, who.user, rev, draft)
            return {"rev": edited.rev, "at": timestamp(edited.at), "duplicate": not fresh}
        case ChatEvent.DELETE_MESSAGE:
            await messages.delete(room_id, who.user, rev)
            return {}
        case ChatEvent.REACT:
            emoji, on = reaction(payload)
            client_id = optional_own_id(payload)
            await messages.react(room_id, who.user, rev, emoji, on=on, client_id=client_id)
            return {}
        case ChatEvent.TRANSLATE_AGAIN:
            await messages.translate_again(room_id, who.user, rev, who.language)
            return {}


async def acknowledge(rules: Rules, who: Admitted, room_id: str, payload: Payload) -> Acknowledged:
    """Raise the user's positions.

    Raises:
        RequestRejectedError, NoSuchRoomError, StoreUnavailableError
    """
    read: Any = payload.get("n")
    delivered: Any = payload.get("delivered")
    given = [number for number in (read, delivered) if number is not None]
    if not given or not all(is_natural(number) and number for number in given):
        raise RequestRejectedError(FrameReason.INVALID_N)
    _limit(rules.acking, who.user, limits.ACKS)
    position = await rules.rooms.positions.acknowledge(
        room_id, who.user, Position(read or 0, delivered or 0)
    )
    return {"n": position.read, "delivered": position.delivered}


def _limit(buckets: dict[str, Bucket], user: str, rate: limits.Rate) -> None:
    now = asyncio.get_running_loop().time()
    bucket = buckets.get(user)
    if bucket is None:
        bucket = buckets[user] = Bucket(rate, now)
    wait = bucket.take(now)
    if wait:
        raise RequestRejectedError(FrameReason.RATE_LIMITED, retry_after_ms=int(wait * 1000) + 1)

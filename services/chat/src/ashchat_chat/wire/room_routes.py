"""Routes of rooms: the list of them, direct chats and groups alike."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Response
from fastapi.responses import JSONResponse

from ashchat_chat.rooms.chats import Chats, ListedRoom
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.rooms.room_list import ROOMS_MAX, Cursor
from ashchat_chat.wire import limits
from ashchat_chat.wire.http_base import Caller, Gate, RateLimit, errors
from ashchat_core.admission.rules import Limiter
from ashchat_core.http import APIError

PAGE_DEFAULT = 50


def register(app: FastAPI, gate: Gate, limiter: Limiter, chats: Chats) -> None:
    """Add the routes to an application."""
    listing = RateLimit(limiter, limits.LISTS, "too many lists; wait a little")

    @app.get(
        "/api/rooms",
        responses=errors(_400="missing_device_token, invalid_cursor", _429="too_many_requests"),
    )
    async def list_rooms(
        caller: Annotated[Caller, Depends(gate)],
        cursor: Annotated[str | None, Query(max_length=256)] = None,
        limit: Annotated[int, Query(ge=1, le=ROOMS_MAX)] = PAGE_DEFAULT,
    ) -> Response:
        """Return the caller's rooms, most recently active first, without their messages."""
        user = caller.token.user_id
        await listing.charge(user)
        found, following = await chats.rooms(user, after=_decode(cursor), limit=limit)
        return JSONResponse(
            {
                "rooms": [_room_body(one, user) for one in found],
                "next": None if following is None else _encode(following),
            }
        )


def _room_body(room: ListedRoom, user: str) -> dict[str, Any]:
    summary, preview = room.summary, room.summary.preview
    return {
        "id": summary.room,
        "kind": summary.view.kind,
        "name": room.name,
        "picture": room.picture,
        "members_count": len(summary.view.members),
        "rev": summary.view.rev,
        "n": summary.view.n,
        "read_n": summary.read(user),
        "unread_count": summary.unread(user),
        "mention_count": room.mentions,
        "role": summary.view.members[user].role,
        "active_at": timestamp(summary.active_at),
        "preview": None
        if preview is None
        else {
            "n": preview.n,
            "sender_id": preview.sender,
            "content": preview.text,
            "timestamp": timestamp(preview.at),
        },
    }


def _encode(cursor: Cursor) -> str:
    at, room = cursor
    return base64.urlsafe_b64encode(f"{at.timestamp():.3f} {room}".encode()).decode()


def _decode(cursor: str | None) -> Cursor | None:
    if cursor is None:
        return None
    try:
        at, _, room = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        return datetime.fromtimestamp(float(at), UTC), room
    except (binascii.Error, ValueError, OverflowError, OSError):
        raise APIError(400, "invalid_cursor", "Send `next` of the former page as it was.") from None

"""The HTTP API of chat.

Every route requires `Authorization: Bearer <access token>` and the header `device_token` (or
`Device-Token`, because some proxies remove names with underscores). An error is
`{error, details, reason}`; `reason` is machine-readable. The rules are in `rooms` and `users`.
"""

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from ashchat_chat.adapters.photos import Photos
from ashchat_chat.rooms.chats import Chats
from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import (
    ChatExistsError,
    NoSuchRoomError,
    NoSuchUserError,
    Reason,
    RefusedError,
    SelfChatError,
)
from ashchat_chat.rooms.groups import Groups
from ashchat_chat.rooms.history import History
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.users.profiles import Profiles
from ashchat_chat.users.revocations import Revocations
from ashchat_chat.wire import asyncapi, chat_routes, group_routes, profile_routes, room_routes
from ashchat_chat.wire.http_base import Caller, Gate, render
from ashchat_core.admission.gate import Admission
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.admission.rules import Limiter
from ashchat_core.http import APIError, Border, UnavailableError, create_app, error_response
from ashchat_core.tokens import TokenVerifier

REFUSALS: dict[Reason, tuple[int, str]] = {
    Reason.NOT_ALLOWED: (403, "Your role in this group does not allow this."),
    Reason.NOT_A_GROUP: (409, "This is a direct chat."),
    Reason.NOT_A_MEMBER: (404, "This user is not a member of the group."),
    Reason.TOO_MANY_MEMBERS: (409, "The group would have too many members."),
    Reason.OWNER_MUST_TRANSFER: (409, "Make another member the owner before you leave."),
    Reason.NO_SUCH_MESSAGE: (404, "There is no such message."),
    Reason.MESSAGE_DELETED: (409, "The message was deleted."),
    Reason.TOO_MANY_EDITS: (409, "The message was edited too often."),
    Reason.TOO_MANY_MENTIONS: (409, "The message mentions too many users."),
    Reason.MENTION_ALL_NOT_ALLOWED: (403, "Your role does not allow mentioning all members."),
    Reason.TOO_MANY_REACTIONS: (409, "The message has too many reactions."),
    Reason.TEXT_QUOTA_EXCEEDED: (429, "Your account has stored too much text today."),
    Reason.ID_TAKEN: (409, "Your id names something else that you did in this room."),
    Reason.NOTHING_FAILED: (409, "No translation into your language has failed."),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules behind the routes."""

    chats: Chats
    history: History
    groups: Groups
    directory: RoomDirectory
    profiles: Profiles
    photos: Photos
    limiter: Limiter = field(default_factory=Admission)
    """Counts the requests of accounts: on all pods or, by default, in the process."""


def build(
    rules: Rules,
    *,
    verifier: TokenVerifier,
    revocations: Revocations,
    allowed_origins: str = "",
    requests: NetworkRequests | None = None,
) -> FastAPI:
    """Return the application; `requests` counts those of each network."""
    app = create_app(
        title="AshChat chat",
        prefix="/chat",
        render=render,
        border=Border(allowed_origins, uploads=(profile_routes.PHOTO_PATH,), requests=requests),
    )
    _map_errors(app)
    gate = Gate(verifier, revocations)
    chat_routes.register(app, gate, rules.limiter, rules.chats, rules.history, rules.profiles)
    room_routes.register(app, gate, rules.limiter, rules.chats)
    group_routes.register(app, gate, rules.limiter, rules.groups, rules.directory, rules.profiles)
    profile_routes.register(app, gate, rules.profiles, rules.photos)

    @app.get("/asyncapi.json", include_in_schema=False)
    async def socket_description() -> Response:
        return JSONResponse(asyncapi.document())

    @app.get("/api/swagger.json", include_in_schema=False)
    async def swagger(caller: Annotated[Caller, Depends(gate)]) -> Response:  # noqa: ARG001
        return JSONResponse(app.openapi())

    return app


def _map_errors(app: FastAPI) -> None:
    """Map the rules' errors to responses."""

    def answer(error: APIError) -> JSONResponse:
        return error_response(error, render)

    async def store_away(_: Request, __: Exception) -> JSONResponse:
        return answer(UnavailableError())

    async def no_such_room(_: Request, __: Exception) -> JSONResponse:
        return answer(APIError(404, "chat_not_found", "There is no such chat."))

    async def no_such_user(_: Request, error: Exception) -> JSONResponse:
        tags = {"tags": list(error.args)} if error.args else None
        return answer(APIError(404, "no_such_user", "There is no such user.", data=tags))

    async def refused(_: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, RefusedError):
            raise error
        status, message = REFUSALS[error.reason]
        return answer(APIError(status, error.reason, message, data=error.details or None))

    async def self_chat(_: Request, __: Exception) -> JSONResponse:
        return answer(APIError(400, "self_chat", "This is your own tag."))

    async def chat_exists(_: Request, error: Exception) -> JSONResponse:
        room = error.room if isinstance(error, ChatExistsError) else ""
        return answer(
            APIError(
                409,
                "chat_exists",
                "You already have a chat with this user.",
                data={"chat_id": room},
            )
        )

    app.add_exception_handler(StoreUnavailableError, store_away)
    app.add_exception_handler(NoSuchRoomError, no_such_room)
    app.add_exception_handler(NoSuchUserError, no_such_user)
    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(SelfChatError, self_chat)
    app.add_exception_handler(ChatExistsError, chat_exists)

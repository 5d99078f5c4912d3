"""Routes of groups: creating them, their members, their appearance."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Path, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, Field, StringConstraints

from ashchat_chat.rooms.directory import RoomDirectory
from ashchat_chat.rooms.errors import NoSuchRoomError
from ashchat_chat.rooms.groups import Appearance, Groups
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.rooms.ports import AVAILABILITY_MAX_MEMBERS
from ashchat_chat.rooms.views import Role, RoomView, Settings
from ashchat_chat.text import storable
from ashchat_chat.users.profiles import DESCRIPTION_MAX_CHARS, Profiles
from ashchat_chat.wire import limits
from ashchat_chat.wire.http_base import Caller, Gate, RateLimit, RequestBody, errors
from ashchat_core import text
from ashchat_core.admission.rules import Limiter

NAME_MAX_CHARS = 64
TAGS_MAX = 100
"""Maximum users that one request adds."""

Tag = Annotated[
    str,
    StringConstraints(max_length=256),
    AfterValidator(text.tag),
    StringConstraints(min_length=1, max_length=128),
]
Tags = Annotated[tuple[Tag, ...], Field(max_length=TAGS_MAX)]
Name = Annotated[
    str,
    StringConstraints(max_length=256),
    AfterValidator(text.line),
    StringConstraints(min_length=1, max_length=NAME_MAX_CHARS),
]
Picture = Annotated[str, StringConstraints(pattern=r"^(/files/[A-Za-z0-9._-]{1,128})?$")]
"""The path of an uploaded file, or nothing."""

Description = Annotated[
    str,
    StringConstraints(max_length=1_000),
    AfterValidator(text.paragraphs),
    StringConstraints(max_length=DESCRIPTION_MAX_CHARS),
]
RoomId = Annotated[str, Path(max_length=64)]
UserId = Annotated[str, Path(max_length=64)]


class NewGroup(RequestBody):
    """POST /groups."""

    client_id: Annotated[
        str, StringConstraints(min_length=1, max_length=128), AfterValidator(storable)
    ]
    """The client's own id of the group: repeating the request creates no second one."""
    name: Name
    picture: Picture = ""
    description: Description = ""
    history: Literal["all", "joined"] = "all"
    mention_all: Literal["members", "admins"] = "admins"
    members: Tags = ()


class GroupChange(RequestBody):
    """PATCH /rooms/{id}; what is absent stays as it is."""

    name: Name | None = None
    picture: Picture | None = None
    description: Description | None = None
    history: Literal["all", "joined"] | None = None
    mention_all: Literal["members", "admins"] | None = None


class NewMembers(RequestBody):
    """POST /rooms/{id}/members."""

    members: Annotated[tuple[Tag, ...], Field(min_length=1, max_length=TAGS_MAX)]


class NewRole(RequestBody):
    """PATCH /rooms/{id}/members/{user}."""

    role: Role


def register(  # noqa: PLR0917 (the rules behind the routes)
    app: FastAPI,
    gate: Gate,
    limiter: Limiter,
    groups: Groups,
    directory: RoomDirectory,
    profiles: Profiles,
) -> None:
    """Add the routes to an application."""
    changing = RateLimit(limiter, limits.GROUPS, "too many changes of groups; wait a little")

    naming = RateLimit(limiter, limits.TAGS, "too many new members; wait a little")
    answer = partial(_answer, directory, profiles)

    async def charged(caller: Annotated[Caller, Depends(gate)]) -> str:
        await changing.charge(caller.token.user_id)
        return caller.token.user_id

    @app.post(
        "/api/groups",
        status_code=201,
        responses=errors(
            _404="no_such_user (details.tags)",
            _409="too_many_members (details.limit)",
            _429="too_many_requests",
        ),
    )
    async def create(body: NewGroup, user: Annotated[str, Depends(charged)]) -> Response:
        """Create a group that the caller owns, with the users of some tags."""
        await naming.charge(user, len(body.members))
        settings = Settings(history=body.history, mention_all=body.mention_all)
        look = Appearance(body.name, body.picture, body.description, settings)
        room = await groups.create(user, look, body.members, body.client_id)
        return JSONResponse(await answer(room, user), status_code=201)

    @app.get("/api/rooms/{room_id}", responses=errors(_404="chat_not_found"))
    async def read(room_id: RoomId, caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Return a room of the caller, with its members."""
        return JSONResponse(await answer(room_id, caller.token.user_id))

    @app.patch("/api/rooms/{room_id}", responses=_errors())
    async def change(
        room_id: RoomId, body: GroupChange, user: Annotated[str, Depends(charged)]
    ) -> Response:
        """Change a group's name, picture, description or settings, as its owner or an admin."""
        settings = None
        if body.history is not None or body.mention_all is not None:
            now = (await _view(directory, room_id, user)).settings
            settings = Settings(
                history=body.history or now.history, mention_all=body.mention_all or now.mention_all
            )
        look = Appearance(body.name, body.picture, body.description, settings)
        await groups.change(room_id, user, look)
        return JSONResponse(await answer(room_id, user))

    @app.post(
        "/api/rooms/{room_id}/members",
        responses=_errors(
            _404="chat_not_found, no_such_user (details.tags)",
            _409="not_a_group, too_many_members (details.limit)",
        ),
    )
    async def add(
        room_id: RoomId, body: NewMembers, user: Annotated[str, Depends(charged)]
    ) -> Response:
        """Make the users of some tags members, as the owner or an admin."""
        await naming.charge(user, len(body.members))
        await groups.add(room_id, user, body.members)
        return JSONResponse(await answer(room_id, user))

    @app.patch(
        "/api/rooms/{room_id}/members/{user_id}",
        responses=_errors(_404="chat_not_found, not_a_member"),
    )
    async def set_role(
        room_id: RoomId, user_id: UserId, body: NewRole, user: Annotated[str, Depends(charged)]
    ) -> Response:
        """Give a member a role, as the owner; a new owner makes the previous owner an admin."""
        await groups.set_role(room_id, user, user_id, body.role)
        return JSONResponse(await answer(room_id, user))

    @app.delete(
        "/api/rooms/{room_id}/members/{user_id}",
        status_code=204,
        responses=_errors(
            _404="chat_not_found, not_a_member", _409="not_a_group, owner_must_transfer"
        ),
    )
    async def remove(
        room_id: RoomId, user_id: UserId, user: Annotated[str, Depends(charged)]
    ) -> Response:
        """Remove a member, as the owner or an admin; with the caller's own id: leave."""
        await groups.remove(room_id, user, user_id)
        return Response(status_code=204)


def _errors(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of what only groups have."""
    reasons = {"_404": "chat_not_found", "_409": "not_a_group", **reasons}
    return errors(_403="not_allowed", _429="too_many_requests", **reasons)


async def _view(directory: RoomDirectory, room_id: str, user: str) -> RoomView:
    room = await directory.get(room_id)
    await directory.refresh(room)
    if user not in room.view.members:
        raise NoSuchRoomError
    return room.view


async def _answer(
    directory: RoomDirectory, profiles: Profiles, room_id: str, user: str
) -> dict[str, Any]:
    view = await _view(directory, room_id, user)
    if len(view.members) > AVAILABILITY_MAX_MEMBERS:
        return _body(view)
    return _body(view, await profiles.last_seen([*view.members]))


def _body(view: RoomView, last_seen: Mapping[str, datetime] | None = None) -> dict[str, Any]:
    """Return a room; without `last_seen`, its members do not see each other's."""

    def member(user: str, role: Role) -> dict[str, Any]:
        if last_seen is None:
            return {"user_id": user, "role": role}
        at = last_seen.get(user)
        return {"user_id": user, "role": role, "last_seen_at": at and timestamp(at)}

    return {
        "id": view.room,
        "kind": view.kind,
        "name": view.name,
        "picture": view.picture,
        "description": view.description,
        **view.settings.model_dump(),
        "rev": view.rev,
        "n": view.n,
        "members": [member(user, one.role) for user, one in view.members.items()],
    }

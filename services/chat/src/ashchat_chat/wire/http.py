"""The HTTP API of chat: paths, bodies and status codes that the original's clients expect.

Every route requires `Authorization: Bearer <access token>` and the header `device_token` (or
`Device-Token`, because some proxies remove names with underscores). An error is
`{error, details, reason}`; `reason` is machine-readable. The rules are in `rooms` and `users`.
"""

import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from ashchat_chat.adapters.photos import Photos
from ashchat_chat.rooms.chats import PAGE_MAX, Chats, ChatView, message_body
from ashchat_chat.rooms.errors import (
    ChatExistsError,
    NoSuchRoomError,
    NoSuchUserError,
    SelfChatError,
)
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.users.profiles import DESCRIPTION_MAX_CHARS, NICKNAME_MAX_CHARS, Profiles
from ashchat_chat.users.revocations import Revocations
from ashchat_chat.wire import limits
from ashchat_chat.wire.limits import Bucket
from ashchat_core import languages, text
from ashchat_core.http import APIError, Border, UnavailableError, create_app, error_response
from ashchat_core.tokens import AccessToken, InvalidTokenError, TokenVerifier, device_hash

PAGE_DEFAULT = 50
PHOTO_PATH = "/api/user/photo"


Typed = StringConstraints(max_length=256)
"""Maximum length of a short field as it was typed; what has no effect is removed from it."""


class _Request(BaseModel):
    # The original's clients may send additional fields.
    model_config = ConfigDict(extra="ignore")


class NewChat(_Request):
    """POST /chat."""

    receiver_tag: Annotated[
        str, Typed, AfterValidator(text.tag), StringConstraints(min_length=1, max_length=128)
    ]


class Nickname(_Request):
    """PATCH /user/nickname."""

    nickname: Annotated[
        str,
        Typed,
        AfterValidator(text.line),
        StringConstraints(max_length=NICKNAME_MAX_CHARS),
    ]


class Description(_Request):
    """PATCH /user/description; a long one is rejected with 400, as by the original."""

    description: Annotated[str, AfterValidator(text.paragraphs)]


class Problem(BaseModel):
    """The body of every error."""

    error: str
    details: Any = None
    reason: str = Field(description="Machine-readable reason.")


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller, and the credentials to act for the caller at static."""

    token: AccessToken
    raw_token: str = field(repr=False)
    raw_device: str = field(repr=False)


def render(error: APIError) -> dict[str, Any]:
    """Return an error's body."""
    return {"error": error.message, "details": error.data, "reason": error.reason}


def _errors(**reasons: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's error responses, such as `_404="no_such_user"`."""
    reasons.setdefault("_400", "missing_device_token")
    reasons.setdefault(
        "_401", "missing_token, invalid_token, token_expired, session_revoked, device_mismatch"
    )
    reasons.setdefault("_422", "invalid_request")
    reasons.setdefault("_503", "unavailable")
    return {
        int(status[1:]): {"model": Problem, "description": text} for status, text in reasons.items()
    }


class Gate:
    """Authorises a request by its two headers."""

    def __init__(self, verifier: TokenVerifier, revocations: Revocations) -> None:
        self._verifier = verifier
        self._revocations = revocations

    def __call__(
        self,
        authorization: Annotated[str | None, Header()] = None,
        device_token: Annotated[str | None, Header(convert_underscores=False)] = None,
        dashed: Annotated[str | None, Header(alias="Device-Token")] = None,
    ) -> Caller:
        """Return the caller.

        Raises:
            APIError: 401 or 400, in the original's order: token, device, match. An ended session
                has its own reason, because refreshing its token would not help.
        """
        scheme, _, raw = (authorization or "").partition(" ")
        raw = raw.strip()
        challenge = {"WWW-Authenticate": "Bearer"}
        if scheme.lower() != "bearer" or not raw:
            raise APIError(
                401,
                "missing_token",
                "Send the header Authorization: Bearer <token>.",
                headers=challenge,
            )
        try:
            token = self._verifier.verify(raw)
        except InvalidTokenError as error:
            reason = "token_expired" if error.reason == "expired" else "invalid_token"
            raise APIError(
                401, reason, str(error), data={"token": error.reason}, headers=challenge
            ) from None
        if self._revocations.revoked(
            user=token.user_id, session=token.session_id, epoch=token.epoch
        ):
            raise APIError(
                401, "session_revoked", "The session has ended: sign in again.", headers=challenge
            )
        device = (device_token or dashed or "").strip()
        if not device:
            raise APIError(400, "missing_device_token", "Send the header device_token.")
        if device_hash(device) != token.device_hash:
            raise APIError(401, "device_mismatch", "The token belongs to another device.")
        return Caller(token, raw, device)


def build(  # noqa: C901 (a list of routes)
    *,
    chats: Chats,
    profiles: Profiles,
    photos: Photos,
    verifier: TokenVerifier,
    revocations: Revocations,
    allowed_origins: str = "",
) -> FastAPI:
    """Return the application."""
    app = create_app(
        title="AshChat chat",
        prefix="/chat",
        render=render,
        border=Border(allowed_origins, uploads=(PHOTO_PATH,)),
    )
    _map_errors(app)
    gate = Gate(verifier, revocations)
    opening: dict[str, Bucket] = {}

    @app.post(
        "/api/chat",
        status_code=201,
        responses=_errors(
            _400="missing_device_token, self_chat",
            _404="no_such_user",
            _409="chat_exists (details.chat_id)",
            _429="too_many_requests",
        ),
    )
    async def open_chat(body: NewChat, caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Create a chat with the user of a tag; two users have at most one."""
        _limit(opening, caller.token.user_id)
        room, receiver = await chats.open_direct(caller.token.user_id, body.receiver_tag)
        return JSONResponse(
            {
                "message": "The chat was created.",
                "chat_id": room,
                "messages": [],
                "nickname": receiver.nickname,
                "profile_picture": receiver.photo_url,
                "description": receiver.description,
                "preferred_language": receiver.language,
            },
            status_code=201,
        )

    # The original documents GET /chat and serves GET /chats.
    @app.get("/api/chat", include_in_schema=False)
    @app.get("/api/chats", responses=_errors())
    async def list_chats(caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Return the caller's chats, most recently active first, each with its newest messages."""
        user = caller.token.user_id
        own = await _language_of(profiles, user)
        found = await chats.chats(user)
        return JSONResponse({"chats": [_chat_body(chat, user, own) for chat in found]})

    @app.get("/api/chats/{chat_id}/messages", responses=_errors(_404="chat_not_found"))
    async def page(
        caller: Annotated[Caller, Depends(gate)],
        chat_id: Annotated[str, Path(max_length=64)],
        before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    ) -> Response:
        """Return messages before a revision (without one: the newest), oldest first."""
        user = caller.token.user_id
        found = await chats.page(user, chat_id, before=before, limit=limit)
        own = await _language_of(profiles, user)
        return JSONResponse(
            {
                "messages": [message_body(one, found.view, own) for one in found.messages],
                "rev": found.view.rev,
                "more": found.more,
            }
        )

    @app.get("/api/user", responses=_errors(_404="no_such_user"))
    async def own_profile(caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Return the caller's profile."""
        profile = await profiles.profile(caller.token.user_id)
        return JSONResponse({"user": profile.payload()})

    @app.get("/api/user/{user_id}", responses=_errors(_404="no_such_user"))
    async def profile(
        caller: Annotated[Caller, Depends(gate)],  # noqa: ARG001 (the gate is the point)
        user_id: Annotated[str, Path(max_length=64)],
    ) -> Response:
        """Return a user's profile; a deleted user has the nickname `deleted user`."""
        found = await profiles.profile(user_id)
        return JSONResponse({"user": found.payload()})

    @app.patch("/api/user/nickname", responses=_errors(_404="no_such_user"))
    async def change_nickname(body: Nickname, caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Change the caller's nickname; the tag does not change."""
        await profiles.change(caller.token.user_id, nickname=body.nickname)
        return JSONResponse({"message": "The nickname was changed."})

    @app.patch(
        "/api/user/description",
        responses=_errors(_400="missing_device_token, too_long", _404="no_such_user"),
    )
    async def change_description(
        body: Description, caller: Annotated[Caller, Depends(gate)]
    ) -> Response:
        """Change the caller's description."""
        if len(body.description) > DESCRIPTION_MAX_CHARS:
            raise APIError(
                400,
                "too_long",
                f"A description may have at most {DESCRIPTION_MAX_CHARS} characters.",
            )
        await profiles.change(caller.token.user_id, description=body.description)
        return JSONResponse({"message": "The description was changed."})

    @app.patch(
        PHOTO_PATH,
        responses=_errors(
            _400="missing_device_token, no_file, and the reasons of static",
            _404="no_such_user",
            _408="body_too_slow",
            _413="too_large",
            _415="unsupported_type, malformed_file",
            _429="too_many_uploads",
            _507="quota_exceeded, storage_full",
        ),
    )
    async def change_photo(request: Request, caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Change the caller's photo: multipart/form-data with the file `photo`."""
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            raise APIError(400, "no_file", "Send a form with the file `photo`.")
        former = (await profiles.profile(caller.token.user_id)).photo_url
        headers = {
            "Authorization": f"Bearer {caller.raw_token}",
            "Device-Token": caller.raw_device,
        }
        url = await photos.upload(request.stream(), {**headers, "Content-Type": kind})
        try:
            await profiles.change(caller.token.user_id, photo_url=url)
        except Exception:
            # It may have been changed although the answer was lost; then the previous one stays.
            if (await profiles.profile(caller.token.user_id)).photo_url != url:
                await photos.remove(url, headers)
            raise
        if former != url:
            await photos.remove(former, headers)
        return JSONResponse({"message": "The photo was changed.", "url": url})

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

    async def no_such_user(_: Request, __: Exception) -> JSONResponse:
        return answer(APIError(404, "no_such_user", "There is no such user."))

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
    app.add_exception_handler(SelfChatError, self_chat)
    app.add_exception_handler(ChatExistsError, chat_exists)


async def _language_of(profiles: Profiles, user: str) -> str:
    try:
        return (await profiles.profile(user)).language
    except NoSuchUserError:
        return languages.UNKNOWN


def _chat_body(chat: ChatView, user: str, language: str) -> dict[str, Any]:
    receiver_id = next((who for who in chat.room.members if who != user), "")
    receiver: dict[str, Any] = {"id": receiver_id, "last_seen_at": None}
    same = True
    if chat.receiver is not None:
        receiver |= chat.receiver.payload()
        same = languages.same(chat.receiver.language, language)
    return {
        "_id": chat.room.room,
        "id": chat.room.room,
        "users_id": list(chat.room.members),
        "messages": [message_body(message, chat.room, language) for message in chat.messages],
        "same_language": same,
        "receiver": receiver,
        "rev": chat.room.rev,
        "read_rev": chat.room.reads.get(user, 0),
        "unread_count": chat.unread,
    }


def _limit(buckets: dict[str, Bucket], user: str) -> None:
    now = time.monotonic()
    for one in [known for known, bucket in buckets.items() if bucket.full(now)]:
        del buckets[one]
    wait = buckets.setdefault(user, Bucket(limits.CHATS, now)).take(now)
    if wait:
        raise APIError(
            429,
            "too_many_requests",
            "too many new chats; wait a little",
            headers={"Retry-After": str(int(wait) + 1)},
        )

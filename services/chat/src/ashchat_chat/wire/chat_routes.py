"""Routes of chats and their messages, among them those that the original's clients call."""

from datetime import datetime
from itertools import islice
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, StringConstraints

from ashchat_chat.rooms.chats import Chats, ChatView, message_body
from ashchat_chat.rooms.errors import NoSuchUserError
from ashchat_chat.rooms.history import PAGE_MAX, History, Page
from ashchat_chat.rooms.identifiers import timestamp
from ashchat_chat.users.profiles import Profiles
from ashchat_chat.wire import limits
from ashchat_chat.wire.http_base import Caller, Gate, RateLimit, RequestBody, errors
from ashchat_core import languages, text
from ashchat_core.admission.rules import Limiter
from ashchat_core.http import APIError

PAGE_DEFAULT = 50
N_MAX = 2**53
USERS_MAX = 50
"""Maximum members of a chat in a list of chats."""

TYPED_MAX_CHARS = 256

Number = Annotated[int | None, Query(ge=1, le=N_MAX)]


class NewChat(RequestBody):
    """POST /chat."""

    receiver_tag: Annotated[
        str,
        StringConstraints(max_length=TYPED_MAX_CHARS),
        AfterValidator(text.tag),
        StringConstraints(min_length=1, max_length=128),
    ]


def register(  # noqa: PLR0917 (the rules behind the routes)
    app: FastAPI,
    gate: Gate,
    limiter: Limiter,
    chats: Chats,
    history: History,
    profiles: Profiles,
) -> None:
    """Add the routes to an application."""
    opening = RateLimit(limiter, limits.CHATS, "too many new chats; wait a little")
    listing = RateLimit(limiter, limits.LISTS, "too many lists; wait a little")

    @app.post(
        "/api/chat",
        status_code=201,
        responses=errors(
            _400="missing_device_token, self_chat",
            _404="no_such_user",
            _409="chat_exists (details.chat_id)",
            _429="too_many_requests",
        ),
    )
    async def open_chat(body: NewChat, caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Create a chat with the user of a tag; two users have at most one."""
        await opening.charge(caller.token.user_id)
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
    @app.get("/api/chats", responses=errors(_429="too_many_requests"))
    async def list_chats(caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Return the caller's chats, most recently active first, with their newest messages."""
        user = caller.token.user_id
        await listing.charge(user)
        own = await language_of(profiles, user)
        found = await chats.chats(user)
        return JSONResponse({"chats": [_chat_body(chat, user, own) for chat in found]})

    @app.get(
        "/api/chats/{chat_id}/messages",
        responses=errors(_404="chat_not_found", _422="invalid_request, ambiguous_page"),
    )
    async def page(  # noqa: PLR0917 (the query's parameters)
        caller: Annotated[Caller, Depends(gate)],
        chat_id: Annotated[str, Path(max_length=64)],
        before: Number = None,
        after: Annotated[int | None, Query(ge=0, le=N_MAX)] = None,
        around: Number = None,
        since: datetime | None = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    ) -> Response:
        """Return messages, oldest first.

        Before, after or around a message's number `n`, or from a time on; by default the newest.
        """
        user = caller.token.user_id
        if sum(one is not None for one in (before, after, around, since)) > 1:
            raise APIError(
                422, "ambiguous_page", "Send only one of before, after, around and since."
            )
        if after is not None:
            found = await history.after(chat_id, user, after, limit)
        elif around is not None:
            found = await history.around(chat_id, user, around, limit)
        elif since is not None:
            found = await history.at(chat_id, user, since.astimezone(), limit)
        else:
            found = await history.before(chat_id, user, before, limit)
        return JSONResponse(_page_body(found, user, await language_of(profiles, user)))


async def language_of(profiles: Profiles, user: str) -> str:
    """Return the language that a user reads."""
    try:
        return (await profiles.profile(user)).language
    except NoSuchUserError:
        return languages.UNKNOWN


def _page_body(page: Page, user: str, language: str) -> dict[str, Any]:
    return {
        "messages": [
            message_body(one, user, page.read_by_others[one.sender], language)
            for one in page.messages
        ],
        "rev": page.rev,
        "n": page.n,
        "more_before": page.more_before,
        "more_after": page.more_after,
    }


def _chat_body(chat: ChatView, user: str, language: str) -> dict[str, Any]:
    summary = chat.summary
    receiver_id = next((who for who in summary.view.members if who != user), "")
    receiver: dict[str, Any] = {"id": receiver_id, "last_seen_at": None}
    same = True
    if chat.receiver is not None:
        receiver |= chat.receiver.payload()
        if chat.receiver.last_seen_at is not None:
            receiver["last_seen_at"] = timestamp(chat.receiver.last_seen_at)
        same = languages.same(chat.receiver.language, language)
    return {
        "_id": summary.room,
        "id": summary.room,
        "users_id": list(islice(summary.view.members, USERS_MAX)),
        "messages": [
            message_body(one, user, chat.read_by_others(one.sender), language)
            for one in chat.messages
        ],
        "same_language": same,
        "receiver": receiver,
        "rev": summary.view.rev,
        "n": summary.view.n,
        "read_n": summary.read(user),
        "unread_count": summary.unread(user),
    }

"""Routes of profiles: paths, bodies and status codes that the original's clients expect."""

from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, StringConstraints

from ashchat_chat.adapters.photos import Photos
from ashchat_chat.users.profiles import DESCRIPTION_MAX_CHARS, NICKNAME_MAX_CHARS, Profiles
from ashchat_chat.wire.http_base import Caller, Gate, RequestBody, errors
from ashchat_core import text
from ashchat_core.http import APIError

PHOTO_PATH = "/api/user/photo"
TYPED_MAX_CHARS = 256
"""Maximum length of a short field as it was typed; what has no effect is removed from it."""


class Nickname(RequestBody):
    """PATCH /user/nickname."""

    nickname: Annotated[
        str,
        StringConstraints(max_length=TYPED_MAX_CHARS),
        AfterValidator(text.line),
        StringConstraints(max_length=NICKNAME_MAX_CHARS),
    ]


class Description(RequestBody):
    """PATCH /user/description; a long one is rejected with 400, as by the original."""

    description: Annotated[str, AfterValidator(text.paragraphs)]


def register(  # noqa: C901 (a list of routes)
    app: FastAPI, gate: Gate, profiles: Profiles, photos: Photos
) -> None:
    """Add the routes to an application."""

    @app.get("/api/user", responses=errors(_404="no_such_user"))
    async def own_profile(caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Return the caller's profile."""
        profile = await profiles.profile(caller.token.user_id)
        return JSONResponse({"user": profile.payload()})

    @app.get("/api/user/{user_id}", responses=errors(_404="no_such_user"))
    async def profile(
        caller: Annotated[Caller, Depends(gate)],  # noqa: ARG001 (the gate is the point)
        user_id: Annotated[str, Path(max_length=64)],
    ) -> Response:
        """Return a user's profile; a deleted user has the nickname `deleted user`."""
        found = await profiles.profile(user_id)
        return JSONResponse({"user": found.payload()})

    @app.patch("/api/user/nickname", responses=errors(_404="no_such_user"))
    async def change_nickname(body: Nickname, caller: Annotated[Caller, Depends(gate)]) -> Response:
        """Change the caller's nickname; the tag does not change."""
        await profiles.change(caller.token.user_id, nickname=body.nickname)
        return JSONResponse({"message": "The nickname was changed."})

    @app.patch(
        "/api/user/description",
        responses=errors(_400="missing_device_token, too_long", _404="no_such_user"),
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
        responses=errors(
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

"""Photos are stored by static, on the user's behalf: streamed through, never held."""

from collections.abc import AsyncIterator, Mapping

import httpx2
import structlog

from ashchat_chat.users.profiles import PHOTO_URL_MAX_CHARS
from ashchat_core.http import APIError, UnavailableError

UPLOAD_SECONDS = 60.0
CONNECT_SECONDS = 3.0
PHOTO = {"purpose": "photo"}


class Photos:
    """The way to static."""

    def __init__(self, static_url: str, *, max_bytes: int) -> None:
        self._url = f"{static_url.rstrip('/')}/files"
        self._max = max_bytes
        self._log = structlog.get_logger("photos")
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(UPLOAD_SECONDS, connect=CONNECT_SECONDS), trust_env=False
        )

    async def upload(self, body: AsyncIterator[bytes], headers: Mapping[str, str]) -> str:
        """Send a form with a photo on, as it comes; return the URL it now has.

        Raises:
            APIError: static refused it (its status and reason), or it is too large.
            UnavailableError: static is away.
        """
        sent = 0
        too_large = APIError(413, "too_large", f"a photo may have {self._max} bytes")

        async def bounded() -> AsyncIterator[bytes]:
            nonlocal sent
            async for chunk in body:
                sent += len(chunk)
                if sent > self._max:
                    raise too_large
                yield chunk

        try:
            answer = await self._client.post(
                self._url, params=PHOTO, content=bounded(), headers=dict(headers)
            )
        except httpx2.TransportError as error:
            raise UnavailableError from error
        try:
            told = answer.json()
        except ValueError:
            told = {}
        if answer.status_code != httpx2.codes.CREATED:
            full = answer.status_code == httpx2.codes.INSUFFICIENT_STORAGE
            if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR and not full:
                raise UnavailableError
            wait = answer.headers.get("Retry-After")
            raise APIError(
                answer.status_code,
                str(told.get("reason", "refused")),
                str(told.get("message") or told.get("error") or "the photo was refused"),
                data=told.get("details"),
                headers={} if wait is None else {"Retry-After": wait},
            )
        url = str(told.get("url", ""))
        if not url or len(url) > PHOTO_URL_MAX_CHARS:
            raise UnavailableError
        return url

    async def remove(self, url: str | None, headers: Mapping[str, str]) -> None:
        """Delete a photo that is not the user's photo any more, unless it is also a sent file.

        If static is unavailable, the file stays until the account is deleted.
        """
        folder, _, name = (url or "").rpartition("/")
        if not folder.endswith("/files"):
            return
        try:
            answer = await self._client.delete(
                f"{self._url}/{name}", params=PHOTO, headers=dict(headers)
            )
        except httpx2.TransportError as error:
            self._log.warning("a replaced photo stays", kind=type(error).__name__)
            return
        if answer.status_code not in {httpx2.codes.NO_CONTENT, httpx2.codes.NOT_FOUND}:
            self._log.warning("a replaced photo stays", status=answer.status_code)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

"""The client of static: over HTTP, against a server that answers as static does."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from ashchat_chat.adapters.photos import Photos
from ashchat_core.http import APIError, UnavailableError


async def body() -> AsyncIterator[bytes]:
    yield b"x"


def photos(status: int, requests: list[httpx2.Request], **answer: Any) -> Photos:
    async def respond(request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        requests.append(request)
        return httpx2.Response(status, **answer)

    made = Photos("http://static:8080", max_bytes=100)
    made._client = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    return made


@pytest.mark.parametrize(
    ("status", "reason"),
    [(415, "unsupported_type"), (429, "too_many_uploads"), (507, "quota_exceeded")],
)
async def test_a_refusal_of_static_is_passed_on(status: int, reason: str) -> None:
    answer = {"reason": reason, "error": "No.", "details": {"max": 1}}
    static = photos(status, [], json=answer, headers={"Retry-After": "7"})
    with pytest.raises(APIError) as refused:
        await static.upload(body(), {})
    error = refused.value
    assert (error.status, error.reason, error.message) == (status, reason, "No.")
    assert error.data == {"max": 1}
    assert error.headers == {"Retry-After": "7"}


async def test_a_failing_static_is_unavailable() -> None:
    with pytest.raises(UnavailableError):
        await photos(500, []).upload(body(), {})


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("/files/a.png", ["DELETE /files/a.png"]),
        ("https://chat.example.org/files/a.png", ["DELETE /files/a.png"]),
        ("https://elsewhere.example/a.png", []),
        ("", []),
        (None, []),
    ],
)
@pytest.mark.parametrize("status", [204, 404, 500])
async def test_only_an_upload_is_deleted(
    status: int, url: str | None, requested: list[str]
) -> None:
    requests: list[httpx2.Request] = []
    await photos(status, requests).remove(url, {"Authorization": "Bearer x"})
    assert [f"{one.method} {one.url.path}" for one in requests] == requested
    assert all(one.url.params["purpose"] == "photo" for one in requests)
    assert all(one.headers["Authorization"] == "Bearer x" for one in requests)

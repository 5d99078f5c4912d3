"""Bodies that arrive slowly, over real connections."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from fastapi import Request, Response

from ashchat_core import request_bodies
from ashchat_core.http import APIError, Border, create_app

SECONDS = 0.3


def render(error: APIError) -> dict[str, Any]:
    return {"reason": error.reason}


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(request_bodies, "BODY_SECONDS", SECONDS)
    monkeypatch.setattr(request_bodies, "UPLOAD_GRACE_SECONDS", SECONDS)
    monkeypatch.setattr(request_bodies, "UPLOAD_BYTES_PER_SECOND", 1000)
    app = create_app(title="t", prefix="", render=render, border=Border(uploads=("/files",)))

    @app.post("/echo")
    @app.post("/files")
    async def echo(request: Request) -> Response:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return Response(str(size))

    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    yield int(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    await serving


async def send(
    port: int,
    path: str,
    *,
    declared: int,
    pieces: int,
    size: int,
    gap: float,
    last: bool = False,
) -> str:
    """Send pieces of a body with a gap before each; return all that the server answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {declared}\r\n"
    writer.write((head + ("Connection: close\r\n\r\n" if last else "\r\n")).encode())

    async def trickle() -> None:
        with contextlib.suppress(ConnectionError):
            for _ in range(pieces):
                await asyncio.sleep(gap)
                writer.write(b"x" * size)
                await writer.drain()

    sending = asyncio.create_task(trickle())
    answer = b""
    try:
        # Until the server closes the connection: with a reset if more of the body arrives then.
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                while piece := await reader.read(4096):
                    answer += piece
        return answer.decode()
    finally:
        sending.cancel()
        writer.close()


@pytest.mark.parametrize(
    ("path", "pieces", "size"),
    [("/echo", 0, 1), ("/echo", 1000, 1), ("/files", 0, 1), ("/files", 1000, 1), ("/files", 5, 20)],
    ids=["json-silent", "json-trickle", "upload-silent", "upload-trickle", "upload-stops"],
)
async def test_a_body_that_arrives_too_slowly_is_cut(
    port: int, path: str, pieces: int, size: int
) -> None:
    started = asyncio.get_running_loop().time()
    answer = await send(port, path, declared=20_000, pieces=pieces, size=size, gap=0.01)
    assert answer.startswith("HTTP/1.1 408 ")
    head, _, body = answer.partition("\r\n\r\n")
    assert "connection: close" in head.lower()
    assert json.loads(body) == {"reason": "body_too_slow"}
    assert asyncio.get_running_loop().time() - started < 5


async def test_a_steady_upload_may_take_longer_than_the_grace_time(port: int) -> None:
    # 2000 bytes in twice the grace time: more than 1000 bytes a second.
    gap = 2 * SECONDS / 20
    answer = await send(port, "/files", declared=2000, pieces=20, size=100, gap=gap, last=True)
    assert answer.startswith("HTTP/1.1 200 ")
    assert answer.endswith("\r\n2000")

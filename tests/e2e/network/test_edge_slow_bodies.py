"""A body that arrives too slowly is answered in time, also through the edge."""

import asyncio
import json
import time
from urllib.parse import urlsplit

from ashchat_core.request_bodies import BODY_SECONDS
from ashchat_dev.environment import Environment

SLACK_S = 4.0
"""How much later than at the service the answer may come; the edge itself cuts after 20 s."""

HEAD = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    "Content-Length: 1000\r\n\r\n"
)


PATHS = ("/auth/api/user/signin", "/chat/api/chat")


async def test_a_slow_body_gets_its_answer_although_it_goes_on(where: Environment) -> None:
    await asyncio.gather(*(cut(where, path) for path in PATHS))


async def cut(where: Environment, path: str) -> None:
    """Send a body byte by byte, and check the answer."""
    parts = urlsplit(where.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    began = time.monotonic()

    async def trickle() -> None:
        while True:
            writer.write(b" ")
            await asyncio.sleep(1)

    try:
        writer.write(HEAD.format(path=path, host=parts.netloc).encode())
        trickling = asyncio.create_task(trickle())
        async with asyncio.timeout(BODY_SECONDS + SLACK_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            body = json.loads(await reader.readexactly(size))
        trickling.cancel()
    finally:
        writer.close()
    assert head.startswith("http/1.1 408 ")
    assert "connection: close" in head
    assert body["reason"] == "body_too_slow"
    assert time.monotonic() - began >= BODY_SECONDS

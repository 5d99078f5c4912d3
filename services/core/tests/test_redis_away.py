"""What answers at Redis's address may be no Redis."""

import asyncio
import time
from pathlib import Path

import pytest

from ashchat_core import redis
from ashchat_core.credentials import Credentials


async def test_another_server_at_the_address_of_redis_means_unavailable(tmp_path: Path) -> None:
    async def speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(speak_http, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "redis.uri").write_text(f"redis://me:word@127.0.0.1:{port}/0")
        client = redis.Redis(Credentials(tmp_path))
        try:
            with pytest.raises(redis.UNAVAILABLE):
                await client.ping()
        finally:
            await client.close()


async def test_no_server_at_the_address_of_redis_is_reported_soon(tmp_path: Path) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    (tmp_path / "redis.uri").write_text(f"redis://me:word@127.0.0.1:{port}/0")
    client = redis.Redis(Credentials(tmp_path))
    begun = time.monotonic()
    try:
        with pytest.raises(redis.UNAVAILABLE):
            await client.ping()
    finally:
        await client.close()
    assert time.monotonic() - begun < redis.TIMEOUT_SECONDS + redis.RETRIES * 2

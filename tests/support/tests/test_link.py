"""The proxy between a client and the platform fails as it should, and recovers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from ashchat_e2e.histories.link import Link, State

QUIET_S = 0.3


@asynccontextmanager
async def echoing() -> AsyncIterator[Link]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = Link(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server, link.serve():
        yield link


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(link: Link) -> Connection:
    parts = urlsplit(link.url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def echoed(connection: Connection, text: bytes) -> bytes:
    reader, writer = connection
    writer.write(text)
    async with asyncio.timeout(5):
        return await reader.readexactly(len(text))


async def test_an_open_link_forwards_and_ends_in_order() -> None:
    async with echoing() as link:
        reader, writer = connection = await connected(link)
        assert await echoed(connection, b"a" * 100_000) == b"a" * 100_000
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert link.opened == 1


async def test_a_cut_link_resets_and_can_be_opened_again() -> None:
    async with echoing() as link:
        reader, writer = connection = await connected(link)
        assert await echoed(connection, b"a") == b"a"
        assert link.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
        again = await connected(link)
        assert await echoed(again, b"b") == b"b"
        again[1].close()


async def test_a_half_open_link_is_silent_and_continues() -> None:
    async with echoing() as link:
        reader, writer = connection = await connected(link)
        assert await echoed(connection, b"a") == b"a"
        link.be(State.HALF_OPEN)
        writer.write(b"b")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await reader.read(1)
        link.be(State.OPEN)
        async with asyncio.timeout(5):
            assert await reader.read(1) == b"b"
        writer.close()


async def test_a_slow_link_delivers_late() -> None:
    async with echoing() as link:
        connection = await connected(link)
        link.be(State.SLOW)
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await echoed(connection, b"a" * 1_024) == b"a" * 1_024
        assert loop.time() - began >= QUIET_S
        connection[1].close()


async def test_a_closed_link_refuses() -> None:
    async with echoing() as link:
        link.be(State.CLOSED)
        reader, writer = await connected(link)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()

"""A client's connection to the platform, through a proxy on loopback that breaks it.

A connection fails in four ways: it is cut (RST), slow, half-open (nothing arrives, nothing ends),
or it cannot be opened.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

LOCALHOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 16_384
SLOW_BYTES: Final = 256
"""Bytes that a slow connection forwards at a time, in each direction."""

SLOW_SECONDS: Final = 0.1


class State(StrEnum):
    """What the proxy does with what arrives."""

    OPEN = "open"
    SLOW = "slow"
    HALF_OPEN = "half-open"
    CLOSED = "closed"


class Link:
    """One client's connections; `url` leads through it."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._address = (parts.hostname or LOCALHOST, parts.port or 80)
        self._state = State.OPEN
        self._changed = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.opened = 0
        """How many connections the client has opened."""

    @property
    def state(self) -> State:
        """What the proxy does with what arrives."""
        return self._state

    def be(self, state: State) -> None:
        """Change the state, of existing connections too."""
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()
        if state is State.CLOSED:
            self.cut()

    def cut(self) -> int:
        """Break the open connections as a crashed peer does, with RST; return their number."""
        found = [writer for writer in self._open if not writer.is_closing()]
        for writer in found:
            connection: socket.socket = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        return len(found)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Forward while the context is open."""
        server = await asyncio.start_server(self._accept, LOCALHOST, 0)
        self.url = f"http://{LOCALHOST}:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            self.be(State.CLOSED)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._open.add(writer)
        try:
            if self._state is State.CLOSED:
                self.cut()
                return
            there, back = await asyncio.open_connection(*self._address)
            self._open.add(back)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._forward(reader, back))
                    tasks.create_task(self._forward(there, writer))
            except* OSError:
                pass
            finally:
                self._open.discard(back)
                back.close()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _forward(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while True:
            slow = self._state is State.SLOW
            data = await source.read(SLOW_BYTES if slow else CHUNK_BYTES)
            while self._state is State.HALF_OPEN:
                await self._changed.wait()
            if slow:
                await asyncio.sleep(SLOW_SECONDS)
            if not data:
                with suppress(OSError):
                    target.write_eof()
                return
            target.write(data)
            await target.drain()

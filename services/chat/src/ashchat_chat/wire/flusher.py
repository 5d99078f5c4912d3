"""Writes to many sockets: rarely, and without keeping other work waiting."""

import asyncio
from typing import Final, Protocol


class Flushable(Protocol):
    """What has something to write."""

    def flush(self) -> None:
        """Write it."""
        ...


class Flusher:
    """Writes to the sockets of this process that have something to send, a moment after it came.

    The pause between two rounds is at least as long as a round takes, so that other work has half
    of the time under any load.
    """

    PAUSE_SECONDS: Final = 0.002
    SLICE: Final = 500
    """Sockets that are written to in one iteration of the event loop."""

    def __init__(self) -> None:
        self._waiting: list[Flushable] = []
        self._round: list[Flushable] = []
        self._scheduled = False
        self._began = 0.0
        self._next = 0.0

    def add(self, connection: Flushable) -> None:
        """Write a connection's queue soon."""
        self._waiting.append(connection)
        if not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(self._next, loop.time() + self.PAUSE_SECONDS), self._start)

    def _start(self) -> None:
        self._began = asyncio.get_running_loop().time()
        self._round, self._waiting = self._waiting, []
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        part, self._round = self._round[: self.SLICE], self._round[self.SLICE :]
        for connection in part:
            connection.flush()
        if part:
            # The event loop executes the writes at the end of this iteration.
            loop.call_soon(self._flush)
            return
        now = loop.time()
        self._next = now + max(self.PAUSE_SECONDS, now - self._began)
        self._scheduled = False
        if self._waiting:
            self._scheduled = True
            loop.call_at(self._next, self._start)

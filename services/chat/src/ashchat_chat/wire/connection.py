"""One socket: a bounded queue, written by a task that lives only while there is something.

An idle socket has no task or timer. A reader that is too slow is closed
with a code that means it should resume; broadcasting never waits for a reader.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ashchat_chat import metrics
from ashchat_chat.wire import limits

WRITE_SECONDS = 10.0
"""How long one frame may take to leave; then the reader is taken for dead."""

REVOKED_SECONDS = 2.0
"""How long the socket of a revoked session may take to close; then it is cut."""

LOW_WATER_FRAMES = 64
"""`drained` returns at this many."""


class Close:
    """Why the server closes a socket (RFC 6455, section 7.4; 4000-4999 are our own)."""

    RESTART = 1012
    BAD_FRAME = 4400
    TOKEN_EXPIRED = 4401
    REVOKED = 4403
    SLOW = 4408
    SILENT = 4410
    TOO_MANY_FRAMES = 4429


class Transport(Protocol):
    """What a socket is written to: Starlette's WebSocket is one."""

    async def send_text(self, data: str) -> None:
        """Send a text; waits while the network's buffer is full."""
        ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """Close."""
        ...


class Connection:
    """The sending side of a socket."""

    def __init__(self, transport: Transport, *, dead: Callable[[], None]) -> None:
        self._transport = transport
        self._dead = dead
        self._queue: deque[str] = deque()
        self._chars = 0
        self._writer: asyncio.Task[None] | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self.closing: tuple[int, str] | None = None
        """The code and reason, once it is to end."""

    def send(self, text: str, event: str) -> None:
        """Queue a text; closes the socket when too much waits."""
        if self.closing is not None:
            return
        if (
            len(self._queue) >= limits.QUEUE_MAX_FRAMES
            or self._chars + len(text) > limits.QUEUE_MAX_CHARS
        ):
            self.close(Close.SLOW, "too slow; resume with since")
            return
        self._queue.append(text)
        self._chars += len(text)
        if len(self._queue) > LOW_WATER_FRAMES:
            self._drained.clear()
        metrics.DELIVERED.labels(event).inc()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def drained(self) -> None:
        """Wait until little is queued, or the socket is to end."""
        await self._drained.wait()

    def close(self, code: int, reason: str) -> None:
        """Close after what is being written; what waits is dropped when nobody should get it."""
        if code == Close.REVOKED and self._cut is None:
            # Whether or not its reader reads, and answers.
            self._cut = asyncio.get_running_loop().call_later(REVOKED_SECONDS, self._dead)
        if self.closing is not None:
            return
        self.closing = (code, reason)
        metrics.CLOSED.labels(code).inc()
        if code in {Close.SLOW, Close.SILENT, Close.REVOKED}:
            self._queue.clear()
        self._drained.set()
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def stop(self) -> None:
        """End the writer: the socket is gone."""
        self.closing = self.closing or (1006, "gone")
        self._drained.set()
        if self._cut is not None:
            self._cut.cancel()
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer

    async def _write(self) -> None:
        try:
            while self._queue:
                text = self._queue.popleft()
                self._chars -= len(text)
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._transport.send_text(text)
                if len(self._queue) <= LOW_WATER_FRAMES:
                    self._drained.set()
            if self.closing is not None:
                async with asyncio.timeout(WRITE_SECONDS):
                    await self._transport.close(*self.closing)
        except Exception:  # noqa: BLE001 (whatever the transport says, nobody reads any more)
            self.closing = self.closing or (Close.SLOW, "too slow; resume with since")
            self._drained.set()
            self._dead()
        finally:
            self._writer = None

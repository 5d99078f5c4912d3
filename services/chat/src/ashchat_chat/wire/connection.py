"""One open socket: an asyncio protocol with a budget of bytes. It has no task and no timer.

Everything that is written to a socket waits in its queue for a few milliseconds, so that one write
carries all of it, and for room in the transport. What may wait is bounded by bytes. Events of a log
are not queued beyond that: the reader is served from the log again when it has room, however slowly
it reads. Only a reader that takes nothing for 10 s is closed.
"""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Final, Protocol, cast

from websockets.frames import CloseCode, Opcode

from ashchat_chat import metrics
from ashchat_chat.wire.flusher import Flusher
from ashchat_chat.wire.frames import (
    BadFrameError,
    FrameReader,
    Message,
    close_frame,
    ping_frame,
    pong_frame,
)
from ashchat_chat.wire.limits import BUDGET_BYTES, FRAME_MAX_BYTES, UNRESUMABLE_BYTES
from ashchat_chat.wire.receipts import Receipts

STALL_SECONDS: Final = 10.0
"""How long a reader may take nothing of what waits for it; then the socket is closed."""

CLOSING_SECONDS: Final = 10.0
"""How long a client may take to answer a close frame; then the connection is cut."""

CUT_SECONDS: Final = 2.0
"""The same if what waits is not to be delivered: the session was revoked, nobody reads."""

CHUNK_BYTES: Final = 64 * 1024
"""Maximum size of a write, and how much may wait in the transport before writing pauses."""


class Close:
    """Why the server closes a socket (RFC 6455, section 7.4; 4000-4999 are our own)."""

    RESTART = 1012
    BAD_FRAME = 4400
    TOKEN_EXPIRED = 4401
    REVOKED = 4403
    SLOW = 4408
    SILENT = 4410
    TOO_MANY_FRAMES = 4429


_AT_ONCE: Final = frozenset({Close.SLOW, Close.SILENT, Close.REVOKED})
"""What waits is dropped: nobody reads it, or nobody should."""


class Listener(Protocol):
    """What a connection reports to."""

    def received_text(self, text: str) -> None:
        """Handle a message."""
        ...

    def received_binary(self, data: bytes) -> None:
        """Handle a binary message."""
        ...

    def ended(self) -> None:
        """Handle the end of the connection; called once."""
        ...


class Connection(asyncio.Protocol):
    """The server's end of an open WebSocket."""

    __slots__ = (
        "_busy",
        "_cut",
        "_ended",
        "_flusher",
        "_held",
        "_listener",
        "_open",
        "_owes",
        "_paused",
        "_progress",
        "_queue",
        "_reader",
        "_receipts",
        "_size",
        "_transport",
        "_waiters",
        "_written",
        "closing",
    )

    def __init__(
        self, transport: asyncio.Transport, flusher: Flusher, open_connections: set["Connection"]
    ) -> None:
        self._transport = transport
        self._flusher = flusher
        self._open = open_connections
        self._open.add(self)
        self._listener: Listener | None = None
        self._reader = FrameReader(FRAME_MAX_BYTES)
        self._receipts: Receipts | None = None
        self._queue: list[bytes] = []
        self._size = 0
        """Bytes in the queue."""
        self._written = 0
        """Bytes given to the transport since the connection was opened."""
        self._progress: tuple[int, float] | None = None
        """How many bytes the reader had taken, and since when; None: nothing waits."""
        self._paused = False
        self._owes = False
        self._busy = False
        self._held = False
        """Whether reading is paused, for either reason."""
        self._ended = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._cut: asyncio.TimerHandle | None = None
        self.closing: tuple[int, str] | None = None
        """The code and reason, once it is to end."""
        transport.set_write_buffer_limits(high=CHUNK_BYTES, low=CHUNK_BYTES // 4)

    def listen(self, listener: Listener) -> None:
        """Report messages and the end of the connection."""
        self._listener = listener

    # Sending

    def offer(self, frame: bytes) -> bool:
        """Queue a frame if there is room for it; return whether it was accepted."""
        if self._size >= BUDGET_BYTES:
            return self.closing is not None
        self._push(frame)
        return True

    def insist(self, frame: bytes) -> None:
        """Queue a frame that cannot be read again later; close the socket if too much waits."""
        if self._size >= UNRESUMABLE_BYTES:
            self.close(Close.SLOW, "too slow; resume with since")
        else:
            self._push(frame)

    def answer(self, frame: bytes) -> None:
        """Queue the answer to a frame of the client.

        While the client does not take its answers, nothing more is read from it.
        """
        self._push(frame)
        if self._size >= 2 * BUDGET_BYTES:
            self._owes = True
            self._read_or_not()

    def _push(self, frame: bytes) -> None:
        if self.closing is not None or self._ended:
            return
        if not self._queue and not self._paused:
            self._flusher.add(self)
        self._queue.append(frame)
        self._size += len(frame)

    def when_received(self, call: Callable[[], None]) -> None:
        """Call a function once the client has received everything that was queued so far."""
        if self._receipts is None:
            self._receipts = Receipts(lambda data: self._push(ping_frame(data)))
        self._receipts.when_received(call)

    async def drained(self) -> None:
        """Wait until half of the budget is free, or the socket is to end."""
        while self._size > BUDGET_BYTES // 2 and self.closing is None and not self._ended:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter

    @property
    def gone(self) -> bool:
        """Whether nothing more is sent."""
        return self._ended or self.closing is not None

    def flush(self) -> None:
        """Give the queue to the transport, as far as it has room."""
        queue = self._queue
        if not queue or self._paused or self._ended:
            return
        if self._size <= CHUNK_BYTES:
            self._queue = []
            self._write(queue[0] if len(queue) == 1 else b"".join(queue), len(queue))
        else:
            self._flush_chunks()
        if self._size <= BUDGET_BYTES // 2:
            self._room()

    def _flush_chunks(self) -> None:
        """Write until the transport is full: a chunk at a time, or one frame that is larger."""
        queue, taken = self._queue, 0
        while taken < len(queue) and not self._paused:
            first, size = taken, 0
            while taken < len(queue) and (not size or size + len(queue[taken]) <= CHUNK_BYTES):
                size += len(queue[taken])
                taken += 1
            self._write(b"".join(queue[first:taken]), taken - first)
        self._queue = queue[taken:]

    def _write(self, data: bytes, frames: int) -> None:
        self._size -= len(data)
        self._written += len(data)
        metrics.DELIVERED.inc(frames)
        self._transport.write(data)

    def _room(self) -> None:
        """Let replays go on, and read from the client again."""
        if self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
        self._owes = False
        self._read_or_not()

    # Reading is held while the client does not take its answers, or has asked for too much.

    def hold_reading(self) -> None:
        """Read nothing more from the client: it must wait for its answers."""
        self._busy = True
        self._read_or_not()

    def resume_reading(self) -> None:
        """Read from the client again."""
        self._busy = False
        self._read_or_not()

    @property
    def held(self) -> bool:
        """Whether the client's frames are not read, so that it cannot be heard."""
        return self._held

    def _read_or_not(self) -> None:
        hold = (self._owes or self._busy) and self.closing is None and not self._ended
        if hold == self._held:
            return
        self._held = hold
        if self._ended:
            return
        if hold:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Stop writing: the transport has enough (asyncio calls this)."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write again: the transport has room (asyncio calls this)."""
        self._paused = False
        if self._queue:
            self._flusher.add(self)

    def check(self, now: float) -> None:
        """Close the socket if its reader has taken nothing for too long; called regularly."""
        buffered = self._transport.get_write_buffer_size()
        if not buffered and not self._size:
            self._progress = None
            return
        taken = self._written - buffered - _unacknowledged(self._transport)
        if self._progress is None or taken > self._progress[0]:
            self._progress = (taken, now)
        elif now - self._progress[1] >= STALL_SECONDS:
            self.close(Close.SLOW, "too slow; resume with since")

    # Closing

    def close(self, code: int, reason: str) -> None:
        """Close after what waits; what waits is dropped when nobody reads it, or should."""
        if self._ended or (self.closing is not None and code not in _AT_ONCE):
            return
        if self.closing is None:
            metrics.CLOSED.labels(code).inc()
            if code in _AT_ONCE:
                self._queue.clear()
                self._size = 0
            self._push(close_frame(code, reason))
            self.closing = (code, reason)
            self._room()
        self._cut_in(CUT_SECONDS if code in _AT_ONCE else CLOSING_SECONDS)

    def shutdown(self) -> None:
        """Close: the process ends (uvicorn calls this)."""
        self.close(Close.RESTART, "restart; resume with since")

    def _cut_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        if self._cut is None or self._cut.when() > due:
            if self._cut is not None:
                self._cut.cancel()
            self._cut = loop.call_at(due, self._transport.abort)

    # Receiving

    def data_received(self, data: bytes) -> None:
        """Read frames (asyncio calls this)."""
        try:
            for message in self._reader.feed(data):
                self._handle(message)
        except BadFrameError as error:
            self.close(error.code, error.reason)

    def _handle(self, message: Message) -> None:
        match message.opcode:
            case Opcode.CLOSE:
                self._answer_close(message.data)
            case _ if self.closing is not None or self._listener is None:
                pass
            case Opcode.TEXT:
                try:
                    text = message.data.decode()
                except UnicodeDecodeError:
                    self.close(CloseCode.INVALID_DATA, "a text is UTF-8")
                else:
                    self._listener.received_text(text)
            case Opcode.BINARY:
                self._listener.received_binary(message.data)
            case Opcode.PING:
                self.answer(pong_frame(message.data))
            case Opcode.PONG if self._receipts is not None:
                self._receipts.pong(message.data)
            case _:
                pass

    def _answer_close(self, data: bytes) -> None:
        """End the connection; repeat the client's code first, unless the server has closed."""
        if self.closing is None:
            code = int.from_bytes(data[:2], "big") if data else CloseCode.NORMAL_CLOSURE
            self._push(close_frame(code, ""))
            self.closing = (code, "closed by the client")
        self._paused = False
        self.flush()
        self._transport.close()
        self._cut_in(CUT_SECONDS)

    def eof_received(self) -> None:
        """End the connection: the client sends no more (asyncio calls this)."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything (asyncio calls this)."""
        del exc
        self._ended = True
        self._queue = []
        self._size = 0
        self._open.discard(self)
        if self._cut is not None:
            self._cut.cancel()
        self._room()
        if self._listener is not None:
            self._listener.ended()
            self._listener = None


def _unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Return how many bytes the kernel holds that the client's has not acknowledged (tcp(7))."""
    socket = transport.get_extra_info("socket")
    if socket is None:
        return 0
    try:
        answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:
        return 0
    return cast(int, struct.unpack("i", answer)[0])

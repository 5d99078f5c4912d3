"""WebSocket frames without I/O (RFC 6455), on the parser of the websockets library.

The library's connection object costs 5.8 KB for each open socket. This reader has a state only
between the parts of a message, so an idle socket has nothing but a reader's few fields.
"""

from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Close, CloseCode, Frame, Opcode

_CONTROL: Final = frozenset({Opcode.CLOSE, Opcode.PING, Opcode.PONG})
_EMPTY: Final = bytearray()
"""Shared by all idle sockets; never changed."""


class BadFrameError(Exception):
    """What a client sent breaks the protocol: the socket must be closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Message(NamedTuple):
    """A whole message of a client, or a control frame."""

    opcode: Opcode
    data: bytes


def ping_frame(data: bytes) -> bytes:
    """Return a ping."""
    return Frame(Opcode.PING, data).serialize(mask=False)


def pong_frame(data: bytes) -> bytes:
    """Return the answer to a ping."""
    return Frame(Opcode.PONG, data).serialize(mask=False)


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame."""
    return Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False)


class FrameReader:
    """Reads the messages of one client from what its connection receives."""

    __slots__ = ("_buffer", "_max_bytes", "_opcode", "_parsing", "_parts")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer: bytearray = _EMPTY
        self._parsing: Generator[None, None, Frame] | None = None
        self._parts: bytearray | None = None
        self._opcode = Opcode.TEXT

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete with this data.

        Raises:
            BadFrameError: The data breaks the protocol, or a message is too large.
        """
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = bytearray(data)
        try:
            while self._buffer or self._parsing is not None:
                parsing = self._parsing or self._frame()
                try:
                    next(parsing)
                except StopIteration as done:
                    self._parsing = None
                    message = self._assemble(done.value)
                    if message is not None:
                        yield message
                else:
                    self._parsing = parsing
                    return
        except PayloadTooBig:
            raise BadFrameError(CloseCode.MESSAGE_TOO_BIG, self._too_large()) from None
        except (ProtocolError, UnicodeDecodeError):
            raise BadFrameError(CloseCode.PROTOCOL_ERROR, "not a valid WebSocket frame") from None
        self._buffer = _EMPTY

    def _frame(self) -> Generator[None, None, Frame]:
        received = len(self._parts or b"")
        return Frame.parse(self._read_exact, mask=True, max_size=self._max_bytes - received)

    def _read_exact(self, size: int) -> Generator[None, None, bytes]:
        while len(self._buffer) < size:
            yield
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def _assemble(self, frame: Frame) -> Message | None:
        """Return the message that a frame completes (RFC 6455, section 5.4)."""
        data = bytes(frame.data)
        if frame.opcode in _CONTROL:
            if frame.opcode is Opcode.CLOSE:
                Close.parse(data)
            return Message(frame.opcode, data)
        if (frame.opcode is Opcode.CONT) is (self._parts is None):
            raise ProtocolError("not the next part of a message")
        if self._parts is None:
            if frame.fin:
                return Message(frame.opcode, data)
            self._opcode, self._parts = frame.opcode, bytearray(data)
            return None
        self._parts += data
        if not frame.fin:
            return None
        whole, self._parts = bytes(self._parts), None
        return Message(self._opcode, whole)

    def _too_large(self) -> str:
        return f"a frame has at most {self._max_bytes} bytes"

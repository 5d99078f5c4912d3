"""A client of the socket in memory: real frames, by another implementation, and no network.

The server's end is what runs in production from the moment at which uvicorn gives a connection
away. The client's end is the websockets library.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING, State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from ashchat_chat.wire.socket import Sockets
from ashchat_e2e.frame_checker import FrameChecker


class DeniedError(Exception):
    """The server has refused the socket."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.status_code = response.status_code
        self.headers = response.headers
        self._body = bytes(response.body or b"")

    def json(self) -> Any:
        """Return the body."""
        return json.loads(self._body)


PEER = "10.0.0.1"
"""The address that every connection comes from: a proxy's."""


class MemoryTransport(asyncio.Transport):
    """The server's transport: what it writes is given to the client, or waits for it.

    Attributes:
        reads: Whether the client takes what is written.
    """

    def __init__(self, client: "WireClient") -> None:
        super().__init__()
        self._client = client
        self._high, self._low = 64 * 1024, 16 * 1024
        self._buffer = bytearray()
        self._protocol: Any = None
        self.reads = True
        self.writes = 0
        self.reading = True
        self.closed = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (PEER, 4711) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high, self._low = high or 0, low or 0

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def write(self, data: Any) -> None:
        if self.closed:
            return
        self.writes += 1
        if self.reads:
            self._client.take(bytes(data))
            return
        self._buffer += data
        if len(self._buffer) > self._high:
            self._protocol.pause_writing()

    def take(self, size: int | None = None) -> None:
        """Let the client take what waits, or only so many bytes of it."""
        part = bytes(self._buffer[:size])
        del self._buffer[: len(part)]
        self._client.take(part)
        if len(self._buffer) <= self._low:
            self._protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        self._client.deliver()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._lost)

    def _lost(self) -> None:
        self._client.lost.set()
        self._protocol.connection_lost(None)


class WireClient:
    """The client's end of one socket."""

    def __init__(
        self, url: str, subprotocols: Sequence[str] = (), state: State = CONNECTING
    ) -> None:
        self._protocol = ClientProtocol(
            parse_uri(url),
            subprotocols=[Subprotocol(one) for one in subprotocols] or None,
            state=state,
        )
        self.violations: list[str] = []
        """Frames that the AsyncAPI document does not describe."""
        self._checker = FrameChecker(self.violations)
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._unsent: list[bytes] = []
        self.answered = asyncio.Event()
        self.lost = asyncio.Event()
        self.response: Response | None = None
        self.transport = MemoryTransport(self)

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol

    async def open(self, sockets: Sockets, headers: Mapping[str, str]) -> None:
        request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        handshake: Any = sockets.protocol(set())
        self.transport.set_protocol(handshake)
        handshake.connection_made(self.transport)
        # As uvicorn does, whatever the transport reads.
        handshake.data_received(b"".join(self._protocol.data_to_send()))
        async with asyncio.timeout(5):
            await self.answered.wait()
        failed = self._protocol.handshake_exc
        if isinstance(failed, InvalidStatus):
            raise DeniedError(failed.response)
        if failed is not None:
            raise failed

    def take(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            assert not isinstance(event, Request)
            match event:
                case Response():
                    self.response = event
                    self.answered.set()
                case Frame(opcode=Opcode.CLOSE) as frame:
                    code = int.from_bytes(bytes(frame.data[:2]), "big")
                    reason = bytes(frame.data[2:]).decode()
                    self._messages.put_nowait(
                        {"type": "websocket.close", "code": code, "reason": reason}
                    )
                case Frame() as frame:
                    text = bytes(frame.data).decode()
                    self._checker.received(text)
                    self._messages.put_nowait({"type": "websocket.send", "text": text})
        if self._protocol.handshake_exc is not None:
            self.answered.set()
        self.deliver()

    def deliver(self) -> None:
        """Give the server what the client has sent, unless it does not read."""
        self._unsent += [part for part in self._protocol.data_to_send() if part]
        if self.transport.reading and not self.transport.closed and self._unsent:
            data, self._unsent = b"".join(self._unsent), []
            asyncio.get_running_loop().call_soon(self._deliver_to, data)

    def _deliver_to(self, data: bytes) -> None:
        if not self.transport.closed:
            self.transport.get_protocol().data_received(data)

    def send_bytes(self, data: bytes) -> None:
        self._checker.sent_binary(data)
        self._protocol.send_binary(data)
        self.deliver()

    def send_text(self, text: str) -> None:
        self._checker.sent(text)
        self._protocol.send_text(text.encode("utf-8", "surrogatepass"))
        self.deliver()

    def send_json(self, frame: Any) -> None:
        self.send_text(json.dumps(frame))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that need not be frames."""
        self._unsent.append(data)
        self.deliver()

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(5):
            return await self._messages.get()

    async def receive_json(self) -> Any:
        message = await self.receive()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    def received(self) -> list[Any]:
        """Return the frames that have come and were not looked at yet."""
        return [
            json.loads(self._messages.get_nowait()["text"]) for _ in range(self._messages.qsize())
        ]

    def hang_up(self) -> None:
        """End the connection without a close frame."""
        self.transport.abort()


@asynccontextmanager
async def connect(
    sockets: Sockets,
    url: str = "/socket/websocket",
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
) -> AsyncIterator[WireClient]:
    """Open a socket; it is closed at the end.

    Raises:
        DeniedError: The server has refused it.
    """
    client = WireClient(f"ws://chat{url}?{urlencode(params or {})}", subprotocols)
    await client.open(sockets, headers or {})
    try:
        yield client
    finally:
        client.hang_up()
        async with asyncio.timeout(5):
            await client.lost.wait()
        await asyncio.sleep(0)
    assert not client.violations, client.violations

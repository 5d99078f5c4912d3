"""The chat service's socket layer alone, for `make bench-chat`: plain broadcast, nothing stored."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
import uvloop

from ashchat_chat.wire.admission import SocketRequest
from ashchat_chat.wire.connection import Connection
from ashchat_chat.wire.flusher import Flusher
from ashchat_chat.wire.handshake import Handshake
from ashchat_chat.wire.text_frames import text_frame

connected: set[Connection] = set()
flusher = Flusher()


class Broadcast:
    """Sends what a client sends to all clients."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        connected.add(connection)

    def received_text(self, text: str) -> None:
        """Pass a message on."""
        frame = text_frame(text.encode())
        for one in connected:
            one.offer(frame)

    def received_binary(self, data: bytes) -> None:
        """Ignore it."""

    def ended(self) -> None:
        """Remove a client."""
        connected.discard(self._connection)


async def accept(_: SocketRequest) -> Callable[[Connection], None]:
    """Open every socket."""
    return lambda connection: connection.listen(Broadcast(connection))


async def no_pages(scope: Any, receive: Any, send: Any) -> None:
    """Answer no request but sockets."""


def protocol(*, server_state: Any, **_: Any) -> asyncio.Protocol:
    """Return the protocol of a connection that asks for a WebSocket."""
    return Handshake(accept, flusher, server_state.connections)


if __name__ == "__main__":
    config = uvicorn.Config(
        no_pages,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        ws=protocol,  # type: ignore[arg-type]
        lifespan="off",
        log_level="error",
    )
    uvloop.run(uvicorn.Server(config).serve())

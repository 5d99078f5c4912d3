"""A peer for `make bench-chat`: plain broadcast by picows, one `send` per client and message."""

import sys

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

connected: set[WSTransport] = set()


class Broadcast(WSListener):
    """Sends what a client sends to all clients."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Add a client."""
        connected.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Remove a client."""
        connected.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Pass a message on."""
        if frame.msg_type == WSMsgType.TEXT:
            text = frame.get_payload_as_bytes()
            for one in connected:
                one.send(WSMsgType.TEXT, text)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


async def main(port: int) -> None:
    """Serve until the process is ended."""

    def listener(_: WSUpgradeRequest) -> Broadcast:
        return Broadcast()

    server = await ws_create_server(listener, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

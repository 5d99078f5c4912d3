"""A peer for `make bench-chat`: plain broadcast by Starlette on uvicorn."""

import asyncio
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

connected: set[WebSocket] = set()


async def socket(websocket: WebSocket) -> None:
    """Send what a client sends to all clients."""
    await websocket.accept()
    connected.add(websocket)
    try:
        while True:
            text = await websocket.receive_text()
            await asyncio.gather(
                *(one.send_text(text) for one in connected), return_exceptions=True
            )
    except WebSocketDisconnect:
        pass
    finally:
        connected.discard(websocket)


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/socket", socket)]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        ws_per_message_deflate=False,
        loop="uvloop",
    )

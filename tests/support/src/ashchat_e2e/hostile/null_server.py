"""A server that reads every request and every frame, and does nothing.

Runs in a pod: `python -m ashchat_e2e.hostile.null_server PORT`.
"""

import sys

from aiohttp import WSMsgType, web

MAX_BYTES = 16 * 2**20


async def answer(request: web.Request) -> web.StreamResponse:
    """Read everything; answer with an empty object, or never on a socket."""
    if request.headers.get("Upgrade", "").lower() == "websocket":
        socket = web.WebSocketResponse(max_msg_size=MAX_BYTES)
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                break
        return socket
    await request.read()
    return web.json_response({})


def app() -> web.Application:
    """Return the server."""
    found = web.Application(client_max_size=MAX_BYTES)
    found.router.add_route("*", "/{path:.*}", answer)
    return found


if __name__ == "__main__":
    web.run_app(app(), port=int(sys.argv[1]), access_log=None, print=None)

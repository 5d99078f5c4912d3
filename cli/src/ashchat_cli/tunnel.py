"""A local port that forwards to a port of a pod, through the API server.

It runs in this process, not in a separate kubectl: if the process is killed, nothing is left
behind, and the broker sees the connection end and requeues unacknowledged messages.

Each connection is a separate websocket with the subprotocol v4.channel.k8s.io: the first
byte of a frame is its channel (0 data, 1 error), and the first frame of each channel is the
port's number
(https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.34/#portforward-pod-v1-core,
as the kubelet's streaming server speaks it).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import aiohttp

from ashchat_cli.cluster import Cluster, path
from ashchat_cli.faults import CliError

PROTOCOL: Final = "v4.channel.k8s.io"
DATA: Final = 0
CHUNK_BYTES: Final = 65_536


class Tunnel:
    """The error of a tunnel: stored, because the client of the port only sees it close."""

    def __init__(self) -> None:
        self.port = 0
        self.fault: CliError | None = None


@asynccontextmanager
async def tunnel(cluster: Cluster, namespace: str, pod: str, port: int) -> AsyncIterator[Tunnel]:
    """Listen on a free port of 127.0.0.1 and forward each connection to the pod's port."""
    opened = Tunnel()
    place = f"{path('pods', namespace, pod)}/portforward"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with cluster.websocket(place, {"ports": str(port)}, PROTOCOL) as socket:
                up = asyncio.create_task(_up(reader, socket))
                try:
                    await _down(socket, writer)
                finally:
                    up.cancel()
                    await asyncio.gather(up, return_exceptions=True)
        except CliError as error:
            opened.fault = error
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    opened.port = server.sockets[0].getsockname()[1]
    try:
        yield opened
    finally:
        server.close()


async def _up(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    while data := await reader.read(CHUNK_BYTES):
        await socket.send_bytes(bytes([DATA]) + data)
    await socket.close()


async def _down(socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
    begun: set[int] = set()
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel not in begun:
            begun.add(channel)  # the port's number
            data = data[2:]
        if channel != DATA and data:
            return  # the kubelet could not connect, and closes the channel
        if channel == DATA and data:
            writer.write(data)
            with suppress(ConnectionError):
                await writer.drain()

"""Requests to the management API of RabbitMQ whose connection is closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ashchat_operator.backends.base import UnreachableError
from ashchat_operator.backends.rabbitmq.client import ManagementClient
from ashchat_operator.backends.rabbitmq.desired import RabbitMQTarget
from ashchat_operator.backends.rabbitmq.plan import Action

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


@asynccontextmanager
async def server(*answers: bytes) -> AsyncIterator[tuple[ManagementClient, list[str]]]:
    """Provide a client of a server that gives these answers, one per connection, and closes it."""
    left, requests = list(answers), list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head.split(b"\r\n", 1)[0].decode())
        writer.write(left.pop(0) if left else b"")
        writer.close()
        await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    target = RabbitMQTarget(f"http://127.0.0.1:{port}", "admin", "password")
    async with listening, ManagementClient(target) as client:
        yield client, requests


async def test_a_request_whose_connection_was_closed_is_sent_again() -> None:
    async with server(b"", ANSWER) as (client, requests):
        await client.perform(Action("DELETE", "/api/users/x", "deleted x"))
        assert requests == ["DELETE /api/users/x HTTP/1.1"] * 2


async def test_a_server_that_closes_every_connection_is_unreachable() -> None:
    async with server(b"", b"", ANSWER) as (client, requests):
        with pytest.raises(UnreachableError, match="RemoteProtocolError"):
            await client.perform(Action("DELETE", "/api/users/x", "deleted x"))
        assert len(requests) == 2

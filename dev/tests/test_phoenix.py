"""The Phoenix client against a server on loopback that sends configured frames."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from ashchat_dev.phoenix import (
    Frame,
    JoinRefusedError,
    PhoenixSocket,
    SocketLostError,
    SocketRefusedError,
    decode,
    encode,
)

Speak = Callable[[ServerConnection, list[Any]], Awaitable[None]]


@asynccontextmanager
async def server(speak: Speak) -> AsyncIterator[str]:
    async def handle(connection: ServerConnection) -> None:
        async for text in connection:
            await speak(connection, json.loads(text))

    async with serve(handle, "127.0.0.1", 0) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/socket/websocket"


async def reply(
    connection: ServerConnection, frame: list[Any], status: str = "ok", **response: Any
) -> None:
    join_ref, ref, topic, _event, _payload = frame
    payload = {"status": status, "response": response}
    await connection.send(json.dumps([join_ref, ref, topic, "phx_reply", payload]))


async def say_ok(connection: ServerConnection, frame: list[Any]) -> None:
    await reply(connection, frame, echo=frame[4])


def test_a_frame_survives_the_wire_with_any_script() -> None:
    frame = Frame("1", "2", "chat:x", "send_message", {"content": "¿Qué? 你好 🙂"})
    assert decode(encode(frame)) == frame
    assert "你好" in encode(frame)


@pytest.mark.parametrize("reference", [None, "a", 7])
def test_references_of_other_clients_are_read(reference: str | int | None) -> None:
    frame = Frame(reference, reference, "phoenix", "phx_reply", {})
    assert decode(encode(frame)) == frame


def test_a_lone_surrogate_is_escaped() -> None:
    frame = Frame("1", "2", "chat:5f0", "send_message", {"content": "a\ud800"})
    assert encode(frame).encode()
    assert decode(encode(frame)) == frame


def test_a_frame_is_an_array_of_five_in_the_order_phoenix_has() -> None:
    frame = Frame(None, "3", "phoenix", "heartbeat", {})
    assert encode(frame) == '[null,"3","phoenix","heartbeat",{}]'


@pytest.mark.parametrize("text", ["{}", "[]", "[1,2]", '["1","2",3,"e",{}]', '["1","2","t","e",1]'])
def test_what_is_not_a_frame_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a frame"):
        decode(text)


async def test_a_push_gets_its_own_reply() -> None:
    async with server(say_ok) as url, PhoenixSocket(url, {}) as socket:
        channel = await socket.join("chat:1", {"protocol": 2})
        assert channel.response == {"echo": {"protocol": 2}}
        replies = await asyncio.gather(
            *(channel.push("send_message", {"content": str(n)}) for n in range(5))
        )
        assert [one.response["echo"]["content"] for one in replies] == ["0", "1", "2", "3", "4"]
        assert (await socket.heartbeat()).status == "ok"


async def test_a_refused_join_has_the_reason() -> None:
    async def refuse(connection: ServerConnection, frame: list[Any]) -> None:
        await reply(connection, frame, "error", reason="chat_not_found")

    async with server(refuse) as url, PhoenixSocket(url, {}) as socket:
        with pytest.raises(JoinRefusedError) as error:
            await socket.join("chat:1")
        assert error.value.reason == "chat_not_found"


async def test_an_event_is_found_whether_it_came_before_or_comes_after() -> None:
    async def push_two(connection: ServerConnection, frame: list[Any]) -> None:
        await reply(connection, frame)
        for number in (1, 2):
            await connection.send(json.dumps([frame[0], None, frame[2], "event", {"n": number}]))

    async with server(push_two) as url, PhoenixSocket(url, {}) as socket:
        channel = await socket.join("chat:1")
        assert (await channel.wait("event", lambda event: event["n"] == 2)).payload == {"n": 2}
        assert (await channel.wait("event", lambda event: event["n"] == 1)).payload == {"n": 1}
        with pytest.raises(TimeoutError, match="no such event on chat:1"):
            await channel.wait("event", after=len(channel.events), within=0.01)


async def test_a_frame_of_an_earlier_join_is_dropped() -> None:
    async def push_stale(connection: ServerConnection, frame: list[Any]) -> None:
        await connection.send(json.dumps(["0", None, frame[2], "event", {"stale": True}]))
        await connection.send(json.dumps([frame[0], None, frame[2], "event", {"stale": False}]))
        await reply(connection, frame)

    async with server(push_stale) as url, PhoenixSocket(url, {}) as socket:
        channel = await socket.join("chat:1")
        assert channel.named("event") == [{"stale": False}]


async def test_a_closed_socket_ends_every_wait_and_says_how_it_closed() -> None:
    async def close(connection: ServerConnection, frame: list[Any]) -> None:
        if frame[3] == "phx_join":
            await reply(connection, frame)
        else:
            await connection.close(1012, "restarting")

    async with server(close) as url, PhoenixSocket(url, {}) as socket:
        channel = await socket.join("chat:1")
        waiting = asyncio.create_task(channel.wait("event"))
        with pytest.raises(SocketLostError):
            await channel.push("send_message", {})
        with pytest.raises(SocketLostError):
            await waiting
        assert await socket.closed == (1012, "restarting")
        with pytest.raises(SocketLostError):
            await channel.wait("event")


async def test_a_refused_socket_has_the_http_status() -> None:
    def refuse(connection: ServerConnection, _request: Any) -> Any:
        return connection.respond(403, "no")

    async def handle(_connection: ServerConnection) -> None: ...

    async with serve(handle, "127.0.0.1", 0, process_request=refuse) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        with pytest.raises(SocketRefusedError) as error:
            await PhoenixSocket(f"ws://127.0.0.1:{port}/", {}).connect()
        assert error.value.status == 403


async def test_nobody_listening_is_a_refusal_without_a_status() -> None:
    with pytest.raises(SocketRefusedError) as error:
        await PhoenixSocket("ws://127.0.0.1:1/", {}).connect()
    assert error.value.status == 0


async def test_a_left_topic_receives_nothing_more() -> None:
    async with server(say_ok) as url, PhoenixSocket(url, {}) as socket:
        channel = await socket.join("chat:1")
        assert (await channel.leave()).status == "ok"
        again = await socket.join("chat:1")
        assert again.join_ref != channel.join_ref

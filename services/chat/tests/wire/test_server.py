"""The socket on a real server: uvicorn, the event loop of production, the library's client."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
import uvloop
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from ashchat_chat.wire.socket import Sockets
from ashchat_core import runtime
from ashchat_core.settings import ServiceSettings
from ashchat_core.tokens import TokenVerifier
from chat_world import revocations
from wire_world import MemoryTickets, RecordingRules, sockets_of

Scenario = Callable[[str, uvicorn.Server, Sockets], Awaitable[None]]


async def no_pages(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive, send


def serve(verifier: TokenVerifier, scenario: Scenario) -> None:
    """Run a scenario against a server on loopback."""

    async def main() -> None:
        sockets = sockets_of(RecordingRules(), verifier, revocations(), MemoryTickets())
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            settings = ServiceSettings(_env_file=None, bind="127.0.0.1")
            server = runtime._Server(runtime._config(no_pages, settings, port, sockets.protocol))
            task = asyncio.create_task(server.serve(sockets=[listening]))
            async with asyncio.timeout(10):
                while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
                    await asyncio.sleep(0.005)
                await scenario(f"ws://127.0.0.1:{port}/socket/websocket", server, sockets)
                server.should_exit = True
                await task

    uvloop.run(main())


async def heartbeat(session: ClientConnection) -> None:
    await session.send('[null,1,"phoenix","heartbeat",{}]')
    assert json.loads(await session.recv())[1:4] == [1, "phoenix", "phx_reply"]


def test_sockets_open_and_a_stopping_server_closes_them_with_a_code_to_resume(
    verifier: TokenVerifier, token: Callable[..., str]
) -> None:
    async def scenario(url: str, server: uvicorn.Server, sockets: Sockets) -> None:
        async with connect(f"{url}?token={token()}&device_unique_id=device") as session:
            await heartbeat(session)
            assert len(server.server_state.connections) == 1
            server.should_exit = True
            with pytest.raises(ConnectionClosed) as closed:
                await session.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert not sockets._sessions

    serve(verifier, scenario)


def test_a_refused_socket_leaves_one_line_of_ours_and_none_of_the_servers(
    verifier: TokenVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(url: str, server: uvicorn.Server, sockets: Sockets) -> None:
        with capture_logs() as lines, pytest.raises(InvalidStatus) as refused:
            async with connect(f"{url}?token=secret"):
                pass
        assert refused.value.response.status_code == 401
        assert json.loads(bytes(refused.value.response.body))["reason"] == "token_malformed"
        assert [line["reason"] for line in lines] == ["token_malformed"]
        assert not server.server_state.connections
        assert not sockets._sessions

    with caplog.at_level("INFO"):
        serve(verifier, scenario)
    assert not [one for one in caplog.records if "socket" in one.getMessage().lower()]
    assert "secret" not in caplog.text


def test_a_large_frame_and_many_small_ones_arrive_whole(
    verifier: TokenVerifier, token: Callable[..., str]
) -> None:
    async def scenario(url: str, _: uvicorn.Server, __: Sockets) -> None:
        async with connect(f"{url}?token={token()}&device_unique_id=device") as session:
            await session.send('["1","1","chat:room","phx_join",{"protocol":2}]')
            text = "\U0001f600" * 8_000
            message = {"content": text, "mobile_ref_id": "1"}
            await session.send(json.dumps(["1", "2", "chat:room", "send_message", message]))
            for number in range(100):
                await session.send(f'[null,"h{number}","phoenix","heartbeat",{{}}]')
            replied: set[str] = set()
            while len(replied) < 102:
                frame = json.loads(await session.recv())
                if frame[3] == "phx_reply":
                    assert frame[4]["status"] == "ok"
                    replied.add(frame[1])

    serve(verifier, scenario)

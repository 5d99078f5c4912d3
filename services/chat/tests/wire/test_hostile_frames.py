"""Hostile frames: each gets an answer that the AsyncAPI document describes, or ends the socket."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from ashchat_chat.wire import limits
from ashchat_core.tokens import TokenVerifier
from ashchat_e2e.hostile_input import variants
from chat_world import revocations
from wire_client import WireClient, connect
from wire_world import ROOM, MemoryTickets, RecordingRules, sockets_of

EACH = 25
"""Variants of each frame."""
CHAT = f"chat:{ROOM}"
MESSAGE = f"{ROOM}.1"
JOINS = [
    ["1", "1", CHAT, "phx_join", {"protocol": 2, "since": 0}],
    ["2", "2", "notifications:ana", "phx_join", {}],
    ["3", "3", "presence:lobby", "phx_join", {}],
]
FRAMES: list[list[Any]] = [
    *JOINS,
    ["1", "4", CHAT, "send_message", {"content": "Hola", "mobile_ref_id": "c", "reply_to": None}],
    ["1", "5", CHAT, "edit_message", {"message_id": MESSAGE, "content": "x", "mobile_ref_id": "d"}],
    ["1", "6", CHAT, "delete_message", {"message_id": MESSAGE}],
    ["1", "7", CHAT, "react", {"message_id": MESSAGE, "emoji": "😀", "on": True}],
    ["1", "8", CHAT, "translate_again", {"message_id": MESSAGE}],
    ["1", "9", CHAT, "typing", {"is_typing": True}],
    ["1", "10", CHAT, "ack", {"n": 1, "delivered": 2}],
    ["3", "11", "presence:lobby", "visibility", {"visible": True}],
    ["3", "12", "presence:lobby", "phx_leave", {}],
    [None, "13", "phoenix", "heartbeat", {}],
]
PROBE: list[Any] = [None, "probe", "phoenix", "heartbeat", {}]


async def answered(socket: WireClient, text: str) -> bool:
    """Send a text; return whether the socket is still open once it was handled."""
    socket.send_text(text)
    socket.send_json(PROBE)
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.close":
            return False
        if json.loads(message["text"])[1] == "probe":
            return True


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: f"{frame[2]} {frame[3]}")
async def test_a_hostile_frame_gets_a_documented_answer(
    frame: list[Any],
    verifier: TokenVerifier,
    token: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FRAMES", limits.Rate(1e6, 1_000_000))
    monkeypatch.setattr(limits, "MESSAGES", limits.Rate(1e6, 1_000_000))
    sockets = sockets_of(RecordingRules(), verifier, revocations(), MemoryTickets())
    params = {"token": token(), "device_unique_id": "device", "vsn": "2.0.0"}
    texts = [json.dumps(frame), *variants(frame, EACH, f"{frame[3]}")]
    async with asyncio.timeout(60):
        while texts:
            async with connect(sockets, params=params) as socket:
                for join in JOINS:
                    assert await answered(socket, json.dumps(join))
                while texts and await answered(socket, texts.pop()):
                    pass

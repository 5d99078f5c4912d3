"""The border of the socket: who is admitted, what a frame is answered with, how it ends."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ashchat_chat.rooms.ports import Position, Profile
from ashchat_chat.users.revocations import (
    Revocations,
    epochs_over,
    session_over,
    user_over,
)
from ashchat_chat.wire import limits, socket
from ashchat_chat.wire.admission import Admitted
from ashchat_chat.wire.session import Session
from ashchat_chat.wire.socket import Sockets
from ashchat_core.messages import TEXT_MAX_CHARS
from ashchat_core.tokens import TokenVerifier
from chat_world import eventually, revocations
from wire_client import WireClient, connect
from wire_world import MemoryTickets, RecordingRules, denial, sockets_of

ROOM = "room"
NO_CONTENT = {"reason": "invalid_message", "field": "content"}
NO_REF = {"reason": "invalid_message", "field": "mobile_ref_id"}
NO_PROTOCOL = {"reason": "unsupported_protocol", "supported": [1, 2]}
URL = "/socket/websocket"


@pytest.fixture
def rules() -> RecordingRules:
    return RecordingRules()


@pytest.fixture
def over() -> Revocations:
    return revocations()


@pytest.fixture
def sockets(rules: Any, verifier: TokenVerifier, over: Revocations) -> Sockets:
    return sockets_of(rules, verifier, over, MemoryTickets())


Params = dict[str, str]


@pytest.fixture
def params(token: Callable[..., str]) -> Params:
    return {
        "token": token(), "device_unique_id": "device", "preferred_language": "es",
        "vsn": "2.0.0",
    }  # fmt: skip


async def ask(
    session: WireClient, event: str, payload: object, topic: str = f"chat:{ROOM}"
) -> dict[str, Any]:
    """Send a frame and return the payload of its answer."""
    ref = str(random.random())  # noqa: S311
    session.send_json(["1", ref, topic, event, payload])
    while True:
        frame = await session.receive_json()
        if frame[1] == ref:
            assert frame[0] == "1"
            assert frame[2:4] == [topic, "phx_reply"]
            answer: dict[str, Any] = frame[4]
            return answer


def refused(reason: str, **more: Any) -> dict[str, Any]:
    return {"status": "error", "response": {"reason": reason, **more}}


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"token": ""}, 401, "missing_token"),
        ({"token": "x"}, 401, "token_malformed"),
        ({"device_unique_id": ""}, 400, "missing_device_token"),
        ({"device_unique_id": "other"}, 401, "device_mismatch"),
        ({"vsn": "1.0.0"}, 400, "unsupported_vsn"),
    ],
)
async def test_a_rejected_socket_gets_the_reason(
    sockets: Sockets, params: Params, change: Params, status: int, reason: str
) -> None:
    denied = await denial(connect(sockets, params=params | change))
    assert (denied.status_code, denied.json()["reason"]) == (status, reason)


async def test_a_page_of_another_origin_opens_no_socket(sockets: Sockets, params: Params) -> None:
    denied = await denial(
        connect(sockets, params=params, headers={"Origin": "http://evil.example"})
    )
    assert (denied.status_code, denied.json()["reason"]) == (403, "origin_not_allowed")
    # Our own page may, and so may a client that is no browser.
    for headers in ({"Origin": "http://chat"}, {}):
        async with connect(sockets, params=params, headers=headers):
            pass


async def test_an_expired_token_is_not_admitted(
    sockets: Sockets, params: Params, token: Callable[..., str]
) -> None:
    params["token"] = token(exp=int(time.time()) - 60)
    denied = await denial(connect(sockets, params=params))
    assert denied.json()["reason"] == "token_expired"


@pytest.mark.parametrize("prefix", ["", "/chat"])
async def test_heartbeat_with_and_without_the_prefix(
    sockets: Sockets, params: Params, prefix: str
) -> None:
    async with connect(sockets, prefix + URL, params=params) as session:
        session.send_json([None, "9", "phoenix", "heartbeat", {}])
        answer = {"status": "ok", "response": {}}
        assert await session.receive_json() == [None, "9", "phoenix", "phx_reply", answer]


async def test_a_socket_ends_when_its_token_does(
    sockets: Sockets,
    params: Params,
    token: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "SWEEP_SECONDS", 0.01)
    # It is accepted, because clocks may differ, and closed at once.
    params["token"] = token(exp=int(time.time()))
    sweeping = asyncio.create_task(sockets.sweep())
    async with connect(sockets, params=params) as session:
        message = await session.receive()
    sweeping.cancel()
    assert (message["type"], message["code"]) == ("websocket.close", 4401)


async def test_the_sockets_of_a_revoked_session_close_and_the_others_stay(
    sockets: Sockets, params: Params, token: Callable[..., str], over: Revocations
) -> None:
    others = params | {"token": token(sid="other")}
    async with (
        connect(sockets, params=params) as one,
        connect(sockets, params=params) as two,
        connect(sockets, params=others) as stays,
    ):
        await over.revoke([session_over("s")])
        for closed in (one, two):
            message = await closed.receive()
            assert (message["code"], message["reason"]) == (4403, "session revoked")
        assert (await ask(stays, "phx_join", {}))["status"] == "ok"
        denied = await denial(connect(sockets, params=params))
        assert (denied.status_code, denied.json()["reason"]) == (401, "session_revoked")
        async with connect(sockets, params=others):
            pass


async def test_all_sockets_of_a_deleted_account_close(
    sockets: Sockets, params: Params, token: Callable[..., str], over: Revocations
) -> None:
    async with (
        connect(sockets, params=params) as one,
        connect(sockets, params=params | {"token": token(sid="other")}) as two,
        connect(sockets, params=params | {"token": token(user="ben")}) as stays,
    ):
        await over.revoke([user_over("ana")])
        assert [(await closed.receive())["code"] for closed in (one, two)] == [4403, 4403]
        assert (await ask(stays, "phx_join", {}))["status"] == "ok"


async def test_a_session_that_ends_while_its_socket_opens_is_closed(
    sockets: Sockets, params: Params, over: Revocations, rules: RecordingRules
) -> None:
    del params["preferred_language"]
    profile = rules.profile

    async def slow(user_id: str) -> Profile:
        # Admitted already, and not yet among the open ones.
        await over.revoke([session_over("s")])
        return await profile(user_id)

    rules.profile = slow  # type: ignore[method-assign]
    async with connect(sockets, params=params) as session:
        assert (await session.receive())["code"] == 4403


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("PT_br", "pt-BR"),
        ("sr-latn", "sr-Latn"),
        ("es" + "-aaaaaaaa" * 600, "en"),  # it would be in every message
        ("es" + "-a" * 20, "en"),
        ("no tag", "en"),
    ],
)
async def test_a_sockets_language_is_a_bounded_tag_or_the_profiles(
    sockets: Sockets, params: Params, rules: RecordingRules, asked: str, read: str
) -> None:
    async with connect(sockets, params=params | {"preferred_language": asked}) as session:
        await ask(session, "phx_join", {"protocol": 2})
    assert rules.attached[0][1].language == read


async def test_nobody_is_left_to_write_to(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    rules.alone = True
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        message = {"content": "x", "mobile_ref_id": "1"}
        assert await ask(session, "send_message", message) == refused("receiver_deleted")


async def test_protocol_2_says_when_an_offline_receiver_was_last_seen(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    rules.receiver_online = False
    for protocol, told in (
        (1, {"status": "offline"}),
        (2, {"user_id": "ben", "status": "offline", "last_seen_at": "2026-01-02T00:00:00.000Z"}),
    ):
        async with connect(sockets, params=params) as session:
            await ask(session, "phx_join", {"protocol": protocol})
            info = await session.receive_json()
            assert "last_seen_at" not in info[4]
            assert (await session.receive_json())[3:] == ["receiver_online", told]


@pytest.mark.parametrize("members", [3, 51])
async def test_protocol_2_says_who_is_online_in_a_group_that_is_not_large(
    sockets: Sockets, params: Params, rules: RecordingRules, members: int
) -> None:
    rules.group = [f"user-{number}" for number in range(members - 1)]
    online = [{"user_id": who, "status": "online"} for who in rules.group]
    for protocol, expected in ((1, []), (2, online if members == 3 else [])):
        async with connect(sockets, params=params) as session:
            await ask(session, "phx_join", {"protocol": protocol})
            assert (await session.receive_json())[3] == "receiver_info"
            session.send_json(["1", "after", f"chat:{ROOM}", "ack", {"n": 1}])
            frames = [await session.receive_json()]
            while frames[-1][1] != "after":
                frames.append(await session.receive_json())
            assert [frame[4] for frame in frames if frame[3] == "receiver_online"] == expected


async def test_joining_in_both_protocols(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        assert await ask(session, "phx_join", {}) == {"status": "ok", "response": {}}
        assert (await session.receive_json())[3:] == [
            "receiver_info",
            {
                "nickname": "Ben", "description": "", "photo_url": "",
                "preferred_language": "en", "tag_user_id": "ben_x",
            },
        ]  # fmt: skip
        assert (await session.receive_json())[3:] == ["receiver_online", {"status": "online"}]
        answer = await ask(session, "phx_join", {"protocol": 2, "since": 3})
        assert answer["response"] == {
            "protocol": 2, "pod": "pod-1", "rev": 5, "reset": False, "n": 4, "read_n": 3,
        }  # fmt: skip
    (_, first, since), (_, second, resumed) = rules.attached
    assert (first.protocol, since, second.protocol, resumed) == (1, 5, 2, 3)
    assert (first.user, first.language) == ("ana", "es")
    # The second join ended the first; the end of the socket the second.
    assert [place[1] for place in rules.detached] == [first, second]


@pytest.mark.parametrize(
    ("topic", "payload", "response"),
    [
        ("chat:other", {"protocol": 2}, {"reason": "chat_not_found"}),
        ("chat:", {}, {"reason": "unknown_topic"}),
        ("what", {}, {"reason": "unknown_topic"}),
        ("notifications:ben", {}, {"reason": "forbidden"}),
        (f"chat:{ROOM}", {"protocol": 3}, NO_PROTOCOL),
        (f"chat:{ROOM}", {"protocol": True}, NO_PROTOCOL),
        (f"chat:{ROOM}", {"protocol": 2, "since": -1}, {"reason": "invalid_since"}),
        (f"chat:{ROOM}", {"protocol": 2, "since": "1"}, {"reason": "invalid_since"}),
        (f"chat:{ROOM}", {"protocol": [2]}, NO_PROTOCOL),
    ],
)  # fmt: skip
async def test_joins_that_are_refused(
    sockets: Sockets,
    params: Params,
    topic: str,
    payload: dict[str, Any],
    response: dict[str, Any],
) -> None:
    async with connect(sockets, params=params) as session:
        answer = await ask(session, "phx_join", payload, topic)
        assert answer == {"status": "error", "response": response}


async def test_a_message_is_answered_and_in_protocol_1_confirmed(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {})
        answer = await ask(session, "send_message", {"content": "hola", "mobile_ref_id": "1"})
        assert answer == {
            "status": "ok",
            "response": {
                "chat_id": ROOM, "mobile_ref_id": "1", "message_id": "room.6", "rev": 6,
                "n": 5, "at": "2026-01-02T00:00:00.000Z", "duplicate": False,
            },
        }  # fmt: skip
        assert (await session.receive_json())[3:] == [
            "message_sent", {"mobile_ref_id": "1", "status": "SENT", "chat_id": ROOM},
        ]  # fmt: skip
    assert rules.sent == [("ana", "hola", "1")]


@pytest.mark.parametrize(
    ("payload", "response"),
    [
        ({"mobile_ref_id": "1"}, NO_CONTENT),
        ({"content": " ", "mobile_ref_id": "1"}, NO_CONTENT),
        ({"content": 1, "mobile_ref_id": "1"}, NO_CONTENT),
        ({"content": "a\0", "mobile_ref_id": "1"}, NO_CONTENT),
        ({"content": "\ud800", "mobile_ref_id": "1"}, NO_CONTENT),
        ({"content": "x" * 8001, "mobile_ref_id": "1"}, {"reason": "too_long", "limit": 8000}),
        ({"content": "x"}, NO_REF),
        ({"content": "x", "mobile_ref_id": ""}, NO_REF),
        ({"content": "x", "mobile_ref_id": "1" * 129}, NO_REF),
    ],
)  # fmt: skip
async def test_malformed_messages(
    sockets: Sockets,
    params: Params,
    rules: RecordingRules,
    payload: dict[str, Any],
    response: dict[str, Any],
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        assert await ask(session, "send_message", payload) == {
            "status": "error",
            "response": response,
        }
    assert rules.sent == []


BLANK = (
    "", " ", "\r\n", "\u0085", "\u200b", "\u2800", "\u3164", "\ufeff", "\u00ad", "\u2066\u2069",
)  # fmt: skip


@pytest.mark.parametrize("content", BLANK)
async def test_what_has_no_visible_character_is_no_message(
    sockets: Sockets, params: Params, rules: RecordingRules, content: str
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        message = {"content": content, "mobile_ref_id": "1"}
        assert await ask(session, "send_message", message) == refused(**NO_CONTENT)
        changed = {**message, "message_id": f"{ROOM}.2"}
        assert await ask(session, "edit_message", changed) == refused(**NO_CONTENT)
    assert rules.sent == []


async def test_messages_are_changed(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        about = {"message_id": f"{ROOM}.2"}
        message = {"content": "x", "mobile_ref_id": "1"}
        answer = await ask(session, "edit_message", {**message, **about})
        assert answer["response"] == {
            "rev": 7, "at": "2026-01-02T00:00:00.000Z", "duplicate": False,
        }  # fmt: skip
        assert await ask(session, "delete_message", about) == {"status": "ok", "response": {}}
        assert await ask(session, "translate_again", about) == refused("nothing_failed")
        await ask(session, "send_message", {**message, "reply_to": f"{ROOM}.3"})
        everybody = {**message, "content": "@all come"}
        assert await ask(session, "send_message", everybody) == refused("mention_all_not_allowed")
        for wrong in (None, "", 2, "other.2", f"{ROOM}.x", f"{ROOM}.{2**60}"):
            answer = await ask(session, "delete_message", {"message_id": wrong})
            assert answer == refused("invalid_message", field="message_id")
    assert rules.changed == [("edit", 2), ("delete", 2), ("translate es", 2), ("reply", 3)]


async def test_reactions_are_one_emoji(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    heart, flag = "\u2764\ufe0f", "\U0001f1ea\U0001f1f8"
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        about = {"message_id": f"{ROOM}.2"}
        for reaction in ({"emoji": heart}, {"emoji": flag, "on": False}):
            answer = await ask(session, "react", {**about, **reaction})
            assert answer == {"status": "ok", "response": {}}
        for emoji in ("", "a", "1", heart + flag, flag[0], None, "\u200d", heart * 40):
            answer = await ask(session, "react", {**about, "emoji": emoji})
            assert answer == refused("invalid_message", field="emoji")
        own = {**about, "emoji": heart, "mobile_ref_id": "1"}
        assert (await ask(session, "react", own))["status"] == "ok"
        for wrong in ("", 1, "x" * 129):
            answer = await ask(session, "react", {**own, "mobile_ref_id": wrong})
            assert answer == refused("invalid_message", field="mobile_ref_id")
    assert rules.changed == [(f"{heart} True", 2), (f"{flag} False", 2), (f"{heart} True", 2)]
    assert rules.client_ids == ["", "", "1"]


async def test_without_a_join_nothing_is_done(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        message = {"content": "x", "mobile_ref_id": "1"}
        assert await ask(session, "send_message", message) == refused("not_joined")
        await ask(session, "phx_join", {"protocol": 2})
        session.send_json(["stale", "7", f"chat:{ROOM}", "send_message", message])
        while (frame := await session.receive_json())[1] != "7":
            pass
        assert frame[4] == refused("not_joined")
        assert await ask(session, "phx_leave", {}) == {"status": "ok", "response": {}}
        assert await ask(session, "send_message", message) == refused("not_joined")
    assert rules.sent == []


async def test_an_unavailable_store_is_reported_and_the_socket_stays(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        rules.away = True
        message = {"content": "x", "mobile_ref_id": "1"}
        assert await ask(session, "send_message", message) == refused(
            "unavailable", retry_after_ms=1000
        )
        rules.away = False
        assert (await ask(session, "send_message", message))["status"] == "ok"


async def test_reads_typing_and_the_unknown(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        assert (await ask(session, "ack", {"n": 4}))["response"] == {"n": 4, "delivered": 0}
        answer = await ask(session, "ack", {"delivered": 5})
        assert answer["response"] == {"n": 0, "delivered": 5}
        for n in (0, -1, "5", None, True, 1.5):
            assert await ask(session, "ack", {"n": n}) == refused("invalid_n")
        session.send_json(["1", "8", f"chat:{ROOM}", "typing", {"is_typing": True}])
        assert await ask(session, "what", {}) == refused("unknown_event")
    assert rules.typed == [True, False]


async def test_too_many_messages_are_refused_for_a_while(
    sockets: Sockets, params: Params, rules: RecordingRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MESSAGES", limits.Rate(0.1, 3))
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        message = {"content": "x", "mobile_ref_id": "1"}
        answers = [await ask(session, "send_message", message) for _ in range(5)]
        assert [answer["status"] for answer in answers] == ["ok"] * 3 + ["error"] * 2
        assert answers[-1]["response"]["reason"] == "rate_limited"
        assert answers[-1]["response"]["retry_after_ms"] > 1000
    assert len(rules.sent) == 3


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "no json", "[1,2,3,4,{}]", '[1.0,"2","t","e",{}]', '[true,"2","t","e",{}]',
        '[[],"2","t","e",{}]', '["1",{},"t","e",{}]', f'[{2**60},"2","t","e",{{}}]',
    ],
)  # fmt: skip
async def test_what_is_no_frame_closes_the_socket(
    sockets: Sockets, params: Params, text: str
) -> None:
    async with connect(sockets, params=params) as session:
        session.send_text(text)
        assert (await session.receive())["code"] == 4400


async def test_an_invalid_binary_frame_closes_the_socket(sockets: Sockets, params: Params) -> None:
    async with connect(sockets, params=params) as session:
        session.send_bytes(b"x")
        assert await session.receive() == {
            "type": "websocket.close",
            "code": 4400,
            "reason": "binary frames are not supported",
        }


async def test_a_binary_push_is_refused_with_a_reason_and_the_topics_go_on(
    sockets: Sockets, params: Params
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        topic = f"chat:{ROOM}".encode()
        # As phoenix.js sends an ArrayBuffer.
        head = bytes((0, 1, 1, len(topic), len(b"send_message")))
        session.send_bytes(head + b"1" + b"7" + topic + b"send_message" + b"\x89PNG")
        while (frame := await session.receive_json())[1] != "7":
            pass
        assert frame[4] == refused("binary_not_supported")
        assert (await ask(session, "ack", {"n": 5}))["status"] == "ok"


@pytest.mark.parametrize("payload", [None, [], "x", 9, True])
@pytest.mark.parametrize("event", ["phx_join", "typing", "send_message", "ack"])
async def test_a_payload_that_is_no_object_is_answered_and_ends_nothing(
    sockets: Sockets, params: Params, rules: RecordingRules, event: str, payload: object
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        assert await ask(session, event, payload) == refused("invalid_payload")
        assert (await ask(session, "ack", {"n": 5}))["status"] == "ok"
    assert len(rules.attached) == 1


async def test_integer_references_are_repeated_as_they_came(
    sockets: Sockets, params: Params
) -> None:
    async with connect(sockets, params=params) as session:
        session.send_json([1, 1, f"chat:{ROOM}", "phx_join", {"protocol": 2}])
        assert (await session.receive_json())[:2] == [1, 1]
        session.send_json([1, 2, f"chat:{ROOM}", "ack", {"n": 5}])
        while (frame := await session.receive_json())[1] is None:
            pass
        assert (frame[0], frame[1], frame[4]["status"]) == (1, 2, "ok")
        session.send_json([None, 3, "phoenix", "heartbeat", {}])
        assert (await session.receive_json())[:2] == [None, 3]
        session.send_json([2, 4, f"chat:{ROOM}", "ack", {"n": 5}])
        assert (await session.receive_json())[4] == refused("not_joined")


async def test_a_frame_without_a_join_reference_is_for_the_present_join(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        message = {"content": "hola", "mobile_ref_id": "1"}
        topic = f"chat:{ROOM}"
        session.send_json([None, "1", topic, "send_message", message])
        assert (await session.receive_json())[4] == refused("not_joined")
        await ask(session, "phx_join", {"protocol": 2})
        session.send_json([None, "2", topic, "typing", {"is_typing": True}])
        session.send_json([None, "3", topic, "send_message", message])
        while (frame := await session.receive_json())[1] != "3":
            pass
        assert (frame[0], frame[4]["status"]) == ("1", "ok")
        session.send_json([None, "4", topic, "phx_leave", {}])
        assert (await session.receive_json())[4]["status"] == "ok"
        assert await ask(session, "send_message", message) == refused("not_joined")
    assert (rules.sent, rules.typed) == ([("ana", "hola", "1")], [True, False])


async def test_leaving_and_joining_again_without_waiting(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    topic = f"chat:{ROOM}"
    message = {"content": "hola", "mobile_ref_id": "1"}
    async with connect(sockets, params=params) as session:
        for frame in (
            ["6", "6", topic, "phx_join", {"protocol": 2}],
            ["6", "15", topic, "phx_leave", {}],
            ["21", "21", topic, "phx_join", {"protocol": 2, "since": 0}],
            ["6", "22", topic, "send_message", message],
            ["6", "23", topic, "phx_leave", {}],
            ["21", "24", topic, "send_message", message],
        ):
            session.send_json(frame)
        replies: list[Any] = []
        while not replies or replies[-1][1] != "24":
            frame = await session.receive_json()
            assert frame[3] != "phx_close"
            replies += [frame] if frame[3] == "phx_reply" else []
    assert [frame[1] for frame in replies] == ["6", "15", "21", "22", "23", "24"]
    assert replies[3][4] == refused("not_joined")
    assert replies[5][4]["status"] == "ok"
    assert len(rules.sent) == 1


@pytest.mark.parametrize("text", ["\U0001f600", "\u4e2d", "\u0001", "x"])
@pytest.mark.parametrize("escaped", [True, False])
async def test_a_frame_admits_every_text_that_the_limit_of_characters_admits(
    sockets: Sockets, params: Params, rules: RecordingRules, text: str, *, escaped: bool
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        content = "x" + text * (TEXT_MAX_CHARS - 1)
        message = {"content": content, "mobile_ref_id": "\U0001f600" * 128}
        frame = ["1", "2", f"chat:{ROOM}", "send_message", message]
        session.send_text(json.dumps(frame, ensure_ascii=escaped))
        while (answer := await session.receive_json())[1] != "2":
            pass
        assert answer[4]["status"] == "ok"
    assert len(rules.sent) == 1


async def test_a_client_that_asks_for_too_much_is_not_read_until_it_is_answered(
    sockets: Sockets, params: Params, rules: RecordingRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = asyncio.Event()

    async def slow(_room: str, _user: str, position: Position) -> Position:
        await going.wait()
        return position

    monkeypatch.setattr(rules, "acknowledge", slow)
    monkeypatch.setattr(limits, "ACKS", limits.Rate(1_000, 1_000))
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        count = 3 * limits.FRAMES_WAITING
        for number in range(count):
            session.send_json(["1", f"a{number}", f"chat:{ROOM}", "ack", {"n": 5}])
            await asyncio.sleep(0)
        assert not session.transport.reading
        going.set()
        answered = 0
        while answered < count:
            answered += (await session.receive_json())[3] == "phx_reply"
        assert session.transport.reading


async def test_a_message_before_the_end_of_the_connection_is_sent(
    sockets: Sockets, params: Params, rules: RecordingRules
) -> None:
    async with connect(sockets, params=params) as session:
        await ask(session, "phx_join", {"protocol": 2})
        message = {"content": "hola", "mobile_ref_id": "1"}
        session.send_json(["1", "2", f"chat:{ROOM}", "send_message", message])
        await asyncio.sleep(0)
        session.hang_up()
        await session.lost.wait()
        await eventually(lambda: not sockets._sessions)
    assert len(rules.sent) == 1


async def test_too_many_frames_close_the_socket(
    sockets: Sockets, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FRAMES", limits.Rate(0.1, 3))
    async with connect(sockets, params=params) as session:
        for _ in range(4):
            session.send_text(json.dumps([None, "1", "phoenix", "heartbeat", {}]))
        for _ in range(3):
            assert (await session.receive())["type"] == "websocket.send"
        assert (await session.receive())["code"] == 4429


async def test_topics_and_sockets_are_limited(
    sockets: Sockets, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOPICS_PER_SOCKET", 0)
    monkeypatch.setattr(limits, "SOCKETS_PER_USER", 1)
    async with connect(sockets, params=params) as session:
        assert await ask(session, "phx_join", {}) == refused("too_many_topics")
        denied = await denial(connect(sockets, params=params))
    assert (denied.status_code, denied.json()["reason"]) == (429, "too_many_sockets")


class Leaving:
    """A socket that ends as soon as it is closed, and notes when and why."""

    gone = held = False

    def __init__(
        self, sockets: Sockets, closes: list[tuple[float, int]], user: str = "ana", sid: str = "s"
    ) -> None:
        self._closes = closes
        expiry = datetime.now(UTC)
        self.session = Session(
            sockets._rules, Admitted(user, sid, 1, "es", expiry), self,  # type: ignore[arg-type]
            expires_at=0.0, on_end=sockets._closed,
        )  # fmt: skip
        counts = sockets._admission._sockets
        counts[user] = counts.get(user, 0) + 1
        sockets._opened(self.session)

    def close(self, code: int, reason: str) -> None:
        assert reason
        self._closes.append((asyncio.get_running_loop().time(), code))
        self.session.ended()


async def test_a_pod_that_stops_does_not_send_everybody_to_the_others_at_once(
    sockets: Sockets, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "FAREWELL_SECONDS", 0.05)
    closes: list[tuple[float, int]] = []
    for _ in range(30):
        Leaving(sockets, closes)
    await sockets.close_all()
    assert [code for _, code in closes] == [1012] * 30
    times = [time for time, _ in closes]
    waves = 1 + sum(later - sooner > 0.002 for sooner, later in itertools.pairwise(times))
    assert waves >= 5
    assert times[-1] - times[0] <= 1
    denied = await denial(connect(sockets, params=params))
    assert (denied.status_code, denied.json()["reason"]) == (503, "restarting")
    assert denied.headers["Retry-After"] == "2"


async def test_a_pod_that_stops_waits_only_so_long_for_a_socket_that_does_not_end(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "FAREWELL_SECONDS", 0.01)
    closes: list[tuple[float, int]] = []
    monkeypatch.setattr(sockets, "_closed", lambda _: None)
    stays = Leaving(sockets, closes)
    await asyncio.wait_for(sockets.close_all(), 1)
    assert [code for _, code in closes] == [1012]
    assert stays.session in sockets._sessions


async def test_a_pod_that_stops_closes_its_sockets_though_redis_does_not_answer(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "FAREWELL_SECONDS", 0.01)
    given_up = False

    async def leave() -> None:
        nonlocal given_up
        try:
            await asyncio.Event().wait()
        finally:
            given_up = True

    monkeypatch.setattr(sockets._rules.presence, "leave", leave)
    closes: list[tuple[float, int]] = []
    Leaving(sockets, closes)
    await asyncio.wait_for(sockets.close_all(), 1)
    assert [code for _, code in closes] == [1012]
    assert given_up


@pytest.mark.parametrize("ended", ["session", "user", "epoch"])
async def test_an_ended_session_costs_its_own_sockets_and_not_a_walk_over_all(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    """Finding 34."""
    closes: list[tuple[float, int]] = []
    for number in range(200):
        Leaving(sockets, closes, f"user-{number}", f"session-{number}")
    over = sockets._revocations
    asked: list[str] = []
    revoked = over.revoked

    def counted(*, user: str, session: str, epoch: int) -> bool:
        asked.append(user)
        return revoked(user=user, session=session, epoch=epoch)

    monkeypatch.setattr(over, "revoked", counted)
    what = {
        "session": session_over("session-7"),
        "user": user_over("user-7"),
        "epoch": epochs_over("user-7", 2, None),
    }[ended]
    await over.revoke([what])
    assert asked == ["user-7"]
    assert [code for _, code in closes] == [4403]
    assert "session-7" not in sockets._by_name


async def test_a_socket_is_as_visible_as_its_client_asks(
    sockets: Sockets, rules: RecordingRules, params: Params
) -> None:
    lobby = "presence:lobby"
    async with connect(sockets, params={**params, "invisible": "true"}) as session:
        assert (await ask(session, "phx_join", {}, lobby))["status"] == "ok"
        assert rules.open == [("ana", False)]
        for visible in (True, False):
            answer = await ask(session, "visibility", {"visible": visible}, lobby)
            assert answer == {"status": "ok", "response": {"visible": visible}}
            assert rules.open == [("ana", visible)]
        assert await ask(session, "visibility", {}, lobby) == refused("invalid_visibility")
    await eventually(lambda: rules.open == [])


async def test_a_member_who_is_removed_during_the_join_is_sent_nothing_more(
    rules: RecordingRules, sockets: Sockets, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, removed, availability = asyncio.Event(), asyncio.Event(), rules.availability

    async def slow(last_seen: Any) -> Any:
        asked.set()
        await removed.wait()
        return await availability(last_seen)

    monkeypatch.setattr(rules, "availability", slow)
    async with connect(sockets, params=params) as session:
        session.send_json(["1", "1", f"chat:{ROOM}", "phx_join", {"protocol": 2}])
        await asked.wait()
        await eventually(lambda: rules.attached)
        rules.attached[0][1].end()
        removed.set()
        session.send_json([None, "last", "phoenix", "heartbeat", {}])
        events: list[str] = []
        while not events or events[-1] != "last":
            frame = await session.receive_json()
            events.append(frame[1] if frame[1] == "last" else frame[3])
        await asyncio.sleep(0)
        assert events[-2:] == ["phx_close", "last"]
        assert not [frame for frame in session.received() if frame[3] == "receiver_online"]


async def test_a_sender_who_is_removed_during_the_commit_is_sent_nothing_more(
    rules: RecordingRules, sockets: Sockets, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = rules.send

    async def removed(*message: Any) -> Any:
        rules.attached[0][1].end()
        return await send(*message)

    monkeypatch.setattr(rules, "send", removed)
    async with connect(sockets, params=params) as session:
        session.send_json(["1", "1", f"chat:{ROOM}", "phx_join", {}])
        await eventually(lambda: rules.attached)
        message = {"content": "hola", "mobile_ref_id": "1"}
        session.send_json(["1", "2", f"chat:{ROOM}", "send_message", message])
        session.send_json([None, "last", "phoenix", "phx_leave", {}])
        events: list[str] = []
        while not events or events[-1] != "last":
            frame = await session.receive_json()
            events.append(frame[1] if frame[1] == "last" else frame[3])
        assert events[-3:] == ["phx_close", "phx_reply", "last"]

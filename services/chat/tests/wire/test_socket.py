"""The border of the socket: who is admitted, what a frame is answered with, how it ends."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse, WebSocketTestSession

from ashchat_chat.rooms.errors import NoSuchRoomError, NoSuchUserError, ReceiverDeletedError
from ashchat_chat.rooms.events import Sent
from ashchat_chat.rooms.live import Joined
from ashchat_chat.rooms.ports import Profile, StoreUnavailableError
from ashchat_chat.users.revocations import Over, Revocations, session_over, user_over
from ashchat_chat.wire import http, limits, socket
from ashchat_chat.wire.connection import Connection
from ashchat_chat.wire.limits import Bucket
from ashchat_chat.wire.socket import RequestRejectedError, Session, Sockets
from ashchat_core.http import create_app
from ashchat_core.tokens import TokenVerifier
from chat_world import revocations

ROOM = "room"
NO_CONTENT = {"reason": "invalid_message", "field": "content"}
NO_REF = {"reason": "invalid_message", "field": "mobile_ref_id"}
NO_PROTOCOL = {"reason": "unsupported_protocol", "supported": [1, 2]}
URL = "/socket/websocket"


class Rules:
    """Rooms, notifications, presence, typing and chats in one: they note what is asked."""

    def __init__(self) -> None:
        self.live = self.appending = self
        self.away = False
        self.alone = False
        self.sent: list[tuple[str, str, str]] = []
        self.attached: list[Any] = []
        self.detached: list[Any] = []
        self.typed: list[bool] = []

    # rooms

    async def join(self, room_id: str, user: str, since: int | None) -> Joined:
        if room_id != ROOM:
            raise NoSuchRoomError
        return Joined(5, 5 if since is None else since, reset=False, members=(user, "ben"))

    async def attach(self, *place: Any) -> None:
        self.attached.append(place)

    def detach(self, *place: Any) -> None:
        self.detached.append(place)

    async def send(
        self, room_id: str, user: str, *, text: str, language: str, client_id: str
    ) -> tuple[Sent, bool]:
        if self.away:
            raise StoreUnavailableError
        if self.alone:
            raise ReceiverDeletedError
        self.sent.append((user, text, client_id))
        event = Sent(
            room=room_id, rev=6, at=datetime.now(UTC), sender=user,
            client_id=client_id, text=text, language=language,
        )  # fmt: skip
        return event, True

    async def acknowledge(self, _room: str, _user: str, up_to: int) -> int:
        return up_to

    # presence, typing, chats

    def opened(self, user: str) -> None: ...

    def closed(self, user: str) -> None: ...

    async def leave(self) -> None: ...

    async def online(self, _user: str) -> bool:
        return True

    def said(self, _room: str, _user: str, *, is_typing: bool) -> None:
        self.typed.append(is_typing)

    async def profile(self, user_id: str) -> Profile:
        if user_id == "nobody":
            raise NoSuchUserError
        return Profile(user_id, user_id.title(), f"{user_id}_x", "en")


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
def over() -> Revocations:
    return revocations()


@pytest.fixture
def sockets(rules: Any, verifier: TokenVerifier, over: Revocations) -> Sockets:
    return Sockets(
        rooms=rules, inbox=rules, presence=rules, typing=rules, profiles=rules,
        verifier=verifier, revocations=over, pod="pod-1",
    )  # fmt: skip


@pytest.fixture
def client(sockets: Sockets) -> Iterator[TestClient]:
    app = create_app(title="chat", prefix="/chat", render=http.render)
    socket.register(app, sockets)
    with TestClient(app, base_url="http://chat") as made:
        yield made


Params = dict[str, str]


@pytest.fixture
def params(token: Callable[..., str]) -> Params:
    return {
        "token": token(), "device_unique_id": "device", "preferred_language": "es",
        "vsn": "2.0.0",
    }  # fmt: skip


def ask(
    session: WebSocketTestSession, event: str, payload: dict[str, Any], topic: str = f"chat:{ROOM}"
) -> dict[str, Any]:
    """Send a frame and return the payload of its answer."""
    ref = str(random.random())  # noqa: S311
    session.send_json(["1", ref, topic, event, payload])
    while True:
        frame = session.receive_json()
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
def test_a_rejected_socket_gets_the_reason(
    client: TestClient, params: Params, change: Params, status: int, reason: str
) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect(URL, params=params | change),
    ):
        pass
    assert (denied.value.status_code, denied.value.json()["reason"]) == (status, reason)


def test_a_page_of_another_origin_opens_no_socket(client: TestClient, params: Params) -> None:
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect(URL, params=params, headers={"Origin": "http://evil.example"}),
    ):
        pass
    assert (denied.value.status_code, denied.value.json()["reason"]) == (403, "origin_not_allowed")
    # Our own page may, and so may a client that is no browser.
    for headers in ({"Origin": "http://testserver"}, {}):
        with client.websocket_connect(URL, params=params, headers=headers):
            pass


def test_an_expired_token_is_not_admitted(
    client: TestClient, params: Params, token: Callable[..., str]
) -> None:
    params["token"] = token(exp=int(time.time()) - 60)
    with (
        pytest.raises(WebSocketDenialResponse) as denied,
        client.websocket_connect(URL, params=params),
    ):
        pass
    assert denied.value.json()["reason"] == "token_expired"


@pytest.mark.parametrize("prefix", ["", "/chat"])
def test_heartbeat_with_and_without_the_prefix(
    client: TestClient, params: Params, prefix: str
) -> None:
    with client.websocket_connect(prefix + URL, params=params) as session:
        session.send_json([None, "9", "phoenix", "heartbeat", {}])
        answer = {"status": "ok", "response": {}}
        assert session.receive_json() == [None, "9", "phoenix", "phx_reply", answer]


def test_a_socket_ends_when_its_token_does(
    client: TestClient, params: Params, token: Callable[..., str]
) -> None:
    params["token"] = token(exp=int(time.time()) + 1)
    with client.websocket_connect(URL, params=params) as session:
        message = session.receive()
    assert (message["type"], message["code"]) == ("websocket.close", 4401)


def revoke(client: TestClient, over: Revocations, *what: Over) -> None:
    """Revoke where the sockets are served."""
    assert client.portal is not None
    client.portal.call(over.revoke, what)


def test_the_sockets_of_a_revoked_session_close_and_the_others_stay(
    client: TestClient, params: Params, token: Callable[..., str], over: Revocations
) -> None:
    others = params | {"token": token(sid="other")}
    with (
        client.websocket_connect(URL, params=params) as one,
        client.websocket_connect(URL, params=params) as two,
        client.websocket_connect(URL, params=others) as stays,
    ):
        revoke(client, over, session_over("s"))
        for session in (one, two):
            message = session.receive()
            assert (message["code"], message["reason"]) == (4403, "session revoked")
        assert ask(stays, "phx_join", {})["status"] == "ok"
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(URL, params=params),
        ):
            pass
        assert (denied.value.status_code, denied.value.json()["reason"]) == (401, "session_revoked")
        with client.websocket_connect(URL, params=others):
            pass


def test_all_sockets_of_a_deleted_account_close(
    client: TestClient, params: Params, token: Callable[..., str], over: Revocations
) -> None:
    with (
        client.websocket_connect(URL, params=params) as one,
        client.websocket_connect(URL, params=params | {"token": token(sid="other")}) as two,
        client.websocket_connect(URL, params=params | {"token": token(user="ben")}) as stays,
    ):
        revoke(client, over, user_over("ana"))
        assert [session.receive()["code"] for session in (one, two)] == [4403, 4403]
        assert ask(stays, "phx_join", {})["status"] == "ok"


def test_a_session_that_ends_while_its_socket_opens_is_closed(
    client: TestClient, params: Params, over: Revocations, rules: Rules
) -> None:
    del params["preferred_language"]
    profile = rules.profile

    async def slow(user_id: str) -> Profile:
        # Admitted already, and not yet among the open ones.
        await over.revoke([session_over("s")])
        return await profile(user_id)

    rules.profile = slow  # type: ignore[method-assign]
    with client.websocket_connect(URL, params=params) as session:
        assert session.receive()["code"] == 4403


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("PT_br", "pt-BR"),
        ("sr-latn", "sr-Latn"),
        ("es" + "-aaaaaaaa" * 3_000, "en"),  # it would be in every message
        ("es" + "-a" * 20, "en"),
        ("no tag", "en"),
    ],
)
def test_a_sockets_language_is_a_bounded_tag_or_the_profiles(
    client: TestClient, params: Params, rules: Rules, asked: str, read: str
) -> None:
    with client.websocket_connect(URL, params=params | {"preferred_language": asked}) as session:
        ask(session, "phx_join", {"protocol": 2})
    assert rules.attached[0][1].language == read


def test_nobody_is_left_to_write_to(client: TestClient, params: Params, rules: Rules) -> None:
    rules.alone = True
    with client.websocket_connect(URL, params=params) as session:
        ask(session, "phx_join", {"protocol": 2})
        message = {"content": "x", "mobile_ref_id": "1"}
        assert ask(session, "send_message", message) == refused("receiver_deleted")


def test_joining_in_both_protocols(client: TestClient, params: Params, rules: Rules) -> None:
    with client.websocket_connect(URL, params=params) as session:
        assert ask(session, "phx_join", {}) == {"status": "ok", "response": {}}
        assert session.receive_json()[3:] == [
            "receiver_info",
            {
                "nickname": "Ben", "description": "", "photo_url": "",
                "preferred_language": "en", "tag_user_id": "ben_x",
            },
        ]  # fmt: skip
        assert session.receive_json()[3:] == ["receiver_online", {"status": "online"}]
        answer = ask(session, "phx_join", {"protocol": 2, "since": 3})
        assert answer["response"] == {"protocol": 2, "pod": "pod-1", "rev": 5, "reset": False}
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
def test_joins_that_are_refused(
    client: TestClient,
    params: Params,
    topic: str,
    payload: dict[str, Any],
    response: dict[str, Any],
) -> None:
    with client.websocket_connect(URL, params=params) as session:
        answer = ask(session, "phx_join", payload, topic)
        assert answer == {"status": "error", "response": response}


def test_a_message_is_answered_and_in_protocol_1_confirmed(
    client: TestClient, params: Params, rules: Rules
) -> None:
    with client.websocket_connect(URL, params=params) as session:
        ask(session, "phx_join", {})
        answer = ask(session, "send_message", {"content": "hola", "mobile_ref_id": "1"})
        assert answer == {
            "status": "ok",
            "response": {
                "chat_id": ROOM, "mobile_ref_id": "1", "message_id": "room.6", "rev": 6,
                "duplicate": False,
            },
        }  # fmt: skip
        assert session.receive_json()[3:] == [
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
def test_malformed_messages(
    client: TestClient,
    params: Params,
    rules: Rules,
    payload: dict[str, Any],
    response: dict[str, Any],
) -> None:
    with client.websocket_connect(URL, params=params) as session:
        ask(session, "phx_join", {"protocol": 2})
        assert ask(session, "send_message", payload) == {"status": "error", "response": response}
    assert rules.sent == []


def test_without_a_join_nothing_is_done(client: TestClient, params: Params, rules: Rules) -> None:
    with client.websocket_connect(URL, params=params) as session:
        message = {"content": "x", "mobile_ref_id": "1"}
        assert ask(session, "send_message", message) == refused("not_joined")
        ask(session, "phx_join", {"protocol": 2})
        session.send_json(["stale", "7", f"chat:{ROOM}", "send_message", message])
        while (frame := session.receive_json())[1] != "7":
            pass
        assert frame[4] == refused("not_joined")
        assert ask(session, "phx_leave", {}) == {"status": "ok", "response": {}}
        assert ask(session, "send_message", message) == refused("not_joined")
    assert rules.sent == []


def test_an_unavailable_store_is_reported_and_the_socket_stays(
    client: TestClient, params: Params, rules: Rules
) -> None:
    with client.websocket_connect(URL, params=params) as session:
        ask(session, "phx_join", {"protocol": 2})
        rules.away = True
        message = {"content": "x", "mobile_ref_id": "1"}
        assert ask(session, "send_message", message) == refused("unavailable", retry_after_ms=1000)
        rules.away = False
        assert ask(session, "send_message", message)["status"] == "ok"


def test_reads_typing_and_the_unknown(client: TestClient, params: Params, rules: Rules) -> None:
    with client.websocket_connect(URL, params=params) as session:
        ask(session, "phx_join", {"protocol": 2})
        assert ask(session, "ack", {"rev": 5})["response"] == {"up_to": 5}
        for rev in (0, -1, "5", None, True, 1.5):
            assert ask(session, "ack", {"rev": rev}) == refused("invalid_rev")
        session.send_json(["1", "8", f"chat:{ROOM}", "typing", {"is_typing": True}])
        assert ask(session, "what", {}) == refused("unknown_event")
    assert rules.typed == [True, False]


def test_too_many_messages_are_refused_for_a_while(
    client: TestClient, params: Params, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MESSAGES", limits.Rate(0.1, 3))
    with client.websocket_connect(URL, params=params) as session:
        ask(session, "phx_join", {"protocol": 2})
        message = {"content": "x", "mobile_ref_id": "1"}
        answers = [ask(session, "send_message", message) for _ in range(5)]
        assert [answer["status"] for answer in answers] == ["ok"] * 3 + ["error"] * 2
        assert answers[-1]["response"]["reason"] == "rate_limited"
        assert answers[-1]["response"]["retry_after_ms"] > 1000
    assert len(rules.sent) == 3


@pytest.mark.parametrize("text", ["", "{}", "[]", '[1,2,"t","e",{}]', "no json"])
def test_what_is_no_frame_closes_the_socket(client: TestClient, params: Params, text: str) -> None:
    with client.websocket_connect(URL, params=params) as session:
        session.send_text(text)
        assert session.receive()["code"] == 4400


def test_a_binary_frame_closes_the_socket(client: TestClient, params: Params) -> None:
    with client.websocket_connect(URL, params=params) as session:
        session.send_bytes(b"x")
        assert session.receive()["code"] == 4400


def test_too_many_frames_close_the_socket(
    client: TestClient, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FRAMES", limits.Rate(0.1, 3))
    with client.websocket_connect(URL, params=params) as session:
        for _ in range(4):
            session.send_text(json.dumps([None, "1", "phoenix", "heartbeat", {}]))
        for _ in range(3):
            assert session.receive()["type"] == "websocket.send"
        assert session.receive()["code"] == 4429


def test_topics_and_sockets_are_limited(
    client: TestClient, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TOPICS_PER_SOCKET", 0)
    monkeypatch.setattr(limits, "SOCKETS_PER_USER", 1)
    with client.websocket_connect(URL, params=params) as session:
        assert ask(session, "phx_join", {}) == refused("too_many_topics")
        with (
            pytest.raises(WebSocketDenialResponse) as denied,
            client.websocket_connect(URL, params=params),
        ):
            pass
    assert (denied.value.status_code, denied.value.json()["reason"]) == (429, "too_many_sockets")


class Leaving(Connection):
    """A socket that ends as soon as it is closed, and notes when and why."""

    def __init__(self, sockets: Sockets, closes: list[tuple[float, int]]) -> None:
        super().__init__(None, dead=lambda: None)  # type: ignore[arg-type]
        loop = asyncio.get_running_loop()
        self._closes = closes
        self._sockets = sockets
        self._session = Session("ana", "s", 1, "es", self, Bucket(limits.FRAMES, 0), loop.time())
        sockets._opened(self._session)

    def close(self, code: int, reason: str) -> None:
        assert reason
        self._closes.append((asyncio.get_running_loop().time(), code))
        self._sockets._closed(self._session)


async def test_a_pod_that_stops_does_not_send_everybody_to_the_others_at_once(
    sockets: Sockets, token: Callable[..., str], monkeypatch: pytest.MonkeyPatch
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
    with pytest.raises(RequestRejectedError, match="restarting"):
        sockets._admit(token(), "device", "2.0.0")


async def test_a_pod_that_stops_waits_only_so_long_for_a_socket_that_does_not_end(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "FAREWELL_SECONDS", 0.01)
    closes: list[tuple[float, int]] = []
    stays = Leaving(sockets, closes)
    monkeypatch.setattr(sockets, "_closed", lambda _: None)
    await asyncio.wait_for(sockets.close_all(), 1)
    assert [code for _, code in closes] == [1012]
    assert stays._session in sockets._sessions


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

    monkeypatch.setattr(sockets._presence, "leave", leave)
    closes: list[tuple[float, int]] = []
    Leaving(sockets, closes)
    await asyncio.wait_for(sockets.close_all(), 1)
    assert [code for _, code in closes] == [1012]
    assert given_up

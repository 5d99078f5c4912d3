"""The border of the HTTP API: the gates, the shapes, what is refused before any store."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ashchat_chat.rooms.chats import ChatView, ListedRoom
from ashchat_chat.rooms.errors import (
    ChatExistsError,
    NoSuchRoomError,
    NoSuchUserError,
    Reason,
    RefusedError,
    SelfChatError,
)
from ashchat_chat.rooms.history import Page
from ashchat_chat.rooms.ports import Position, Profile, StoreUnavailableError
from ashchat_chat.rooms.room_list import Cursor, RoomSummary
from ashchat_chat.rooms.views import Member, RoomView
from ashchat_chat.users.revocations import Over, Revocations, session_over, user_over
from ashchat_chat.wire import asyncapi, http, limits
from ashchat_core.admission.gate import Admission
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.tokens import TokenVerifier
from chat_world import revocations

SEEN_AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
ANA = Profile("ana", "Ana", "ana_abcdefgh", "es", "hola", "/files/a.webp", last_seen_at=SEEN_AT)


class Chats:
    """Returns configured answers; the rules have their own tests."""

    def __init__(self) -> None:
        self.raises: Exception | None = None
        self.found: list[ChatView] = []
        self.asked: tuple[Any, ...] = ()
        self.changed: list[Mapping[str, str]] = []

    async def profile(self, user_id: str) -> Profile:
        if user_id != "ana":
            raise NoSuchUserError
        return ANA

    async def change(self, user_id: str, **fields: str) -> None:
        assert user_id == "ana"
        self.changed.append(fields)

    async def open_direct(self, user_id: str, receiver_tag: str) -> tuple[str, Profile]:
        assert (user_id, receiver_tag) == ("ana", "ben_abcdefgh")
        if self.raises is not None:
            raise self.raises
        return "room", Profile("ben", "Ben", receiver_tag, "en")

    async def before(self, _user_room: str, user: str, n: int | None, limit: int) -> Page:
        self.asked = (user, n, limit)
        if _user_room != "room":
            raise NoSuchRoomError
        return Page(9, 8, [], {}, more_before=True, more_after=False)

    async def after(self, _room: str, _user: str, n: int, limit: int) -> Page:
        self.asked = ("after", n, limit)
        return Page(9, 8, [], {}, more_before=True, more_after=False)

    async def around(self, _room: str, _user: str, n: int, limit: int) -> Page:
        self.asked = ("around", n, limit)
        return Page(9, 8, [], {}, more_before=True, more_after=False)

    async def at(self, _room: str, _user: str, at: datetime, limit: int) -> Page:
        self.asked = (at, limit)
        return Page(9, 8, [], {}, more_before=True, more_after=False)

    async def rooms(
        self, user: str, *, after: Cursor | None, limit: int
    ) -> tuple[list[ListedRoom], Cursor | None]:
        self.asked = (user, after, limit)
        return [], (datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), "room")

    async def chats(self, user: str) -> list[ChatView]:
        self.asked = (user,)
        return self.found

    async def last_seen(self, users: Sequence[str]) -> dict[str, datetime]:
        self.asked = (*users,)
        return {"user-0": SEEN_AT}


class Photos:
    """Reads what is uploaded, as static would."""

    def __init__(self) -> None:
        self.body = b""
        self.headers: dict[str, str] = {}
        self.removed: list[str | None] = []

    async def upload(self, body: AsyncIterator[bytes], headers: Mapping[str, str]) -> str:
        self.headers = dict(headers)
        async for chunk in body:
            self.body += chunk
        return "/files/new.webp"

    async def remove(self, url: str | None, headers: Mapping[str, str]) -> None:
        assert set(headers) == {"Authorization", "Device-Token"}
        self.removed.append(url)


@pytest.fixture
def chats() -> Chats:
    return Chats()


@pytest.fixture
def photos() -> Photos:
    return Photos()


@pytest.fixture
def over() -> Revocations:
    return revocations()


@pytest.fixture
def client(chats: Any, photos: Any, verifier: TokenVerifier, over: Revocations) -> TestClient:
    rules = http.Rules(chats, chats, chats, chats, chats, photos)
    app = http.build(rules, verifier=verifier, revocations=over)
    return TestClient(app, base_url="http://chat", raise_server_exceptions=False)


@pytest.fixture
def headers(token: Callable[..., str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token()}", "device_token": "device"}


@pytest.mark.parametrize("prefix", ["", "/chat"])
def test_with_and_without_the_prefix(
    client: TestClient, headers: dict[str, str], prefix: str
) -> None:
    answer = client.get(f"{prefix}/api/user", headers=headers)
    assert answer.status_code == 200
    assert answer.json() == {
        "user": {
            "nickname": "Ana",
            "description": "hola",
            "photo_url": "/files/a.webp",
            "preferred_language": "es",
            "tag_user_id": "ana_abcdefgh",
        }
    }


def test_either_name_of_the_device_header(client: TestClient, headers: dict[str, str]) -> None:
    headers["Device-Token"] = f" {headers.pop('device_token')} "
    assert client.get("/api/user", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"Authorization": ""}, 401, "missing_token"),
        ({"Authorization": "Basic x"}, 401, "missing_token"),
        ({"Authorization": "Bearer x"}, 401, "invalid_token"),
        ({"device_token": ""}, 400, "missing_device_token"),
        ({"device_token": "another"}, 401, "device_mismatch"),
    ],
)
def test_the_gates(
    client: TestClient,
    headers: dict[str, str],
    change: dict[str, str],
    status: int,
    reason: str,
) -> None:
    for method, path in (("GET", "/api/chats"), ("GET", "/api/user/ana"), ("POST", "/api/chat")):
        answer = client.request(method, path, headers=headers | change)
        body = answer.json()
        assert (answer.status_code, body["reason"]) == (status, reason)
        assert set(body) == {"error", "details", "reason"}


def test_an_expired_token_has_its_own_reason(
    client: TestClient, headers: dict[str, str], token: Callable[..., str]
) -> None:
    headers["Authorization"] = f"Bearer {token(exp=1)}"
    answer = client.get("/api/user", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (401, "token_expired")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("what", [session_over("s"), user_over("ana")])
async def test_an_ended_session_has_its_own_reason(
    client: TestClient, headers: dict[str, str], over: Revocations, what: Over
) -> None:
    await over.revoke([session_over("another"), user_over("ben")])
    assert client.get("/api/user", headers=headers).status_code == 200
    await over.revoke([what])
    answer = client.get("/api/user", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (401, "session_revoked")
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_new_chat_has_the_originals_shape(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/chat", headers=headers, json={"receiver_tag": " ben_abcdefgh "})
    assert answer.status_code == 201
    assert answer.json() == {
        "message": "The chat was created.", "chat_id": "room", "messages": [], "nickname": "Ben",
        "profile_picture": "", "description": "", "preferred_language": "en",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("error", "status", "reason", "details"),
    [
        (NoSuchUserError(), 404, "no_such_user", None),
        (SelfChatError(), 400, "self_chat", None),
        (ChatExistsError("room"), 409, "chat_exists", {"chat_id": "room"}),
        (StoreUnavailableError(), 503, "unavailable", None),
    ],
)
def test_each_refusal_has_its_status_and_reason(  # noqa: PLR0917 (what pytest fills in)
    client: TestClient,
    chats: Chats,
    headers: dict[str, str],
    error: Exception,
    status: int,
    reason: str,
    details: Any,
) -> None:
    chats.raises = error
    answer = client.post("/api/chat", headers=headers, json={"receiver_tag": "ben_abcdefgh"})
    body = answer.json()
    assert (answer.status_code, body["reason"], body["details"]) == (status, reason, details)
    assert ("retry-after" in answer.headers) is (status == 503)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/chat", {}),
        ("POST", "/api/chat", {"receiver_tag": "  "}),
        ("POST", "/api/chat", {"receiver_tag": "x" * 129}),
        ("POST", "/api/chat", {"receiver_tag": 7}),
        ("PATCH", "/api/user/nickname", {"nickname": ""}),
        ("PATCH", "/api/user/nickname", {"nickname": "x" * 65}),
        ("PATCH", "/api/user/nickname", {"nickname": "a\0b"}),
        ("PATCH", "/api/user/nickname", {"nickname": "\u200b\u200b"}),
        ("PATCH", "/api/user/nickname", {"nickname": "\u3164"}),
        ("PATCH", "/api/user/nickname", {"nickname": "\u2800"}),
        ("PATCH", "/api/user/nickname", {"nickname": "\u00ad"}),
        ("PATCH", "/api/user/nickname", {"nickname": "Ana\u202egnp.exe"}),
        ("PATCH", "/api/user/description", {"description": "a\u2067\nb\u2069"}),
        ("PATCH", "/api/user/description", {"description": "a\x00b"}),
        ("PATCH", "/api/user/description", {"description": None}),
        ("GET", "/api/chats/room/messages?limit=0", None),
        ("GET", "/api/chats/room/messages?limit=101", None),
        ("GET", "/api/chats/room/messages?before=x", None),
    ],
)
def test_bad_input_names_the_field(
    client: TestClient, headers: dict[str, str], method: str, path: str, body: Any
) -> None:
    answer = client.request(method, path, headers=headers, json=body)
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_request")
    assert answer.json()["details"]["fields"]


def test_half_a_character_is_no_text(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.patch(
        "/api/user/nickname",
        headers=headers | {"Content-Type": "application/json"},
        content=b'{"nickname": "\\ud800"}',
    )
    assert answer.status_code == 422


def test_what_others_see_is_normalised(
    client: TestClient, chats: Chats, headers: dict[str, str]
) -> None:
    for path, typed in (("nickname", " Jose\u0301\u200b "), ("description", " a\r\nb\u200b ")):
        answer = client.patch(f"/api/user/{path}", headers=headers, json={path: typed})
        assert answer.status_code == 200
    assert chats.changed == [{"nickname": "Jos\u00e9"}, {"description": "a\nb"}]


def test_a_description_that_is_too_long_is_refused_and_not_kept(
    client: TestClient, chats: Chats, headers: dict[str, str]
) -> None:
    for length, status in ((200, 200), (201, 400)):
        answer = client.patch(
            "/api/user/description", headers=headers, json={"description": "x" * length}
        )
        assert answer.status_code == status
    assert answer.json()["reason"] == "too_long"
    assert chats.changed == [{"description": "x" * 200}]


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("before=7&limit=3", ("ana", 7, 3)),
        ("", ("ana", None, 50)),
        ("after=0", ("after", 0, 50)),
        ("around=4", ("around", 4, 50)),
        ("since=2026-01-02T00:00:00Z", (datetime(2026, 1, 2, tzinfo=UTC), 50)),
    ],
)
def test_messages_are_paged(
    client: TestClient, headers: dict[str, str], chats: Chats, query: str, asked: tuple[Any, ...]
) -> None:
    answer = client.get(f"/api/chats/room/messages?{query}", headers=headers)
    assert answer.json() == {
        "messages": [], "rev": 9, "n": 8, "more_before": True, "more_after": False,
    }  # fmt: skip
    assert chats.asked == asked


def test_pages_that_do_not_exist_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    other = client.get("/api/chats/other/messages", headers=headers)
    assert (other.status_code, other.json()["reason"]) == (404, "chat_not_found")
    both = client.get("/api/chats/room/messages?before=7&after=3", headers=headers)
    assert (both.status_code, both.json()["reason"]) == (422, "ambiguous_page")


def test_rooms_are_paged_by_a_cursor(
    client: TestClient, headers: dict[str, str], chats: Chats
) -> None:
    first = client.get("/api/rooms?limit=7", headers=headers).json()
    assert first["rooms"] == []
    assert chats.asked == ("ana", None, 7)
    client.get(f"/api/rooms?cursor={first['next']}", headers=headers)
    assert chats.asked[1] == (datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), "room")


@pytest.mark.parametrize("cursor", ["x", "AAAA", "bm9uZQ=="])
def test_cursors_of_others_are_refused(
    client: TestClient, headers: dict[str, str], cursor: str
) -> None:
    answer = client.get(f"/api/rooms?cursor={cursor}", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (400, "invalid_cursor")


def test_a_body_over_the_limit_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/api/chat", headers=headers, json={"receiver_tag": "x" * 70_000})
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")


def test_a_photo_goes_on_as_it_came_with_the_callers_rights(
    client: TestClient, chats: Chats, photos: Photos, headers: dict[str, str]
) -> None:
    picture = b"\x89PNG" + bytes(200_000)
    answer = client.patch(
        "/api/user/photo", headers=headers, files={"photo": ("a.png", picture, "image/png")}
    )
    assert answer.json() == {"message": "The photo was changed.", "url": "/files/new.webp"}
    assert chats.changed == [{"photo_url": "/files/new.webp"}]
    assert photos.removed == [ANA.photo_url]
    assert picture in photos.body
    assert photos.headers["Authorization"] == headers["Authorization"]
    assert photos.headers["Device-Token"] == "device"
    assert photos.headers["Content-Type"].startswith("multipart/form-data; boundary=")


def test_a_photo_that_could_not_be_set_is_removed(
    client: TestClient,
    chats: Chats,
    photos: Photos,
    headers: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unavailable(*_: object, **__: object) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(chats, "change", unavailable)
    answer = client.patch("/api/user/photo", headers=headers, files={"photo": ("a.png", b"x")})
    assert answer.status_code == 503
    assert photos.removed == ["/files/new.webp"]


def test_a_request_without_a_photo_is_rejected(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.patch("/api/user/photo", headers=headers, json={})
    assert (answer.status_code, answer.json()["reason"]) == (400, "no_file")


def test_every_route_documents_its_errors(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) >= 7
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert {"400", "401", "422", "503"} <= set(operation["responses"]), (method, path)


def test_the_description_of_the_socket_is_public(client: TestClient) -> None:
    for path in ("/asyncapi.json", "/chat/asyncapi.json"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (200, asyncapi.document())


def test_every_refusal_has_a_status() -> None:
    assert set(http.REFUSALS) == set(Reason)


class Directory:
    """One group, of Ana and some others."""

    def __init__(self, others: int) -> None:
        users = ["ana", *(f"user-{number}" for number in range(others))]
        members = {user: Member(joined_rev=1, joined_n=0) for user in users}
        self.view = RoomView(room="room", rev=1, kind="group", members=members)

    async def get(self, _room: str) -> "Directory":
        return self

    async def refresh(self, _room: Any) -> None: ...


def room_of(
    others: int, chats: Any, verifier: TokenVerifier, over: Revocations, headers: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the members of Ana's group, as she sees them."""
    directory: Any = Directory(others)
    rules = http.Rules(chats, chats, chats, directory, chats, chats)
    app = http.build(rules, verifier=verifier, revocations=over)
    client = TestClient(app, base_url="http://chat", raise_server_exceptions=False)
    members: list[dict[str, Any]] = client.get("/api/rooms/room", headers=headers).json()["members"]
    return members


def test_the_members_of_a_room_see_when_others_were_last_seen_unless_it_is_large(
    chats: Any, verifier: TokenVerifier, over: Revocations, headers: dict[str, str]
) -> None:
    ana, first, second, *_ = room_of(2, chats, verifier, over, headers)
    assert ana == {"user_id": "ana", "role": "member", "last_seen_at": None}
    assert first == {
        "user_id": "user-0", "role": "member", "last_seen_at": "2026-01-02T03:04:00.000Z",
    }  # fmt: skip
    assert second["last_seen_at"] is None
    chats.asked = ()
    large = room_of(50, chats, verifier, over, headers)
    assert len(large) == 51
    assert chats.asked == ()
    assert all(set(member) == {"user_id", "role"} for member in large)


def test_the_list_of_chats_has_the_originals_field_and_no_profile_has_it(
    client: TestClient, headers: dict[str, str], chats: Chats
) -> None:
    members = {user: Member(joined_rev=1, joined_n=0) for user in ("ana", "ben")}
    view = RoomView(room="room", rev=1, members=members)
    summary = RoomSummary(view, SEEN_AT, None, Position())
    ben = Profile("ben", "Ben", "ben_x", "en", last_seen_at=SEEN_AT)
    chats.found = [ChatView(summary, ben, [], {}), ChatView(summary, None, [], {})]
    known, unknown = client.get("/api/chats", headers=headers).json()["chats"]
    assert known["receiver"]["last_seen_at"] == "2026-01-02T03:04:00.000Z"
    assert unknown["receiver"]["last_seen_at"] is None
    assert "last_seen_at" not in client.get("/api/user/ana", headers=headers).json()["user"]


class GroupRules:
    """A group that anybody may change."""

    def __init__(self) -> None:
        self.added: list[str] = []

    async def add(self, _room: str, _user: str, tags: list[str]) -> None:
        self.added += tags
        raise RefusedError(Reason.TOO_MANY_MEMBERS, limit=3)


def test_tags_of_new_members_are_limited_and_refusals_have_their_reason(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch,
    chats: Any,
    photos: Any,
    verifier: TokenVerifier,
    over: Revocations,
    headers: dict[str, str],
) -> None:
    monkeypatch.setattr(limits, "TAGS", limits.AccountRate("tags.account", 0.01, 3))
    groups: Any = GroupRules()
    rules = http.Rules(chats, chats, groups, chats, chats, photos)
    app = http.build(rules, verifier=verifier, revocations=over)
    client = TestClient(app, base_url="http://chat", raise_server_exceptions=False)
    path, members = "/api/rooms/room/members", {"members": ["ben_x", "cleo_x"]}
    answers = [client.post(path, headers=headers, json=members) for _ in range(2)]
    assert [(one.status_code, one.json()["reason"]) for one in answers] == [
        (409, "too_many_members"), (429, "too_many_requests"),
    ]  # fmt: skip
    assert answers[0].json()["details"] == {"limit": 3}
    assert groups.added == ["ben_x", "cleo_x"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("client_id", ""), ("client_id", "\ud800"), ("client_id", "\0"), ("name", "\u200b"),
        ("picture", "https://elsewhere.test/x.png"), ("members", ["x"] * 101), ("history", "none"),
    ],
)  # fmt: skip
def test_groups_that_cannot_be(
    client: TestClient, headers: dict[str, str], field: str, value: object
) -> None:
    body = json.dumps({"client_id": "1", "name": "Kitchen", field: value})
    headers = {**headers, "Content-Type": "application/json"}
    answer = client.post("/api/groups", headers=headers, content=body)
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_request")
    assert field in {one["field"].split(".")[0] for one in answer.json()["details"]["fields"]}


def test_a_network_that_asks_too_often_is_refused_and_sockets_count_too(
    chats: Any,
    photos: Any,
    verifier: TokenVerifier,
    over: Revocations,
    headers: dict[str, str],
) -> None:
    requests = NetworkRequests(3, "10.0.0.0/8")
    assert not asyncio.run(requests.charge("10.0.0.9", ["203.0.113.7"]))  # a socket
    rules = http.Rules(chats, chats, chats, chats, chats, photos)
    app = http.build(rules, verifier=verifier, revocations=over, requests=requests)
    client = TestClient(app, base_url="http://chat", client=("10.0.0.1", 1))

    def ask(address: str) -> Any:
        return client.get("/api/user", headers={**headers, "X-Forwarded-For": address})

    assert [ask("203.0.113.7").status_code for _ in range(3)] == [200, 200, 429]
    refusal = ask("203.0.113.7")
    assert refusal.json()["reason"] == "too_many_requests"
    assert 0 < int(refusal.headers["Retry-After"]) <= 20
    assert ask("203.0.113.8").status_code == 200


@pytest.mark.parametrize(
    ("name", "method", "path", "body"),
    [
        ("CHATS", "POST", "/api/chat", {"receiver_tag": "ben_abcdefgh"}),
        ("TAGS", "POST", "/api/rooms/room/members", {"members": ["ben_x"]}),
        ("GROUPS", "PATCH", "/api/rooms/room/members/ben", {"role": "king"}),
        ("LISTS", "GET", "/api/chats", None),
        ("LISTS", "GET", "/api/rooms", None),
    ],
)
def test_the_rates_of_an_account_hold_on_all_pods(  # noqa: PLR0917 (what it stands on)
    monkeypatch: pytest.MonkeyPatch,
    chats: Any,
    photos: Any,
    verifier: TokenVerifier,
    over: Revocations,
    token: Callable[..., str],
    name: str,
    method: str,
    path: str,
    body: Any,
) -> None:
    rate = getattr(limits, name)
    monkeypatch.setattr(limits, name, limits.AccountRate(rate.limit, 0.01, 3))
    groups: Any = GroupRules()
    admission = Admission(clock=lambda: 0.0)
    rules = http.Rules(chats, chats, groups, chats, chats, photos, admission)
    pods = [
        TestClient(http.build(rules, verifier=verifier, revocations=over), base_url="http://chat")
        for _ in range(2)
    ]

    def ask(pod: int, user: str = "ana") -> Any:
        headers = {"Authorization": f"Bearer {token(user)}", "device_token": "device"}
        return pods[pod].request(method, path, headers=headers, json=body)

    answers = [ask(number % 2) for number in range(4)]
    assert [answer.status_code == 429 for answer in answers] == [False, False, False, True]
    assert answers[-1].json()["reason"] == "too_many_requests"
    assert answers[-1].headers["Retry-After"] == "100"
    if path != "/api/chat":
        assert ask(0, "ben").status_code != 429

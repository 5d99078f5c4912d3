"""The border of auth: what is refused before any rule runs, and the shape of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from ashchat_auth import api
from ashchat_auth.api.fields import Address
from ashchat_auth.keys import SigningKeys
from ashchat_auth.settings import Settings
from ashchat_core.tokens import (
    SOCKET_TICKET_SECONDS,
    InvalidTokenError,
    TokenVerifier,
    device_hash,
)
from ashchat_core.topology import Queue
from auth_world import EMAIL, OTHER_PASSWORD, PASSWORD, World, add_signing_key, totp

SIGN_UP = {
    "name": "Ana",
    "email": "ana@example.org",
    "password": "correct horse",
    "preferredLanguage": "es",
}


@pytest.fixture
def signer(tmp_path: Path) -> SigningKeys:
    add_signing_key(tmp_path / "keys", "one")
    return SigningKeys(tmp_path / "keys", issuer="i", audience="a", minutes=20)


@pytest.fixture
def world(tmp_path: Path, signer: SigningKeys) -> World:
    return World(tmp_path / "ring", signer)


@pytest.fixture
def client(world: World, signer: SigningKeys) -> Iterator[TestClient]:
    app = api.build(Settings(_env_file=None), world.auth, signer)
    with TestClient(app, base_url="http://auth") as found:
        yield found


@pytest.mark.parametrize(
    "change",
    [
        {"email": "no address"},
        {"password": "short"},
        {"password": "x" * 129},
        {"name": ""},
        {"preferredLanguage": "no language!"},
        {"email": None},
        {"email": "josé@example.org"},
        {"name": "Ana\r\nBcc: everybody"},
        {"email": "a" * 250 + "@example.org"},
        {"name": "\u200b\u200b"},
        {"name": "\u3164"},
        {"name": "\u2800"},
        {"name": "\u00ad"},
        {"name": "Ana\u202egnp.exe"},
        {"name": "Ana\u2067"},
        {"name": "x" * 65},
    ],
)
def test_a_bad_sign_up_names_the_field_and_shows_no_value(
    client: TestClient, change: dict[str, Any]
) -> None:
    answer = client.post("/api/user/signup", json={**SIGN_UP, **change})
    body = answer.json()
    assert answer.status_code == body["status"] == 422
    assert body["reason"] == "invalid_request"
    assert body["data"]["fields"][0]["field"] == next(iter(change))
    assert "correct horse" not in answer.text


def test_what_is_pasted_with_blanks_and_other_digits_is_understood(
    client: TestClient, world: World
) -> None:
    sign_up = {
        **SIGN_UP,
        "name": " Ana\u200b\u00a0 Mari\u0301a",
        "email": "\ufeffAna@Example.ORG\n",
    }
    assert client.post("/api/user/signup", json=sign_up).status_code == 202
    (creation,) = world.queues.of(Queue.ACCOUNT_CREATION)
    assert (creation.nickname, creation.email) == ("Ana Mar\u00eda", "Ana@example.org")
    for code in (
        "\uff11\uff12\uff13 \uff14\uff15\uff16",
        "123-456",
        " 123\u00a0456\n",
        "\u0661\u0662\u0663456",
    ):
        body = {"email": "ana@example.org", "emailCode": code, "deviceTokenId": "phone"}
        assert client.post("/api/user/confirm-email", json=body).status_code == 201
    asked = [x.code for x in world.queues.of(Queue.CONFIRM_EMAIL_CODE) if x.kind == "confirm"]
    assert asked == ["123456"] * 4
    body = {"email": "ana@example.org", "emailCode": "12345", "deviceTokenId": "phone"}
    assert client.post("/api/user/confirm-email", json=body).status_code == 422


def test_a_kind_of_device_that_nobody_sees_is_not_stored(client: TestClient, world: World) -> None:
    for typed, stored in (("\u200b", ""), (" ANDROID\u200b ", "ANDROID")):
        body = {"email": EMAIL, "emailCode": "123456", "deviceTokenId": "p", "deviceOS": typed}
        world.store.users.clear()
        assert client.post("/api/user/confirm-email", json=body).status_code == 201
        assert world.ana.devices[0].os == stored
    body["deviceOS"] = "AND\u202eROID"
    assert client.post("/api/user/confirm-email", json=body).status_code == 422


def test_a_password_of_128_characters_of_four_bytes_works_and_129_are_refused(
    client: TestClient, world: World
) -> None:
    letters = "\U0001f600\U0001f98a\U0001f40d\U00010348" * 32
    answer = client.post("/api/user/signup", json={**SIGN_UP, "password": letters})
    assert (answer.status_code, len(letters.encode())) == (202, 512)
    (creation,) = world.queues.of(Queue.ACCOUNT_CREATION)
    assert creation.password_hash == f"hash:{letters}", "nothing is cut off"
    answer = client.post("/api/user/signup", json={**SIGN_UP, "password": f"{letters}x"})
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_request")
    assert answer.json()["data"]["fields"] == [{"field": "password", "rule": "string_too_long"}]


def test_both_paths_are_the_same(client: TestClient) -> None:
    for path in ("/api/user/signup", "/auth/api/user/signup"):
        assert client.post(path, json={}).status_code == 422


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    answer = client.post("/api/user/signup", json={**SIGN_UP, "name": "x" * 70_000})
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")


def test_no_path_and_no_method_have_the_envelope(client: TestClient) -> None:
    assert client.get("/nowhere").json()["reason"] == "not_found"
    assert client.put("/api/user/signup").json()["reason"] == "method_not_allowed"


def test_a_missing_token_is_reported(client: TestClient) -> None:
    answer = client.get("/api/user/refresh-token")
    assert (answer.status_code, answer.json()["reason"]) == (401, "missing_token")
    answer = client.get("/api/user/refresh-token", headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "missing_device_token")


def test_a_companys_own_domain_is_an_address_and_its_dns_name_counts() -> None:
    validate = TypeAdapter(Address).validate_python
    assert validate(" Ana@Intranet.LOCAL ") == "Ana@intranet.local"
    assert validate("ana@münchen.example") == "ana@xn--mnchen-3ya.example"


def test_every_error_of_every_route_is_documented(client: TestClient) -> None:
    schema = client.get("/auth/openapi.json").json()
    assert schema["servers"] == [{"url": "/auth"}]
    assert client.get("/v3/api-docs").json()["paths"] == schema["paths"]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            documented = set(operation["responses"])
            if path.startswith("/api/"):
                assert {"413", "422", "503"} <= documented, (method, path)
                for status, response in operation["responses"].items():
                    if status >= "400":
                        name = response["content"]["application/json"]["schema"]["$ref"]
                        assert name.endswith(("/ErrorEnvelope", "/NewDevice"))


def test_every_route_says_which_token_it_wants(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"access", "refresh", "temporary"}
    wanted = {
        (path.removeprefix("/api/user"), method): [
            name for item in one["security"] for name in item
        ]
        for path, methods in schema["paths"].items()
        for method, one in methods.items()
        if "security" in one
    }
    assert wanted["/refresh-token", "get"] == ["refresh"]
    assert wanted["/password", "patch"] == wanted["/confirm-new-device", "post"] == ["temporary"]
    assert wanted["/password", "put"] == wanted["", "delete"] == ["access"]
    assert len(wanted) == 19


def test_the_originals_documentation_leads_to_ours(client: TestClient) -> None:
    answer = client.get("/swagger-ui/index.html", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/auth/docs")


PHONE = {"deviceTokenId": "phone", "deviceOS": "ANDROID", "deviceNotificationToken": "n"}


class Ana:
    """Ana's phone, over HTTP."""

    def __init__(self, client: TestClient, device: str = "phone") -> None:
        self.client = client
        self.device = device
        self.token = ""

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token or self.token}", "device_token": self.device}
        answer = self.client.request(method, f"/api/user{path}", json=body, headers=headers)
        if answer.status_code == 204:
            assert not answer.content
            return 204, None
        envelope = answer.json()
        assert envelope["status"] == answer.status_code
        if answer.status_code >= 400:
            return answer.status_code, envelope["reason"]
        return answer.status_code, envelope["data"]

    def sign_in(self, password: str = PASSWORD) -> "Ana":
        body = {"email": EMAIL, "password": password, "deviceTokenId": self.device}
        status, data = self.call("POST", "/signin", body)
        assert status == 200, data
        self.token = data["token"]
        return self


@pytest.fixture
def ana(client: TestClient) -> Ana:
    body = {"email": EMAIL, "emailCode": "123456", **PHONE}
    assert client.post("/api/user/confirm-email", json=body).status_code == 201
    return Ana(client).sign_in()


def test_a_reset_over_http(ana: Ana) -> None:
    status, data = ana.call("POST", "/password", {"email": EMAIL})
    assert (status, list(data)) == (202, ["token"])
    body = {"newPassword": OTHER_PASSWORD, "emailCode": "123456"}
    assert ana.call("PATCH", "/password", body) == (401, "invalid_token")
    assert ana.call("PATCH", "/password", body, data["token"]) == (200, None)
    assert ana.call("GET", "/sessions") == (401, "session_over")
    ana.sign_in(OTHER_PASSWORD)


def test_two_factor_over_http(ana: Ana, client: TestClient) -> None:
    assert ana.call("GET", "/two-factor")[1] == {"enabled": False, "recovery_codes_left": 0}
    status, begun = ana.call("POST", "/two-factor", {"password": PASSWORD})
    assert status == 200
    assert begun["otpauth_uri"].startswith("otpauth://totp/AshChat:")
    assert begun["qr_svg"].startswith("<svg")
    assert begun["secret"] not in begun["qr_svg"]
    code = totp(begun["secret"])
    status, data = ana.call("POST", "/two-factor/confirm", {"totpCode": code})
    assert (status, len(data["recovery_codes"])) == (200, 10)
    # The original's client sends whatever code the person typed as emailCode.
    body = {"email": EMAIL, "password": PASSWORD, "deviceTokenId": "tablet"}
    challenge = client.post("/api/user/signin", json=body).json()
    assert challenge["reason"] == "new_device_totp"
    tablet = Ana(client, "tablet")
    proof = {"emailCode": totp(begun["secret"], 1), "deviceTokenId": "tablet"}
    confirm = ("POST", "/confirm-new-device")
    token = challenge["data"]["token"]
    assert tablet.call(*confirm, {"deviceTokenId": "tablet"}, token) == (422, "invalid_request")
    assert tablet.call(*confirm, proof, token) == (204, None)
    assert tablet.call(*confirm, proof, token) == (403, "wrong_code")
    tablet.sign_in()
    off = {"password": PASSWORD, "recoveryCode": data["recovery_codes"][0]}
    assert ana.call("DELETE", "/two-factor", off) == (204, None)
    assert tablet.call("GET", "/sessions") == (401, "session_over")


def test_sessions_and_events_over_http(ana: Ana, world: World, client: TestClient) -> None:
    world.add_device("tablet")
    other = Ana(client, "tablet").sign_in()
    status, data = ana.call("GET", "/sessions")
    assert status == 200
    assert {item["current"] for item in data["sessions"]} == {True, False}
    assert {item["device_os"] for item in data["sessions"]} == {"ANDROID", None}
    (theirs,) = [item["id"] for item in data["sessions"] if not item["current"]]
    assert ana.call("DELETE", f"/sessions/{theirs}") == (204, None)
    assert other.call("GET", "/sessions") == (401, "session_over")
    assert ana.call("DELETE", f"/sessions/{theirs}") == (404, "no_such_session")
    other.sign_in()
    assert ana.call("DELETE", "/sessions") == (200, {"revoked": 1})
    status, data = ana.call("GET", "/security-events?limit=50")
    kinds = [item["kind"] for item in data["events"]]
    assert {"account_made", "signed_in", "session_revoked"} <= set(kinds)
    assert data["events"][0]["address"] == "testclient"
    for wrong in ("limit=0", "before=yesterday", "before=0001-01-01T00:00:00%2B14:00"):
        assert ana.call("GET", f"/security-events?{wrong}") == (422, "invalid_request")
    assert ana.call("POST", "/signout") == (204, None)
    assert ana.call("POST", "/signout") == (401, "session_over")


def test_the_account_over_http(ana: Ana, world: World) -> None:
    assert ana.call("PATCH", "/profile", {}) == (422, "invalid_request")
    assert ana.call("PATCH", "/profile", {"preferredLanguage": "pt"}) == (200, None)
    change = {"newEmail": "ana@new.example", "password": PASSWORD}
    assert ana.call("POST", "/email", change) == (202, None)
    assert ana.call("PATCH", "/email", {"oldCode": "111111", "newCode": "222222"}) == (200, None)
    password = {"oldPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
    assert ana.call("PUT", "/password", {**password, "oldPassword": "x"}) == (403, "wrong_password")
    assert ana.call("PUT", "/password", password) == (200, None)
    assert ana.call("DELETE", "", {"password": PASSWORD}) == (403, "wrong_password")
    assert ana.call("DELETE", "", {"password": OTHER_PASSWORD}) == (204, None)
    assert not world.store.users


def test_a_refused_password_names_its_field(client: TestClient) -> None:
    answer = client.post("/api/user/signup", json={**SIGN_UP, "password": "password1"})
    assert (answer.status_code, answer.json()["reason"]) == (422, "password_too_common")
    assert answer.json()["data"]["fields"] == [{"field": "password", "rule": "too_common"}]


def test_what_is_not_utf_8_is_no_json(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    for body in (b'{"email": "\xff"}', b"[" * 20_000):
        answer = client.post("/api/user/signin", content=body, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_request")


def test_keys_may_be_cached(client: TestClient) -> None:
    answer = client.get("/.well-known/jwks.json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["Content-Type"] == "application/jwk-set+json"


def test_a_device_that_asks_for_it_gets_a_token_and_the_chosen_one_is_worthless(
    client: TestClient, world: World
) -> None:
    device = {"deviceTokenId": "phone", "issueDeviceToken": True}
    made = client.post(
        "/api/user/confirm-email", json={"email": EMAIL, "emailCode": "123456", **device}
    ).json()["data"]
    assert set(made) == {"user_id", "device_token"}
    assert len(made["device_token"]) >= 43, "256 random bits"
    assert world.ana.device(device_hash("phone")) is None
    assert world.ana.device(device_hash(made["device_token"])) is not None
    (told,) = world.queues.of(Queue.CONFIRM_NEW_ACCOUNT)
    assert told.device_token_hash == device_hash(made["device_token"])
    sign_in = {"email": EMAIL, "password": PASSWORD}
    known = {**sign_in, "deviceTokenId": made["device_token"]}
    assert client.post("/api/user/signin", json=known).status_code == 200

    asked = client.post("/api/user/signin", json={**sign_in, "deviceTokenId": "phone"})
    assert (asked.status_code, asked.json()["reason"]) == (403, "new_device")
    headers = {"Authorization": f"Bearer {asked.json()['data']['token']}"}
    confirm = {"emailCode": "123456", **device}
    answers = [
        client.post("/api/user/confirm-new-device", json={**confirm, **change}, headers=headers)
        for change in ({"deviceTokenId": "tablet"}, {}, {"issueDeviceToken": False})
    ]
    assert [answer.status_code for answer in answers] == [403, 200, 204]
    issued = answers[1].json()["data"]["device_token"]
    assert issued != made["device_token"]
    another = {**sign_in, "deviceTokenId": issued}
    assert client.post("/api/user/signin", json=another).status_code == 200


def test_a_ticket_opens_a_socket_as_long_as_the_access_token_is_valid(
    client: TestClient, signer: SigningKeys, tmp_path: Path
) -> None:
    body = {"email": EMAIL, "emailCode": "123456", "deviceTokenId": "phone"}
    client.post("/api/user/confirm-email", json=body)
    signed_in = client.post(
        "/api/user/signin", json={"email": EMAIL, "password": PASSWORD, "deviceTokenId": "phone"}
    ).json()["data"]
    headers = {"Authorization": f"Bearer {signed_in['token']}", "device_token": "phone"}
    tickets = [
        client.post("/api/user/socket-ticket", headers=headers).json()["data"] for _ in range(2)
    ]
    assert tickets[0]["expires_in_seconds"] == SOCKET_TICKET_SECONDS
    (tmp_path / "jwks.json").write_text(json.dumps(signer.jwks()))
    verifier = TokenVerifier(tmp_path / "jwks.json", issuer="i", audience="a")
    access = verifier.verify(signed_in["token"])
    found = [verifier.verify_ticket(one["ticket"]) for one in tickets]
    for ticket in found:
        assert (ticket.user_id, ticket.session_id, ticket.epoch, ticket.expires_at) == (
            access.user_id, access.session_id, access.epoch, access.expires_at,
        )  # fmt: skip
    assert found[0].id != found[1].id
    # Neither stands for the other.
    for wrong in (
        lambda: verifier.verify(tickets[0]["ticket"]),
        lambda: verifier.verify_ticket(signed_in["token"]),
    ):
        with pytest.raises(InvalidTokenError) as refused:
            wrong()
        assert refused.value.reason == "wrong_type"
    as_access = {**headers, "Authorization": f"Bearer {tickets[0]['ticket']}"}
    assert client.get("/api/user/sessions", headers=as_access).status_code == 401

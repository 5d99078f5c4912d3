"""The border of auth: what is refused before any rule runs, and the shape of it."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from ashchat_auth import api
from ashchat_auth.keys import KeyRing
from ashchat_auth.settings import Settings

SIGN_UP = {
    "name": "Ana",
    "email": "ana@example.org",
    "password": "correct horse",
    "preferredLanguage": "es",
}


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    signer = KeyRing(tmp_path, issuer="i", audience="a", minutes=20)
    # None: nothing here may reach the rules.
    app = api.build(Settings(_env_file=None), None, signer, "1")  # type: ignore[arg-type]
    return TestClient(app, base_url="http://auth")


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
        {"email": "a" * 250 + "@example.org"},
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


def test_both_paths_are_the_same(client: TestClient) -> None:
    for path in ("/api/user/signup", "/auth/api/user/signup"):
        assert client.post(path, json={}).status_code == 422


def test_a_body_that_is_too_large_is_refused(client: TestClient) -> None:
    answer = client.post("/api/user/signup", json={**SIGN_UP, "name": "x" * 70_000})
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")


def test_no_path_and_no_method_have_the_envelope(client: TestClient) -> None:
    assert client.get("/nowhere").json()["reason"] == "not_found"
    assert client.put("/api/user/signup").json()["reason"] == "method_not_allowed"


def test_a_missing_token_says_so(client: TestClient) -> None:
    answer = client.get("/api/user/refresh-token")
    assert (answer.status_code, answer.json()["reason"]) == (401, "missing_token")
    answer = client.get("/api/user/refresh-token", headers={"Authorization": "Bearer x"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "missing_device_token")


def test_a_companys_own_domain_is_an_address_and_its_dns_name_counts() -> None:
    validate = TypeAdapter(api.Address).validate_python
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


def test_the_originals_documentation_leads_to_ours(client: TestClient) -> None:
    answer = client.get("/swagger-ui/index.html", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "/auth/docs")

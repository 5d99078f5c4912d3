"""Requests made from the OpenAPI description: no answer that it does not have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from ashchat_auth import api
from ashchat_auth.keys import SigningKeys
from ashchat_auth.settings import Settings
from auth_world import EMAIL, PASSWORD, World, add_signing_key

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
EXAMPLES = 10
STRANGERS = [
    ("POST", "/api/user/signup"),
    ("POST", "/api/user/confirm-email"),
    ("POST", "/api/user/signin"),
    ("POST", "/api/user/confirm-new-device"),
    ("GET", "/api/user/refresh-token"),
    ("POST", "/api/user/password"),
    ("PATCH", "/api/user/password"),
    ("GET", "/.well-known/jwks.json"),
]
OWNERS = [
    ("PUT", "/api/user/password"),
    ("GET", "/api/user/sessions"),
    ("DELETE", "/api/user/sessions"),
    ("DELETE", "/api/user/sessions/{session_id}"),
    ("POST", "/api/user/signout"),
    ("POST", "/api/user/socket-ticket"),
    ("GET", "/api/user/security-events"),
    ("GET", "/api/user/two-factor"),
    ("POST", "/api/user/two-factor"),
    ("DELETE", "/api/user/two-factor"),
    ("POST", "/api/user/two-factor/confirm"),
    ("POST", "/api/user/two-factor/recovery-codes"),
    ("PATCH", "/api/user/profile"),
    ("POST", "/api/user/email"),
    ("PATCH", "/api/user/email"),
    ("DELETE", "/api/user"),
]


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    add_signing_key(tmp_path / "keys", "one")
    signer = SigningKeys(tmp_path / "keys", issuer="i", audience="a", minutes=20)
    world = World(tmp_path / "ring", signer)
    return api.build(Settings(_env_file=None), world.auth, signer)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://auth/auth") as found:
        yield found


def operations(app: FastAPI) -> dict[tuple[str, str], Any]:
    schema = schemathesis.openapi.from_asgi("/auth/openapi.json", app)
    results = list(schema.get_all_operations())
    found = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(found) == len(results)
    return {(item.method.upper(), item.path): item for item in found}


def test_every_route_is_tried(app: FastAPI) -> None:
    assert set(operations(app)) == {*STRANGERS, *OWNERS}


def signed_in(client: TestClient) -> dict[str, str]:
    device = {"deviceTokenId": "phone"}
    body = {"email": EMAIL, "emailCode": "123456", **device}
    client.post("/api/user/confirm-email", json=body)
    body = {"email": EMAIL, "password": PASSWORD, **device}
    token = client.post("/api/user/signin", json=body).json()["data"]["token"]
    return {"Authorization": f"Bearer {token}", "device_token": "phone"}


@pytest.mark.parametrize(("method", "path"), [*STRANGERS, *OWNERS])
def test_requests_made_from_the_description(
    app: FastAPI, client: TestClient, method: str, path: str
) -> None:
    operation = operations(app)[method, path]
    # For the strangers' whatever headers the description leads to.
    headers = signed_in(client) if (method, path) in OWNERS else None

    @given(case=operation.as_strategy())
    @settings(
        max_examples=EXAMPLES,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)

    ask()

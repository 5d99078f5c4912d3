"""What every public API does: errors, prefixes, limits, and who the client is."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from fastapi import Body, Request, Response
from fastapi.testclient import TestClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError
from redis.exceptions import ConnectionError as RedisUnavailableError
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from ashchat_core.amqp import BrokerUnavailableError, PublishError
from ashchat_core.http import APIError, BodyLimit, _OnePerTurn, client_address, create_app

RAISED: dict[str, Exception] = {
    "broker": BrokerUnavailableError("x"),
    "refused": PublishError("x"),
    "mongo": ServerSelectionTimeoutError("x"),
    "ferretdb": OperationFailure("internal", 1),
    "redis": RedisUnavailableError("x"),
    "duplicate": OperationFailure("duplicate", 11000),
    "bug": RuntimeError("the password is hunter2"),
    "api": APIError(418, "teapot", "no coffee", data={"a": 1}, headers={"X-A": "b"}),
}


def render(error: APIError) -> dict[str, Any]:
    return {"reason": error.reason, "message": error.message, "data": error.data}


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = create_app(title="t", prefix="/chat", render=render)
    app.add_middleware(BodyLimit, render=render, limit_bytes=100, exempt=("/photo",))

    @app.get("/raise/{name}")
    async def fail(name: str) -> Response:
        raise RAISED[name]

    @app.post("/echo")
    @app.post("/photo")
    async def echo(body: Annotated[bytes, Body()]) -> Response:
        return Response(str(len(body)))

    @app.get("/address")
    async def address(request: Request) -> str:
        return client_address(request, "10.244.0.0/16, ::1/128")

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("name", ["broker", "refused", "mongo", "ferretdb", "redis"])
def test_a_backend_that_is_away_is_503_with_retry_after(client: TestClient, name: str) -> None:
    answer = client.get(f"/raise/{name}")
    assert (answer.status_code, answer.json()["reason"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("name", ["bug", "duplicate"])
def test_a_defect_is_500_and_reveals_nothing(client: TestClient, name: str) -> None:
    with capture_logs() as lines:
        answer = client.get(f"/raise/{name}")
    assert (answer.status_code, answer.json()["reason"]) == (500, "internal")
    assert "hunter2" not in answer.text
    assert [line["exc_info"] for line in lines] == [RAISED[name]]


def test_an_api_error_keeps_its_reason_data_and_headers(client: TestClient) -> None:
    answer = client.get("/raise/api")
    assert (answer.status_code, answer.json()) == (
        418,
        {"reason": "teapot", "message": "no coffee", "data": {"a": 1}},
    )
    assert answer.headers["X-A"] == "b"


def test_it_answers_with_and_without_its_prefix(client: TestClient) -> None:
    assert client.get("/chat/address").status_code == client.get("/address").status_code == 200
    assert client.get("/chatty/address").status_code == 404


def test_links_carry_the_prefix_in_either_case(client: TestClient) -> None:
    for path in ("/docs", "/chat/docs"):
        assert "/chat/openapi.json" in client.get(path).text


def test_a_large_body_is_refused_declared_or_not(client: TestClient) -> None:
    assert client.post("/echo", content=b"x" * 100).text == "100"
    assert client.post("/echo", content=b"x" * 101).status_code == 413
    undeclared = client.post("/echo", content=iter([b"x" * 60, b"x" * 60]))
    assert (undeclared.status_code, undeclared.json()["reason"]) == (413, "too_large")


def test_an_upload_has_a_separate_limit(client: TestClient) -> None:
    assert client.post("/photo", content=b"x" * 1000).text == "1000"


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.244.0.7", "203.0.113.9", "203.0.113.9"),
        ("10.244.0.7", "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("10.244.0.7", "203.0.113.9, 10.244.0.9", "203.0.113.9"),
        ("10.244.0.7", "nonsense", "10.244.0.7"),
        ("10.244.0.7", "", "10.244.0.7"),
        ("10.244.0.7", "6.6.6.6, nonsense", "10.244.0.7"),
        # Clients in a private network that includes the pods' are still distinguished.
        ("10.244.0.7", "10.244.3.3", "10.244.3.3"),
        ("203.0.113.9", "6.6.6.6", "203.0.113.9"),
    ],
)
def test_a_forwarded_address_is_believed_only_from_the_edge(
    peer: str, forwarded: str, expected: str
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    request = Request({"type": "http", "client": (peer, 1), "headers": headers})
    assert client_address(request, "10.244.0.0/16, ::1/128") == expected


def test_a_line_that_the_client_wrote_does_not_hide_the_one_that_the_edge_added() -> None:
    headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.9")]
    request = Request({"type": "http", "client": ("10.244.0.7", 1), "headers": headers})
    assert client_address(request, "10.244.0.0/16") == "203.0.113.9"


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "True-Client-IP", "X-Client-IP"])
def test_no_other_header_sets_an_address(name: str) -> None:
    headers = [(name.lower().encode(), b"6.6.6.6")]
    request = Request({"type": "http", "client": ("10.244.0.7", 1), "headers": headers})
    assert client_address(request, "10.244.0.0/16") == "10.244.0.7"


@pytest.mark.parametrize("path", ["/address", "/raise/api", "/raise/bug", "/nowhere"])
def test_responses_are_not_cached_or_sniffed_by_default(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


async def test_of_many_requests_at_once_one_begins_per_turn_of_the_event_loop() -> None:
    turn, begun, ended = 0, [], asyncio.Event()

    async def count() -> None:
        nonlocal turn
        while not ended.is_set():
            turn += 1
            await asyncio.sleep(0)

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        begun.append(turn)

    turns: Any = _OnePerTurn(app)
    counting = asyncio.create_task(count())
    await asyncio.gather(*(turns({"type": "http"}, None, None) for _ in range(20)))
    ended.set()
    await counting
    assert len(set(begun)) == len(begun) == 20

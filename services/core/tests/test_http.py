"""What every public API does: errors, prefixes, limits, and who the client is."""

import asyncio
import re
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urljoin

import pytest
from fastapi import Body, Request, Response
from fastapi.testclient import TestClient
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError
from redis.exceptions import ConnectionError as RedisUnavailableError
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from ashchat_core import api_docs, client_address
from ashchat_core.admission.requests import NetworkRequests
from ashchat_core.amqp import BrokerUnavailableError, PublishError
from ashchat_core.http import APIError, Border, _OnePerTurn, create_app

PAGE, APP = "https://app.example.org", "capacitor://localhost"

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
    border = Border(f"{PAGE}, {APP}", uploads=("/photo",), body_limit_bytes=100)
    app = create_app(title="t", prefix="/chat", render=render, border=border)

    @app.get("/raise/{name}")
    async def fail(name: str) -> Response:
        raise RAISED[name]

    @app.post("/echo")
    @app.post("/photo")
    async def echo(body: Annotated[bytes, Body()]) -> Response:
        return Response(str(len(body)))

    @app.get("/several/{number}")
    @app.patch("/several/{number}")
    async def several(number: int) -> int:
        return number

    @app.delete("/several/{number}")
    async def remove(number: int) -> int:
        return number

    @app.get("/address")
    async def address(request: Request) -> str:
        return client_address.client_address(request, "10.244.0.0/16, ::1/128")

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


@pytest.mark.parametrize("path", ["/docs", "/chat/docs"])
def test_the_documentation_consists_of_the_services_own_files(
    client: TestClient, path: str
) -> None:
    page = client.get(path)
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == len(api_docs.FILES) + 1
    for link in links:
        answer = client.get(urljoin(path, link))
        assert answer.status_code == 200, link
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "http" not in answer.headers["Content-Security-Policy"]
    assert "<script>" not in page.text
    assert "//" not in page.text
    script = client.get(urljoin(path, links[-1])).text
    described = re.search(r'url: "([^"]+)"', script)
    assert described is not None
    assert client.get(urljoin(path, described[1])).json()["servers"] == [{"url": "/chat"}]


@pytest.mark.parametrize("path", ["/echo/", "/chat/echo/", "/address/", "/chat/docs/", "//echo"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_slash_too_many_redirects_nowhere(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, f"http://testserver{path}", follow_redirects=False)
    assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/echo", "POST"),
        ("OPTIONS", "/echo", "POST"),
        ("TRACE", "/echo", "POST"),
        ("PUT", "/several/1", "GET, PATCH, DELETE"),
        ("POST", "/chat/several/1", "GET, PATCH, DELETE"),
        ("DELETE", "/docs", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_does_not_support_is_405_with_all_that_it_does(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["reason"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize("origin", [PAGE, APP, f"{PAGE}:443"])
def test_a_page_of_a_listed_origin_may_call_the_api(client: TestClient, origin: str) -> None:
    preflight = client.options(
        "/chat/echo",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,device_token",
        },
    )
    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["Access-Control-Allow-Origin"] == origin
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    permitted = preflight.headers["Access-Control-Allow-Headers"]
    assert {"authorization", "content-type", "device_token"} <= set(permitted.split(", "))
    assert "Access-Control-Allow-Credentials" not in preflight.headers


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/address", 200),
        ("GET", "/raise/api", 418),
        ("GET", "/raise/mongo", 503),
        ("GET", "/raise/bug", 500),
        ("GET", "/nowhere", 404),
        ("DELETE", "/echo", 405),
        ("POST", "/echo", 413),
    ],
)
def test_a_page_of_a_listed_origin_can_read_every_response(
    client: TestClient, method: str, path: str, status: int
) -> None:
    body = b"x" * 101 if method == "POST" else b""
    for origin, readable in ((PAGE, True), ("https://evil.example", False), ("null", False)):
        answer = client.request(method, path, content=body, headers={"Origin": origin})
        assert answer.status_code == status
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if readable else None)
        assert ("Access-Control-Expose-Headers" in answer.headers) is readable
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example.org", "null"])
def test_a_page_of_another_origin_may_not(client: TestClient, origin: str) -> None:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    answer = client.options("/echo", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "origin_not_allowed")
    assert not [name for name in answer.headers if name.startswith("access-control")]


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
        ("10.244.0.7", "6.6.6.6, unknown, 10.244.0.9", "10.244.0.9"),
        # As proxies write them: ports, brackets, quotes, zones, mapped addresses, white space.
        ("10.244.0.7", "203.0.113.9:4711", "203.0.113.9"),
        ("10.244.0.7", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.244.0.7", "[2001:db8::1]", "2001:db8::1"),
        ("10.244.0.7", '"[2001:db8::1]:4711"', "2001:db8::1"),
        ("10.244.0.7", "2001:DB8:0::1", "2001:db8::1"),
        ("10.244.0.7", "fe80::1%eth0", "fe80::1"),
        ("10.244.0.7", "::ffff:203.0.113.9", "203.0.113.9"),
        ("10.244.0.7", "203.0.113.9 ,\t10.244.0.9:80", "203.0.113.9"),
        ("::ffff:10.244.0.7", "203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "6.6.6.6", "203.0.113.9"),
        ("10.244.0.7", "203.0.113.9:port", "10.244.0.7"),
        ("10.244.0.7", "203.0.113.999", "10.244.0.7"),
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
    assert client_address.client_address(request, "10.244.0.1/16, ::1/128,") == expected


def test_a_line_that_the_client_wrote_does_not_hide_the_one_that_the_edge_added() -> None:
    headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-for", b"203.0.113.9")]
    request = Request({"type": "http", "client": ("10.244.0.7", 1), "headers": headers})
    assert client_address.client_address(request, "10.244.0.0/16") == "203.0.113.9"


@pytest.mark.parametrize("name", ["Forwarded", "X-Real-IP", "True-Client-IP", "X-Client-IP"])
def test_no_other_header_sets_an_address(name: str) -> None:
    headers = [(name.lower().encode(), b"6.6.6.6")]
    request = Request({"type": "http", "client": ("10.244.0.7", 1), "headers": headers})
    assert client_address.client_address(request, "10.244.0.0/16") == "10.244.0.7"


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


async def test_a_network_that_asks_too_much_is_refused_whatever_it_asks_for() -> None:
    border = Border(requests=NetworkRequests(3, "10.0.0.0/8"))
    app = create_app(title="t", prefix="/t", render=render, border=border)

    @app.get("/a")
    async def a() -> str:
        return "a"

    client = TestClient(app, client=("10.0.0.1", 1))

    def ask(path: str, address: str) -> int:
        return client.get(path, headers={"X-Forwarded-For": address}).status_code

    statuses = [ask(path, "2001:db8::1") for path in ("/t/a", "/nothing", "/a", "/a", "/nothing")]
    assert statuses == [200, 404, 200, 429, 429]
    refusal = client.get("/a", headers={"X-Forwarded-For": "2001:db8::2"})
    assert refusal.json()["reason"] == "too_many_requests", "another address of the network"
    assert 0 < int(refusal.headers["Retry-After"]) <= 20
    assert ask("/a", "192.0.2.1") == 200, "another network"

"""The API server's address and our credentials, from the pod or the kubeconfig."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ashchat_operator.kube import pool
from ashchat_operator.kube.pool import ConnectionPool, login

INSIDE = kopf.ConnectionInfo(server="https://kubernetes.default.svc", token="first")


def inside(monkeypatch: pytest.MonkeyPatch, info: kopf.ConnectionInfo | None) -> None:
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: info)


@pytest.mark.parametrize(
    ("host", "server"),
    [("10.96.0.1", "https://10.96.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443")],
)
def test_in_a_pod_the_api_server_is_reached_by_address(
    monkeypatch: pytest.MonkeyPatch, host: str, server: str
) -> None:
    inside(monkeypatch, INSIDE)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert login().server == server
    assert login().token == "first"


def test_outside_a_pod_the_kubeconfig_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inside(monkeypatch, None)
    file = tmp_path / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": "https://there:6443"}}],
                "users": [{"name": "u", "user": {"token": "word"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert (login().server, login().token) == ("https://there:6443", "word")


def test_without_either_an_error_is_raised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inside(monkeypatch, None)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(kopf.LoginError, match="neither a service account nor a kubeconfig"):
        login()


@dataclass
class Server:
    """Records the token and the path of each request."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.raw_path, request.headers.get("Authorization", "")))
        return web.Response()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    noted, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", noted.answer)
    async with TestServer(app) as there:
        noted.url = str(there.make_url("")).rstrip("/")
        yield noted


async def ask(connected: ConnectionPool, path: str) -> None:
    answer = await connected.request("GET", path, headers={}, body=None, timeout_seconds=10)
    await answer.read()


async def test_a_renewed_token_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kopf.ConnectionInfo(server=server.url, token="first")
    monkeypatch.setattr(pool, "login", lambda: kopf.ConnectionInfo(server="", token="next"))
    async with ConnectionPool(first) as connected:
        await ask(connected, "/a")
        monkeypatch.setattr(pool, "TOKEN_SECONDS", -1.0)
        await ask(connected, "/b")
    assert server.asked == [("/a", "Bearer first"), ("/b", "Bearer next")]


async def test_a_quoted_path_is_sent_unchanged(server: Server) -> None:
    path = "/api/v1/secrets?labelSelector=a%2Fb%3Dc%2Cd&x=%3A"
    async with ConnectionPool(kopf.ConnectionInfo(server=server.url)) as connected:
        await ask(connected, path)
    assert server.asked == [(path, "")]

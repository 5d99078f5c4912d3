"""What the API server says, read whatever form it has."""

import json
from collections.abc import AsyncIterator

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ashchat_operator import api as module
from ashchat_operator.api import Api, NotLeading, RefusedByApiServer
from ashchat_operator.apply import find
from ashchat_operator.connection import Connection
from operator_rendering import resource

UNKNOWN = (404, b"404 page not found\n")
GROUP = (200, json.dumps({"resources": [{"kind": "HTTPRoute"}]}).encode())


class Server:
    """Answers each path with what it is told, and notes what is asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.later: tuple[int, int, str] = (503, 0, "0")
        """Status, how often, and after how many seconds to come again, before any answer."""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        status, left, after = self.later
        if left:
            self.later = status, left - 1, after
            text = b'{"message": "later"}'
            return web.Response(status=status, body=text, headers={"Retry-After": after})
        status, text = self.answers.get(request.path, (200, b'{"items": []}'))
        return web.Response(status=status, body=text)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[Api]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    async with TestServer(app) as there:
        info = kopf.ConnectionInfo(server=str(there.make_url("")))
        async with Api(Connection(info)) as connected:
            yield connected


GATEWAYS = "/apis/gateway.networking.k8s.io/v1"


async def test_a_kind_that_the_cluster_does_not_know_is_asked_for_once_in_a_while(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers[GATEWAYS] = UNKNOWN
    assert not await api.serves("HTTPRoute")
    server.answers[GATEWAYS] = GROUP
    assert not await api.serves("HTTPRoute")
    assert server.asked == [GATEWAYS]
    monkeypatch.setattr(module, "DISCOVERY_SECONDS", 0.0)
    assert await api.serves("HTTPRoute")


async def test_a_definition_that_went_holds_up_nothing(server: Server, api: Api) -> None:
    routes = f"{GATEWAYS}/namespaces/team/httproutes"
    server.answers |= {GATEWAYS: GROUP, routes: UNKNOWN}
    assert await find(api, resource("minimal")) == {}
    assert routes in server.asked


async def test_an_error_in_plain_text_is_an_error_like_others(server: Server, api: Api) -> None:
    server.answers["/api/v1/namespaces/a/pods/b"] = (502, b"<html>")
    with pytest.raises(RefusedByApiServer, match="Bad Gateway") as refused:
        await api.get("Pod", "a", "b")
    assert refused.value.status == 502


BODY = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "b"}}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_write_that_is_told_to_come_later_comes_later(
    server: Server, api: Api, status: int
) -> None:
    server.later = status, 2, "0"
    await api.apply(BODY, "us")
    assert len(server.asked) == 3


async def test_it_does_not_come_for_ever(server: Server, api: Api) -> None:
    server.later = 429, 100, "0"
    with pytest.raises(RefusedByApiServer, match="later"):
        await api.apply(BODY, "us")
    assert len(server.asked) == module.TRIES


async def test_who_does_not_lead_any_more_does_not_come_again(server: Server, api: Api) -> None:
    server.later = 429, 100, "0"
    api.may_write = lambda: len(server.asked) < 2
    with pytest.raises(NotLeading):
        await api.apply(BODY, "us")
    assert len(server.asked) == 2


async def test_a_long_wait_is_left_to_the_next_look(server: Server, api: Api) -> None:
    server.later = 503, 100, "60"
    with pytest.raises(RefusedByApiServer):
        await api.apply(BODY, "us")
    assert len(server.asked) == 1

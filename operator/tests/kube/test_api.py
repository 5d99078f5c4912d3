"""Responses of the API server, in every form that occurs."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ashchat_core.api.names import OPERATOR, Label
from ashchat_operator.kube import api as module
from ashchat_operator.kube.api import Api
from ashchat_operator.kube.apply import find
from ashchat_operator.kube.errors import ApiServerError, NotLeadingError
from ashchat_operator.kube.pool import ConnectionPool
from operator_rendering import resource

UNKNOWN = (404, b"404 page not found\n")
GROUP = (200, json.dumps({"resources": [{"kind": "HTTPRoute"}]}).encode())


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the server received."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: str


class Server:
    """An API server that returns a configured response for each path, and records requests."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.requests: list[Request] = []
        self.silent = False
        """Whether a watch receives headers and then nothing."""
        self.later: tuple[int, int, str] = (503, 0, "0")
        """The status to reject requests with, how many times, and the value of Retry-After."""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        self.requests.append(
            Request(
                request.method,
                request.path,
                dict(request.query),
                request.headers.copy(),
                await request.text(),
            )
        )
        if self.silent:
            response = web.StreamResponse()
            await response.prepare(request)
            await asyncio.Event().wait()
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
        async with Api(ConnectionPool(info)) as connected:
            yield connected


GATEWAYS = "/apis/gateway.networking.k8s.io/v1"


async def test_the_result_of_discovery_is_cached_for_a_while(
    server: Server, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers[GATEWAYS] = UNKNOWN
    assert not await api.serves("HTTPRoute")
    server.answers[GATEWAYS] = GROUP
    assert not await api.serves("HTTPRoute")
    assert server.asked == [GATEWAYS]
    monkeypatch.setattr(module, "DISCOVERY_SECONDS", 0.0)
    assert await api.serves("HTTPRoute")


async def test_a_deleted_definition_is_treated_as_an_empty_list(server: Server, api: Api) -> None:
    routes = f"{GATEWAYS}/namespaces/team/httproutes"
    server.answers |= {GATEWAYS: GROUP, routes: UNKNOWN}
    assert await find(api, resource("minimal")) == {}
    assert routes in server.asked


async def test_an_error_in_plain_text_is_raised_like_any_other(server: Server, api: Api) -> None:
    server.answers["/api/v1/namespaces/a/pods/b"] = (502, b"<html>")
    with pytest.raises(ApiServerError, match="Bad Gateway") as refused:
        await api.get("Pod", "a", "b")
    assert refused.value.status == 502


BODY = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "b"}}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_write_is_retried_when_the_api_server_asks_for_it(
    server: Server, api: Api, status: int
) -> None:
    server.later = status, 2, "0"
    await api.apply(BODY, "us")
    assert len(server.asked) == 3


async def test_retries_are_limited(server: Server, api: Api) -> None:
    server.later = 429, 100, "0"
    with pytest.raises(ApiServerError, match="later"):
        await api.apply(BODY, "us")
    assert len(server.asked) == module.TRIES


async def test_a_write_is_not_retried_after_the_lease_is_lost(server: Server, api: Api) -> None:
    server.later = 429, 100, "0"
    api.may_write = lambda: len(server.asked) < 2
    with pytest.raises(NotLeadingError):
        await api.apply(BODY, "us")
    assert len(server.asked) == 2


async def test_a_long_wait_is_left_to_the_next_pass(server: Server, api: Api) -> None:
    server.later = 503, 100, "60"
    with pytest.raises(ApiServerError):
        await api.apply(BODY, "us")
    assert len(server.asked) == 1


WATCHED = b"""{"type": "ADDED", "object": {"metadata": {"resourceVersion": "7"}}}
{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
"""


async def hear(api: Api, *, seconds: int, grace_seconds: float) -> list[str]:
    """Return the types of all events of a watch."""
    events = api.watch(
        "Secret", None, {"a": "b"}, version="5", seconds=seconds, grace_seconds=grace_seconds
    )
    return [event["type"] async for event in events]


async def test_a_watch_asks_for_metadata_only_and_for_bookmarks(server: Server, api: Api) -> None:
    """An operator that watches Secrets does not need their data."""
    server.answers["/api/v1/secrets"] = 200, WATCHED
    assert await hear(api, seconds=3, grace_seconds=1) == ["ADDED", "BOOKMARK"]
    (request,) = server.requests
    assert request.query == {
        "labelSelector": "a=b",
        "watch": "true",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "3",
        "resourceVersion": "5",
    }
    accepted = request.headers["Accept"].split(",")
    assert accepted == ["application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"]


async def test_a_silent_watch_ends_after_its_timeout(server: Server, api: Api) -> None:
    server.silent = True
    watching = asyncio.create_task(hear(api, seconds=0, grace_seconds=0.05))
    await asyncio.wait((watching,), timeout=5)
    watching.cancel()
    with pytest.raises(TimeoutError):  # its own timeout, not the cancellation
        await watching


async def test_a_watch_outlasts_the_servers_timeout(server: Server, api: Api) -> None:
    server.silent = True
    watching = asyncio.create_task(hear(api, seconds=1, grace_seconds=0))
    await asyncio.wait((watching,), timeout=0.05)
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_an_apply_has_a_field_manager_and_forces_conflicts(server: Server, api: Api) -> None:
    await api.apply(BODY, "us")
    (request,) = server.requests
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/b/secrets/a")
    assert request.query == {"fieldManager": "us", "force": "true"}
    assert request.headers["Content-Type"] == "application/apply-patch+yaml"
    assert json.loads(request.body) == BODY


async def test_a_new_object_is_applied_with_a_version_that_no_object_has(
    server: Server, api: Api
) -> None:
    """The API server then refuses it if an object of that name exists."""
    await api.apply(BODY, "us", new=True)
    sent = json.loads(server.requests[0].body)
    assert sent["metadata"].pop("resourceVersion") == "1"
    assert sent == BODY


async def test_only_an_ashchats_own_objects_are_listed(server: Server, api: Api) -> None:
    """A list without these labels would return every Secret in the namespace."""
    server.answers[GATEWAYS] = GROUP
    await find(api, resource("minimal"))
    lists = [request for request in server.requests if request.path != GATEWAYS]
    assert {request.path.rpartition("/")[2] for request in lists} >= {"secrets", "httproutes"}
    for request in lists:
        assert "/namespaces/team/" in request.path
        selector = request.query["labelSelector"].split(",")
        assert set(selector) == {f"{Label.INSTANCE}=small", f"{Label.MANAGED_BY}={OPERATOR}"}

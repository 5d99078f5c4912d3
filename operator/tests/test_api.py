"""What the API server says, read whatever form it has."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ashchat_operator import api as module
from ashchat_operator.api import Api, NotLeading, RefusedByApiServer
from ashchat_operator.apply import find
from operator_rendering import resource

UNKNOWN = (404, b"404 page not found\n")
GROUP = (200, json.dumps({"resources": [{"kind": "HTTPRoute"}]}).encode())


class Server:
    """Answers each path with what it is told, and notes what is asked."""

    def __init__(self, answers: dict[str, tuple[int, bytes]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.configuration = SimpleNamespace(host="https://api", auth_settings=self.auth)
        self.rest_client = self

    async def auth(self) -> dict[str, Any]:
        return {}

    async def request(self, _: str, address: str, **__: Any) -> Any:
        path = address.removeprefix("https://api").partition("?")[0]
        self.asked.append(path)
        status, text = self.answers.get(path, (200, b'{"items": []}'))

        async def read() -> bytes:
            return text

        return SimpleNamespace(status=status, reason="its reason", headers={}, read=read)


def api(server: Server) -> Api:
    return Api(server)  # type: ignore[arg-type]


GATEWAYS = "/apis/gateway.networking.k8s.io/v1"


async def test_a_kind_that_the_cluster_does_not_know_is_asked_for_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server({GATEWAYS: UNKNOWN})
    asked = api(server)
    assert not await asked.serves("HTTPRoute")
    server.answers[GATEWAYS] = GROUP
    assert not await asked.serves("HTTPRoute")
    assert server.asked == [GATEWAYS]
    monkeypatch.setattr(module, "DISCOVERY_SECONDS", 0.0)
    assert await asked.serves("HTTPRoute")


async def test_a_definition_that_went_holds_up_nothing() -> None:
    routes = f"{GATEWAYS}/namespaces/team/httproutes"
    server = Server({GATEWAYS: GROUP, routes: UNKNOWN})
    assert await find(api(server), resource("minimal")) == {}
    assert routes in server.asked


async def test_an_error_in_plain_text_is_an_error_like_others() -> None:
    server = Server({"/api/v1/namespaces/a/pods/b": (502, b"<html>")})
    with pytest.raises(RefusedByApiServer, match="its reason") as refused:
        await api(server).get("Pod", "a", "b")
    assert refused.value.status == 502


class Later(Server):
    """Asks a few times to come again, then answers."""

    def __init__(self, status: int, times: int, after: str = "0") -> None:
        super().__init__({})
        self._status, self._left, self._after = status, times, after

    async def request(self, _: str, address: str, **__: Any) -> Any:
        self.asked.append(address)
        self._left -= 1
        status = self._status if self._left >= 0 else 200

        async def read() -> bytes:
            return b'{"message": "later"}'

        return SimpleNamespace(
            status=status,
            reason="its reason",
            headers={"Retry-After": self._after} if self._left >= 0 else {},
            read=read,
            response=SimpleNamespace(close=lambda: None),
        )


BODY = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "b"}}


@pytest.mark.parametrize("status", [429, 503])
async def test_a_write_that_is_told_to_come_later_comes_later(status: int) -> None:
    server = Later(status, 2)
    await api(server).apply(BODY, "us")
    assert len(server.asked) == 3


async def test_it_does_not_come_for_ever() -> None:
    server = Later(429, 100)
    with pytest.raises(RefusedByApiServer, match="later"):
        await api(server).apply(BODY, "us")
    assert len(server.asked) == module.TRIES


async def test_who_does_not_lead_any_more_does_not_come_again() -> None:
    server = Later(429, 100)
    asking = api(server)
    asking.may_write = lambda: len(server.asked) < 2
    with pytest.raises(NotLeading):
        await asking.apply(BODY, "us")
    assert len(server.asked) == 2


async def test_a_long_wait_is_left_to_the_next_look() -> None:
    server = Later(503, 100, after="60")
    with pytest.raises(RefusedByApiServer):
        await api(server).apply(BODY, "us")
    assert len(server.asked) == 1

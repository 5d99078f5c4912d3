"""The call over all backends: the result of each reports its errors, and nothing is raised."""

import asyncio
import socket
import time
from urllib.parse import unquote, urlsplit

import pytest

from ashchat_core.api.reasons import Reason
from ashchat_core.topology import Service
from ashchat_operator.backends import connectivity, ensure
from ashchat_operator.backends.addresses import mongodb_uri, rabbitmq_uri, redis_uri
from ashchat_operator.backends.base import Address, Backend, Login, version_tuple
from ashchat_operator.backends.ensure import Backends
from ashchat_operator.backends.mongodb.desired import MongoDBTarget
from ashchat_operator.backends.rabbitmq.desired import RabbitMQTarget
from ashchat_operator.backends.redis.desired import RedisTarget

NOWHERE = "127.0.0.1"


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind((NOWHERE, 0))
        return int(probe.getsockname()[1])


async def test_unreachable_backends_are_reported(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ashchat_operator.backends.mongodb.client.TIMEOUT_MS", 200)
    monkeypatch.setattr(connectivity, "SERVICE_LAG_SECONDS", 0.2)
    results = await ensure.ensure(
        Backends(
            logins=(),
            rabbitmq=RabbitMQTarget(f"http://{NOWHERE}:{closed_port}", "admin", "secret"),
            redis=RedisTarget(NOWHERE, closed_port, "admin", "secret"),
            cache=RedisTarget(NOWHERE, closed_port, "admin", "secret"),
            mongodb=MongoDBTarget(NOWHERE, closed_port, "admin", "secret"),
        )
    )
    assert set(results) == set(Backend)
    for result in results.values():
        assert (result.ready, result.reason, result.changes) == (False, Reason.UNREACHABLE, ())
        assert str(closed_port) in result.message
        assert "secret" not in result.message


async def test_a_service_that_lags_behind_its_pod_is_not_reported_as_unreachable(
    closed_port: int,
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        writer.write(head)
        writer.close()

    target = RabbitMQTarget(f"http://{NOWHERE}:{closed_port}", "admin", "secret")
    asking = asyncio.create_task(ensure.ensure(Backends(logins=(), rabbitmq=target)))
    done, _ = await asyncio.wait({asking}, timeout=0.3)
    assert not done
    async with await asyncio.start_server(refuse, NOWHERE, closed_port):
        results = await asking
    assert results[Backend.RABBITMQ].reason is Reason.LOGIN_REFUSED


async def test_an_unreachable_external_server_is_reported_at_once(
    closed_port: int,
) -> None:
    address = Address(NOWHERE, closed_port, None)
    target = RedisTarget(NOWHERE, closed_port, "admin", "secret", owned=False, address=address)
    began = time.monotonic()
    results = await ensure.ensure(Backends(logins=(), redis=target))
    assert results[Backend.REDIS].reason is Reason.UNREACHABLE
    assert time.monotonic() - began < connectivity.SERVICE_LAG_SECONDS


async def test_a_server_that_accepts_and_never_responds_times_out() -> None:
    with socket.socket() as silent:
        silent.bind((NOWHERE, 0))
        silent.listen()
        target = RabbitMQTarget(f"http://{NOWHERE}:{silent.getsockname()[1]}", "admin", "secret")
        results = await ensure.ensure(Backends(logins=(), rabbitmq=target), timeout_seconds=0.1)
    assert results[Backend.RABBITMQ].reason is Reason.TIMED_OUT


async def test_an_absent_backend_is_not_checked() -> None:
    assert await ensure.ensure(Backends(logins=())) == {}


def test_addresses_quote_what_a_password_may_hold() -> None:
    login = Login(Service.CHAT, "chat-a", "p@ss/w:rd?#%")
    for uri in (
        rabbitmq_uri("broker", login),
        mongodb_uri("database", login, "chat"),
        redis_uri("cache", login),
    ):
        parts = urlsplit(uri)
        assert unquote(parts.password or "") == login.password
        assert parts.hostname in {"broker", "database", "cache"}
    assert rabbitmq_uri("h", login, vhost="/").endswith("/%2F")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("4.0.5", (4, 0, 5)), ("3.13.0-rc.1", (3, 13, 0)), ("8.0.2+x", (8, 0, 2)), ("", ())],
)
def test_versions_compare_by_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert version_tuple(text) == numbers

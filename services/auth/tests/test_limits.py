"""Who counts as one client, how waits grow, and that nothing may be tried without Redis."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_asyncio
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi.testclient import TestClient

from ashchat_auth import api
from ashchat_auth.keys import SigningKeys
from ashchat_auth.limits import INBOX_SECONDS, RESEND_WAITS_SECONDS, RedisLimits, network
from ashchat_auth.models import Purpose, Temporary
from ashchat_auth.settings import Settings
from ashchat_core import redis
from auth_world import HERE, World, add_signing_key

THERE = "203.0.113.9"


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_network_is_one_client(address: str, counts_as: str) -> None:
    assert network(address) == counts_as


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest_asyncio.fixture
async def limits(server: FakeServer) -> AsyncIterator[RedisLimits]:
    async with FakeAsyncRedis(server=server, decode_responses=True) as client:
        yield RedisLimits(
            cast("redis.Redis", SimpleNamespace(client=client, key=str)), Settings(_env_file=None)
        )


class Clock:
    """The time, as the limits see it."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("ashchat_auth.limits.time", clock)
    return clock


async def test_the_wait_for_another_mail_grows_to_its_ceiling(
    limits: RedisLimits, clock: Clock, server: FakeServer
) -> None:
    asked: Any = FakeAsyncRedis(server=server)
    waits = []
    for _ in range(len(RESEND_WAITS_SECONDS) + 2):
        assert await limits.mail("sign-up", "ana@example.org", HERE) == 0
        (key,) = [key async for key in asked.scan_iter("auth:resend:*")]
        waits.append(round(float(await asked.hget(key, "next")) - clock.now))
        if waits[-1]:
            assert await limits.mail("sign-up", "ana@example.org", HERE) == waits[-1]
        clock.now += waits[-1]
        async for inbox in asked.scan_iter("auth:inbox:*"):
            await asked.delete(inbox)  # the limit across networks has a separate test
    assert waits == [*RESEND_WAITS_SECONDS, *RESEND_WAITS_SECONDS[-1:] * 2]


async def test_an_inbox_is_not_flooded_from_many_networks(limits: RedisLimits) -> None:
    waits = [await limits.mail("reset", "ana@example.org", f"192.0.2.{n}") for n in range(5)]
    assert waits[:3] == [0, 0, 0]
    assert all(0 < wait <= INBOX_SECONDS for wait in waits[3:])
    assert await limits.mail("sign-up", "ana@example.org", HERE) == 0, "another kind of mail"


async def test_strangers_do_not_slow_a_known_device(limits: RedisLimits) -> None:
    for _ in range(10):
        await limits.sign_in_failed("ana@example.org", THERE, None)
    assert await limits.sign_in_wait("ana@example.org", THERE, None) > 0
    assert await limits.sign_in_wait("ana@example.org", HERE, None) == 0, "another network"
    assert await limits.sign_in_wait("ana@example.org", THERE, "phone") == 0, "a known device"


async def test_a_botnet_is_limited_and_a_reset_lets_the_owner_in(limits: RedisLimits) -> None:
    for number in range(100):
        await limits.sign_in_failed("ana@example.org", f"198.51.100.{number}", None)
    assert await limits.sign_in_wait("ana@example.org", HERE, None) > 0
    await limits.forgive("ana@example.org")
    assert await limits.sign_in_wait("ana@example.org", HERE, None) == 0


async def test_keys_show_neither_address_nor_network(
    limits: RedisLimits, server: FakeServer
) -> None:
    await limits.mail("reset", "ana@example.org", HERE)
    await limits.sign_in_failed("ana@example.org", HERE, None)
    keys = [str(key) for key in await FakeAsyncRedis(server=server).keys("*")]
    assert keys
    assert not [key for key in keys if "ana" in key or HERE in key]


CALLS: dict[str, Callable[[RedisLimits], Awaitable[Any]]] = {
    "sign_up": lambda limits: limits.sign_up(HERE),
    "mail": lambda limits: limits.mail("sign-up", "ana@example.org", HERE),
    "sign_in_wait": lambda limits: limits.sign_in_wait("ana@example.org", HERE, None),
    "sign_in_wait known": lambda limits: limits.sign_in_wait("ana@example.org", HERE, "phone"),
    "sign_in_failed": lambda limits: limits.sign_in_failed("ana@example.org", HERE, None),
    "profile_changed": lambda limits: limits.profile_changed("s1"),
    "code_mailed": lambda limits: limits.code_mailed("s1"),
    "code_tried": lambda limits: limits.code_tried("s1", HERE),
    "challenge_tried": lambda limits: limits.challenge_tried("c1"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_without_redis_no_limit_says_go_on(
    limits: RedisLimits, server: FakeServer, name: str
) -> None:
    server.connected = False
    with pytest.raises(redis.UNAVAILABLE):
        await CALLS[name](limits)


async def test_without_redis_sign_in_and_codes_are_503_with_retry_after(
    limits: RedisLimits, server: FakeServer, tmp_path: Any
) -> None:
    server.connected = False
    add_signing_key(tmp_path / "keys", "one")
    signer = SigningKeys(tmp_path / "keys", issuer="i", audience="a", minutes=20)
    world = World(tmp_path / "ring", signer, limits)
    await world.make()
    says = Temporary(
        purpose=Purpose.MAILED_CODE,
        subject="s1",
        challenge_id="c1",
        device_hash=world.ana.devices[0].device_hash,
    )
    temporary = {"Authorization": f"Bearer {signer.temporary(says, world.ana.created_at)}"}
    says = Temporary(purpose=Purpose.RESET, subject="r1", challenge_id="r1")
    reset = {"Authorization": f"Bearer {signer.temporary(says, world.ana.created_at)}"}
    device = {"deviceTokenId": "phone"}
    email, code = {"email": "ana@example.org"}, {"emailCode": "123456"}
    password = {"password": "correct horse"}
    client = TestClient(api.build(Settings(_env_file=None), world.auth, signer))
    for method, path, body, headers in (
        ("POST", "/signup", {**email, **password, "name": "A", "preferredLanguage": "es"}, {}),
        ("POST", "/confirm-email", {**email, **code, **device}, {}),
        ("POST", "/signin", {**email, **password, **device}, {}),
        ("POST", "/password", email, {}),
        ("POST", "/confirm-new-device", {**code, **device}, temporary),
        ("PATCH", "/password", {**code, "newPassword": "battery staple"}, reset),
    ):
        answer = client.request(method, f"/api/user{path}", json=body, headers=headers)
        assert (answer.status_code, answer.json()["reason"]) == (503, "unavailable"), path
        assert int(answer.headers["Retry-After"]) > 0
    assert not world.queues.sent
    assert not world.passwords.computed, "a password was compared without being counted"

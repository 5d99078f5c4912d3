"""Who is charged for what: hosts pay for all they try, owners are not locked out by strangers."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi.testclient import TestClient

from ashchat_auth import api
from ashchat_auth.keys import SigningKeys
from ashchat_auth.limits import AuthLimits
from ashchat_auth.service.second_factor import Factor
from ashchat_auth.service.sign_in import DeviceProof
from ashchat_auth.settings import Settings
from ashchat_core.admission.counters import MemoryCounters, RedisCounters
from ashchat_core.admission.gate import Admission
from ashchat_core.errors import UnavailableError
from ashchat_core.redis import Redis
from ashchat_core.topology import Queue
from auth_world import (
    EMAIL,
    HERE,
    OTHER_PASSWORD,
    PASSWORD,
    PHONE,
    TABLET,
    Clock,
    World,
    add_signing_key,
    refused,
    totp,
)

THERE = "203.0.113.9"
SETTINGS = Settings(_env_file=None)
FLOOD = 3_000


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(clock: Clock) -> AuthLimits:
    return AuthLimits(Admission(MemoryCounters(), clock=clock.time), SETTINGS)


async def test_one_network_gets_few_mails_however_many_addresses_it_names(
    limits: AuthLimits,
) -> None:
    waits = [await limits.mail("reset", f"victim{n}@example.org", HERE) for n in range(FLOOD)]
    assert waits.count(0) == SETTINGS.code_mails_per_network_per_day < FLOOD
    assert waits[-1] > 0
    assert await limits.mail("reset", "victim0@example.org", THERE) == 0, "another network"


async def test_one_network_may_guess_few_codes_however_many_resets_it_begins(
    limits: AuthLimits,
) -> None:
    waits = [await limits.code_tried(f"reset{n // 5}", HERE) for n in range(FLOOD)]
    assert waits.count(0) == SETTINGS.wrong_codes_per_network_per_day < FLOOD
    assert await limits.code_tried("reset0", THERE) == 0, "another network"


async def test_one_network_may_guess_few_passwords_however_many_accounts_it_tries(
    limits: AuthLimits,
) -> None:
    waits = [await limits.password_tried(f"{n}@example.org", HERE, None) for n in range(FLOOD)]
    assert waits.count(0) == SETTINGS.wrong_passwords_per_network_per_hour < FLOOD
    assert await limits.password_tried(EMAIL, HERE, "phone") == 0, "a known device in it"


async def test_a_code_that_is_right_costs_nothing(limits: AuthLimits) -> None:
    for number in range(FLOOD):
        assert await limits.code_tried(f"{number}@example.org", HERE) == 0
        await limits.code_right(f"{number}@example.org", HERE)


async def test_right_codes_of_all_flows_are_returned(world: World) -> None:
    """What strangers may try is not used up by users who make no mistake."""
    await world.confirm(temporary=await world.sign_up())
    caller = await world.caller()
    await world.confirm_device((await world.challenge()).data["token"])
    change = {"new_email": "ana@new.example", "password": PASSWORD}
    await world.auth.account.begin_email_change(caller, **change)
    await world.auth.account.finish_email_change(
        await world.caller(), old_code="111111", new_code="222222"
    )
    token = await world.auth.passwords.ask(email="ana@new.example", address=HERE)
    await world.auth.passwords.reset(
        temporary=token,
        code="123456",
        new_password=OTHER_PASSWORD,
        factor=Factor(None),
        address=HERE,
    )
    left = {key.partition(":")[0] for key in world.buckets._full_at}
    assert left
    assert not [limit for limit in left if limit.startswith(("code.", "password."))]


async def test_mails_to_an_address_wait_longer_the_more_there_are(
    limits: AuthLimits, clock: Clock
) -> None:
    waits = []
    for _ in range(12):
        waits.append(await limits.mail("sign-up", EMAIL, HERE))
        if waits[-1]:
            clock.now += waits[-1]
            assert await limits.mail("sign-up", EMAIL, HERE) == 0
    assert waits[:3] == [0, 0, 30]
    assert waits == sorted(waits)
    assert waits[-1] == 450


async def test_an_inbox_is_not_flooded_from_many_networks(limits: AuthLimits, clock: Clock) -> None:
    waits = [await limits.mail("reset", EMAIL, f"192.0.{n}.1") for n in range(5)]
    assert waits == [0, 0, 0, 60, 60]
    assert await limits.mail("sign-up", EMAIL, HERE) == 0, "another kind of mail"
    sent = 3
    for minute in range(24 * 60):
        clock.now += 60
        sent += await limits.mail("reset", EMAIL, f"198.51.{minute % 250}.{minute // 250}") == 0
    # What the bucket holds, and what refills on the first day.
    assert sent <= 2 * SETTINGS.code_mails_per_address_per_day


async def test_strangers_do_not_slow_a_known_device(limits: AuthLimits) -> None:
    for _ in range(10):
        assert await limits.password_tried(EMAIL, THERE, None) == 0
    assert await limits.password_tried(EMAIL, THERE, None) > 0
    assert await limits.password_tried(EMAIL, HERE, None) == 0, "another network"
    assert await limits.password_tried(EMAIL, THERE, "phone") == 0, "a known device"


async def test_a_botnet_is_limited_and_a_reset_lets_the_owner_in(limits: AuthLimits) -> None:
    for number in range(100):
        assert await limits.password_tried(EMAIL, f"198.51.{number}.1", None) == 0
    assert await limits.password_tried(EMAIL, HERE, None) > 0
    assert await limits.password_tried(EMAIL, HERE, "phone") == 0, "a known device"
    await limits.forgive(EMAIL)
    assert await limits.password_tried(EMAIL, HERE, None) == 0


async def test_the_second_factor_cannot_be_guessed_from_many_networks(world: World) -> None:
    await world.with_two_factor()
    world.queues.sent.clear()
    guesses = 0
    for number in range(100):
        world.exhaust("mail.account", "s1", seconds=-3600)
        token = (await world.challenge()).data["token"]
        call = world.auth.sign_in.confirm_new_device(
            temporary=token,
            proof=wrong_code(),
            device=TABLET,
            address=f"2001:db8:{number:x}::1",
        )
        guesses += await refused(call) == (403, "wrong_code")
    assert guesses == SETTINGS.wrong_second_factors_per_day
    notices = [body.event for queue, body in world.queues.sent if queue is Queue.SECURITY_NOTICE]
    assert notices == ["second_factor_guessed"], "the owner is informed once"
    await world.auth.events.drain()
    assert {"second_factor_failed", "second_factor_guessed"} <= set(world.store.kinds())


async def test_a_recovery_code_lets_the_owner_in_whom_guesses_keep_out(world: World) -> None:
    caller, secret, codes = await world.with_two_factor()
    world.exhaust("second-factor.account", "s1")
    right = world.auth.two_factor.disable(caller, password=PASSWORD, factor=Factor(totp(secret, 1)))
    assert await refused(right) == (429, "too_many_requests")
    await world.auth.two_factor.disable(caller, password=PASSWORD, factor=Factor(None, codes[0]))


async def test_a_right_second_factor_costs_nothing(world: World) -> None:
    caller, secret, _ = await world.with_two_factor()
    await world.auth.two_factor.renew(caller, password=PASSWORD, factor=Factor(totp(secret, 1)))
    assert not world.charged("second-factor.account", "s1")


async def test_a_sign_in_on_a_device_replaces_its_former_session(world: World) -> None:
    await world.confirm()
    other, first = await world.sign_in_on("tablet", "phone")
    for _ in range(5):
        last = await world.sign_in()
    assert await refused(world.caller(first)) == (401, "session_over")
    assert (await world.caller(last)).user.id == (await world.caller(other, "tablet")).user.id
    assert len(world.store.chains) == 2, "one for each device"


async def test_sign_ins_with_the_right_password_are_limited(world: World) -> None:
    await world.confirm()
    for _ in range(SETTINGS.sign_ins_per_device_per_hour):
        await world.sign_in()
    assert await refused(world.sign_in()) == (429, "too_many_requests")
    await world.sign_in_on("tablet")
    assert not world.charged("password.device", EMAIL, PHONE.device_hash)


async def test_a_hash_that_could_not_be_queued_is_not_counted(world: World) -> None:
    await world.confirm()

    async def full(*_: object) -> bool:
        raise UnavailableError

    world.passwords.verify = full  # type: ignore[method-assign,assignment]
    assert await refused(world.sign_in(device="laptop")) == (503, "unavailable")
    assert not world.charged("password.strangers", EMAIL)


def test_without_redis_sign_in_works_and_is_limited_by_each_process(
    server: FakeServer, tmp_path: Any
) -> None:
    add_signing_key(tmp_path / "keys", "one")
    signer = SigningKeys(tmp_path / "keys", issuer="i", audience="a", minutes=20)
    redis = cast("Redis", SimpleNamespace(client=FakeAsyncRedis(server=server), key=str))
    world = World(tmp_path / "ring", signer, RedisCounters(redis, "auth:admission"))
    server.connected = False
    asyncio.run(world.make())
    client = TestClient(api.build(SETTINGS, world.auth, signer))

    def sign_in(password: str, device: str) -> Any:
        body = {"email": EMAIL, "password": password, "deviceTokenId": device}
        return client.post("/api/user/signin", json=body)

    assert sign_in(PASSWORD, "phone").status_code == 200
    statuses = [sign_in("wrong", "laptop").status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    refusal = sign_in(PASSWORD, "laptop")
    assert refusal.json()["reason"] == "too_many_requests"
    assert int(refusal.headers["Retry-After"]) > 0
    assert sign_in(PASSWORD, "phone").status_code == 200, "the owner"


def wrong_code() -> DeviceProof:
    return DeviceProof(TABLET.device_hash, "000000")

"""From a password to tokens."""

import asyncio
from datetime import UTC, datetime

import pytest

from ashchat_auth.models import Device, Session
from ashchat_auth.passwords import WORKERS
from ashchat_auth.service.ports import Asker
from ashchat_core.errors import APIError
from ashchat_core.messages import ConfirmNewDeviceReply
from ashchat_core.tokens import device_hash
from ashchat_core.topology import Queue
from auth_world import (
    EMAIL,
    HERE,
    LAPTOP,
    PHONE,
    TABLET,
    World,
    refused,
    totp,
)

ALLOWED = 10
SIGN_INS = 5


async def test_signing_in_on_a_known_device(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    assert signed_in.user_id == "s1"
    assert world.tokens.issued[signed_in.token].device_hash == PHONE.device_hash
    assert signed_in.refresh_token not in repr(signed_in)
    assert world.store.kinds() == ["account_made", "signed_in"]


async def test_wrong_password_and_unknown_address_are_alike(world: World) -> None:
    unknown = await refused(world.sign_in(device="laptop"))
    await world.confirm()
    assert unknown == await refused(world.sign_in("wrong", "laptop")) == (401, "wrong_credentials")
    assert world.passwords.computed == 2
    assert world.charged("password.account-network", EMAIL, f"{HERE}/32") == 2


async def test_a_known_device_is_counted_by_itself_so_that_nobody_locks_its_owner_out(
    world: World,
) -> None:
    await world.confirm()
    await refused(world.sign_in("wrong", "phone"))
    assert world.charged("password.device", EMAIL, PHONE.device_hash) == 1
    assert not world.charged("password.strangers", EMAIL)


async def test_failures_are_one_counted_event_an_hour_and_network(world: World) -> None:
    await world.confirm()
    for _ in range(3):
        await refused(world.sign_in("wrong"))
    await world.auth.events.drain()
    counts = [event.count for event in world.store.events.values() if event.kind != "account_made"]
    assert sum(counts) == 3
    assert len(counts) in {1, 2}, "two when the hour changed just now"


async def test_an_event_that_cannot_be_kept_costs_nobody_the_sign_in(world: World) -> None:
    await world.confirm()
    world.store.fails = {"store_event"}
    assert (await world.sign_in()).user_id == "s1"


async def test_too_many_wrong_passwords_wait(world: World) -> None:
    world.exhaust("password.strangers", EMAIL)
    with pytest.raises(APIError) as error:
        await world.sign_in()
    assert (error.value.status, error.value.headers["Retry-After"]) == (429, "42")
    assert not world.passwords.computed


async def test_many_wrong_passwords_at_once_are_no_more_than_one_after_the_other(
    world: World,
) -> None:
    await world.confirm()
    real, workers = world.passwords.verify, asyncio.Semaphore(WORKERS)

    async def in_turn(hashed: str | None, password: str, asker: Asker) -> bool:
        async with workers:
            await asyncio.sleep(0)
            return await real(hashed, password, asker)

    world.passwords.verify = in_turn  # type: ignore[method-assign]
    guesses = [world.sign_in("wrong") for _ in range(50)]
    answers = await asyncio.gather(*(refused(guess) for guess in (*guesses, world.sign_in())))
    assert answers.count((401, "wrong_credentials")) == ALLOWED
    assert answers[-1] == (429, "too_many_requests"), "the right one is not distinguishable"


async def test_a_hash_of_old_parameters_is_replaced_at_sign_in(world: World) -> None:
    await world.confirm()
    old = world.ana.model_copy(update={"password_hash": "old:correct horse"})
    world.store.users["s1"] = old
    await refused(world.sign_in("wrong"))
    assert world.ana.password_hash.startswith("old:")
    await world.sign_in()
    assert world.ana.password_hash.startswith("hash:")
    assert world.ana.epoch == 0, "nobody is signed out by it"


async def test_a_new_device_is_asked_for_the_code_that_is_mailed(world: World) -> None:
    await world.confirm()
    error = await world.challenge()
    assert (error.status, error.reason) == (403, "new_device")
    assert set(error.data) == {"token", "info"}
    assert world.queues.names()[-1] == Queue.CONFIRM_NEW_DEVICE
    await world.confirm_device(error.data["token"])
    assert world.queues.names()[-3:] == [
        Queue.CONFIRM_NEW_DEVICE_REPLY,
        Queue.CHANGE_DEVICE_TOKEN,
        Queue.CONFIRM_NEW_DEVICE_REPLY,
    ]
    assert not world.ana.due
    assert (await world.sign_in(device="tablet")).user_id == "s1"
    assert (await world.sign_in(device="phone")).user_id == "s1"


async def test_a_code_is_for_the_device_that_asked(world: World) -> None:
    await world.confirm()
    token = (await world.challenge()).data["token"]
    assert await refused(world.confirm_device(token, LAPTOP)) == (403, "wrong_device")
    assert await refused(world.confirm_device("access:s1")) == (401, "invalid_token")


async def test_a_wrong_code_adds_no_device(world: World) -> None:
    await world.confirm()
    world.queues.answers[Queue.CONFIRM_NEW_DEVICE_REPLY] = ConfirmNewDeviceReply(
        request_id="r", refusal="wrong_code"
    )
    token = (await world.challenge()).data["token"]
    assert await refused(world.confirm_device(token)) == (403, "wrong_code")
    assert world.ana.devices == (PHONE,)


async def test_two_new_devices_do_not_disturb_each_other(world: World) -> None:
    await world.confirm()
    tokens = [(await world.challenge(name)).data["token"] for name in ("tablet", "laptop")]
    await world.confirm_device(tokens[1], LAPTOP)
    await world.confirm_device(tokens[0])
    assert len(world.ana.devices) == 3


async def test_a_new_device_does_not_take_what_is_due_for_the_account(world: World) -> None:
    world.queues.away.add(Queue.CONFIRM_NEW_ACCOUNT)
    await world.confirm()
    await world.confirm_device((await world.challenge()).data["token"])
    assert [due.id for due in world.ana.due] == ["account.s1"]


async def test_an_unpublished_device_is_published_later(world: World) -> None:
    await world.confirm()
    world.queues.away.add(Queue.CHANGE_DEVICE_TOKEN)
    await world.confirm_device((await world.challenge()).data["token"])
    world.queues.away.clear()
    world.store.age()
    assert await world.auth.outbox.sweep() == 1
    (told,) = world.queues.of(Queue.CHANGE_DEVICE_TOKEN)
    assert [one.device_token_hash for one in told.devices] == [
        PHONE.device_hash, TABLET.device_hash,
    ]  # fmt: skip
    assert told.version == 1


async def test_codes_for_new_devices_are_limited(world: World) -> None:
    await world.confirm()
    world.exhaust("mail.account", "s1")
    assert (await world.challenge()).status == 429


async def test_devices_confirmed_at_once_are_all_published(world: World) -> None:
    await world.confirm()
    names = [f"device {number}" for number in range(5)]
    tokens = [(await world.challenge(name)).data["token"] for name in names]
    devices = [Device(device_hash=device_hash(name)) for name in names]
    await asyncio.gather(*map(world.confirm_device, tokens, devices))
    assert {one.device_hash for one in world.ana.devices[1:]} == {
        one.device_hash for one in devices
    }
    told = world.queues.of(Queue.CHANGE_DEVICE_TOKEN)
    assert [one.version for one in told] == [1, 2, 3, 4, 5]
    assert [len(one.devices) for one in told] == [2, 3, 4, 5, 6]


async def test_the_oldest_device_is_removed_from_chat_as_well(world: World) -> None:
    world.limits.devices_max = 2
    await world.confirm()
    for name, device in (("tablet", TABLET), ("laptop", LAPTOP)):
        await world.confirm_device((await world.challenge(name)).data["token"], device)
    assert world.ana.devices == (TABLET, LAPTOP)
    told = world.queues.of(Queue.CHANGE_DEVICE_TOKEN)[-1]
    assert [one.device_token_hash for one in told.devices] == [
        TABLET.device_hash, LAPTOP.device_hash,
    ]  # fmt: skip


async def test_a_password_changed_during_a_sign_in_leaves_no_session(world: World) -> None:
    await world.confirm()
    add_session = world.store.add_session

    async def changed_meanwhile(*args: object, **more: object) -> str:
        token = await add_session(*args, **more)  # type: ignore[arg-type]
        world.store.users["s1"] = world.ana.model_copy(update={"epoch": 1})
        return token

    world.store.add_session = changed_meanwhile  # type: ignore[method-assign]
    assert await refused(world.sign_in()) == (401, "wrong_credentials")
    assert not world.store.chains


async def test_with_two_factor_a_new_device_needs_the_authenticator_and_no_mail(
    world: World,
) -> None:
    _, secret, _ = await world.with_two_factor()
    world.queues.sent.clear()
    error = await world.challenge()
    assert (error.status, error.reason) == (403, "new_device_totp")
    assert not world.queues.sent
    token = error.data["token"]
    assert await refused(world.confirm_device(token, code="000000")) == (403, "wrong_code")
    await world.confirm_device(token, code=totp(secret, 1))
    assert (await world.sign_in(device="tablet")).user_id == "s1"


async def test_tries_of_one_challenge_are_limited(world: World) -> None:
    _, secret, _ = await world.with_two_factor()
    token = (await world.challenge()).data["token"]
    world.exhaust("code.challenge", world.tokens.temporaries[token].challenge_id)
    right = world.confirm_device(token, code=totp(secret, 1))
    assert await refused(right) == (429, "too_many_requests")


async def test_a_mailed_code_does_not_stand_for_the_authenticators(world: World) -> None:
    await world.confirm()
    before = (await world.challenge()).data["token"]
    await world.with_two_factor()
    assert await refused(world.confirm_device(before)) == (401, "invalid_token")


@pytest.mark.parametrize("first", ["oldest", "newest"])
async def test_of_concurrent_sign_ins_on_a_device_one_session_remains(
    world: World, first: str
) -> None:
    await world.confirm()
    store, waiting = world.store.add_session, list[asyncio.Event]()
    all_wait = asyncio.Event()

    async def in_order(session: Session, *, expires_at: datetime) -> str:
        waiting.append(own := asyncio.Event())
        if len(waiting) == SIGN_INS:
            all_wait.set()
        await own.wait()
        return await store(session, expires_at=expires_at)

    world.store.add_session = in_order  # type: ignore[method-assign]
    sign_ins = [asyncio.create_task(world.sign_in()) for _ in range(SIGN_INS)]
    await all_wait.wait()
    order = waiting if first == "oldest" else waiting[::-1]
    for each in order:
        each.set()
    await asyncio.gather(*sign_ins)
    (remaining,) = await world.store.sessions_of("s1", datetime.now(UTC))
    assert remaining.sign_in == SIGN_INS, "not that of the newest sign-in"

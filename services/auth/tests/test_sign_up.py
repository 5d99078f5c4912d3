"""From an address to an account."""

from typing import Any

import pytest

from ashchat_auth.models import Purpose
from ashchat_auth.service.second_factor import Factor
from ashchat_core.errors import APIError, BrokerUnavailableError
from ashchat_core.messages import ConfirmEmailCodeReply
from ashchat_core.text import address_key
from ashchat_core.topology import Queue
from auth_world import EMAIL, HERE, PASSWORD, PENDING, LostError, World, refused


async def test_a_sign_up_hashes_the_password_before_it_travels(world: World) -> None:
    await world.sign_up()
    ((queue, body),) = world.queues.sent
    assert (queue, body.kind, body.password_hash) == (
        Queue.ACCOUNT_CREATION,
        "sign_up",
        f"hash:{PASSWORD}",
    )


async def test_a_taken_address_does_the_same_work_and_notifies_only_its_owner(world: World) -> None:
    await world.confirm()
    world.queues.sent.clear()
    before = world.passwords.computed
    await world.sign_up("Ana@Example.org")
    ((_, body),) = world.queues.sent
    assert world.passwords.computed == before + 1
    assert (body.kind, body.email, body.password_hash) == ("address_taken", PENDING.email, None)
    assert world.charged("mail.address", "sign-up", EMAIL) == 1


async def test_the_broker_away_at_sign_up_leaves_nothing_and_counts_no_mail(world: World) -> None:
    world.queues.away.add(Queue.ACCOUNT_CREATION)
    with pytest.raises(BrokerUnavailableError):
        await world.sign_up()
    assert not world.store.users
    assert not world.buckets._full_at


async def test_the_store_away_at_sign_up_counts_no_mail(world: World) -> None:
    world.store.fails.add("user_by_email")
    with pytest.raises(LostError):
        await world.sign_up()
    assert not world.queues.sent
    assert not world.buckets._full_at


@pytest.mark.parametrize(
    "bucket",
    [
        ("mail.address-network", "sign-up", EMAIL, f"{HERE}/32"),
        ("mail.address", "sign-up", EMAIL),
        ("mail.address-day", "sign-up", EMAIL),
        ("mail.network", f"{HERE}/32"),
        ("mail.platform", ""),
    ],
)
async def test_a_limit_says_how_long_to_wait_before_anything_is_computed(
    world: World, bucket: tuple[str, ...]
) -> None:
    world.exhaust(*bucket)
    with pytest.raises(APIError) as error:
        await world.sign_up()
    assert (error.value.status, error.value.headers["Retry-After"]) == (429, "42")
    assert not world.queues.sent
    assert not world.passwords.computed


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("PassWord1", "password_too_common"),
        ("aaaaaaaaaa", "password_too_common"),
        (EMAIL, "password_too_personal"),
        ("Ana-AshChat", "password_too_personal"),
    ],
)
async def test_a_password_that_is_guessed_first_is_refused_and_counts_nowhere(
    world: World, password: str, reason: str
) -> None:
    assert await refused(world.sign_up(password=password)) == (422, reason)
    assert not world.queues.sent
    assert not world.buckets._full_at


@pytest.mark.parametrize(
    "password", ["Ana-20265", "         y", "\U0001f600" * 7 + "x", "ññññññño"]
)
async def test_a_password_may_be_anything_else(world: World, password: str) -> None:
    await world.sign_up(password=password)
    assert world.queues.sent


async def test_a_right_code_creates_the_account_then_notifies_chat_and_email(world: World) -> None:
    assert await world.confirm() == "s1"
    assert (world.ana.email, world.ana.email_key) == (EMAIL.capitalize(), address_key(EMAIL))
    assert world.queues.names() == [
        Queue.CONFIRM_EMAIL_CODE,
        Queue.CONFIRM_NEW_ACCOUNT,
        Queue.CONFIRM_EMAIL_CODE,
    ]
    assert world.queues.sent[-1][1].kind == "settled"
    assert not world.ana.due
    assert world.store.kinds() == ["account_made"]


@pytest.mark.parametrize("reason", ["wrong_code", "expired", "too_many_tries"])
async def test_a_refused_code_makes_nothing(world: World, reason: Any) -> None:
    world.queues.answers[Queue.CONFIRM_EMAIL_CODE] = ConfirmEmailCodeReply(
        request_id="r", refusal=reason
    )
    assert await refused(world.confirm()) == (400, reason)
    assert not world.store.users


async def test_a_token_names_its_own_sign_up_and_nothing_else_does(world: World) -> None:
    tokens = [await world.sign_up() for _ in range(2)]
    begun = [body.sign_up_id for body in world.queues.of(Queue.ACCOUNT_CREATION)]
    says = [world.tokens.temporaries[token] for token in tokens]
    assert [claims.challenge_id for claims in says] == begun
    assert {(claims.purpose, claims.device_hash, claims.epoch) for claims in says} == {
        (Purpose.SIGN_UP, "", 0)
    }
    for temporary in (*tokens, None):
        await world.confirm(temporary=temporary)
    asked = [x for x in world.queues.of(Queue.CONFIRM_EMAIL_CODE) if x.kind == "confirm"]
    assert [body.sign_up_id for body in asked] == [*begun, None]


@pytest.mark.parametrize("with_token", [False, True])
async def test_a_right_code_returns_what_its_attempt_charged(
    world: World, *, with_token: bool
) -> None:
    token = await world.sign_up()
    charged: list[str] = []
    tried, right = world.limits.code_tried, world.limits.code_right

    async def charges(subject: str, address: str) -> int:
        charged.append(subject)
        return await tried(subject, address)

    async def returns(subject: str, address: str) -> None:
        charged.remove(subject)
        await right(subject, address)

    world.limits.code_tried = charges  # type: ignore[method-assign]
    world.limits.code_right = returns  # type: ignore[method-assign]
    await world.confirm(temporary=token if with_token else None)
    assert not charged


async def test_the_token_of_another_flow_confirms_no_sign_up(world: World) -> None:
    await world.sign_up()
    reset = await world.auth.passwords.ask(email=EMAIL, address=HERE)
    for temporary in (reset, "rubbish"):
        assert await refused(world.confirm(temporary=temporary)) == (400, "expired")
    assert not world.store.users
    sign_up = await world.sign_up()
    call = world.auth.passwords.reset(
        temporary=sign_up, code="1", new_password="x" * 9 + "y", factor=Factor(None), address=HERE
    )
    assert await refused(call) == (401, "invalid_token")


async def test_no_answer_from_email_is_503_and_makes_nothing(world: World) -> None:
    del world.queues.answers[Queue.CONFIRM_EMAIL_CODE]
    assert await refused(world.confirm()) == (503, "unavailable")
    assert not world.store.users


async def test_chat_without_an_answer_does_not_hold_up_the_account(world: World) -> None:
    del world.queues.answers[Queue.CONFIRM_NEW_ACCOUNT]
    assert await world.confirm() == "s1"
    assert not world.ana.due, "the message is in the queue: nothing is left to say"


async def test_what_the_broker_did_not_take_is_swept_later(world: World) -> None:
    world.queues.away.add(Queue.CONFIRM_NEW_ACCOUNT)
    assert await world.confirm() == "s1"
    assert world.ana.due
    world.queues.away.clear()
    assert await world.auth.outbox.sweep() == 0, "the request itself comes first"
    world.store.age()
    assert await world.auth.outbox.sweep() == 1
    assert world.queues.names()[-1] == Queue.CONFIRM_NEW_ACCOUNT
    assert not world.ana.due


async def test_a_broker_lost_in_the_sweep_keeps_it_due(world: World) -> None:
    world.queues.away.add(Queue.CONFIRM_NEW_ACCOUNT)
    await world.confirm()
    world.store.age()
    with pytest.raises(BrokerUnavailableError):
        await world.auth.outbox.sweep()
    assert world.ana.due


async def test_one_account_that_cannot_be_announced_does_not_hold_up_the_others(
    world: World,
) -> None:
    world.queues.away.add(Queue.CONFIRM_NEW_ACCOUNT)
    await world.confirm()
    (due,) = world.ana.due
    broken = due.model_copy(update={"body": '{"v": 99}'})
    other = world.ana.model_copy(update={"id": "s2", "email_key": "b@example.org"})
    world.store.users = {
        "s1": world.ana.model_copy(update={"due": (broken,)}),
        "s2": other,
    }
    world.queues.away.clear()
    world.store.age()
    assert await world.auth.outbox.sweep() == 1
    assert world.ana.due
    assert not world.store.users["s2"].due


async def test_the_same_code_again_is_the_same_account(world: World) -> None:
    assert await world.confirm() == await world.confirm() == "s1"
    assert len(world.store.users) == 1


async def test_an_address_that_was_taken_meanwhile_is_409(world: World) -> None:
    await world.confirm()
    other = PENDING.model_copy(update={"sign_up_id": "s2"})
    world.queues.answers[Queue.CONFIRM_EMAIL_CODE] = ConfirmEmailCodeReply(
        request_id="r", account=other
    )
    assert await refused(world.confirm()) == (409, "email_taken")


async def test_tries_of_a_code_are_limited(world: World) -> None:
    world.exhaust("code.network", f"{HERE}/32")
    assert await refused(world.confirm()) == (429, "too_many_requests")
    assert not world.queues.sent

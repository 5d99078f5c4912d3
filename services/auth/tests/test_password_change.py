"""A new password: by a mailed code, or by the old one."""

from typing import Any

import pytest

from ashchat_auth.service.second_factor import Factor
from ashchat_core.errors import BrokerUnavailableError
from ashchat_core.messages import ConfirmChangePasswordReply
from ashchat_core.topology import Queue
from auth_world import EMAIL, HERE, OTHER_PASSWORD, PASSWORD, World, refused, totp


async def ask(world: World, email: str = EMAIL) -> str:
    return await world.auth.passwords.ask(email=email, address=HERE)


async def reset(
    world: World,
    token: str,
    *,
    password: str = OTHER_PASSWORD,
    code: str | None = None,
    recovery: str | None = None,
) -> None:
    await world.auth.passwords.reset(
        temporary=token,
        code="123456",
        new_password=password,
        factor=Factor(code, recovery),
        address=HERE,
    )


async def test_a_reset_sets_the_password_and_ends_every_session(world: World) -> None:
    await world.confirm()
    before = await world.sign_in()
    await refused(world.sign_in("wrong", "laptop"))
    assert world.charged("password.strangers", EMAIL) == 1
    await reset(world, await ask(world))
    assert await refused(world.sign_in()) == (401, "wrong_credentials")
    assert (await world.sign_in(OTHER_PASSWORD)).user_id == "s1"
    assert await refused(world.caller(before)) == (401, "session_over")
    (told,) = world.queues.of(Queue.SESSION_REVOKED_CHAT)
    assert (told.session_ids, told.below, told.but) == ((), 1, None)
    (notice,) = world.queues.of(Queue.SECURITY_NOTICE)
    assert notice.event == "password_reset"
    assert world.queues.of(Queue.CONFIRM_CHANGE_PASSWORD)[-1].kind == "settled"
    assert not world.charged("password.strangers", EMAIL)
    assert not world.ana.due
    assert not world.resets.kept


async def test_known_and_unknown_address_get_the_same_and_the_token_reveals_nothing(
    world: World,
) -> None:
    await world.confirm()
    tokens = [await ask(world), await ask(world, "nobody@example.org")]
    known, unknown = (world.tokens.temporaries[token] for token in tokens)
    for says in (known, unknown):
        assert says.subject == says.challenge_id
        assert (says.epoch, says.device_hash) == (0, "")
    first, second = world.queues.of(Queue.CHANGE_PASSWORD)
    assert (first.kind, second.kind) == ("reset", "no_account")
    assert first.email == world.ana.email
    # Whatever email answers about the code, an existing account cannot be recognised.
    for refusal in ("wrong_code", "expired", "too_many_tries"):
        world.queues.answers[Queue.CONFIRM_CHANGE_PASSWORD] = ConfirmChangePasswordReply(
            request_id="r", refusal=refusal
        )
        answers = [await refused(reset(world, token)) for token in tokens]
        assert answers == [(400, "wrong_code")] * 2


async def test_an_unknown_address_stays_unknown_even_if_email_says_yes(world: World) -> None:
    assert await refused(reset(world, await ask(world))) == (400, "wrong_code")


async def test_a_reset_is_good_once(world: World) -> None:
    await world.confirm()
    token, other = await ask(world), await ask(world)
    await reset(world, token)
    for again in (token, other):
        assert await refused(reset(world, again)) == (400, "wrong_code")


async def test_another_purposes_token_resets_nothing(world: World) -> None:
    await world.confirm()
    device = (await world.challenge()).data["token"]
    assert await refused(reset(world, device)) == (401, "invalid_token")
    reset_token = await ask(world)
    assert await refused(world.confirm_device(reset_token)) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("password", "reason"),
    [("password1", "password_too_common"), ("Ana@example.org", "password_too_personal")],
)
async def test_a_reset_keeps_the_rules_of_passwords(
    world: World, password: str, reason: str
) -> None:
    await world.confirm()
    token = await ask(world)
    assert await refused(reset(world, token, password=password)) == (422, reason)
    await reset(world, token)


async def test_a_reset_does_not_skip_two_factor(world: World) -> None:
    _, secret, codes = await world.with_two_factor()
    token = await ask(world)
    assert await refused(reset(world, token)) == (403, "two_factor_required")
    assert await refused(reset(world, token, code="000000")) == (400, "wrong_code")
    wrong = reset(world, token, recovery="abcd-efgh-jkmn-pqrs")
    assert await refused(wrong) == (400, "wrong_recovery_code")
    await reset(world, token, code=totp(secret, 1))
    await reset(world, await ask(world), password="yet another one", recovery=codes[0])
    assert (await world.sign_in("yet another one")).user_id == "s1"


async def test_a_wrong_mailed_code_is_reported_before_two_factor(world: World) -> None:
    await world.with_two_factor()
    token = await ask(world)
    world.queues.answers[Queue.CONFIRM_CHANGE_PASSWORD] = ConfirmChangePasswordReply(
        request_id="r", refusal="wrong_code"
    )
    assert await refused(reset(world, token)) == (400, "wrong_code")


@pytest.mark.parametrize("limit", ["code.subject-network", "code.network", "code.challenge"])
async def test_tries_of_a_reset_are_limited(world: World, limit: str) -> None:
    _, secret, _ = await world.with_two_factor()
    token = await ask(world)
    reset_id = world.tokens.temporaries[token].challenge_id
    subjects = {"code.subject-network": (reset_id, f"{HERE}/32"), "code.network": (f"{HERE}/32",)}
    world.exhaust(limit, *subjects.get(limit, (reset_id,)))
    call = reset(world, token, code=totp(secret, 1))
    assert await refused(call) == (429, "too_many_requests")


async def test_the_broker_away_mails_nothing_and_counts_nothing(world: World) -> None:
    world.queues.away.add(Queue.CHANGE_PASSWORD)
    with pytest.raises(BrokerUnavailableError):
        await ask(world)
    assert not world.buckets._full_at


async def test_what_follows_a_reset_may_fail_and_is_repeated(world: World) -> None:
    await world.confirm()
    before = await world.sign_in()
    token = await ask(world)
    world.store.fails = {"delete_ended"}
    world.queues.away = {Queue.SECURITY_NOTICE}
    await reset(world, token)  # 200: the password is changed
    assert await refused(world.caller(before)) == (401, "session_over"), "the epoch is newer"
    world.store.fails.clear()
    world.queues.away.clear()
    world.store.age()
    await world.auth.outbox.sweep()
    assert len(world.queues.of(Queue.SESSION_REVOKED_CHAT)) == 1, "once, before what failed"
    assert len(world.queues.of(Queue.SECURITY_NOTICE)) == 1
    assert not world.ana.due
    assert not world.store.chains


async def change(world: World, caller: Any, old: str = PASSWORD) -> None:
    await world.auth.passwords.change(caller, old_password=old, new_password=OTHER_PASSWORD)


async def test_a_change_by_the_old_password_keeps_this_session_only(world: World) -> None:
    await world.confirm()
    other, this = await world.sign_in_on("tablet", "phone")
    await change(world, await world.caller(this))
    assert (await world.caller(this)).user.epoch == 1
    assert await refused(world.caller(other, "tablet")) == (401, "session_over")
    (notice,) = world.queues.of(Queue.SECURITY_NOTICE)
    assert notice.event == "password_changed"
    fresh = await world.auth.sessions.refresh(
        refresh_token=this.refresh_token, device_token="phone", address=HERE
    )
    assert fresh.user_id == "s1"


async def test_a_change_needs_the_old_password_and_failures_count(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    assert await refused(change(world, caller, "wrong")) == (403, "wrong_password")
    device = caller.session.device_hash
    assert world.charged("password.device", EMAIL, device) == 1
    world.exhaust("password.device", EMAIL, device)
    assert await refused(change(world, caller)) == (429, "too_many_requests")


async def test_two_changes_at_once_are_one(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    await change(world, caller)
    assert await refused(change(world, caller)) == (409, "changed_meanwhile")


async def test_a_new_password_ends_what_was_begun_with_the_old(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    caller = await world.caller(signed_in)
    await world.auth.two_factor.enrol(caller, password=PASSWORD)
    await world.auth.account.begin_email_change(
        caller, new_email="thief@example.org", password=PASSWORD
    )
    await reset(world, await ask(world))
    assert (world.ana.enrolment, world.ana.email_change) == (None, None)

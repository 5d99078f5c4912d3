"""Who is signed in, and the end of it."""

from datetime import timedelta

import pytest

from ashchat_auth.service.common import now
from ashchat_auth.service.outbox import ENDINGS
from ashchat_auth.store.base import DELETED_AT_ONCE
from ashchat_core.messages import SESSION_IDS_MAX
from ashchat_core.topology import Queue
from auth_world import HERE, TABLET, Chain, World, refused

SESSIONS = 10 * DELETED_AT_ONCE
MESSAGES_BYTES = 1_000
"""More than the messages about the end of all sessions have, less than a name of each session."""


async def with_tablet(world: World) -> None:
    await world.confirm()
    await world.confirm_device((await world.challenge()).data["token"])
    world.queues.sent.clear()


async def test_a_refresh_gives_new_tokens_to_the_same_device_only(world: World) -> None:
    await world.confirm()
    first = (await world.sign_in()).refresh_token
    sessions = world.auth.sessions
    wrong = sessions.refresh(refresh_token=first, device_token="tablet", address=HERE)
    assert await refused(wrong) == (401, "device_mismatch")
    fresh = await sessions.refresh(refresh_token=first, device_token=" phone ", address=HERE)
    assert fresh.refresh_token != first
    for token, expected in (
        ("nobody.first", (401, "invalid_token")),
        ("a.b.c", (403, "wrong_token")),
        ("abc", (403, "wrong_token")),
    ):
        call = sessions.refresh(refresh_token=token, device_token="phone", address=HERE)
        assert await refused(call) == expected


async def test_an_old_refresh_token_ends_the_session_and_notifies_its_owner(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    sessions = world.auth.sessions
    fresh = await sessions.refresh(
        refresh_token=signed_in.refresh_token, device_token="phone", address=HERE
    )
    for token in (signed_in.refresh_token, fresh.refresh_token):
        again = sessions.refresh(refresh_token=token, device_token="phone", address="203.0.113.9")
        assert await refused(again) == (401, "invalid_token")
    assert not world.store.chains
    (revoked,) = world.queues.of(Queue.SESSION_REVOKED_CHAT)
    (notice,) = world.queues.of(Queue.SECURITY_NOTICE)
    assert len(revoked.session_ids) == 1
    assert (notice.event, notice.email) == ("session_reuse", world.ana.email)
    (event,) = [x for x in world.store.events.values() if x.kind == "session_reuse"]
    assert event.address == "203.0.113.9"


async def test_a_session_has_a_maximum_age_however_often_it_is_used(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    (chain,) = world.store.chains.values()
    created = chain.session.created_at - timedelta(days=170)
    chain.session = chain.session.model_copy(update={"created_at": created})
    refresh = world.auth.sessions.refresh
    fresh = await refresh(refresh_token=signed_in.refresh_token, device_token="phone", address=HERE)
    assert chain.expires_at == created + timedelta(days=180)
    chain.session = chain.session.model_copy(update={"created_at": created - timedelta(days=10)})
    late = refresh(refresh_token=fresh.refresh_token, device_token="phone", address=HERE)
    assert await refused(late) == (401, "invalid_token")


async def test_the_list_says_which_device_and_which_is_this_one(world: World) -> None:
    await with_tablet(world)
    await world.sign_in()
    caller = await world.caller(device="tablet")
    listed = await world.auth.sessions.all_of(caller)
    found = {(item.device_os, item.current) for item in listed}
    assert found == {(TABLET.os, True), ("ANDROID", False)}


async def test_a_revoked_session_is_published_to_chat_and_not_accepted(world: World) -> None:
    await with_tablet(world)
    lost = await world.sign_in()
    caller = await world.caller(device="tablet")
    (lost_id,) = [x for x in world.store.chains if x != caller.session.id]
    await world.auth.sessions.revoke(caller, lost_id)
    (told,) = world.queues.of(Queue.SESSION_REVOKED_CHAT)
    assert (told.user_id, told.session_ids) == ("s1", (lost_id,))
    assert await refused(world.caller(lost)) == (401, "session_over")
    call = world.auth.sessions.refresh(
        refresh_token=lost.refresh_token, device_token="phone", address=HERE
    )
    assert await refused(call) == (401, "invalid_token")
    again = world.auth.sessions.revoke(caller, lost_id)
    assert await refused(again) == (404, "no_such_session")


async def test_another_accounts_session_cannot_be_revoked(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    (chain,) = world.store.chains.values()
    chain.session = chain.session.model_copy(update={"user_id": "another"})
    call = world.auth.sessions.revoke(caller, chain.session.id)
    assert await refused(call) == (404, "no_such_session")


@pytest.mark.parametrize(("current", "left"), [(False, 1), (True, 0)])
async def test_all_others_or_all_are_revoked_with_one_message(
    world: World, *, current: bool, left: int
) -> None:
    await world.confirm()
    await world.sign_in_on("tablet", "laptop", "desktop")
    caller = await world.caller()
    assert await world.auth.sessions.revoke_all(caller, current=current) == 4 - left
    assert len(world.store.chains) == left
    for queue in ENDINGS:
        (told,) = world.queues.of(queue)
        assert (told.user_id, told.session_ids, told.below) == ("s1", (), 1)
        assert told.but == (None if current else caller.session.id)
    assert not world.ana.due


async def test_the_session_that_ended_all_others_goes_on(world: World) -> None:
    await world.confirm()
    signed_in, other = await world.sign_in_on("phone", "tablet")
    await world.auth.sessions.revoke_all(await world.caller(signed_in), current=False)
    assert await refused(world.caller(other, "tablet")) == (401, "session_over")
    caller = await world.caller(signed_in)
    assert (caller.session.epoch, caller.user.epoch) == (1, 1)
    fresh = await world.auth.sessions.refresh(
        refresh_token=signed_in.refresh_token, device_token="phone", address=HERE
    )
    assert world.tokens.issued[fresh.token].epoch == 1


async def test_any_number_of_sessions_ends_with_messages_of_one_size(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    (chain,) = world.store.chains.values()
    for number in range(SESSIONS):
        one = chain.session.model_copy(update={"id": f"{number:032x}"})
        world.store.chains[one.id] = Chain(one, chain.expires_at, "0")
    world.queues.sent.clear()
    await world.auth.sessions.revoke_all(caller, current=True)
    sweeps = 0
    while world.ana.due:
        world.store.age()
        await world.auth.outbox.sweep()
        sweeps += 1
    assert not world.store.chains
    assert sweeps == SESSIONS // DELETED_AT_ONCE, "each deletes a page; none loads all"
    assert world.store.largest_page <= DELETED_AT_ONCE
    assert sum(len(body.model_dump_json()) for _, body in world.queues.sent) < MESSAGES_BYTES


async def test_sessions_that_ended_one_by_one_are_published_in_pages(world: World) -> None:
    await world.confirm()
    await world.sign_in()
    (chain,) = world.store.chains.values()
    for number in range(2 * SESSION_IDS_MAX):
        one = chain.session.model_copy(update={"id": f"{number:032x}"})
        world.store.chains[one.id] = Chain(one, chain.expires_at, "0", revoked_at=now())
    for _ in range(2):
        world.store.age()
        await world.auth.outbox.sweep()
    assert list(world.store.chains.values()) == [chain]
    for queue in ENDINGS:
        assert [len(told.session_ids) for told in world.queues.of(queue)] == [SESSION_IDS_MAX] * 2


async def test_sessions_of_a_changed_account_are_not_ended_by_who_read_it_before(
    world: World,
) -> None:
    await world.confirm()
    caller = await world.caller()
    world.store.users["s1"] = world.ana.model_copy(update={"epoch": 1})
    call = world.auth.sessions.revoke_all(caller, current=False)
    assert await refused(call) == (409, "changed_meanwhile")


async def test_signing_out_ends_this_session_only(world: World) -> None:
    await world.confirm()
    other, this = await world.sign_in_on("tablet", "phone")
    await world.auth.sessions.sign_out(await world.caller(this))
    assert await refused(world.caller(this)) == (401, "session_over")
    assert (await world.caller(other, "tablet")).user.id == "s1"


async def test_an_unpublished_revocation_is_published_by_the_sweeper(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    world.queues.away.add(Queue.SESSION_REVOKED_CHAT)
    await world.auth.sessions.sign_out(await world.caller(signed_in))
    assert await refused(world.caller(signed_in)) == (401, "session_over"), "at once nevertheless"
    world.queues.away.clear()
    assert await world.auth.outbox.sweep() == 0, "the request itself comes first"
    world.store.age()
    assert await world.auth.outbox.sweep() == 1
    assert len(world.queues.of(Queue.SESSION_REVOKED_CHAT)) == 1
    assert not world.store.chains


async def test_who_is_calling_is_asked_of_the_token_the_device_and_the_store(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    caller = world.auth.sessions.caller
    for token, device, reason in (
        ("rubbish", "phone", "invalid_token"),
        ("expired", "phone", "token_expired"),
        (signed_in.token, "tablet", "device_mismatch"),
    ):
        call = caller(token=token, device_token=device, address=HERE)
        assert await refused(call) == (401, reason)
    world.store.users["s1"] = world.ana.model_copy(update={"epoch": 1})
    assert await refused(world.caller(signed_in)) == (401, "session_over")

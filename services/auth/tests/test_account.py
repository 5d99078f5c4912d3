"""Name and language, address, deletion."""

from typing import Any

import pytest

from ashchat_auth.models import User
from ashchat_auth.service.second_factor import Factor
from ashchat_core.messages import ConfirmChangeEmailReply
from ashchat_core.text import address_key
from ashchat_core.topology import Queue
from auth_world import EMAIL, HERE, PASSWORD, World, refused, totp

NEW = "ana@new.example"


async def test_a_changed_profile_is_published_to_chat(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    await world.auth.account.change_profile(caller, name="Anita", language=None)
    await world.auth.account.change_profile(caller, name=None, language="pt")
    assert (world.ana.name, world.ana.preferred_language) == ("Anita", "pt")
    first, second = world.queues.of(Queue.PROFILE_CHANGED)
    assert (first.nickname, first.preferred_language) == ("Anita", None)
    assert (second.nickname, second.preferred_language) == (None, "pt")
    assert not world.ana.due


async def test_an_unpublished_profile_change_is_published_later(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    world.queues.away.add(Queue.PROFILE_CHANGED)
    await world.auth.account.change_profile(caller, name="Anita", language=None)
    await world.auth.account.change_profile(caller, name="Anna", language=None)
    world.queues.away.clear()
    world.store.age()
    await world.auth.outbox.sweep()
    assert [body.nickname for body in world.queues.of(Queue.PROFILE_CHANGED)] == ["Anita", "Anna"]


async def test_profile_changes_are_limited(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    world.exhaust("profile.account", "s1")
    call = world.auth.account.change_profile(caller, name="Anita", language=None)
    assert await refused(call) == (429, "too_many_requests")


async def begin(world: World, caller: Any, new_email: str = NEW) -> None:
    await world.auth.account.begin_email_change(caller, new_email=new_email, password=PASSWORD)


async def finish(world: World, caller: Any) -> None:
    await world.auth.account.finish_email_change(caller, old_code="111111", new_code="222222")


async def test_an_address_changes_with_both_codes_and_the_old_one_is_notified(
    world: World,
) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    await begin(world, await world.caller(signed_in))
    (asked,) = world.queues.of(Queue.CHANGE_EMAIL)
    assert (asked.kind, asked.old_email, asked.new_email) == ("change", world.ana.email, NEW)
    await finish(world, await world.caller(signed_in))
    assert (world.ana.email, world.ana.email_key) == (NEW, address_key(NEW))
    assert world.ana.email_change is None
    (notice,) = world.queues.of(Queue.SECURITY_NOTICE)
    assert (notice.event, notice.email) == ("email_changed", asked.old_email)
    assert world.queues.of(Queue.CONFIRM_CHANGE_EMAIL)[-1].kind == "settled"
    assert (await world.caller(signed_in)).user.email == NEW
    again = finish(world, await world.caller(signed_in))
    assert await refused(again) == (409, "no_email_change")


async def test_wrong_codes_change_nothing(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    await begin(world, await world.caller(signed_in))
    world.queues.answers[Queue.CONFIRM_CHANGE_EMAIL] = ConfirmChangeEmailReply(
        request_id="r", refusal="wrong_code"
    )
    call = finish(world, await world.caller(signed_in))
    assert await refused(call) == (400, "wrong_code")
    assert world.ana.email_key == EMAIL


def somebody_with(email: str, world: World) -> None:
    other = world.ana.model_copy(update={"id": "s2", "email": email, "email_key": email})
    world.store.users["s2"] = User.model_validate(other.model_dump())


async def test_a_taken_address_gets_the_same_answer_and_only_its_owner_a_notice(
    world: World,
) -> None:
    await world.confirm()
    somebody_with(NEW, world)
    await begin(world, await world.caller())
    (asked,) = world.queues.of(Queue.CHANGE_EMAIL)
    assert asked.kind == "address_taken"


async def test_an_address_that_is_taken_meanwhile_is_409_by_the_index(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    await begin(world, await world.caller(signed_in))
    somebody_with(NEW, world)
    call = finish(world, await world.caller(signed_in))
    assert await refused(call) == (409, "email_taken")
    assert world.ana.email_key == EMAIL


async def test_the_same_address_and_a_wrong_password_mail_nothing(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    assert await refused(begin(world, caller, "ANA@example.org")) == (409, "same_email")
    wrong = world.auth.account.begin_email_change(caller, new_email=NEW, password="wrong")
    assert await refused(wrong) == (403, "wrong_password")
    world.exhaust("mail.account", "s1")
    assert await refused(begin(world, caller)) == (429, "too_many_requests")
    assert not world.queues.of(Queue.CHANGE_EMAIL)


async def delete(world: World, caller: Any, factor: Factor | None = None) -> None:
    await world.auth.account.delete(caller, password=PASSWORD, factor=factor or Factor(None))


async def test_a_deleted_account_leaves_nothing_and_every_service_is_notified(world: World) -> None:
    await world.confirm()
    signed_in, _ = await world.sign_in_on("phone", "tablet")
    await refused(world.sign_in("wrong"))
    await world.auth.events.drain()
    assert world.store.events
    await delete(world, await world.caller(signed_in))
    assert (world.store.users, world.store.chains, world.store.events) == ({}, {}, {})
    for queue in (Queue.ACCOUNT_DELETION_CHAT, Queue.ACCOUNT_DELETION_STATIC):
        (told,) = world.queues.of(queue)
        assert told.user_id == "s1"
    (revoked,) = world.queues.of(Queue.SESSION_REVOKED_CHAT)
    assert (revoked.session_ids, revoked.below) == ((), 1)
    (notice,) = world.queues.of(Queue.SECURITY_NOTICE)
    assert (notice.event, notice.email) == ("account_deleted", EMAIL.capitalize())
    assert await refused(world.sign_in()) == (401, "wrong_credentials")
    await world.confirm()
    assert world.ana.epoch == 0, "the address is free again"


@pytest.mark.parametrize(
    ("fails", "away"),
    [
        ({"delete_ended"}, set()),
        ({"delete_user"}, set()),
        (set(), {Queue.SESSION_REVOKED_CHAT}),
        (set(), {Queue.SESSION_REVOKED_STATIC}),
        (set(), {Queue.ACCOUNT_DELETION_CHAT}),
        (set(), {Queue.ACCOUNT_DELETION_STATIC}),
        (set(), {Queue.SECURITY_NOTICE}),
    ],
)
async def test_a_deletion_that_breaks_off_anywhere_is_finished_by_the_sweeper(
    world: World, fails: set[str], away: set[Queue]
) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    world.store.fails, world.queues.away = fails, away
    await delete(world, await world.caller(signed_in))
    # It is over at once, whatever is left to do.
    assert await refused(world.sign_in()) == (401, "wrong_credentials")
    assert await refused(world.caller(signed_in)) == (401, "session_over")
    assert world.store.users
    world.store.fails, world.queues.away = set(), set()
    world.store.age()
    await world.auth.outbox.sweep()
    assert (world.store.users, world.store.chains, world.store.events) == ({}, {}, {})
    for queue in (
        Queue.ACCOUNT_DELETION_CHAT,
        Queue.ACCOUNT_DELETION_STATIC,
        Queue.SESSION_REVOKED_CHAT,
        Queue.SESSION_REVOKED_STATIC,
        Queue.SECURITY_NOTICE,
    ):
        assert world.queues.of(queue), queue


async def test_an_event_that_comes_late_does_not_outlive_the_account(world: World) -> None:
    await world.confirm()
    caller = await world.caller()
    with_event = world.auth.sign_in.begin(
        email=EMAIL, password="wrong", device_token="phone", address=HERE
    )
    await refused(with_event)
    await delete(world, caller)
    await world.auth.events.drain()
    assert not world.store.events


async def test_deleting_needs_the_password_and_two_factor(world: World) -> None:
    caller, secret, _ = await world.with_two_factor()
    assert await refused(delete(world, caller)) == (403, "two_factor_required")
    assert await refused(delete(world, caller, Factor("000000"))) == (400, "wrong_code")
    wrong = world.auth.account.delete(caller, password="wrong", factor=Factor(totp(secret, 1)))
    assert await refused(wrong) == (403, "wrong_password")
    await delete(world, caller, Factor(totp(secret, 1)))
    assert not world.store.users

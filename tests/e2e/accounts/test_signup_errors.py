"""Failing sign-ups, each with the documented status and a reason."""

import asyncio
from typing import Any

import jwt
import pytest
from redis.asyncio import Redis

from ashchat_dev.client import Reply
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.people import PersonFactory


def another(code: str) -> str:
    """Return a code that differs from the given one."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def pending_of(redis: Redis, address: str) -> list[str]:
    """Return the Redis keys of an address's pending sign-up."""
    return [
        key
        async for key in redis.scan_iter("email:signup:*")
        if address in str(await redis.hgetall(key))
    ]


async def test_a_wrong_code_is_rejected_and_the_right_one_still_works(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = person.names_only()
    assert (await ana.signup()).status == 202
    code = await mailbox.code_for(ana.email)
    wrong = await ana.confirm_email(another(code))
    assert (wrong.status, bool(wrong.reason)) == (400, True), wrong
    assert (await ana.signin()).status == 401, "an unconfirmed account must not sign in"
    assert (await ana.confirm_email(code)).status == 201
    assert (await ana.signin()).status == 200


async def test_a_used_code_makes_no_second_account(person: PersonFactory, mailbox: Mailbox) -> None:
    ana = person.names_only()
    await ana.signup()
    code = await mailbox.code_for(ana.email)
    assert (await ana.confirm_email(code)).status == 201

    async def refused() -> bool:
        # Until auth publishes `settled`, email gives identical responses to the same request.
        reply = await ana.confirm_email(code)
        assert reply.status in {201, 400, 409}, reply
        return reply.status in {400, 409} and bool(reply.reason)

    await until(refused, within=15, what="the used code rejected")
    assert (await ana.signin()).status == 200


async def test_too_many_wrong_codes_invalidate_the_right_one(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = person.names_only()
    await ana.signup()
    code = await mailbox.code_for(ana.email)
    for _ in range(20):
        reply = await ana.confirm_email(another(code))
        assert reply.status in {400, 429}, reply
        if reply.reason == "too_many_tries":
            break
    late = await ana.confirm_email(code)
    assert late.status in {400, 429}, f"the code still worked after too many attempts: {late}"
    assert late.reason
    assert (await ana.signin()).status == 401


async def test_an_expired_code_is_refused_and_a_new_sign_up_works(
    person: PersonFactory, mailbox: Mailbox, redis_admin: Redis
) -> None:
    ana = person.names_only()
    await ana.signup()
    code = await mailbox.code_for(ana.email)
    mails = {mail.id for mail in await mailbox.list(ana.email)}
    keys = await pending_of(redis_admin, ana.email)
    assert keys, "email stored no pending sign-up"
    # The actual keys with their actual time to live; only the wait is shortened.
    for key in keys:
        await redis_admin.expire(key, 1)
    await until(lambda: gone(redis_admin, keys), within=10, what="the pending sign-up expiring")
    expired = await ana.confirm_email(code)
    assert (expired.status, bool(expired.reason)) == (400, True), expired
    assert (await ana.signup()).status == 202
    fresh = await mailbox.code_for(ana.email, after=mails)
    assert (await ana.confirm_email(fresh)).status == 201


async def gone(redis: Redis, keys: list[str]) -> bool:
    """Return whether none of the keys is left."""
    return not await redis.exists(*keys)


async def test_a_taken_address_gets_the_same_response_and_its_owner_a_mail(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = await person("Ana", "es")
    known = {mail.id for mail in await mailbox.list(ana.email)}
    free = person.names_only("Free", "en")
    thief = person.names_only("Thief", "en", email=ana.email)
    for_free, for_taken = await asyncio.gather(free.signup(), thief.signup())
    for reply in (for_taken, for_free):
        assert len(reply.data.pop("token")) > 100
    assert (for_taken.status, for_taken.body) == (for_free.status, for_free.body)
    assert for_taken.status == 202
    told = await mailbox.wait(ana.email, after=known)
    assert told.code is None, "a mail about a taken address must not carry a code"
    assert (await thief.signin()).status == 401
    assert (await ana.signin()).status == 200


async def test_an_address_is_the_same_in_capitals(person: PersonFactory, mailbox: Mailbox) -> None:
    ana = await person("Ana", "es")
    known = {mail.id for mail in await mailbox.list(ana.email)}
    thief = person.names_only("Thief", "en", email=ana.email.upper())
    assert (await thief.signup()).status == 202
    assert (await mailbox.wait(ana.email, after=known)).code is None


async def test_two_sign_ups_of_one_address_at_once_make_one_account(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = person.names_only("Ana", "es")
    twin = person.names_only("Twin", "en", email=ana.email)
    first, second = await asyncio.gather(ana.signup(), twin.signup())
    assert (first.status, second.status) == (202, 202)

    # Whichever sign-up is pending, its code creates exactly one account.
    async def made() -> bool:
        codes = {mail.code for mail in await mailbox.list(ana.email)} - {None}
        return 201 in [(await ana.confirm_email(str(code))).status for code in codes]

    await until(made, within=20, what="the pending sign-up's code accepted")
    # The device is Ana's: signing in with the twin's password, if it won, requires a code.
    answers = [(await who.signin()).status for who in (ana, twin)]
    assert answers in ([200, 401], [401, 403])


async def test_a_sign_up_with_its_token_cannot_be_taken_over(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = person.names_only("Ana", "es")
    stranger = person.names_only("Eve", "en", email=ana.email)
    begun = await ana.signup()
    code = await mailbox.code_for(ana.email)
    mails = {mail.id for mail in await mailbox.list(ana.email)}
    assert (await stranger.signup()).status == 202
    newest = await mailbox.code_for(ana.email, after=mails)
    assert newest != code

    async def confirm(given: str) -> Reply:
        body = {"email": ana.email, "emailCode": given, "signUpToken": begun.data["token"]}
        return await ana.auth.request("POST", "/confirm-email", json={**body, **ana.device})

    for _ in range(6):  # what anybody can do
        await stranger.confirm_email(another(code))
    wrong = await confirm(newest)
    assert (wrong.status, wrong.reason) == (400, "wrong_code"), "it is not her sign-up's"
    assert (await confirm(code)).status == 201
    assert (await ana.signin()).status == 200, "with her own password"
    assert (await stranger.signin()).status == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/signup", {}),
        ("/signup", {"name": "", "password": "", "email": "", "preferredLanguage": ""}),
        (
            "/signup",
            {"name": "A", "password": "long enough", "email": "nowhere", "preferredLanguage": "es"},
        ),
        (
            "/signup",
            {"name": "A", "password": "x", "email": "a@example.org", "preferredLanguage": "es"},
        ),
        (
            "/signup",
            {
                "name": "A",
                "password": "long enough",
                "email": "a@example.org",
                "preferredLanguage": "??",
            },
        ),
        ("/signup", {"name": 7, "password": [], "email": {}, "preferredLanguage": None}),
        ("/signup", [1, 2]),
        ("/confirm-email", {}),
        ("/confirm-email", {"email": "a@example.org", "emailCode": "12"}),
        ("/signin", {}),
        ("/signin", {"email": "a@example.org"}),
    ],
)
async def test_bad_input_is_answered_with_400_and_a_reason(
    person: PersonFactory, path: str, body: Any
) -> None:
    reply = await person.names_only().auth.request("POST", path, json=body)
    assert reply.status in {400, 422}, reply
    assert reply.reason, f"no machine-readable reason in {reply.body}"


async def test_a_body_that_is_not_json_is_rejected_with_a_reason(person: PersonFactory) -> None:
    reply = await person.names_only().auth.request(
        "POST",
        "/signup",
        content=b"{not json",
        headers={"Content-Type": "application/json"},
    )
    assert reply.status in {400, 422}
    assert reply.reason


async def test_a_wrong_password_and_an_unknown_address_get_the_same_response(
    person: PersonFactory,
) -> None:
    ana = await person()
    right, ana.password = ana.password, "not the password"
    wrong = await ana.signin()
    ana.password = right
    unknown = await person.names_only().signin()
    assert (wrong.status, wrong.body) == (unknown.status, unknown.body)
    assert wrong.status == 401


async def test_a_new_device_signs_in_with_the_mailed_code(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = await person()
    known = {mail.id for mail in await mailbox.list(ana.email)}
    phone = person.names_only("Ana", "es", email=ana.email, password=ana.password)
    first = await phone.signin()
    assert first.status == 403
    temporary = first.data["token"]
    code = await mailbox.code_for(ana.email, after=known)
    wrong = await phone.confirm_new_device(another(code), temporary)
    assert (wrong.status, bool(wrong.reason)) == (403, True), wrong
    assert (await phone.confirm_new_device(code, temporary)).status == 204
    assert (await phone.signin()).status == 200
    # The temporary token granted nothing else, and the first device still works.
    assert (await ana.refresh()).status == 200
    headers = {"Authorization": f"Bearer {temporary}"}
    assert (await phone.chat.get("/user", headers=headers)).status == 401


async def test_tokens_are_renewed_only_with_the_device_they_are_for(
    person: PersonFactory,
) -> None:
    ana = await person()
    before = ana.token
    assert (await ana.refresh()).status == 200
    assert ana.token != before
    claims = jwt.decode(ana.token, options={"verify_signature": False})
    assert claims["sub"] == ana.user_id
    own, ana.device_token = ana.device_token, person.names_only().device_token
    assert (await ana.refresh()).status == 401
    ana.device_token = own
    ana.refresh_token = ana.token
    assert (await ana.refresh()).status in {401, 403}

"""Reset, two-factor, sessions, address and deletion: one success and two failures of each."""

import asyncio
import math
import statistics
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pyotp
import pytest

from ashchat_dev.client import Person, Reply, fresh_address
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.phoenix import SocketRefusedError
from ashchat_dev.waiting import until
from ashchat_e2e.accounts import own, totp, with_two_factor
from ashchat_e2e.backends import MongoAs
from ashchat_e2e.people import PersonFactory

REVOKED_WITHIN_S = 5.0
SAMPLES = 12
"""Addresses of each kind to time: attempts per address are limited."""

UNLIKELY = 0.001
DIFFERENCE_MS = 5.0


async def mails_of(mailbox: Mailbox, address: str) -> set[str]:
    """Return the mails that were sent to an address."""
    return {mail.id for mail in await mailbox.list(address)}


def another(code: str) -> str:
    """Return a code that differs from the given one."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def ask_reset(who: Person) -> str:
    reply = await who.auth.request("POST", "/password", json={"email": who.email})
    assert reply.status == 202, reply
    return str(reply.data["token"])


async def reset(who: Person, token: str, code: str, password: str, **more: str) -> Reply:
    return await who.auth.request(
        "PATCH",
        "/password",
        json={"newPassword": password, "emailCode": code, **more},
        headers={"Authorization": f"Bearer {token}"},
    )


# Passwords


async def test_a_reset_by_mail_ends_every_session(person: PersonFactory, mailbox: Mailbox) -> None:
    ana = await person()
    known = await mails_of(mailbox, ana.email)
    token = await ask_reset(ana)
    code = await mailbox.code_for(ana.email, after=known)
    wrong = await reset(ana, token, another(code), "battery staple")
    assert (wrong.status, wrong.reason) == (400, "wrong_code")
    common = await reset(ana, token, code, "password1")
    assert (common.status, common.reason) == (422, "password_too_common")
    access = await reset(ana, ana.token, code, "battery staple")
    assert (access.status, access.reason) == (401, "invalid_token")
    assert (await reset(ana, token, code, "battery staple")).status == 200
    assert (await reset(ana, token, code, "battery staple 2")).status in {400, 401}
    assert (await own(ana, "GET", "/sessions")).reason == "session_over"
    assert (await ana.refresh()).status == 401
    assert (await ana.signin()).status == 401
    ana.password = "battery staple"
    assert (await ana.signin()).status == 200


async def test_an_unknown_address_gets_the_same_response_as_a_known_one(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana, nobody = await person(), person.names_only("Nobody", "en")
    tokens = [await ask_reset(ana), await ask_reset(nobody)]
    assert len(tokens[0]) == len(tokens[1])
    known = [await reset(ana, tokens[0], "000000", "battery staple") for _ in range(6)]
    unknown = [await reset(nobody, tokens[1], "000000", "battery staple") for _ in range(6)]
    assert [(x.status, x.body) for x in known] == [(x.status, x.body) for x in unknown]
    assert await mailbox.list(nobody.email) == []


async def test_a_password_change_keeps_this_session_and_closes_other_sockets(
    person: PersonFactory,
) -> None:
    ana = await person()
    twin = await person.on_another_device(ana)
    socket, kept = await twin.socket(), await ana.socket()
    wrong = await own(ana, "PUT", "/password", oldPassword="wrong", newPassword="battery staple")
    assert (wrong.status, wrong.reason) == (403, "wrong_password")
    same = await own(ana, "PUT", "/password", oldPassword=ana.password, newPassword=ana.email)
    assert (same.status, same.reason) == (422, "password_too_personal")
    changed = await own(
        ana, "PUT", "/password", oldPassword=ana.password, newPassword="battery staple"
    )
    assert changed.status == 200
    closed = await asyncio.wait_for(socket.closed, REVOKED_WITHIN_S)
    assert closed.code != 1000, closed
    assert not kept.closed.done()
    with pytest.raises(SocketRefusedError):
        await twin.socket()
    assert (await twin.refresh()).status == 401
    assert (await own(ana, "GET", "/sessions")).status == 200
    assert (await ana.refresh()).status == 200


# Timing


async def medians_alike(
    name: str, flow: Callable[[Person], Any], pairs: list[tuple[Person, Person]]
) -> str:
    """Assert that a flow answers known and unknown addresses alike; return the medians.

    A difference shows in most pairs, whatever else the machine does: a sign test (W. J. Dixon and
    A. M. Mood, 1946) of pairs whose members follow each other, in turns.
    """
    times: tuple[list[float], list[float]] = ([], [])
    answers: tuple[list[Any], list[Any]] = ([], [])
    for number, pair in enumerate(pairs):
        ways = [*zip(pair, times, answers, strict=True)]
        for who, kept, said in ways if number % 2 else reversed(ways):
            started = time.perf_counter()
            reply = await flow(who)
            kept.append((time.perf_counter() - started) * 1000)
            said.append((reply.status, reply.reason, reply.message))
    assert answers[0] == answers[1], name
    assert [said for said in answers[0] if said[0] == HTTPStatus.TOO_MANY_REQUESTS] == [], name
    first, second = (statistics.median(kept) for kept in times)
    longer = sum(known > unknown for known, unknown in zip(*times, strict=True))
    chance = sign_test(longer, len(pairs))
    print(f"{name}: known {first:.1f} ms, unknown {second:.1f} ms, chance {chance:.3f}")  # noqa: T201
    assert chance >= UNLIKELY or abs(first - second) < DIFFERENCE_MS, name
    return f"{first:.1f}/{second:.1f} ms"


def sign_test(longer: int, count: int) -> float:
    """Return how likely so uneven a split of `count` equal pairs is."""
    fewer = min(longer, count - longer)
    return min(1.0, sum(math.comb(count, k) for k in range(fewer + 1)) / float(2 ** (count - 1)))


async def test_known_and_unknown_addresses_take_the_same_time(
    person: PersonFactory, record_property: Callable[[str, object], None]
) -> None:
    known = [await person() for _ in range(SAMPLES)]
    unknown = [person.names_only() for _ in range(SAMPLES)]
    # Several, because one account may change its address 20 times a day.
    accounts = [await person() for _ in range(2)]
    changing = {
        who.email: accounts[number % 2]
        for number, pair in enumerate(zip(known, unknown, strict=True))
        for who in pair
    }
    for who in (*known, *unknown):
        who.device_token = f"stranger-{who.email}"
        who.password = "not the password"

        # Open the connection before timing.
        await who.anonymous.request("GET", "/auth/.well-known/jwks.json")
    tokens: dict[str, str] = {}

    async def sign_up(who: Person) -> Reply:
        reply = await who.signup()
        tokens[who.email] = reply.data["token"]
        return reply

    async def confirm(who: Person, **token: str) -> Reply:
        body = {"email": who.email, "emailCode": "000000", **who.device, **token}
        return await who.auth.request("POST", "/confirm-email", json=body)

    async def confirm_own(who: Person) -> Reply:
        return await confirm(who, signUpToken=tokens[who.email])

    async def ask(who: Person) -> Reply:
        reply = await who.auth.request("POST", "/password", json={"email": who.email})
        tokens[who.email] = reply.data["token"]
        return reply

    async def answer(who: Person) -> Reply:
        return await reset(who, tokens[who.email], "000000", "three random words")

    async def change(who: Person) -> Reply:
        account = changing[who.email]
        return await own(account, "POST", "/email", newEmail=who.email, password=account.password)

    flows: dict[str, tuple[int, Callable[[Person], Any]]] = {
        "sign-in": (5, Person.signin),
        "sign-up": (1, sign_up),
        "code of a sign-up": (2, confirm),
        "code of a sign-up, with its token": (5, confirm_own),
        "reset": (2, ask),
        "code of a reset": (5, answer),
        "address change": (1, change),
    }
    for name, (rounds, flow) in flows.items():
        pairs = [*zip(known, unknown, strict=True)] * rounds
        record_property(name, await medians_alike(name, flow, pairs))


# Two-factor


async def test_two_factor_from_enrolment_to_a_new_device(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = await person()
    wrong = await own(ana, "POST", "/two-factor", password="wrong")
    assert (wrong.status, wrong.reason) == (403, "wrong_password")
    begun = await own(ana, "POST", "/two-factor", password=ana.password)
    secret = begun.data["secret"]
    assert pyotp.parse_uri(begun.data["otpauth_uri"]).secret == secret
    assert begun.data["qr_svg"].startswith("<svg")
    refused = await own(ana, "POST", "/two-factor/confirm", totpCode=another(totp(secret)))
    assert (refused.status, refused.reason) == (400, "wrong_code")
    secret, codes = await with_two_factor(ana)
    assert len(set(codes)) == 10

    known = await mails_of(mailbox, ana.email)
    phone = person.names_only("Ana", "es", email=ana.email, password=ana.password)
    challenge = await phone.signin()
    assert (challenge.status, challenge.reason) == (403, "new_device_totp")
    temporary = challenge.data["token"]
    late = await phone.confirm_new_device(another(totp(secret, 1)), temporary)
    assert (late.status, late.reason) == (403, "wrong_code")
    code = totp(secret, 1)
    replies = await asyncio.gather(*(phone.confirm_new_device(code, temporary) for _ in range(4)))
    assert sorted(reply.status for reply in replies) == [204, 403, 403, 403], (
        "each time step is accepted once"
    )
    assert (await phone.signin()).status == 200
    for mail in await mailbox.list(ana.email):
        assert mail.id in known or mail.code is None, "a code was mailed although two-factor is on"

    laptop = person.names_only("Ana", "es", email=ana.email, password=ana.password)
    temporary = (await laptop.signin()).data["token"]
    for status in (204, 403):
        used = await laptop.auth.request(
            "POST",
            "/confirm-new-device",
            json={"recoveryCode": codes[0], **laptop.device},
            headers={"Authorization": f"Bearer {temporary}"},
        )
        assert used.status == status, used

    off = await own(ana, "DELETE", "/two-factor", password=ana.password)
    assert (off.status, off.reason) == (403, "two_factor_required")
    off = await own(ana, "DELETE", "/two-factor", password=ana.password, recoveryCode=codes[1])
    assert off.status == 204
    assert (await own(phone, "GET", "/sessions")).reason == "session_over"


async def test_a_reset_does_not_skip_two_factor(person: PersonFactory, mailbox: Mailbox) -> None:
    ana = await person()
    _, codes = await with_two_factor(ana)
    known = await mails_of(mailbox, ana.email)
    token = await ask_reset(ana)
    mail = await mailbox.wait(ana.email, lambda mail: mail.code is not None, after=known)
    code = str(mail.code)
    without = await reset(ana, token, code, "battery staple")
    assert (without.status, without.reason) == (403, "two_factor_required")
    wrong = await reset(ana, token, code, "battery staple", recoveryCode="0000-0000-0000-0000")
    assert (wrong.status, wrong.reason) == (400, "wrong_recovery_code")
    right = await reset(ana, token, code, "battery staple", recoveryCode=codes[0])
    assert right.status == 200


# Sessions


async def test_a_revoked_session_loses_its_socket_within_seconds(
    person: PersonFactory, record_property: Callable[[str, object], None]
) -> None:
    ana = await person()
    lost = await person.on_another_device(ana)
    socket = await lost.socket()
    listed = (await own(ana, "GET", "/sessions")).data["sessions"]
    (theirs,) = [item["id"] for item in listed if not item["current"]]
    started = time.monotonic()
    assert (await own(ana, "DELETE", f"/sessions/{theirs}")).status == 204
    await asyncio.wait_for(socket.closed, REVOKED_WITHIN_S)
    record_property("socket closed after", f"{time.monotonic() - started:.2f} s")
    assert (await own(ana, "DELETE", f"/sessions/{theirs}")).reason == "no_such_session"
    assert (await own(lost, "GET", "/sessions")).reason == "session_over"
    assert (await lost.chat.get("/user")).status == 401
    assert (await lost.refresh()).status == 401
    assert (await ana.refresh()).status == 200


async def test_a_reused_refresh_token_ends_the_session_and_is_an_event(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = await person()
    old = ana.refresh_token
    assert (await ana.refresh()).status == 200
    newest = ana.refresh_token
    ana.refresh_token = old

    async def refused() -> bool:
        # A sibling request may use the old token for ten seconds, in case a response was lost.
        reply = await ana.refresh()
        ana.refresh_token = old
        return reply.status == 401

    await until(refused, within=20, every=2, what="the old refresh token rejected")
    ana.refresh_token = newest
    assert (await ana.refresh()).status == 401, "the token family is revoked"
    assert (await ana.signin()).status == 200
    events = (await own(ana, "GET", "/security-events")).data["events"]
    assert "session_reuse" in [event["kind"] for event in events]
    assert await mailbox.list(ana.email)


async def test_signing_out_and_revoking_all(person: PersonFactory) -> None:
    ana = await person()
    assert (await own(ana, "POST", "/signout")).status == 204
    assert (await own(ana, "POST", "/signout")).reason == "session_over"
    for _ in range(3):
        assert (await ana.signin()).status == 200
    assert len((await own(ana, "GET", "/sessions")).data["sessions"]) == 1, "one for each device"
    others = [await person.on_another_device(ana) for _ in range(2)]
    assert (await own(ana, "DELETE", "/sessions")).data == {"revoked": 2}
    assert [(await own(one, "GET", "/sessions")).reason for one in others] == ["session_over"] * 2
    assert (await own(ana, "DELETE", "/sessions?current=true")).data == {"revoked": 1}
    assert (await own(ana, "GET", "/sessions")).reason == "session_over"


# The account


async def test_a_profile_change_reaches_chat(person: PersonFactory) -> None:
    ana = await person()
    assert (await own(ana, "PATCH", "/profile")).status == 422
    bad = await own(ana, "PATCH", "/profile", preferredLanguage="??")
    assert (bad.status, bad.reason) == (422, "invalid_request")
    changed = await own(ana, "PATCH", "/profile", name="Anita", preferredLanguage="pt")
    assert changed.status == 200

    async def told() -> bool:
        profile = await ana.profile()
        return (profile["nickname"], profile["preferred_language"]) == ("Anita", "pt")

    await until(told, within=15, what="the changed profile stored in chat")


async def test_an_address_change_needs_the_codes_of_both_ends(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana, new = await person(), fresh_address("ana")
    known = await mails_of(mailbox, ana.email)
    assert (await own(ana, "POST", "/email", newEmail=new, password="wrong")).status == 403
    same = await own(ana, "POST", "/email", newEmail=ana.email, password=ana.password)
    assert (same.status, same.reason) == (409, "same_email")
    assert (await own(ana, "POST", "/email", newEmail=new, password=ana.password)).status == 202
    old_code = await mailbox.code_for(ana.email, after=known)
    new_code = await mailbox.code_for(new)
    for codes in (
        {"oldCode": new_code, "newCode": old_code},
        {"oldCode": old_code, "newCode": "1"},
    ):
        refused = await own(ana, "PATCH", "/email", **codes)
        assert refused.status in {400, 422}, refused
    changed = await own(ana, "PATCH", "/email", oldCode=old_code, newCode=new_code)
    assert changed.status == 200, changed
    assert (await ana.signin()).status == 401
    ana.email = new
    assert (await ana.signin()).status == 200


async def test_a_deleted_account_leaves_nothing_in_auth(
    person: PersonFactory, mailbox: Mailbox, mongo_as: MongoAs
) -> None:
    ana = await person()
    socket = await ana.socket()
    users = await mongo_as("auth")
    assert (await own(ana, "DELETE", "", password="wrong")).status == 403
    assert (await ana.auth.request("DELETE", "", json={"password": "x"})).status == 401
    assert (await own(ana, "DELETE", "", password=ana.password)).status == 204
    await asyncio.wait_for(socket.closed, REVOKED_WITHIN_S)

    async def gone() -> bool:
        counts = [
            await users["users"].count_documents({"_id": ana.user_id}),
            await users["sessions"].count_documents({"user_id": ana.user_id}),
            await users["events"].count_documents({"user_id": ana.user_id}),
        ]
        return counts == [0, 0, 0]

    # Usually immediate; the sweeper does it after 15 s if a backend was unavailable.
    await until(gone, within=40, every=1, what="the account deleted from auth")
    assert (await ana.signin()).status == 401
    again = person.names_only("Ana", "es", email=ana.email)
    known = await mails_of(mailbox, ana.email)
    assert (await again.signup()).status == 202
    code = await mailbox.code_for(ana.email, after=known)
    assert (await again.confirm_email(code)).status == 201, "the address is available again"


async def test_a_resend_waits_longer_each_time_for_free_and_taken_addresses_alike(
    person: PersonFactory,
) -> None:
    taken, free = await person(), person.names_only()
    free_answers = [await free.signup() for _ in range(4)]
    taken_answers = [await taken.signup() for _ in range(3)]  # the first created the account
    statuses = [reply.status for reply in free_answers]
    assert statuses == [202, 202, 429, 429]
    assert [reply.status for reply in taken_answers] == [202, 429, 429]
    for reply in (free_answers[2], taken_answers[1]):
        assert reply.reason == "too_many_requests"
        assert 1 <= int(reply.headers["retry-after"]) <= 30

"""Rejected requests about an account, each with its documented status and reason.

`test_identity` has the successful ones.
"""

from typing import Any

import pytest

from ashchat_dev.client import Reply, fresh_address
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.accounts import own, totp, with_two_factor
from ashchat_e2e.people import PersonFactory

RIGHT = "three random words"
OWN_ROUTES: list[tuple[str, str, Any]] = [
    ("PUT", "/password", {"oldPassword": "x", "newPassword": RIGHT}),
    ("GET", "/sessions", None),
    ("DELETE", "/sessions", None),
    ("DELETE", "/sessions/nothing", None),
    ("POST", "/signout", None),
    ("GET", "/security-events", None),
    ("GET", "/two-factor", None),
    ("POST", "/two-factor", {"password": "x"}),
    ("POST", "/two-factor/confirm", {"totpCode": "000000"}),
    ("POST", "/two-factor/recovery-codes", {"password": "x"}),
    ("DELETE", "/two-factor", {"password": "x"}),
    ("PATCH", "/profile", {"name": "Ana"}),
    ("POST", "/email", {"newEmail": "ana@example.org", "password": "x"}),
    ("PATCH", "/email", {"oldCode": "000000", "newCode": "000000"}),
    ("DELETE", "", {"password": "x"}),
]


def said(reply: Reply) -> tuple[int, str]:
    """Return a response's status and reason."""
    return reply.status, reply.reason


def never(*secrets: str) -> str:
    """Return a code that the authenticator does not produce at this time."""
    taken = {totp(secret, steps) for secret in secrets for steps in range(-3, 4)}
    return next(code for code in map("{:06d}".format, range(100)) if code not in taken)


async def test_account_endpoints_require_the_owners_token_and_device(person: PersonFactory) -> None:
    ana = await person()
    token = {"Authorization": f"Bearer {ana.token}"}
    device = {"device_token": ana.device_token}
    for method, path, body in OWN_ROUTES:
        for headers, expected in (
            (device, (401, "missing_token")),
            ({**device, "Authorization": "Bearer nonsense"}, (401, "invalid_token")),
            ({**device, "Authorization": f"Bearer {ana.refresh_token}"}, (401, "invalid_token")),
            (token, (400, "missing_device_token")),
            ({**token, "device_token": "another"}, (401, "device_mismatch")),
        ):
            reply = await ana.auth.request(method, path, json=body, headers=headers)
            assert said(reply) == expected, (method, path, headers)
    assert (await own(ana, "GET", "/sessions")).status == 200, (
        "the rejected requests changed nothing"
    )


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "invalid_request"),
        ("x" * 129, "invalid_request"),
        ("password123", "password_too_common"),
        ("aaaaaaaaaaaa", "password_too_common"),
        ("the address", "password_too_personal"),
    ],
)
async def test_a_common_password_is_rejected(
    person: PersonFactory, password: str, reason: str
) -> None:
    ana = person.names_only()
    ana.password = ana.email if password == "the address" else password
    reply = await ana.signup()
    assert said(reply) == (422, reason)
    assert [field["field"] for field in reply.data["fields"]] == ["password"]


async def test_all_128_characters_of_a_non_ascii_password_count(
    person: PersonFactory,
) -> None:
    whole = "\U0001f600\U0001f98a\U0001f40d\U00010348" * 32
    ana = await person(password=whole)
    ana.password = whole[:-1]
    assert said(await ana.signin()) == (401, "wrong_credentials")
    ana.password = whole
    assert (await ana.signin()).status == 200


async def test_guessing_strangers_are_rate_limited_and_the_owner_is_not(
    person: PersonFactory,
) -> None:
    ana = await person()
    thief = person.names_only("Thief", "en", email=ana.email, password="not the password")
    for _ in range(10):
        assert said(await thief.signin()) == (401, "wrong_credentials")
    slowed = await thief.signin()
    assert said(slowed) == (429, "too_many_requests")
    assert 1 <= int(slowed.headers["retry-after"]) <= 15 * 60
    thief.password = ana.password
    assert said(await thief.signin()) == (429, "too_many_requests"), (
        "the response does not reveal the right password"
    )
    assert (await ana.signin()).status == 200

    async def failures() -> int:
        events = (await own(ana, "GET", "/security-events")).data["events"]
        return sum(event["count"] for event in events if event["kind"] == "sign_in_failed")

    async def all_counted() -> bool:
        return await failures() >= 10

    # They are stored in the background, so that their time reveals nothing.
    await until(all_counted, within=10, what="ten failures counted")
    assert await failures() == 10


async def test_a_challenge_requires_its_own_token_code_and_device(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = await person()
    known = {mail.id for mail in await mailbox.list(ana.email)}
    phone = person.names_only("Ana", "es", email=ana.email, password=ana.password)
    temporary = str((await phone.signin()).data["token"])
    code = await mailbox.code_for(ana.email, after=known)
    for token in (ana.token, "nonsense", ana.refresh_token):
        assert said(await phone.confirm_new_device(code, token)) == (401, "invalid_token")
    other = person.names_only("Ana", "es", email=ana.email, password=ana.password)
    assert said(await other.confirm_new_device(code, temporary)) == (403, "wrong_device")
    none = await phone.auth.request(
        "POST",
        "/confirm-new-device",
        json=phone.device,
        headers={"Authorization": f"Bearer {temporary}"},
    )
    assert said(none) == (422, "invalid_request")
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    tries = [said(await phone.confirm_new_device(wrong, temporary)) for _ in range(5)]
    assert tries == [(403, "wrong_code")] * 4 + [(403, "too_many_tries")]
    assert said(await phone.confirm_new_device(code, temporary)) == (403, "too_many_tries")
    assert said(await phone.signin()) == (403, "new_device"), "a new code resets the attempts"


async def test_only_the_owner_can_enroll_use_and_disable_two_factor(
    person: PersonFactory,
) -> None:
    ana = await person()
    confirm = ("POST", "/two-factor/confirm")
    assert said(await own(ana, *confirm, totpCode="000000")) == (409, "no_enrolment")
    for path in ("/two-factor/recovery-codes", "/two-factor"):
        method = "DELETE" if path == "/two-factor" else "POST"
        assert said(await own(ana, method, path, password=ana.password)) == (409, "two_factor_off")
    secret, codes = await with_two_factor(ana)
    again = await own(ana, "POST", "/two-factor", password=ana.password)
    assert said(again) == (409, "two_factor_enabled")
    assert said(await own(ana, *confirm, totpCode=never(secret))) == (409, "two_factor_enabled")

    bad = never(secret)
    for method, path in (
        ("POST", "/two-factor/recovery-codes"),
        ("DELETE", "/two-factor"),
        ("DELETE", ""),
    ):
        for body, expected in (
            ({"password": "wrong", "recoveryCode": codes[0]}, (403, "wrong_password")),
            ({"password": ana.password}, (403, "two_factor_required")),
            ({"password": ana.password, "totpCode": bad}, (400, "wrong_code")),
            (
                {"password": ana.password, "recoveryCode": "0000-0000-0000-0000"},
                (400, "wrong_recovery_code"),
            ),
        ):
            assert said(await own(ana, method, path, **body)) == expected, (method, path)
    assert (await own(ana, "GET", "/two-factor")).data == {
        "enabled": True,
        "recovery_codes_left": 10,
    }


async def test_renewed_recovery_codes_replace_the_previous_ones(person: PersonFactory) -> None:
    ana = await person()
    _, former = await with_two_factor(ana)
    renew = ("POST", "/two-factor/recovery-codes")
    reply = await own(ana, *renew, password=ana.password, recoveryCode=former[0])
    assert reply.status == 200, reply
    fresh = reply.data["recovery_codes"]
    assert len({*former, *fresh}) == 20
    for code in former[:2]:
        refused = await own(ana, *renew, password=ana.password, recoveryCode=code)
        assert said(refused) == (400, "wrong_recovery_code")
    gone = await own(ana, "DELETE", "", password=ana.password, recoveryCode=fresh[0])
    assert gone.status == 204


async def test_users_cannot_see_or_end_the_sessions_of_others(person: PersonFactory) -> None:
    ana, eve = await person("Ana", "es"), await person("Eve", "en")
    (hers,) = [item["id"] for item in (await own(ana, "GET", "/sessions")).data["sessions"]]
    for session in (hers, "nothing", "0" * 32):
        reply = await own(eve, "DELETE", f"/sessions/{session}")
        assert said(reply) == (404, "no_such_session")
    listed = (await own(eve, "GET", "/sessions")).data["sessions"]
    assert hers not in {item["id"] for item in listed}
    events = (await own(eve, "GET", "/security-events")).data["events"]
    assert hers not in {event["session_id"] for event in events}
    assert (await own(ana, "GET", "/sessions")).status == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "before=yesterday"])
async def test_an_invalid_page_of_events_is_rejected(person: PersonFactory, query: str) -> None:
    ana = await person()
    assert said(await own(ana, "GET", f"/security-events?{query}")) == (422, "invalid_request")


async def test_an_address_change_that_was_not_started_or_is_guessed_changes_nothing(
    person: PersonFactory,
) -> None:
    ana = await person()
    finish = {"oldCode": "000000", "newCode": "000000"}
    assert said(await own(ana, "PATCH", "/email", **finish)) == (409, "no_email_change")
    new = fresh_address("ana")
    nowhere = await own(ana, "POST", "/email", newEmail="nowhere", password=ana.password)
    assert said(nowhere) == (422, "invalid_request")
    assert (await own(ana, "POST", "/email", newEmail=new, password=ana.password)).status == 202
    tries = [said(await own(ana, "PATCH", "/email", **finish)) for _ in range(6)]
    assert tries[-1] == (400, "too_many_tries"), tries
    assert {status for status, _ in tries} == {400}
    assert (await ana.signin()).status == 200


async def test_a_reset_requires_its_own_token_and_fails_after_too_many_tries(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = await person()
    for body in ({}, {"email": "nowhere"}):
        assert said(await ana.auth.request("POST", "/password", json=body)) == (
            422,
            "invalid_request",
        )
    known = {mail.id for mail in await mailbox.list(ana.email)}
    asked = await ana.auth.request("POST", "/password", json={"email": ana.email})
    code = await mailbox.code_for(ana.email, after=known)
    phone = person.names_only("Ana", "es", email=ana.email, password=ana.password)
    challenge = str((await phone.signin()).data["token"])

    async def reset(token: str, given: str) -> tuple[int, str]:
        return said(
            await ana.auth.request(
                "PATCH",
                "/password",
                json={"newPassword": RIGHT, "emailCode": given},
                headers={"Authorization": f"Bearer {token}"},
            )
        )

    for token in (challenge, ana.refresh_token, "nonsense"):
        assert await reset(token, code) == (401, "invalid_token")
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    token = str(asked.data["token"])
    assert [await reset(token, wrong) for _ in range(5)] == [(400, "wrong_code")] * 5
    assert await reset(token, code) == (400, "wrong_code"), "the reason does not change"
    assert (await ana.signin()).status == 200

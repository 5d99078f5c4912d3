"""Concurrent identical requests: one account, one profile, and separate devices."""

import asyncio
import secrets
from collections import Counter

import jwt

from ashchat_dev.client import Person, Reply
from ashchat_dev.mailbox import Mailbox
from ashchat_dev.waiting import until
from ashchat_e2e.backends import MongoAs
from ashchat_e2e.people import PersonFactory

CONFIRMATIONS = 50
DEVICES = 4
SIGN_INS = 8


async def test_fifty_confirmations_of_one_code_at_once_make_one_account(
    person: PersonFactory, mailbox: Mailbox, mongo_as: MongoAs
) -> None:
    ana = person.names_only(f"Ana {secrets.token_hex(4)}", "es")
    assert (await ana.signup()).status == 202
    code = await mailbox.code_for(ana.email)
    replies = await asyncio.gather(*(ana.confirm_email(code) for _ in range(CONFIRMATIONS)))
    statuses = Counter(reply.status for reply in replies)
    # Later requests find that the code has been used.
    assert set(statuses) <= {201, 400}, statuses
    made = {reply.data["user_id"] for reply in replies if reply.status == 201}
    assert len(made) == 1, made
    assert {reply.reason for reply in replies if reply.status == 400} <= {"expired"}

    users, profiles = (await mongo_as("auth"))["users"], (await mongo_as("chat"))["profiles"]
    kept = await users.find({"email_key": ana.email}).to_list()
    assert [user["_id"] for user in kept] == list(made)
    assert len(kept[0]["devices"]) == 1

    async def told() -> bool:
        return bool(await profiles.count_documents({"nickname": ana.name}))

    await until(told, within=15, what="the profile stored in chat")
    found = await profiles.find({"nickname": ana.name}).to_list()
    assert [profile["_id"] for profile in found] == list(made)
    assert (await ana.signin()).status == 200
    assert (await ana.profile())["nickname"] == ana.name


def challenge_of(temporary: str) -> str:
    """Return the challenge that a temporary token belongs to."""
    return str(jwt.decode(temporary, options={"verify_signature": False})["challenge"])


async def code_of(mailbox: Mailbox, who: Person, temporary: str) -> str:
    """Return the code that was mailed for a challenge."""
    challenge = challenge_of(temporary)
    mail = await mailbox.wait(who.email, lambda mail: challenge in mail.message_id)
    assert mail.code is not None
    return mail.code


async def test_concurrent_new_devices_each_sign_in_with_their_own_code(
    person: PersonFactory, mailbox: Mailbox
) -> None:
    ana = await person("Ana", "es")
    devices = [
        person.names_only("Ana", "es", email=ana.email, password=ana.password)
        for _ in range(DEVICES)
    ]
    challenges = await asyncio.gather(*(device.signin() for device in devices))
    assert [(reply.status, reply.reason) for reply in challenges] == [(403, "new_device")] * DEVICES
    tokens = [str(reply.data["token"]) for reply in challenges]
    codes = await asyncio.gather(*(code_of(mailbox, ana, token) for token in tokens))

    # Another challenge's code is wrong here, and a token is valid only for its own device.
    others = [*codes[1:], codes[0]]
    wrong = await asyncio.gather(
        *(
            device.confirm_new_device(code, token)
            for device, code, token in zip(devices, others, tokens, strict=True)
        )
    )
    assert {(reply.status, reply.reason) for reply in wrong} == {(403, "wrong_code")}
    stolen = await devices[0].confirm_new_device(codes[1], tokens[1])
    assert (stolen.status, stolen.reason) == (403, "wrong_device")

    right = await asyncio.gather(
        *(
            device.confirm_new_device(code, token)
            for device, code, token in zip(devices, codes, tokens, strict=True)
        )
    )
    assert [reply.status for reply in right] == [204] * DEVICES
    signed_in = await asyncio.gather(*(device.signin() for device in (ana, *devices)))
    assert [reply.status for reply in signed_in] == [200] * (DEVICES + 1)
    listed = await ana.auth.request("GET", "/sessions", headers=ana.headers)
    assert len(listed.data["sessions"]) == DEVICES + 1, "one for each device"
    assert all([await device.profile() for device in devices])


async def test_concurrent_sign_ins_on_one_device_leave_one_session(person: PersonFactory) -> None:
    ana = await person()
    replies = await asyncio.gather(*(ana.signin() for _ in range(SIGN_INS)))
    assert [reply.status for reply in replies] == [200] * SIGN_INS
    tokens = [str(reply.data["token"]) for reply in replies]
    listed = await asyncio.gather(*(sessions(ana, token) for token in tokens))
    assert sorted(reply.reason for reply in listed if reply.status != 200) == ["session_over"] * (
        SIGN_INS - 1
    )
    (remaining,) = [reply for reply in listed if reply.status == 200]
    assert len(remaining.data["sessions"]) == 1


async def sessions(who: Person, token: str) -> Reply:
    """List a user's sessions with an access token."""
    headers = {**who.headers, "Authorization": f"Bearer {token}"}
    return await who.auth.request("GET", "/sessions", headers=headers)

"""The rules of email, with Redis and the mail server in memory."""

import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from ashchat_core.messages import (
    AccountCreation,
    ConfirmEmailCode,
    ConfirmNewDevice,
    NewDeviceCode,
)
from ashchat_email.codes import CodeKey, CodeKeys, mail_key
from ashchat_email.service import Checked, EmailService
from ashchat_email.smtp import ServerAway

NOW = datetime.now(UTC)


class MemoryPending:
    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}
        self.mails: set[str] = set()
        self.answers: dict[str, Checked] = {}
        self.away = False

    async def put(self, key: str, *, subject: str, digest: str, payload: str, at: float) -> bool:
        before = self.items.get(key)
        if before and before["at"] > at:
            return False
        self.items[key] = {"subject": subject, "digest": digest, "payload": payload, "at": at}
        return True

    async def check(self, key: str, *, request_id: str, digests: tuple[str, ...]) -> Checked:
        if request_id not in self.answers:
            item = self.items.get(key)
            if item is None:
                answer = Checked("expired", None)
            elif item["digest"] in digests:
                answer = Checked(None, item["payload"])
            else:
                answer = Checked("wrong_code", None)
            self.answers[request_id] = answer
        return self.answers[request_id]

    async def drop(self, key: str, subject: str) -> None:
        if self.items.get(key, {}).get("subject") == subject:
            del self.items[key]

    async def was_sent(self, message_id: str) -> bool:
        return message_id in self.mails

    async def sent(self, message_id: str) -> None:
        if self.away:
            raise ConnectionError("Redis is away")
        self.mails.add(message_id)


class Outgoing:
    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.away = False

    async def send(self, message: EmailMessage) -> None:
        if self.away:
            raise ServerAway("x")
        self.mails.append(message)

    def code(self) -> str | None:
        plain = next(iter(self.mails[-1].iter_parts())).get_content()
        found = re.search(r"\b\d{6}\b", plain)
        return found.group() if found else None


class World:
    def __init__(self) -> None:
        self.pending, self.outgoing = MemoryPending(), Outgoing()
        self.keys = CodeKeys(CodeKey(b"k" * 32))
        self.email = EmailService(
            self.pending,
            self.outgoing,
            self.keys,
            from_="AshChat <no-reply@example.org>",
            product="AshChat",
        )


@pytest.fixture
def world() -> World:
    return World()


def sign_up(sign_up_id: str = "s1", **changes: Any) -> AccountCreation:
    body = AccountCreation(
        kind="sign_up",
        sign_up_id=sign_up_id,
        email="ana@example.org",
        nickname="Ana",
        password_hash="$argon2id$x",
        preferred_language="es",
        requested_at=NOW,
    )
    return body.model_copy(update=changes)


def confirm(code: str | None, request_id: str = "r", **changes: Any) -> ConfirmEmailCode:
    body = ConfirmEmailCode(
        kind="confirm", request_id=request_id, email="Ana@example.org", code=code
    )
    return body.model_copy(update=changes)


async def test_the_mailed_code_opens_the_pending_account(world: World) -> None:
    await world.email.account_creation(sign_up())
    code = world.outgoing.code()
    assert code
    assert code not in str(world.pending.items)
    reply = await world.email.confirm_code(confirm(code))
    assert reply is not None
    assert reply.account is not None
    assert (reply.account.sign_up_id, reply.account.nickname) == ("s1", "Ana")


async def test_a_wrong_code_and_no_sign_up_have_reasons(world: World) -> None:
    nobody = await world.email.confirm_code(confirm("000000", "r1"))
    await world.email.account_creation(sign_up())
    code = int(world.outgoing.code() or 0)
    wrong = await world.email.confirm_code(confirm(f"{(code + 1) % 10**6:06d}", "r2"))
    assert (nobody and nobody.refusal, wrong and wrong.refusal) == ("expired", "wrong_code")


async def test_a_repeated_request_gets_the_same_answer_even_after_settled(world: World) -> None:
    await world.email.account_creation(sign_up())
    request = confirm(world.outgoing.code())
    first = await world.email.confirm_code(request)
    settled = confirm(None, "r2", kind="settled", sign_up_id="s1")
    assert await world.email.confirm_code(settled) is None
    assert not world.pending.items
    assert await world.email.confirm_code(request) == first


async def test_only_settled_drops_and_only_the_one_that_was_stored(world: World) -> None:
    await world.email.account_creation(sign_up())
    await world.email.confirm_code(confirm(world.outgoing.code()))
    assert world.pending.items
    await world.email.confirm_code(confirm(None, "r2", kind="settled", sign_up_id="other"))
    assert world.pending.items


async def test_a_redelivered_sign_up_sends_no_second_mail(world: World) -> None:
    for _ in range(3):
        await world.email.account_creation(sign_up())
    assert len(world.outgoing.mails) == 1


async def test_dying_before_the_mail_is_recorded_sends_the_same_mail(world: World) -> None:
    await world.email.account_creation(sign_up())
    world.pending.mails.clear()
    await world.email.account_creation(sign_up())
    first, second = world.outgoing.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert [part.get_content() for part in first.iter_parts()] == [
        part.get_content() for part in second.iter_parts()
    ]


async def test_a_mail_that_was_not_taken_is_not_recorded(world: World) -> None:
    world.outgoing.away = True
    with pytest.raises(ServerAway):
        await world.email.account_creation(sign_up())
    assert not world.pending.mails
    world.outgoing.away = False
    await world.email.account_creation(sign_up())
    assert len(world.outgoing.mails) == 1


async def test_redis_lost_after_the_mail_sends_no_second_one(world: World) -> None:
    world.pending.away = True
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await world.email.account_creation(sign_up())
    world.pending.away = False
    await world.email.account_creation(sign_up())
    assert len(world.outgoing.mails) == 1
    assert len(world.pending.mails) == 1


async def test_a_changed_key_makes_no_pending_code_invalid(world: World) -> None:
    await world.email.account_creation(sign_up())
    world.keys.renew(CodeKey(b"n" * 32))
    reply = await world.email.confirm_code(confirm(world.outgoing.code()))
    assert reply is not None
    assert reply.refusal is None
    await world.email.account_creation(sign_up("s2", email="eva@example.org"))
    reply = await world.email.confirm_code(
        confirm(world.outgoing.code(), "r2", email="eva@example.org")
    )
    assert reply is not None
    assert reply.refusal is None


async def test_a_second_sign_up_gets_a_code_of_its_own_and_an_older_one_does_not_come_back(
    world: World,
) -> None:
    await world.email.account_creation(sign_up())
    first = world.outgoing.code()
    await world.email.account_creation(sign_up("s2", requested_at=NOW + timedelta(seconds=1)))
    assert world.outgoing.code() != first
    await world.email.account_creation(sign_up("s0", requested_at=NOW - timedelta(seconds=1)))
    assert len(world.outgoing.mails) == 2
    reply = await world.email.confirm_code(confirm(world.outgoing.code()))
    assert reply is not None
    assert reply.account is not None
    assert reply.account.sign_up_id == "s2"


async def test_a_sign_up_that_is_over_gets_no_mail(world: World) -> None:
    await world.email.account_creation(sign_up(requested_at=NOW - timedelta(minutes=11)))
    assert not world.outgoing.mails
    assert not world.pending.items


async def test_the_owner_of_a_taken_address_gets_a_notice_without_a_code(world: World) -> None:
    await world.email.account_creation(sign_up(kind="address_taken", password_hash=None))
    assert world.outgoing.code() is None
    assert world.outgoing.mails[0]["To"] == "ana@example.org"
    assert not world.pending.items


async def test_nobody_is_answered_after_the_deadline(world: World) -> None:
    await world.email.account_creation(sign_up())
    late = confirm(world.outgoing.code(), deadline=NOW - timedelta(seconds=1))
    assert await world.email.confirm_code(late) is None
    assert not world.pending.answers


async def test_two_new_devices_have_codes_of_their_own(world: World) -> None:
    codes = {}
    for challenge in ("c1", "c2"):
        await world.email.new_device(
            NewDeviceCode(
                challenge_id=challenge,
                user_id="u",
                email="ana@example.org",
                nickname="Ana",
                preferred_language="pt-BR",
                requested_at=NOW,
            )
        )
        codes[challenge] = world.outgoing.code()
    for challenge, code in codes.items():
        reply = await world.email.confirm_device(
            ConfirmNewDevice(
                kind="confirm", request_id=challenge, challenge_id=challenge, code=code
            )
        )
        assert reply is not None
        assert reply.refusal is None
    await world.email.confirm_device(
        ConfirmNewDevice(kind="settled", request_id="r", challenge_id="c1")
    )
    assert list(world.pending.items) == ["device:c2"]


def test_a_key_shows_no_address() -> None:
    assert "ana" not in mail_key("ana@example.org")

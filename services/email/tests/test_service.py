"""The rules of email, with the real scripts on a Redis in memory, and a mail server in memory."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.exceptions import ConnectionError as RedisUnavailableError

from ashchat_core.admission.gate import Admission
from ashchat_core.clocks import CLOCK_SKEW_SECONDS
from ashchat_core.messages import (
    AccountCreation,
    ChangeEmail,
    ChangePassword,
    ConfirmChangeEmail,
    ConfirmChangeEmailReply,
    ConfirmChangePassword,
    ConfirmEmailCode,
    ConfirmNewDevice,
    NewDeviceCode,
    SecurityEventKind,
    SecurityNotice,
)
from ashchat_core.redis import Redis
from ashchat_email.codes import CodeKey, CodeKeys, mail_key
from ashchat_email.limits import MailLimits
from ashchat_email.ports import PermanentFailureError, ServerUnavailableError, TemporaryFailureError
from ashchat_email.service import EmailService
from ashchat_email.store import RedisPending

MAILS_PER_ADDRESS, MAILS = 20, 30
EVENTS: tuple[SecurityEventKind, ...] = get_args(SecurityEventKind)


def now() -> datetime:
    return datetime.now(UTC)


class Outgoing:
    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.away = False
        self.refusing: dict[str, Exception] = {}

    async def send(self, message: EmailMessage) -> None:
        if self.away:
            raise ServerUnavailableError("x")
        if message["To"] in self.refusing:
            raise self.refusing[message["To"]]
        self.mails.append(message)

    def to(self, address: str) -> list[EmailMessage]:
        return [mail for mail in self.mails if mail["To"] == address]

    def code(self, to: str | None = None) -> str | None:
        mail = self.mails[-1] if to is None else self.to(to)[-1]
        plain = next(iter(mail.iter_parts())).get_content()
        found = re.search(r"\b\d{6}\b", plain)
        return found.group() if found else None


class World:
    def __init__(self) -> None:
        self.server = FakeServer()
        self.redis = FakeAsyncRedis(server=self.server, decode_responses=True)
        self.outgoing = Outgoing()
        self.keys = CodeKeys(CodeKey(b"k" * 32))
        self.admission = Admission()
        self.email = self.process()

    def process(self) -> EmailService:
        """Return the service as a new process has it."""
        return EmailService(
            RedisPending(cast("Redis", SimpleNamespace(client=self.redis, key=str))),
            self.outgoing,
            self.keys,
            MailLimits(self.admission, per_address=MAILS_PER_ADDRESS, in_total=MAILS),
            from_="AshChat <no-reply@example.org>",
            product="AshChat",
        )

    async def pending(self) -> list[str]:
        kept = [str(key) for key in await self.redis.keys("email:*")]
        return sorted(key for key in kept if key.split(":")[1] not in {"answer", "sent", "settled"})

    async def everything(self) -> str:
        return str([await self.redis.hgetall(key) for key in await self.pending()])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.server.connected = True
    await made.redis.aclose()


def another(code: str | None) -> str:
    return f"{(int(code or 0) + 1) % 10**6:06d}"


def sign_up(sign_up_id: str = "s1", **changes: Any) -> AccountCreation:
    body = AccountCreation(
        kind="sign_up",
        sign_up_id=sign_up_id,
        email="ana@example.org",
        nickname="Ana",
        password_hash="$argon2id$x",
        preferred_language="es",
        requested_at=now(),
    )
    return body.model_copy(update=changes)


def confirm(code: str | None, request_id: str = "r", **changes: Any) -> ConfirmEmailCode:
    body = ConfirmEmailCode(
        kind="confirm", request_id=request_id, email="Ana@example.org", code=code
    )
    return body.model_copy(update=changes)


def device(challenge_id: str = "c1") -> NewDeviceCode:
    return NewDeviceCode(
        challenge_id=challenge_id,
        user_id="u",
        email="ana@example.org",
        nickname="Ana",
        preferred_language="pt-BR",
        requested_at=now(),
    )


def reset(reset_id: str = "p1", **changes: Any) -> ChangePassword:
    body = ChangePassword(
        kind="reset",
        reset_id=reset_id,
        email="ana@example.org",
        nickname="Ana",
        preferred_language="ar",
        requested_at=now(),
    )
    return body.model_copy(update=changes)


def confirm_reset(
    code: str | None, request_id: str = "r", reset_id: str = "p1", **changes: Any
) -> ConfirmChangePassword:
    body = ConfirmChangePassword(
        kind="confirm", request_id=request_id, reset_id=reset_id, code=code
    )
    return body.model_copy(update=changes)


OLD, NEW = "ana@example.org", "ana@example.net"


def notice(**changes: Any) -> SecurityNotice:
    body = SecurityNotice(
        notice_id="n1",
        event="password_changed",
        email="ana@example.org",
        nickname="Ana",
        preferred_language="en",
        at=now(),
    )
    return body.model_copy(update=changes)


def change(change_id: str = "e1", **changes: Any) -> ChangeEmail:
    body = ChangeEmail(
        kind="change",
        change_id=change_id,
        old_email=OLD,
        new_email=NEW,
        nickname="Ana",
        preferred_language="en",
        requested_at=now(),
    )
    return body.model_copy(update=changes)


def confirm_change(
    old: str | None, new: str | None, request_id: str = "r", **changes: Any
) -> ConfirmChangeEmail:
    body = ConfirmChangeEmail(
        kind="confirm", request_id=request_id, change_id="e1", old_code=old, new_code=new
    )
    return body.model_copy(update=changes)


async def both(
    world: World, old: str | None, new: str | None, request_id: str
) -> ConfirmChangeEmailReply:
    reply = await world.email.confirm_email(confirm_change(old, new, request_id))
    assert reply is not None
    return reply


async def test_the_mailed_code_opens_the_pending_account(world: World) -> None:
    await world.email.account_creation(sign_up())
    code = world.outgoing.code()
    assert code
    assert code not in await world.everything()
    reply = await world.email.confirm_code(confirm(code))
    assert reply is not None
    assert reply.account is not None
    assert (reply.account.sign_up_id, reply.account.nickname) == ("s1", "Ana")


async def test_a_wrong_code_and_no_sign_up_have_reasons(world: World) -> None:
    nobody = await world.email.confirm_code(confirm("000000", "r1"))
    await world.email.account_creation(sign_up())
    wrong = await world.email.confirm_code(confirm(another(world.outgoing.code()), "r2"))
    assert (nobody and nobody.refusal, wrong and wrong.refusal) == ("expired", "wrong_code")


async def test_the_fifth_wrong_try_burns_the_code(world: World) -> None:
    await world.email.account_creation(sign_up())
    code = world.outgoing.code()
    replies = [
        await world.email.confirm_code(confirm(another(code), f"r{number}")) for number in range(5)
    ]
    replies.append(await world.email.confirm_code(confirm(code, "r5")))
    assert [reply and reply.refusal for reply in replies] == [
        *["wrong_code"] * 4,
        *["too_many_tries"] * 2,
    ]


async def test_a_repeated_wrong_request_costs_one_try(world: World) -> None:
    await world.email.account_creation(sign_up())
    wrong = confirm(another(world.outgoing.code()))
    assert {
        reply.refusal
        for reply in [await world.email.confirm_code(wrong) for _ in range(9)]
        if reply
    } == {"wrong_code"}
    right = await world.email.confirm_code(confirm(world.outgoing.code(), "r2"))
    assert right is not None
    assert right.account is not None


async def test_a_repeated_request_gets_the_same_answer_even_after_settled(world: World) -> None:
    await world.email.account_creation(sign_up())
    request = confirm(world.outgoing.code())
    first = await world.email.confirm_code(request)
    settled = confirm(None, "r2", kind="settled", sign_up_id="s1")
    assert await world.email.confirm_code(settled) is None
    assert not await world.pending()
    assert not await world.redis.keys("*s1*"), "a sign-up's id becomes that of the account"
    for key in await world.redis.keys("email:settled:*"):
        assert "argon2id" not in str(await world.redis.hgetall(key)), "what it was for is deleted"
        assert 0 < await world.redis.ttl(key) <= 600
    assert await world.email.confirm_code(request) == first


async def test_only_settled_drops_and_only_the_one_that_was_stored(world: World) -> None:
    await world.email.account_creation(sign_up())
    await world.email.confirm_code(confirm(world.outgoing.code()))
    await world.email.confirm_code(confirm(None, "r2", kind="settled", sign_up_id="other"))
    reply = await world.email.confirm_code(confirm(world.outgoing.code(), "r3"))
    assert reply is not None
    assert reply.account is not None


async def test_a_used_code_does_not_come_back_with_a_redelivery(world: World) -> None:
    await world.email.account_creation(sign_up())
    code = world.outgoing.code()
    await world.email.confirm_code(confirm(None, kind="settled", sign_up_id="s1"))
    world.email = world.process()
    await world.email.account_creation(sign_up())
    reply = await world.email.confirm_code(confirm(code, "r2"))
    assert reply is not None
    assert reply.refusal == "expired"


async def test_a_redelivered_sign_up_sends_no_second_mail(world: World) -> None:
    for _ in range(3):
        world.email = world.process()
        await world.email.account_creation(sign_up())
    assert len(world.outgoing.mails) == 1


async def test_a_redelivered_sign_up_gives_no_new_tries_and_no_longer_life(world: World) -> None:
    await world.email.account_creation(sign_up())
    await world.email.confirm_code(confirm(another(world.outgoing.code())))
    keys = await world.pending()
    for key in keys:
        await world.redis.expire(key, 100)
    await world.email.account_creation(sign_up())
    assert sorted([str(await world.redis.hget(key, "tries")) for key in keys]) == ["0", "1"]
    assert [await world.redis.ttl(key) <= 100 for key in keys] == [True, True]


async def test_dying_before_the_mail_is_recorded_sends_the_same_mail(world: World) -> None:
    await world.email.account_creation(sign_up())
    (sent,) = await world.redis.keys("email:sent:*")
    await world.redis.delete(sent)
    world.email = world.process()
    await world.email.account_creation(sign_up())
    first, second = world.outgoing.mails
    assert first["Message-ID"] == second["Message-ID"]
    assert [part.get_content() for part in first.iter_parts()] == [
        part.get_content() for part in second.iter_parts()
    ]


async def test_a_mail_that_was_not_taken_is_not_recorded(world: World) -> None:
    world.outgoing.away = True
    with pytest.raises(ServerUnavailableError):
        await world.email.account_creation(sign_up())
    assert not await world.redis.keys("email:sent:*")
    world.outgoing.away = False
    await world.email.account_creation(sign_up())
    assert len(world.outgoing.mails) == 1


async def test_redis_lost_after_the_mail_sends_no_second_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send_and_lose_redis(message: EmailMessage) -> None:
        world.outgoing.mails.append(message)
        world.server.connected = False

    monkeypatch.setattr(world.outgoing, "send", send_and_lose_redis)
    for _ in range(2):
        with pytest.raises(RedisUnavailableError):
            await world.email.account_creation(sign_up())
    world.server.connected = True
    await world.email.account_creation(sign_up())
    assert len(world.outgoing.mails) == 1
    assert len(await world.redis.keys("email:sent:*")) == 1


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


async def test_a_second_sign_up_gets_another_code_and_an_older_one_does_not_return(
    world: World,
) -> None:
    await world.email.account_creation(sign_up())
    first = world.outgoing.code()
    await world.email.account_creation(sign_up("s2", requested_at=now() + timedelta(seconds=1)))
    assert world.outgoing.code() != first
    newest = world.outgoing.code()
    await world.email.account_creation(sign_up("s0", requested_at=now() - timedelta(seconds=1)))
    reply = await world.email.confirm_code(confirm(newest))
    assert reply is not None
    assert reply.account is not None
    assert reply.account.sign_up_id == "s2"


async def test_after_a_resend_the_former_code_is_dead(world: World) -> None:
    await world.email.account_creation(sign_up())
    former = world.outgoing.code()
    await world.email.account_creation(sign_up("s2", requested_at=now() + timedelta(seconds=1)))
    reply = await world.email.confirm_code(confirm(former))
    assert reply is not None
    assert (reply.account, reply.refusal) == (None, "wrong_code")
    # Nor does its redelivery bring it back, in another process.
    world.email = world.process()
    await world.email.account_creation(sign_up())
    reply = await world.email.confirm_code(confirm(former, "r2"))
    assert reply is not None
    assert reply.refusal == "wrong_code"


async def test_after_a_resend_the_tries_of_the_former_do_not_count(world: World) -> None:
    await world.email.account_creation(sign_up())
    for number in range(6):
        await world.email.confirm_code(confirm(another(world.outgoing.code()), f"r{number}"))
    await world.email.account_creation(sign_up("s2", requested_at=now() + timedelta(seconds=1)))
    reply = await world.email.confirm_code(confirm(world.outgoing.code(), "r9"))
    assert reply is not None
    assert reply.account is not None


async def test_settling_the_former_sign_up_leaves_the_resent_one(world: World) -> None:
    await world.email.account_creation(sign_up())
    await world.email.account_creation(sign_up("s2", requested_at=now() + timedelta(seconds=1)))
    await world.email.confirm_code(confirm(None, kind="settled", sign_up_id="s1"))
    reply = await world.email.confirm_code(confirm(world.outgoing.code(), "r2"))
    assert reply is not None
    assert reply.account is not None


async def test_a_sign_up_that_is_over_gets_no_mail(world: World) -> None:
    await world.email.account_creation(sign_up(requested_at=now() - timedelta(minutes=11)))
    assert not world.outgoing.mails
    assert not await world.pending()


async def test_the_owner_of_a_taken_address_gets_a_notice_without_a_code(world: World) -> None:
    await world.email.account_creation(sign_up(kind="address_taken", password_hash=None))
    assert world.outgoing.code() is None
    assert world.outgoing.mails[0]["To"] == "ana@example.org"
    assert "Ana" not in await world.everything()


@pytest.mark.parametrize("sign_up_id", [None, "s1"], ids=["without the token", "with it"])
async def test_checks_of_codes_do_not_reveal_whether_an_address_is_taken(
    world: World, sign_up_id: str | None
) -> None:
    found = []
    for kind, address in (("sign_up", "free@example.org"), ("address_taken", "ana@example.org")):
        made = sign_up(kind=kind, email=address, sign_up_id=f"{sign_up_id or 's1'}")
        await world.email.account_creation(made)
        # Even the code that a free address would have got.
        codes = ["000000"] * 6 if kind == "sign_up" else [world.keys.code("sign-up", "s1")] * 6
        replies = [
            await world.email.confirm_code(
                confirm(code, f"{kind}{number}", email=address, sign_up_id=sign_up_id)
            )
            for number, code in enumerate(codes)
        ]
        found.append([reply and (reply.refusal, reply.account) for reply in replies])
        for key in await world.pending():
            assert 590 < await world.redis.ttl(key) <= 600
        await world.redis.flushall()
    assert found[0] == found[1]
    assert found[0] == [("wrong_code", None)] * 4 + [("too_many_tries", None)] * 2


async def test_that_a_sign_up_was_confirmed_is_revealed_by_its_code_only(world: World) -> None:
    await world.email.account_creation(sign_up())
    code = world.outgoing.code()
    await world.email.confirm_code(confirm(None, kind="settled", sign_up_id="s1"))
    for sign_up_id in (None, "s1"):
        for given, refusal in ((another(code), "wrong_code"), (code, "expired")):
            request_id = f"{sign_up_id}{given}"
            reply = await world.email.confirm_code(
                confirm(given, request_id, sign_up_id=sign_up_id)
            )
            assert reply is not None
            assert (reply.refusal, reply.account) == (refusal, None)


async def test_a_token_confirms_its_own_sign_up_also_after_another_sign_up(world: World) -> None:
    await world.email.account_creation(sign_up("owner"))
    owners = world.outgoing.code()
    await world.email.account_creation(
        sign_up("stranger", nickname="Eve", requested_at=now() + timedelta(seconds=1))
    )
    strangers = world.outgoing.code()
    assert owners != strangers
    for number in range(6):  # what anybody can do burns no code of the owner
        await world.email.confirm_code(confirm(another(strangers), f"r{number}"))
    found = {}
    for code, sign_up_id in (
        (strangers, "owner"), (owners, "stranger"), (owners, "owner"), (strangers, None),
    ):  # fmt: skip
        reply = await world.email.confirm_code(
            confirm(code, f"{code}.{sign_up_id}", sign_up_id=sign_up_id)
        )
        assert reply is not None
        found[code, sign_up_id] = reply.account and reply.account.sign_up_id
    assert found == {
        (strangers, "owner"): None,
        (owners, "stranger"): None,
        (owners, "owner"): "owner",
        (strangers, None): None,  # burnt: this is what stays open for clients without a token
    }


async def test_an_older_sign_up_that_is_delivered_late_still_gets_its_code(world: World) -> None:
    await world.email.account_creation(sign_up("s2"))
    await world.email.account_creation(sign_up("s1", requested_at=now() - timedelta(seconds=1)))
    reply = await world.email.confirm_code(confirm(world.outgoing.code(), sign_up_id="s1"))
    assert reply is not None
    assert reply.account is not None
    assert reply.account.sign_up_id == "s1"


async def test_a_deadline_of_a_clock_that_is_behind_has_not_passed(world: World) -> None:
    await world.email.account_creation(sign_up())
    behind = datetime.now(UTC) - timedelta(seconds=8)
    checked = await world.email.confirm_code(confirm(world.outgoing.code(), deadline=behind))
    assert checked is not None
    assert checked.refusal is None


async def test_nobody_is_answered_after_the_deadline(world: World) -> None:
    late = now() - timedelta(seconds=CLOCK_SKEW_SECONDS + 1)
    await world.email.account_creation(sign_up())
    await world.email.change_password(reset())
    await world.email.change_email(change())
    assert await world.email.confirm_code(confirm("1", deadline=late)) is None
    assert await world.email.confirm_password(confirm_reset("1", deadline=late)) is None
    assert await world.email.confirm_email(confirm_change("1", "2", deadline=late)) is None
    assert not await world.redis.keys("email:answer:*")


async def test_two_new_devices_have_separate_codes(world: World) -> None:
    codes = {}
    for challenge in ("c1", "c2"):
        await world.email.new_device(device(challenge))
        codes[challenge] = world.outgoing.code()
    assert codes["c1"] != codes["c2"]
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
    assert await world.pending() == ["email:device:c2"]
    again = await world.email.confirm_device(
        ConfirmNewDevice(kind="confirm", request_id="r3", challenge_id="c1", code=codes["c1"])
    )
    assert again is not None
    assert again.refusal == "expired"


async def test_a_reset_is_kept_for_600_seconds_and_its_code_only_as_a_digest(world: World) -> None:
    await world.email.change_password(reset())
    code = world.outgoing.code()
    assert code
    assert await world.pending() == ["email:reset:p1"]
    assert 0 < await world.redis.ttl("email:reset:p1") <= 600
    assert code not in await world.everything()
    reply = await world.email.confirm_password(confirm_reset(code))
    assert reply is not None
    assert reply.refusal is None


async def test_a_reset_of_nobody_keeps_nothing_and_mails_nothing(world: World) -> None:
    await world.email.change_password(reset(kind="no_account"))
    assert not await world.redis.keys("*")
    assert not world.outgoing.mails


async def test_a_reset_that_was_settled_cannot_be_used_again(world: World) -> None:
    await world.email.change_password(reset())
    code = world.outgoing.code()
    request = confirm_reset(code)
    first = await world.email.confirm_password(request)
    assert await world.email.confirm_password(confirm_reset(None, "s", kind="settled")) is None
    assert await world.email.confirm_password(request) == first
    world.email = world.process()
    await world.email.change_password(reset())  # delivered once more
    again = await world.email.confirm_password(confirm_reset(code, "r2"))
    assert again is not None
    assert again.refusal == "expired"
    assert len(world.outgoing.mails) == 1


async def test_a_reset_has_five_tries(world: World) -> None:
    await world.email.change_password(reset())
    code = world.outgoing.code()
    for number in range(5):
        await world.email.confirm_password(confirm_reset(another(code), f"r{number}"))
    reply = await world.email.confirm_password(confirm_reset(code))
    assert reply is not None
    assert reply.refusal == "too_many_tries"


async def test_an_expired_reset_is_reported(world: World) -> None:
    await world.email.change_password(reset())
    await world.redis.delete("email:reset:p1")
    reply = await world.email.confirm_password(confirm_reset(world.outgoing.code()))
    assert reply is not None
    assert reply.refusal == "expired"
    await world.email.change_password(reset("p2", requested_at=now() - timedelta(minutes=11)))
    assert len(world.outgoing.mails) == 1


async def test_flows_with_the_same_id_share_neither_key_nor_code_nor_answer(world: World) -> None:
    await world.email.account_creation(sign_up("x"))
    codes = {world.outgoing.code()}
    await world.email.new_device(device("x"))
    codes.add(world.outgoing.code())
    await world.email.change_password(reset("x"))
    reset_code = world.outgoing.code()
    codes.add(reset_code)
    await world.email.change_email(change("x"))
    codes |= {world.outgoing.code(OLD), world.outgoing.code(NEW)}
    assert len(codes) == 5
    assert await world.pending() == [
        "email:change:x",
        "email:device:x",
        "email:own-signup:x",
        "email:reset:x",
        f"email:signup:{mail_key('ana@example.org')}",
    ]
    wrong = await world.email.confirm_device(
        ConfirmNewDevice(kind="confirm", request_id="r", challenge_id="x", code=reset_code)
    )
    right = await world.email.confirm_password(confirm_reset(reset_code, "r", "x"))
    assert wrong is not None
    assert right is not None
    assert (wrong.refusal, right.refusal) == ("wrong_code", None)


async def test_an_address_change_mails_each_end_its_own_code_and_needs_both(world: World) -> None:
    await world.email.change_email(change())
    old, new = world.outgoing.code(OLD), world.outgoing.code(NEW)
    assert old
    assert new
    assert old != new
    assert [len(world.outgoing.to(end)) for end in (OLD, NEW)] == [1, 1]
    assert 0 < await world.redis.ttl("email:change:e1") <= 600
    kept = await world.everything()
    assert old not in kept
    assert new not in kept
    reply = await both(world, old, new, "r")
    assert (reply.new_email, reply.refusal) == (NEW, None)


async def test_one_right_code_of_two_is_wrong_and_so_are_both_swapped(world: World) -> None:
    await world.email.change_email(change())
    old, new = world.outgoing.code(OLD), world.outgoing.code(NEW)
    for number, (first, second) in enumerate(
        [(old, another(new)), (another(old), new), (new, old), (old, None)]
    ):
        reply = await both(world, first, second, f"r{number}")
        assert (reply.new_email, reply.refusal) == (None, "wrong_code")
    # Four tries of both together are gone; the fifth burns both.
    assert (await both(world, old, "", "r5")).refusal == "too_many_tries"
    assert (await both(world, old, new, "r6")).refusal == "too_many_tries"


async def test_the_same_change_request_gets_the_same_answer_and_a_settled_change_is_over(
    world: World,
) -> None:
    await world.email.change_email(change())
    old, new = world.outgoing.code(OLD), world.outgoing.code(NEW)
    first = await both(world, old, new, "r")
    assert (
        await world.email.confirm_email(confirm_change(None, None, "s", kind="settled"))
    ) is None
    assert await both(world, old, new, "r") == first
    await world.email.change_email(change())  # delivered once more
    assert (await both(world, old, new, "r2")).refusal == "expired"
    assert len(world.outgoing.mails) == 2


async def test_a_change_to_a_taken_address_looks_alike_and_can_never_be_confirmed(
    world: World,
) -> None:
    await world.email.change_email(change(kind="address_taken", nickname="Mallory"))
    old = world.outgoing.code(OLD)
    assert old
    assert world.outgoing.code(NEW) is None
    (notice,) = world.outgoing.to(NEW)
    assert "Mallory" not in notice.as_string()
    assert OLD not in notice.as_string()
    derived = world.keys.code("email-new", "e1")
    for number, guess in enumerate(["", derived]):
        assert (await both(world, old, guess, f"r{number}")).refusal == "wrong_code"


async def test_greylisting_at_one_end_does_not_hold_up_the_other(world: World) -> None:
    world.outgoing.refusing[OLD] = TemporaryFailureError("451")
    with pytest.raises(TemporaryFailureError):
        await world.email.change_email(change())
    assert [len(world.outgoing.to(end)) for end in (OLD, NEW)] == [0, 1]
    del world.outgoing.refusing[OLD]
    await world.email.change_email(change())
    assert [len(world.outgoing.to(end)) for end in (OLD, NEW)] == [1, 1]


async def test_a_change_with_an_end_that_does_not_exist_is_given_up(world: World) -> None:
    world.outgoing.refusing = {
        OLD: TemporaryFailureError("451"),
        NEW: PermanentFailureError("550", "mailbox"),
    }
    with pytest.raises(PermanentFailureError):
        await world.email.change_email(change())


@pytest.mark.parametrize("event", EVENTS)
async def test_an_owner_is_notified_of_every_event_once_and_without_a_code(
    world: World, event: SecurityEventKind
) -> None:
    old = notice(event=event, at=now() - timedelta(days=3))
    for _ in range(2):
        world.email = world.process()
        await world.email.security_notice(old)
    assert len(world.outgoing.mails) == 1
    assert world.outgoing.code() is None
    plain = next(iter(world.outgoing.mails[0].iter_parts())).get_content()
    assert f"{old.at:%Y-%m-%d %H:%M} UTC" in plain


async def test_everything_that_is_stored_expires(world: World) -> None:
    await world.email.account_creation(sign_up())
    await world.email.confirm_code(confirm("000000"))
    await world.email.change_password(reset())
    await world.email.change_email(change())
    await world.email.confirm_email(confirm_change(None, None, "s", kind="settled"))
    for key in await world.redis.keys("*"):
        assert await world.redis.ttl(key) > 0, key


def test_a_key_shows_no_address() -> None:
    assert "ana" not in mail_key("ana@example.org")


async def test_an_address_gets_so_many_mails_a_day_whatever_auth_asks_for(world: World) -> None:
    for number in range(MAILS_PER_ADDRESS + 5):
        await world.email.new_device(device(f"c{number}"))
    assert len(world.outgoing.mails) == MAILS_PER_ADDRESS
    await world.email.security_notice(notice(email="luz@example.org"))
    assert len(world.outgoing.to("luz@example.org")) == 1, "another address"


async def test_the_platform_sends_so_many_mails_a_day(world: World) -> None:
    for number in range(MAILS + 5):
        await world.email.security_notice(
            notice(notice_id=f"n{number}", email=f"{number}@example.org")
        )
    assert len(world.outgoing.mails) == MAILS


async def test_a_mail_that_was_not_sent_is_not_counted(world: World) -> None:
    world.outgoing.away = True
    for _ in range(MAILS + 5):
        with pytest.raises(ServerUnavailableError):
            await world.email.new_device(device())
    world.outgoing.away = False
    await world.email.new_device(device())
    assert len(world.outgoing.mails) == 1

"""The rules of accounts, with stores and queues in memory."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ashchat_auth.models import (
    Device,
    DeviceAdded,
    EmailTaken,
    NoAnswer,
    Session,
    User,
    email_key,
)
from ashchat_auth.service import SWEEP_AFTER, Accounts, M
from ashchat_core.errors import APIError, BrokerUnavailable
from ashchat_core.messages import (
    AccountConfirmed,
    ConfirmEmailCodeReply,
    ConfirmNewDeviceReply,
    Message,
    PendingAccount,
)
from ashchat_core.tokens import device_hash
from ashchat_core.topology import Queue

PHONE = Device(device_hash=device_hash("phone"), os="ANDROID", notification_token="n")
TABLET = Device(device_hash=device_hash("tablet"))
PASSWORD = "correct horse"
PENDING = PendingAccount(
    sign_up_id="s1",
    email="Ana@example.org",
    nickname="Ana",
    password_hash=f"hash:{PASSWORD}",
    preferred_language="es",
)


class MemoryStore:
    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.devices: dict[str, list[Device]] = {}
        self.marks: dict[str, datetime] = {}
        self.sessions: dict[str, Session] = {}

    async def add_user(self, user: User, device: Device) -> User:
        if user.id in self.users:
            return self.users[user.id]
        if await self.user_by_email(user.email_key):
            raise EmailTaken
        self.users[user.id] = user
        self.devices[user.id] = [device]
        self.marks[user.id] = user.created_at
        return user

    async def user_by_email(self, key: str) -> User | None:
        return next((user for user in self.users.values() if user.email_key == key), None)

    async def user(self, user_id: str) -> User | None:
        return self.users.get(user_id)

    async def knows_device(self, user_id: str, device_hash: str) -> bool:
        return any(device.device_hash == device_hash for device in self.devices[user_id])

    async def add_device(self, user_id: str, device: Device, now: datetime) -> DeviceAdded:
        if user_id not in self.users:
            return DeviceAdded.NO_ACCOUNT
        if await self.knows_device(user_id, device.device_hash):
            return DeviceAdded.KNOWN
        self.devices[user_id].append(device)
        marked = user_id in self.marks
        self.marks[user_id] = now
        return DeviceAdded.MARKED_WITH_OTHERS if marked else DeviceAdded.MARKED

    async def announced(self, user_id: str, since: datetime) -> None:
        if self.marks.get(user_id) == since:
            del self.marks[user_id]

    async def unannounced(
        self, before: datetime
    ) -> AsyncIterator[tuple[User, list[Device], datetime]]:
        for user_id, since in list(self.marks.items()):
            if since < before:
                yield self.users[user_id], self.devices[user_id], since

    async def add_session(self, session: Session, *, life: timedelta) -> str:
        assert life == timedelta(days=30)
        self.sessions[session.id] = session
        return f"{session.id}.first"

    async def session_of(self, refresh_token: str, now: datetime) -> Session | None:
        assert now
        return self.sessions.get(refresh_token.partition(".")[0])

    async def rotate(self, refresh_token: str, *, now: datetime, life: timedelta) -> str | None:
        assert now + life
        session_id, _, secret = refresh_token.partition(".")
        return f"{session_id}.next" if secret == "first" else None


class Queues:
    """Notes what was published; answers as told."""

    def __init__(self) -> None:
        self.sent: list[tuple[Queue, Any]] = []
        self.answers: dict[Queue, Message | None] = {}
        self.away: set[Queue] = set()

    async def tell(self, queue: Queue, body: Message, *, message_id: str) -> None:
        assert message_id
        if queue in self.away:
            raise BrokerUnavailable("x")
        self.sent.append((queue, body))

    async def ask(self, queue: Queue, body: Message, answer: type[M], *, message_id: str) -> M:
        await self.tell(queue, body, message_id=message_id)
        found = self.answers.get(queue)
        if not isinstance(found, answer):
            raise NoAnswer
        return found

    def names(self) -> list[Queue]:
        return [queue for queue, _ in self.sent]


class PlainPasswords:
    def __init__(self) -> None:
        self.computed = 0

    async def hash(self, password: str) -> str:
        self.computed += 1
        return f"hash:{password}"

    async def verify(self, hashed: str | None, password: str) -> bool:
        self.computed += 1
        return hashed == f"hash:{password}"


class Limits:
    def __init__(self) -> None:
        self.wait: dict[str, int] = {}
        self.failed: list[tuple[str, str]] = []

    async def sign_up(self, address: str) -> int:
        assert address
        return self.wait.get("sign_up", 0)

    async def sign_in_wait(self, account: str, address: str) -> int:
        assert account
        assert address
        return self.wait.get("sign_in", 0)

    async def sign_in_failed(self, account: str, address: str) -> None:
        self.failed.append((account, address))

    async def code_mailed(self, account: str) -> int:
        assert account
        return self.wait.get("mail", 0)

    async def code_tried(self, account: str, address: str) -> int:
        assert account
        assert address
        return self.wait.get("code", 0)


class Tokens:
    """Temporary tokens are their claims."""

    def __init__(self) -> None:
        self.temporaries: dict[str, dict[str, Any]] = {}

    def access(self, *, user_id: str, session_id: str, device_hash: str, now: datetime) -> str:
        assert now
        return f"access:{user_id}:{session_id}:{device_hash}"

    def temporary(self, *, user_id: str, challenge_id: str, device_hash: str, now: datetime) -> str:
        assert now
        token = f"temporary{len(self.temporaries)}"
        self.temporaries[token] = {"sub": user_id, "challenge": challenge_id, "dev": device_hash}
        return token

    def read_temporary(self, token: str) -> dict[str, Any] | None:
        return self.temporaries.get(token)


class World:
    def __init__(self) -> None:
        self.store, self.queues, self.limits = MemoryStore(), Queues(), Limits()
        self.passwords, self.tokens = PlainPasswords(), Tokens()
        self.accounts = Accounts(
            store=self.store,
            requests=self.queues,
            passwords=self.passwords,
            signer=self.tokens,
            limits=self.limits,
            refresh_days=30,
        )
        self.queues.answers[Queue.CONFIRM_EMAIL_CODE] = ConfirmEmailCodeReply(
            request_id="r", account=PENDING
        )
        self.queues.answers[Queue.CONFIRM_NEW_ACCOUNT] = AccountConfirmed(
            user_id="s1", tag_user_id="ana_1"
        )
        self.queues.answers[Queue.CONFIRM_NEW_DEVICE_REPLY] = ConfirmNewDeviceReply(request_id="r")

    async def sign_up(self, email: str = "ana@example.org") -> None:
        await self.accounts.sign_up(
            name="Ana", email=email, password=PASSWORD, language="es", address="1.2.3.4"
        )

    async def confirm(self, device: Device = PHONE) -> str:
        return await self.accounts.confirm_email(
            email="ana@example.org", code="123456", device=device, address="1.2.3.4"
        )

    async def sign_in(self, password: str = PASSWORD, device: str = "phone") -> Any:
        return await self.accounts.sign_in(
            email="ANA@example.org", password=password, device_token=device, address="1.2.3.4"
        )

    async def confirm_device(self, token: str, device: Device = TABLET) -> None:
        await self.accounts.confirm_new_device(
            temporary=token, code="123456", device=device, address="1.2.3.4"
        )


@pytest.fixture
def world() -> World:
    return World()


async def refused(call: Any) -> tuple[int, str]:
    with pytest.raises(APIError) as error:
        await call
    return error.value.status, error.value.reason


async def test_a_sign_up_hashes_the_password_before_it_travels(world: World) -> None:
    await world.sign_up()
    ((queue, body),) = world.queues.sent
    assert (queue, body.kind, body.password_hash) == (
        Queue.ACCOUNT_CREATION,
        "sign_up",
        f"hash:{PASSWORD}",
    )


async def test_a_taken_address_does_the_same_work_and_tells_only_its_owner(world: World) -> None:
    await world.confirm()
    world.queues.sent.clear()
    before = world.passwords.computed
    await world.sign_up("Ana@Example.org")
    ((_, body),) = world.queues.sent
    assert world.passwords.computed == before + 1
    assert (body.kind, body.email, body.password_hash) == ("address_taken", PENDING.email, None)


async def test_the_broker_away_at_sign_up_leaves_nothing(world: World) -> None:
    world.queues.away.add(Queue.ACCOUNT_CREATION)
    with pytest.raises(BrokerUnavailable):
        await world.sign_up()
    assert not world.store.users


async def test_a_right_code_makes_the_account_tells_chat_then_email(world: World) -> None:
    assert await world.confirm() == "s1"
    user = world.store.users["s1"]
    assert (user.email, user.email_key) == ("Ana@example.org", email_key("ana@example.org"))
    assert world.queues.names() == [
        Queue.CONFIRM_EMAIL_CODE,
        Queue.CONFIRM_NEW_ACCOUNT,
        Queue.CONFIRM_EMAIL_CODE,
    ]
    assert world.queues.sent[-1][1].kind == "settled"
    assert not world.store.marks


@pytest.mark.parametrize("reason", ["wrong_code", "expired", "too_many_tries"])
async def test_a_refused_code_makes_nothing(world: World, reason: Any) -> None:
    world.queues.answers[Queue.CONFIRM_EMAIL_CODE] = ConfirmEmailCodeReply(
        request_id="r", refusal=reason
    )
    assert await refused(world.confirm()) == (400, reason)
    assert not world.store.users


async def test_no_answer_from_email_is_503_and_makes_nothing(world: World) -> None:
    del world.queues.answers[Queue.CONFIRM_EMAIL_CODE]
    assert await refused(world.confirm()) == (503, "unavailable")
    assert not world.store.users


async def test_chat_without_an_answer_does_not_hold_up_the_account(world: World) -> None:
    del world.queues.answers[Queue.CONFIRM_NEW_ACCOUNT]
    assert await world.confirm() == "s1"
    assert not world.store.marks, "the message is in the queue: nothing is left to say"


async def test_what_the_broker_did_not_take_is_swept_later(world: World) -> None:
    world.queues.away.add(Queue.CONFIRM_NEW_ACCOUNT)
    assert await world.confirm() == "s1"
    assert world.store.marks
    world.queues.away.clear()
    assert await world.accounts.sweep() == 0, "the request itself comes first"
    world.store.marks["s1"] = datetime.now(UTC) - SWEEP_AFTER - timedelta(seconds=1)
    assert await world.accounts.sweep() == 1
    assert world.queues.names()[-1] == Queue.CONFIRM_NEW_ACCOUNT
    assert not world.store.marks


async def test_a_broker_lost_in_the_sweep_keeps_the_mark(world: World) -> None:
    world.queues.away.add(Queue.CONFIRM_NEW_ACCOUNT)
    await world.confirm()
    world.store.marks["s1"] = datetime.now(UTC) - timedelta(hours=1)
    with pytest.raises(BrokerUnavailable):
        await world.accounts.sweep()
    assert world.store.marks


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


async def test_signing_in_on_a_known_device(world: World) -> None:
    await world.confirm()
    signed_in = await world.sign_in()
    assert signed_in.user_id == "s1"
    assert signed_in.token.endswith(PHONE.device_hash)
    assert "first" not in repr(signed_in)


async def test_wrong_password_and_unknown_address_are_alike(world: World) -> None:
    unknown = await refused(world.sign_in())
    await world.confirm()
    assert unknown == await refused(world.sign_in("wrong")) == (401, "wrong_credentials")
    assert world.passwords.computed == 2
    assert world.limits.failed == [("ana@example.org", "1.2.3.4")] * 2


async def test_a_new_device_is_asked_for_the_code_that_is_mailed(world: World) -> None:
    await world.confirm()
    with pytest.raises(APIError) as error:
        await world.sign_in(device="tablet")
    assert (error.value.status, error.value.reason) == (403, "new_device")
    assert set(error.value.data) == {"token", "info"}
    assert world.queues.names()[-1] == Queue.CONFIRM_NEW_DEVICE
    await world.confirm_device(error.value.data["token"])
    assert world.queues.names()[-3:] == [
        Queue.CONFIRM_NEW_DEVICE_REPLY,
        Queue.CHANGE_DEVICE_TOKEN,
        Queue.CONFIRM_NEW_DEVICE_REPLY,
    ]
    assert not world.store.marks
    assert (await world.sign_in(device="tablet")).user_id == "s1"
    assert (await world.sign_in(device="phone")).user_id == "s1"


async def challenge(world: World, device: str) -> str:
    with pytest.raises(APIError) as error:
        await world.sign_in(device=device)
    return str(error.value.data["token"])


async def test_a_code_is_for_the_device_that_asked(world: World) -> None:
    await world.confirm()
    token = await challenge(world, "tablet")
    laptop = Device(device_hash=device_hash("laptop"))
    assert await refused(world.confirm_device(token, laptop)) == (403, "wrong_device")
    assert await refused(world.confirm_device("access:s1")) == (401, "invalid_token")


async def test_two_new_devices_do_not_disturb_each_other(world: World) -> None:
    await world.confirm()
    tokens = [await challenge(world, "tablet"), await challenge(world, "laptop")]
    await world.confirm_device(tokens[1], Device(device_hash=device_hash("laptop")))
    await world.confirm_device(tokens[0])
    assert len(world.store.devices["s1"]) == 3


async def test_a_new_device_does_not_take_the_mark_of_an_account_still_to_be_announced(
    world: World,
) -> None:
    world.queues.away.add(Queue.CONFIRM_NEW_ACCOUNT)
    await world.confirm()
    world.queues.away.clear()
    await world.confirm_device(await challenge(world, "tablet"))
    assert world.store.marks, "the sweeper has still to announce the account"


async def test_a_refresh_gives_new_tokens_to_the_same_device_only(world: World) -> None:
    await world.confirm()
    first = (await world.sign_in()).refresh_token
    accounts = world.accounts
    wrong = accounts.refresh(refresh_token=first, device_token="tablet")
    assert await refused(wrong) == (401, "device_mismatch")
    fresh = await accounts.refresh(refresh_token=first, device_token=" phone ")
    assert fresh.refresh_token != first
    for token, expected in (
        (fresh.refresh_token, (401, "invalid_token")),  # the store says it is over
        ("nobody.first", (401, "invalid_token")),
        ("a.b.c", (403, "wrong_token")),
    ):
        assert (
            await refused(accounts.refresh(refresh_token=token, device_token="phone")) == expected
        )


@pytest.mark.parametrize(
    ("limit", "call"),
    [
        ("sign_up", lambda world: world.sign_up()),
        ("sign_in", lambda world: world.sign_in()),
        ("code", lambda world: world.confirm()),
    ],
)
async def test_a_limit_says_how_long_to_wait(
    world: World, limit: str, call: Callable[[World], Any]
) -> None:
    world.limits.wait[limit] = 42
    with pytest.raises(APIError) as error:
        await call(world)
    assert (error.value.status, error.value.headers["Retry-After"]) == (429, "42")
    assert not world.queues.sent
    assert not world.passwords.computed


async def test_codes_for_new_devices_are_limited(world: World) -> None:
    await world.confirm()
    world.limits.wait["mail"] = 42
    assert await refused(world.sign_in(device="tablet")) == (429, "too_many_requests")

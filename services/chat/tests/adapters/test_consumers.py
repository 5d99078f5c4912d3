"""What happens to a message: acknowledged when done, held while a backend is unavailable."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from ashchat_chat.adapters import consumers
from ashchat_chat.rooms.errors import NoSuchMessageError
from ashchat_chat.rooms.ports import StoreUnavailableError
from ashchat_chat.users.profiles import Device, NoProfileError
from ashchat_chat.users.revocations import Over, epochs_over, session_over
from ashchat_core.amqp import Broker, Delivery, DependencyDownError, RejectError, RetryError
from ashchat_core.deliveries import RETRY_LIMIT
from ashchat_core.messages import (
    AccountConfirmed,
    AccountDeletion,
    ConfirmedDevice,
    ConfirmNewAccount,
    DevicesChanged,
    Message,
    ProfileChanged,
    SessionRevoked,
    TranslationResult,
)
from ashchat_core.topology import QUEUES, Service

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Notebook:
    """A broker that keeps who listens and what is published."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}
        self.published: list[Any] = []

    def consume(self, queue: str, model: type, handler: object, *, prefetch: int) -> None:
        assert prefetch > 0
        self.handlers[queue] = handler
        assert issubclass(model, Message)

    async def publish(self, exchange: str, key: str, body: Message, **_: object) -> None:
        self.published.append((exchange, key, body))


class Rules:
    """All rules in one object: they record calls, or fail as configured."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.raises: Exception | None = None
        self.tag: str | None = "ana_x"

    def _note(self, *what: object) -> None:
        if self.raises is not None:
            raise self.raises
        self.asked.append(what)

    async def confirm_account(
        self, *, user_id: str, nickname: str, language: str, device: Device
    ) -> str | None:
        self._note(user_id, nickname, language, device)
        return self.tag

    async def set_devices(self, *what: object) -> None:
        self._note(*what)

    async def profile_changed(self, *what: object, **fields: object) -> None:
        self._note(*what, fields)

    async def revoke(self, over: list[Over]) -> None:
        self._note(over)

    async def delete(self, *what: object) -> None:
        self._note(*what)

    async def translated(self, result: TranslationResult) -> None:
        self._note(result)


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
def broker(rules: Any) -> Notebook:
    made = Notebook()
    consumers.register_people(cast("Broker", made), rules)
    consumers.register_endings(cast("Broker", made), rules, rules)
    consumers.register_translations(cast("Broker", made), rules)
    return made


BODIES: dict[str, Message] = {
    "CONFIRM_NEW_ACCOUNT_QUEUE": ConfirmNewAccount(
        user_id="ana", nickname="Ana", preferred_language="es", device_token_hash="h"
    ),
    "CHANGE_DEVICE_TOKEN_QUEUE": DevicesChanged(
        user_id="ana", version=2, devices=(ConfirmedDevice(device_token_hash="h"),)
    ),
    "PROFILE_CHANGED_QUEUE": ProfileChanged(user_id="ana", nickname="Anita", at=NOW),
    "SESSION_REVOKED_CHAT_QUEUE": SessionRevoked(
        user_id="ana", session_ids=("s", "t"), below=2, but="u", at=NOW
    ),
    "ACCOUNT_DELETION_CHAT_QUEUE": AccountDeletion(user_id="ana", at=NOW),
    "TRANSLATED_QUEUE": TranslationResult(
        room="r", message="r.1", text_version=1, target="en", source=None, outcome="failed",
        text=None, provider=None,
    ),
}  # fmt: skip

Deliver = Callable[..., Any]


@pytest.fixture
def deliver(broker: Notebook) -> Deliver:
    async def give(queue: str, reply_to: str | None = None, attempts: int = 0) -> None:
        await broker.handlers[queue](
            Delivery(BODIES[queue], "m", "c", reply_to, redelivered=False, attempts=attempts)
        )

    return give


def test_every_queue_of_chat_is_read(broker: Notebook) -> None:
    assert set(broker.handlers) == {
        queue.name.value for queue in QUEUES if queue.reader is Service.CHAT
    }
    assert set(BODIES) == set(broker.handlers)


async def test_what_is_asked_of_the_rules(deliver: Deliver, rules: Rules) -> None:
    for queue in (
        "PROFILE_CHANGED_QUEUE",
        "SESSION_REVOKED_CHAT_QUEUE",
        "ACCOUNT_DELETION_CHAT_QUEUE",
    ):
        await deliver(queue)
    assert rules.asked == [
        ("ana", NOW, {"nickname": "Anita", "language": None}),
        ([session_over("s"), session_over("t"), epochs_over("ana", 2, "u")],),
        ("ana", NOW),
    ]


@pytest.mark.parametrize("queue", BODIES)
@pytest.mark.parametrize("error", [StoreUnavailableError(), RedisConnectionError(), TimeoutError()])
async def test_a_backend_that_is_away_holds_the_message(
    deliver: Deliver, rules: Rules, queue: str, error: Exception
) -> None:
    rules.raises = error
    with pytest.raises(DependencyDownError):
        await deliver(queue)


async def test_a_change_waits_for_its_account_for_a_bounded_time(
    deliver: Deliver, rules: Rules
) -> None:
    rules.raises = NoProfileError()
    for attempts in (0, RETRY_LIMIT - 1):
        with pytest.raises(RetryError):
            await deliver("PROFILE_CHANGED_QUEUE", attempts=attempts)
    with pytest.raises(RejectError, match="the account is not known"):
        await deliver("PROFILE_CHANGED_QUEUE", attempts=RETRY_LIMIT)


async def test_a_translation_of_nothing_is_a_dead_letter(deliver: Deliver, rules: Rules) -> None:
    rules.raises = NoSuchMessageError()
    with pytest.raises(RejectError):
        await deliver("TRANSLATED_QUEUE")


async def test_a_deleted_account_is_not_confirmed(
    deliver: Deliver, rules: Rules, broker: Notebook
) -> None:
    await deliver("CONFIRM_NEW_ACCOUNT_QUEUE", "auth.reply.pod")
    confirmed = AccountConfirmed(user_id="ana", tag_user_id="ana_x")
    assert broker.published == [("auth.replies", "auth.reply.pod", confirmed)]
    rules.tag = None
    await deliver("CONFIRM_NEW_ACCOUNT_QUEUE", "auth.reply.pod")
    assert len(broker.published) == 1

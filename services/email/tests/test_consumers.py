"""What becomes of a message, by what its rule met."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ConnectionError as RedisUnavailableError

from ashchat_core.amqp import (
    Broker,
    Delivery,
    DependencyDownError,
    PublishError,
    RejectError,
    RetryError,
)
from ashchat_core.deliveries import RETRY_LIMIT
from ashchat_core.messages import ChangePassword, ConfirmChangePassword, ConfirmChangePasswordReply
from ashchat_core.topology import AUTH_REPLIES_EXCHANGE, QUEUES, Queue, Service
from ashchat_email.consumers import register
from ashchat_email.ports import PermanentFailureError, ServerUnavailableError, TemporaryFailureError
from ashchat_email.service import EmailService

RESET = ChangePassword(
    kind="reset",
    reset_id="p1",
    email="ana@example.org",
    nickname="Ana",
    preferred_language="es",
    requested_at=datetime(2026, 1, 2, tzinfo=UTC),
)
ASKED = ConfirmChangePassword(kind="confirm", request_id="r", reset_id="p1", code="1")


@dataclass
class Bus:
    """Keeps who consumes what, and what is published."""

    handlers: dict[str, Callable[[Any], Awaitable[None]]] = field(default_factory=dict)
    models: dict[str, type] = field(default_factory=dict)
    published: list[tuple[str, str, Any, dict[str, Any]]] = field(default_factory=list)
    gone: bool = False

    def consume(self, queue: str, model: type, handler: Any) -> None:
        self.handlers[queue], self.models[queue] = handler, model

    async def publish(self, exchange: str, key: str, body: Any, **properties: Any) -> None:
        if self.gone:
            raise PublishError("nobody")
        self.published.append((exchange, key, body, properties))


class Rules:
    """Every rule ends as the test says."""

    def __init__(self, outcome: Any) -> None:
        self._outcome = outcome

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        async def rule(_body: Any) -> Any:
            if isinstance(self._outcome, Exception):
                raise self._outcome
            return self._outcome

        return rule


def bus(outcome: Any = None) -> Bus:
    made = Bus()
    register(cast("Broker", made), cast("EmailService", Rules(outcome)))
    return made


def delivery(body: Any, attempts: int = 0) -> Delivery[Any]:
    return Delivery(body, "m", "c", "auth.reply.1", redelivered=False, attempts=attempts)


def dead(reason: str) -> float:
    labels = {"queue": Queue.CHANGE_PASSWORD.value, "reason": reason}
    return REGISTRY.get_sample_value("ashchat_email_dead_letters_total", labels) or 0.0


def test_every_queue_of_email_is_consumed() -> None:
    assert set(bus().handlers) == {spec.name for spec in QUEUES if spec.reader is Service.EMAIL}


def test_only_queues_that_mail_have_a_retry_queue() -> None:
    retrying = {spec.name for spec in QUEUES if spec.reader is Service.EMAIL and spec.retry}
    asking = {name for name, model in bus().models.items() if "deadline" in model.model_fields}  # type: ignore[attr-defined]
    assert retrying | asking == set(bus().handlers)
    assert not retrying & asking


@pytest.mark.parametrize(
    ("met", "outcome"),
    [
        (TemporaryFailureError("SMTP 451"), RetryError),
        (PermanentFailureError("SMTP 550", "mailbox"), RejectError),
        (ServerUnavailableError("TimeoutError"), DependencyDownError),
        (RedisUnavailableError("x"), DependencyDownError),
    ],
)
async def test_a_mail_that_did_not_go_out_is_parked_dead_or_held(
    met: Exception, outcome: type[Exception]
) -> None:
    with pytest.raises(outcome):
        await bus(met).handlers[Queue.CHANGE_PASSWORD](delivery(RESET))


async def test_a_dead_letter_is_counted_with_its_reason() -> None:
    before = dead("policy")
    with pytest.raises(RejectError):
        await bus(PermanentFailureError("SMTP 554", "policy")).handlers[Queue.CHANGE_PASSWORD](
            delivery(RESET)
        )
    assert dead("policy") == before + 1


async def test_a_mail_put_off_too_often_is_a_dead_letter_and_counted() -> None:
    handler = bus(TemporaryFailureError("SMTP 451")).handlers[Queue.CHANGE_PASSWORD]
    before = dead("gave_up")
    with pytest.raises(RetryError):
        await handler(delivery(RESET, RETRY_LIMIT - 1))
    with pytest.raises(RejectError):
        await handler(delivery(RESET, RETRY_LIMIT))
    assert dead("gave_up") == before + 1


async def test_a_question_is_answered_to_who_asked() -> None:
    reply = ConfirmChangePasswordReply(request_id="r")
    made = bus(reply)
    await made.handlers[Queue.CONFIRM_CHANGE_PASSWORD](delivery(ASKED))
    assert made.published == [
        (
            AUTH_REPLIES_EXCHANGE,
            "auth.reply.1",
            reply,
            {"message_id": "m.reply", "correlation_id": "c"},
        )
    ]


async def test_nobody_to_answer_is_no_failure() -> None:
    made = bus(ConfirmChangePasswordReply(request_id="r"))
    made.gone = True
    await made.handlers[Queue.CONFIRM_CHANGE_PASSWORD](delivery(ASKED))
    silent = bus()
    await silent.handlers[Queue.CONFIRM_CHANGE_PASSWORD](delivery(ASKED))
    assert not silent.published


async def test_a_question_is_held_while_redis_is_away() -> None:
    with pytest.raises(DependencyDownError):
        await bus(RedisUnavailableError("x")).handlers[Queue.CONFIRM_CHANGE_PASSWORD](
            delivery(ASKED)
        )

"""From queue to rule: each handler says by its exceptions what becomes of the message."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ashchat_core import redis
from ashchat_core.amqp import Broker, Delivery, DependencyDown, PublishError, Reject, Retry
from ashchat_core.messages import (
    AccountCreation,
    ConfirmEmailCode,
    ConfirmNewDevice,
    Message,
    NewDeviceCode,
)
from ashchat_core.topology import AUTH_REPLIES_EXCHANGE, Queue
from ashchat_email.service import EmailService
from ashchat_email.smtp import PermanentFailure, ServerAway, TemporaryFailure

M = TypeVar("M", bound=Message)


def register(broker: Broker, service: EmailService) -> None:
    """Consume the four queues of email."""

    async def account_creation(delivery: Delivery[AccountCreation]) -> None:
        await _guarded(service.account_creation, delivery.body)

    async def confirm_code(delivery: Delivery[ConfirmEmailCode]) -> None:
        await _answer(broker, delivery, await _guarded(service.confirm_code, delivery.body))

    async def new_device(delivery: Delivery[NewDeviceCode]) -> None:
        await _guarded(service.new_device, delivery.body)

    async def confirm_device(delivery: Delivery[ConfirmNewDevice]) -> None:
        await _answer(broker, delivery, await _guarded(service.confirm_device, delivery.body))

    broker.consume(Queue.ACCOUNT_CREATION, AccountCreation, account_creation)
    broker.consume(Queue.CONFIRM_EMAIL_CODE, ConfirmEmailCode, confirm_code)
    broker.consume(Queue.CONFIRM_NEW_DEVICE, NewDeviceCode, new_device)
    broker.consume(Queue.CONFIRM_NEW_DEVICE_REPLY, ConfirmNewDevice, confirm_device)


R = TypeVar("R")


async def _guarded(rule: Callable[[M], Awaitable[R]], body: M) -> R:
    try:
        return await rule(body)
    except redis.UNAVAILABLE as error:
        raise DependencyDown("Redis is away") from error
    except ServerAway as error:
        raise DependencyDown(f"the mail server is away: {error}") from error
    except TemporaryFailure as error:
        raise Retry(str(error)) from error
    except PermanentFailure as error:
        raise Reject(str(error)) from error


async def _answer(broker: Broker, delivery: Delivery[M], reply: Message | None) -> None:
    if reply is None or delivery.reply_to is None:
        return
    try:
        await broker.publish(
            AUTH_REPLIES_EXCHANGE,
            delivery.reply_to,
            reply,
            message_id=f"{delivery.message_id}.reply",
            correlation_id=delivery.correlation_id,
        )
    except PublishError:
        # The pod that asked is gone, and its queue with it: nobody waits any more.
        return

"""The consumers of email; the errors of each handler decide about its message."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from prometheus_client import Counter

from ashchat_core import redis
from ashchat_core.amqp import (
    Broker,
    Delivery,
    DependencyDownError,
    PublishError,
    RejectError,
    RetryError,
)
from ashchat_core.deliveries import RETRY_LIMIT
from ashchat_core.messages import (
    AccountCreation,
    ChangeEmail,
    ChangePassword,
    ConfirmChangeEmail,
    ConfirmChangePassword,
    ConfirmEmailCode,
    ConfirmNewDevice,
    Message,
    NewDeviceCode,
    SecurityNotice,
)
from ashchat_core.topology import AUTH_REPLIES_EXCHANGE, Queue
from ashchat_email.ports import PermanentFailureError, ServerUnavailableError, TemporaryFailureError
from ashchat_email.service import EmailService

M = TypeVar("M", bound=Message)
R = TypeVar("R")

_DEAD = Counter(
    "ashchat_email_dead_letters_total",
    "Mail that was given up, by queue and reason",
    ["queue", "reason"],
)


def register(broker: Broker, service: EmailService) -> None:
    """Register the consumers: five queues that send mail, four that check codes."""
    _mailing(broker, Queue.ACCOUNT_CREATION, AccountCreation, service.account_creation)
    _mailing(broker, Queue.CONFIRM_NEW_DEVICE, NewDeviceCode, service.new_device)
    _mailing(broker, Queue.CHANGE_PASSWORD, ChangePassword, service.change_password)
    _mailing(broker, Queue.CHANGE_EMAIL, ChangeEmail, service.change_email)
    _mailing(broker, Queue.SECURITY_NOTICE, SecurityNotice, service.security_notice)
    _asking(broker, Queue.CONFIRM_EMAIL_CODE, ConfirmEmailCode, service.confirm_code)
    _asking(broker, Queue.CONFIRM_NEW_DEVICE_REPLY, ConfirmNewDevice, service.confirm_device)
    _asking(broker, Queue.CONFIRM_CHANGE_PASSWORD, ConfirmChangePassword, service.confirm_password)
    _asking(broker, Queue.CONFIRM_CHANGE_EMAIL, ConfirmChangeEmail, service.confirm_email)


def _mailing(
    broker: Broker, queue: Queue, model: type[M], rule: Callable[[M], Awaitable[None]]
) -> None:
    async def handle(delivery: Delivery[M]) -> None:
        try:
            await _with_redis(rule, delivery.body)
        except ServerUnavailableError as error:
            raise DependencyDownError(f"the mail server is unavailable: {error}") from error
        except TemporaryFailureError as error:
            if delivery.attempts < RETRY_LIMIT:
                raise RetryError(str(error)) from error
            _DEAD.labels(queue, "gave_up").inc()
            raise RejectError(f"deferred too often: {error}") from error
        except PermanentFailureError as error:
            _DEAD.labels(queue, error.reason).inc()
            raise RejectError(f"{error.reason}: {error}") from error

    broker.consume(queue, model, handle)


def _asking(
    broker: Broker, queue: Queue, model: type[M], rule: Callable[[M], Awaitable[Message | None]]
) -> None:
    async def handle(delivery: Delivery[M]) -> None:
        reply = await _with_redis(rule, delivery.body)
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
            # The pod that asked has stopped, and its queue was deleted.
            return

    broker.consume(queue, model, handle)


async def _with_redis(rule: Callable[[M], Awaitable[R]], body: M) -> R:
    try:
        return await rule(body)
    except redis.UNAVAILABLE as error:
        raise DependencyDownError("Redis is unavailable") from error

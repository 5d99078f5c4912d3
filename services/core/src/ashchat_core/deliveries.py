"""What happens to a delivered message, decided by the outcome of its handler.

| The handler | The message |
|---|---|
| returns | is acknowledged |
| raises `RetryError` | is parked in the retry queue |
| raises `RejectError` | is dead-lettered |
| raises `DependencyDownError` or an error of `publish` | is held unacknowledged, handled again |
| raises anything else | is handled again, up to five times, then requeued |

A held message is not requeued, because that would count towards the delivery limit.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import aio_pika
import structlog
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from ashchat_core.amqp_session import BROKEN, error_name
from ashchat_core.backoff import backoff
from ashchat_core.errors import (
    BrokerUnavailableError,
    DependencyDownError,
    PublishError,
    RejectError,
    RetryError,
)
from ashchat_core.messages import Message

ATTEMPTS_HEADER: Final = "x-ashchat-attempts"
RETRY_LIMIT: Final = 40
"""Maximum passes through the retry queue before a message is dead-lettered: about ten minutes,
longer than most servers greylist (RFC 6647, section 4.1) and than a message of another queue, which
this one needs, is on its way."""

UNKNOWN_ERROR_LIMIT: Final = 5
"""Maximum attempts within one delivery after an unexpected error."""

_CONSUMED = Counter(
    "ashchat_amqp_consumed_total", "Messages consumed, by outcome", ["queue", "outcome"]
)
_HELD = Gauge(
    "ashchat_amqp_held_messages",
    "Messages held back because a dependency is unavailable",
    ["queue"],
)

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Delivery(Generic[M]):
    """One message, as passed to a handler."""

    body: M
    message_id: str
    correlation_id: str | None
    reply_to: str | None
    redelivered: bool
    attempts: int
    """How often it has passed through the retry queue."""


Handler = Callable[[Delivery[M]], Awaitable[None]]

Outcome = Literal["done", "retried", "rejected", "requeued", "lost"]
"""How a delivery ended; `lost`: its channel closed, and the broker will redeliver it."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A queue, and how its messages are handled."""

    queue: str
    model: type[Message]
    handler: Handler[Any]
    prefetch: int


Publish = Callable[[str, str, aio_pika.Message], Awaitable[None]]
"""Publishes a message to an exchange with a routing key."""


class Deliveries:
    """Handles the messages of a service's queues."""

    def __init__(self, publish: Publish, own_exchange: str) -> None:
        self._publish = publish
        self._own_exchange = own_exchange
        self._log = structlog.get_logger("amqp")

    async def handle(
        self,
        consumer: Consumer,
        message: AbstractIncomingMessage,
        ended: asyncio.Event,
        before: asyncio.Task[None] | None,
    ) -> None:
        """Handle one message and acknowledge or reject it.

        Args:
            consumer: The consumer that received it.
            message: The message.
            ended: Set when its channel has closed.
            before: The task that still handles the same message from an earlier channel.
        """
        queue = consumer.queue
        if before is not None:
            # The earlier delivery, whose channel closed, finishes first.
            await asyncio.wait([before])
        attempts = _attempts(message)
        try:
            delivery = Delivery(
                body=consumer.model.model_validate_json(message.body),
                message_id=message.message_id or "",
                correlation_id=message.correlation_id,
                reply_to=message.reply_to,
                redelivered=bool(message.redelivered),
                attempts=attempts,
            )
        except ValidationError as error:
            # The body is not logged.
            places = [".".join(map(str, item["loc"])) for item in error.errors()]
            self._log.error("message not valid", queue=queue, fields=places)
            await self._settle(consumer, message, "rejected")
            return
        outcome = await self._try(consumer, delivery, ended)
        if outcome == "retried":
            outcome = await self._park(consumer, message, attempts + 1)
        await self._settle(consumer, message, outcome)

    async def _try(
        self, consumer: Consumer, delivery: Delivery[Any], ended: asyncio.Event
    ) -> Outcome:
        attempt = 0
        unforeseen = 0
        while True:
            try:
                await consumer.handler(delivery)
            except RetryError:
                return "retried"
            except RejectError as error:
                self._log.error("message rejected", queue=consumer.queue, reason=str(error))
                return "rejected"
            except (DependencyDownError, BrokerUnavailableError, PublishError) as error:
                self._log.warning("message held", queue=consumer.queue, reason=str(error))
            except Exception:  # noqa: BLE001 (the message must not be lost)
                unforeseen += 1
                self._log.exception("handler failed", queue=consumer.queue)
                if unforeseen >= UNKNOWN_ERROR_LIMIT:
                    return "requeued"
            else:
                return "done"
            with _HELD.labels(consumer.queue).track_inprogress(), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff(attempt)):
                    await ended.wait()
            if ended.is_set():
                return "lost"
            attempt += 1

    async def _park(
        self, consumer: Consumer, message: AbstractIncomingMessage, attempts: int
    ) -> Outcome:
        """Put a copy into the retry queue; confirmed before the original is acknowledged."""
        if attempts > RETRY_LIMIT:
            return "rejected"
        copy = aio_pika.Message(
            message.body,
            content_type=message.content_type,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            reply_to=message.reply_to,
            headers={**message.headers, ATTEMPTS_HEADER: attempts},
        )
        try:
            await self._publish(self._own_exchange, consumer.queue, copy)
        except (BrokerUnavailableError, PublishError):
            return "requeued"
        return "retried"

    async def _settle(
        self, consumer: Consumer, message: AbstractIncomingMessage, outcome: Outcome
    ) -> None:
        try:
            match outcome:
                case "done" | "retried":
                    await message.ack()
                case "rejected" | "requeued":
                    # reject, not nack: since RabbitMQ 4.3 only reject counts towards the limit.
                    await message.reject(requeue=outcome == "requeued")
                case "lost":
                    pass
        except BROKEN as error:
            # The channel has closed; the broker redelivers, and handlers are idempotent.
            self._log.info("not acknowledged", queue=consumer.queue, error=error_name(error))
            return
        _CONSUMED.labels(consumer.queue, outcome).inc()


def _attempts(message: AbstractIncomingMessage) -> int:
    value = message.headers.get(ATTEMPTS_HEADER, 0)
    return value if isinstance(value, int) else 0

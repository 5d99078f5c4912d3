"""Requests over RabbitMQ and their answers.

Each process has an exclusive queue `auth.reply.<pod>.<random>`, bound to the exchange
`auth.replies`; the broker deletes it with the session. Answers carry the correlation id of
their request.
"""

import asyncio
from secrets import token_hex
from typing import TypeVar

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pydantic import ValidationError

from ashchat_auth.models import NoAnswerError
from ashchat_auth.service.common import ANSWER_SECONDS
from ashchat_core.amqp import Broker
from ashchat_core.errors import BrokerUnavailableError
from ashchat_core.messages import Message
from ashchat_core.topology import (
    AUTH_REPLIES_EXCHANGE,
    AUTH_REPLY_QUEUE_PREFIX,
    Queue,
    Service,
    check_reply,
)

M = TypeVar("M", bound=Message)


class RabbitRequests:
    """Sends requests to other services, and messages that need no answer."""

    def __init__(self, broker: Broker, pod: str) -> None:
        self._broker = broker
        self._pod = pod
        self._reply_queue = ""
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._log = structlog.get_logger("requests")
        broker.on_session(self._declare)

    async def publish(self, queue: Queue, body: Message, *, message_id: str) -> None:
        """Publish a message; return once the broker has confirmed it.

        Raises:
            BrokerUnavailableError, PublishError: see `ashchat_core.amqp`.
        """
        await self._broker.publish(Service.AUTH, queue, body, message_id=message_id)

    async def ask(self, queue: Queue, body: Message, answer: type[M], *, message_id: str) -> M:
        """Publish a request and return its answer.

        Raises:
            NoAnswerError: no answer within five seconds.
            BrokerUnavailableError, PublishError: the request was not queued.
            TypeError: the topology has another model for the answers.
        """
        check_reply(queue, answer)
        correlation_id = token_hex(16)
        future = asyncio.get_running_loop().create_future()
        self._waiting[correlation_id] = future
        try:
            await self._broker.publish(
                Service.AUTH,
                queue,
                body,
                message_id=message_id,
                correlation_id=correlation_id,
                reply_to=self._reply_queue,
            )
            async with asyncio.timeout(ANSWER_SECONDS):
                raw = await future
            return answer.model_validate_json(raw)
        except TimeoutError:
            raise NoAnswerError(queue.value) from None
        except ValidationError as error:
            raise BrokerUnavailableError(f"the answer to {queue} is not valid") from error
        finally:
            del self._waiting[correlation_id]

    async def _declare(self, channel: AbstractChannel) -> None:
        name = f"{AUTH_REPLY_QUEUE_PREFIX}{self._pod}.{token_hex(4)}"
        queue = await channel.declare_queue(name, exclusive=True, auto_delete=True)
        await queue.bind(AUTH_REPLIES_EXCHANGE, routing_key=name)
        await queue.consume(self._receive, no_ack=True)
        self._reply_queue = name

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        future = self._waiting.get(message.correlation_id or "")
        if future is not None and not future.done():
            future.set_result(message.body)
        else:
            self._log.info("an answer arrived after its deadline")

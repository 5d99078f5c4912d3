"""RabbitMQ: the depths of queues, and dead letters, which are shown and replayed.

To show dead letters, a consumer takes a snapshot without acknowledging anything, and closing its
channel requeues everything. It consumes all messages (up to HELD_MAX), however few are shown: a
message returned to a quorum queue goes in front of those that never left it but behind those
returned before, so consuming and returning a part (a small prefetch, `basic.get` with a requeue)
would change the order. Each snapshot counts as a delivery, which the policy of the dead-letter
queues does not limit (`ashchat_core.topology`).

To replay one, it is published to the exchange of its original queue as its publisher does,
`mandatory` and confirmed, and only then acknowledged. If the process is killed in between, a
message is in one queue or in both, but never in neither. A duplicate does no harm, because every
consumer is idempotent by `message_id` or by what the message names.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import quote

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelClosed, DeliveryError, PublishError
from aiormq.exceptions import (
    AuthenticationError,
    ChannelNotFoundEntity,
    ProbableAuthenticationError,
)

from ashchat_cli.faults import CliError, Exit
from ashchat_cli.letters import Letter, headers_anew
from ashchat_cli.objects import Depth
from ashchat_core.topology import QueueSpec

TIMEOUT_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 3.0
"""Seconds without another message after which the rest is being processed elsewhere."""

HELD_MAX: Final = 2_000
"""Maximum messages held at a time; of a longer queue the oldest."""


@dataclass(frozen=True, slots=True)
class Login:
    """The login at a RabbitMQ."""

    username: str
    password: str
    vhost: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """The outcome of replaying one message."""

    letter: Letter
    problem: str = ""
    """Why it was not sent; empty: it was."""


class Broker:
    """A connection to RabbitMQ."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: int, login: Login) -> AsyncIterator[Self]:
        """Connect through a local port; unacknowledged messages are requeued at the end.

        Raises:
            CliError: Nothing answers, or the login is refused.
        """
        who = f"{quote(login.username, safe='')}:{quote(login.password, safe='')}"
        url = f"amqp://{who}@127.0.0.1:{port}/{quote(login.vhost, safe='')}"
        try:
            connection = await aio_pika.connect(
                url,
                timeout=TIMEOUT_SECONDS,
                client_properties={"connection_name": "kubectl-ashchat"},
            )
        except (AuthenticationError, ProbableAuthenticationError):
            raise CliError(
                Exit.REFUSED, f"RabbitMQ refuses the login of {login.username}; check its Secret"
            ) from None
        except (AMQPError, OSError, TimeoutError) as error:
            raise CliError(
                Exit.UNREACHABLE, f"RabbitMQ does not answer: {type(error).__name__}"
            ) from None
        try:
            yield cls(connection)
        finally:
            with suppress(AMQPError, OSError):
                await connection.close()

    async def depths(self, names: Iterable[str]) -> dict[str, Depth | None]:
        """Return the depths of queues; None: the queue does not exist.

        Raises:
            CliError: The broker does not answer.
        """
        found: dict[str, Depth | None] = {}
        try:
            channel = await self._connection.channel(publisher_confirms=False)
            for name in names:
                try:
                    told = (await channel.declare_queue(name, passive=True)).declaration_result
                except ChannelNotFoundEntity:
                    found[name] = None
                    channel = await self._connection.channel(publisher_confirms=False)
                else:
                    found[name] = Depth(told.message_count or 0, told.consumer_count or 0)
        except (AMQPError, OSError, TimeoutError) as error:
            raise CliError(
                Exit.UNREACHABLE, f"RabbitMQ does not answer: {type(error).__name__}"
            ) from None
        return found

    async def look(self, spec: QueueSpec, limit: int) -> list[Letter]:
        """Return the oldest dead letters of a queue; they stay in it.

        Raises:
            CliError: There is no such queue, or the broker does not answer.
        """
        async with self._taking(spec, limit) as taken:
            return [letter async for letter, _ in taken]

    async def replay(
        self, spec: QueueSpec, wanted: Callable[[Letter], bool], limit: int
    ) -> AsyncIterator[Replayed]:
        """Send dead letters of a queue again; yield the outcome of each.

        One that dies again while this goes on is not taken a second time: only as many are
        looked at as there were at the beginning.

        Args:
            spec: Whose dead letters.
            wanted: Which of the oldest HELD_MAX; the others stay.
            limit: How many are sent at most.

        Raises:
            CliError: There is no such queue, or the broker does not answer.
        """
        sent = 0
        async with self._taking(spec, sys.maxsize) as taken:
            channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
            exchange = await channel.get_exchange(spec.writer.value, ensure=False)
            async for letter, message in taken:
                if sent >= limit:
                    return
                if not wanted(letter):
                    continue
                try:
                    await exchange.publish(
                        _anew(message), spec.name.value, mandatory=True, timeout=TIMEOUT_SECONDS
                    )
                except PublishError:
                    yield Replayed(letter, f"no queue is bound for {spec.name}")
                    return
                except DeliveryError:
                    yield Replayed(letter, f"{spec.name} rejected it; the queue may be full")
                    return
                except (AMQPError, OSError, TimeoutError) as error:
                    raise CliError(
                        Exit.UNREACHABLE,
                        f"RabbitMQ does not answer ({type(error).__name__}); messages not"
                        " reported as sent are still dead letters",
                    ) from None
                await message.ack()
                sent += 1
                yield Replayed(letter)

    @asynccontextmanager
    async def _taking(
        self, spec: QueueSpec, limit: int
    ) -> AsyncIterator[AsyncIterator[tuple[Letter, AbstractIncomingMessage]]]:
        """Consume the oldest messages that are there now, without acknowledging them."""
        depth = (await self.depths([spec.dead]))[spec.dead]
        if depth is None:
            raise CliError(Exit.NOT_FOUND, f"there is no queue {spec.dead}")
        came: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        channel = await self._connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=HELD_MAX)
        queue = await channel.get_queue(spec.dead, ensure=False)

        async def each() -> AsyncIterator[tuple[Letter, AbstractIncomingMessage]]:
            for position in range(1, min(depth.messages, limit) + 1):
                try:
                    async with asyncio.timeout(IDLE_SECONDS):
                        message = await came.get()
                except TimeoutError:
                    return
                yield _letter(spec, position, message), message

        try:
            if depth.messages:
                await queue.consume(came.put)
            yield each()
        except ChannelClosed as error:
            raise CliError(Exit.UNREACHABLE, f"RabbitMQ ended it: {type(error).__name__}") from None
        finally:
            # Requeues everything unacknowledged, including messages in flight.
            with suppress(AMQPError, OSError):
                await channel.close()


def _letter(spec: QueueSpec, position: int, message: AbstractIncomingMessage) -> Letter:
    headers: dict[str, Any] = dict(message.headers)
    return Letter(spec.name, position, message.message_id or "", headers, message.body)


def _anew(message: AbstractIncomingMessage) -> aio_pika.Message:
    """Return a message as its publisher sent it: with the same id, so that it counts once."""
    return aio_pika.Message(
        message.body,
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        app_id=message.app_id,
        headers=headers_anew(message.headers),
    )

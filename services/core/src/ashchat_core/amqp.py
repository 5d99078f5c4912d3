"""RabbitMQ: publishing that is confirmed, consuming that loses nothing.

One connection at a time, made anew when it breaks or when the credentials change. A
connection is a *session*: a channel to publish on, and the consumers. The rest is told
what happens by exceptions of two kinds: those a caller of `publish` meets, and those a
handler raises to say what is to become of its message.

Not aio-pika's own robust connection: with a password that changed it retries the old one
for ever, and it says nothing of it to those who publish.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import (
    AMQPError,
    ChannelInvalidStateError,
    DeliveryError,
)
from aio_pika.exceptions import PublishError as ReturnedError
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from ashchat_core.credentials import Credentials, MissingCredential
from ashchat_core.messages import Message

CONNECT_TIMEOUT_SECONDS = 5.0
PUBLISH_TIMEOUT_SECONDS = 5.0
"""How long `publish` waits for a connection and for the broker's confirmation."""

HEARTBEAT_SECONDS = 10
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.2, 5.0
ATTEMPTS_HEADER = "x-ashchat-attempts"
RETRY_LIMIT = 20
"""How often a message goes through its retry queue before it is a dead letter."""

UNKNOWN_ERROR_LIMIT = 5
"""How often an error that nobody foresaw is tried again within one delivery."""

_CONNECTED = Gauge("ashchat_amqp_connected", "1 while there is a session with the broker")
_PUBLISHED = Counter(
    "ashchat_amqp_published_total", "Messages confirmed by the broker", ["routing_key"]
)
_CONSUMED = Counter(
    "ashchat_amqp_consumed_total", "Messages, by what became of them", ["queue", "outcome"]
)


class BrokerUnavailable(Exception):
    """The broker is away, or did not confirm in time; the message may or may not be there."""


class PublishError(Exception):
    """The broker refused the message, or no queue is bound where it went."""


class Retry(Exception):
    """A handler's word: this message failed for a reason of its own; later."""


class Reject(Exception):
    """A handler's word: this message can never succeed; to the dead letters."""


class DependencyDown(Exception):
    """A handler's word: something we need is away; hold the message and back off."""


M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Delivery(Generic[M]):
    """One message as a handler sees it."""

    body: M
    message_id: str
    correlation_id: str | None
    reply_to: str | None
    redelivered: bool
    attempts: int
    """How often it has been through the retry queue."""


Handler = Callable[[Delivery[M]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Consumer:
    queue: str
    model: type[Message]
    handler: Handler[Any]
    prefetch: int


@dataclass(slots=True, eq=False)
class _Session:
    connection: AbstractConnection
    channel: AbstractChannel
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    working: set[asyncio.Task[None]] = field(default_factory=set)
    tags: list[tuple[Any, str]] = field(default_factory=list)
    exchanges: dict[str, Any] = field(default_factory=dict)


def backoff(attempt: int) -> float:
    """Return the seconds to wait before attempt n (from 0): exponential, full jitter."""
    ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(attempt, 10))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 (spreads load, guards nothing)


class Broker:
    """A service's way to RabbitMQ."""

    def __init__(
        self, credentials: Credentials, name: str, *, own_exchange: str, file: str = "rabbitmq.uri"
    ) -> None:
        self._credentials = credentials
        self._name = name
        self._own_exchange = own_exchange
        self._file = file
        self._consumers: list[_Consumer] = []
        self._on_session: list[Callable[[AbstractChannel], Awaitable[None]]] = []
        self._session: _Session | None = None
        self._ready = asyncio.Event()
        self._stopping = False
        self._consuming = False
        self._log = structlog.get_logger("amqp")

    # what a service says before it starts

    def consume(
        self, queue: str, model: type[M], handler: Handler[M], *, prefetch: int = 16
    ) -> None:
        """Give a queue's messages to a handler in every session from `start_consuming` on."""
        self._consumers.append(_Consumer(queue, model, handler, prefetch))

    def on_session(self, callback: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        """Call back at the start of every session, before anything is published in it."""
        self._on_session.append(callback)

    # what runs

    async def run(self) -> None:
        """Keep a session up; runs until `stop` or cancelled."""
        watcher = asyncio.create_task(self._credentials.watch(self._file, self._renew))
        attempt = 0
        try:
            while not self._stopping:
                try:
                    session = await self._open()
                except (AMQPError, OSError, TimeoutError, MissingCredential, RuntimeError) as error:
                    self._log.warning("no session with the broker", error=_words(error))
                    await asyncio.sleep(backoff(attempt))
                    attempt += 1
                    continue
                attempt = 0
                await self._use(session)
                await session.broken.wait()
                self._log.info("session ended")
                if self._session is session:
                    self._forget()
                await self._close(session)
                # A queue that is gone ends each session at once: not in a tight loop.
                await asyncio.sleep(backoff(0))
        finally:
            watcher.cancel()
            last = self._session
            self._forget()
            if last is not None:
                await self._close(last)

    async def start_consuming(self) -> None:
        """Begin with deliveries, in this session and all later ones."""
        self._consuming = True
        if self._session is not None:
            await self._start_consumers(self._session)

    async def stop(self, *, drain_seconds: float = 10.0) -> None:
        """Take no more messages, let those in hand end, close."""
        self._stopping = True
        session = self._session
        if session is None:
            return
        for queue, tag in session.tags:
            with contextlib.suppress(AMQPError, ChannelInvalidStateError, RuntimeError, OSError):
                await queue.cancel(tag)
        if session.working:
            await asyncio.wait(session.working, timeout=drain_seconds)
        session.broken.set()

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._session is not None

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: Message,
        *,
        message_id: str,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        headers: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish persistently; return when the broker has confirmed.

        Raises:
            BrokerUnavailable: no session, or no confirmation in time.
            PublishError: refused, or unroutable (mandatory is set: a message to a queue
                that is gone must not "succeed").
        """
        message = aio_pika.Message(
            body.model_dump_json().encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=message_id,
            correlation_id=correlation_id,
            reply_to=reply_to,
            app_id=self._name,
            headers=dict(headers or {}),
        )
        await self._publish(exchange, routing_key, message)

    async def topology_ready(self, queues: Sequence[str]) -> None:
        """Check that all queues of ours exist, once a session is there.

        Raises:
            BrokerUnavailable: no session.
            PublishError: a queue is not there (yet).
        """
        session = await self._wait_session()
        try:
            channel = await session.connection.channel()
            try:
                for queue in queues:
                    await channel.declare_queue(queue, passive=True)
            finally:
                with contextlib.suppress(Exception):
                    await channel.close()
        except (AMQPError, ChannelInvalidStateError, RuntimeError) as error:
            raise PublishError(f"the topology is not there yet: {_words(error)}") from error

    # sessions

    async def _open(self) -> _Session:
        url = self._credentials.text(self._file)
        separator = "&" if "?" in url else "?"
        connection = await aio_pika.connect(
            f"{url}{separator}heartbeat={HEARTBEAT_SECONDS}",
            timeout=CONNECT_TIMEOUT_SECONDS,
            client_properties={"connection_name": self._name},
        )
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            for callback in self._on_session:
                await callback(channel)
        except BaseException:
            await connection.close()
            raise
        session = _Session(connection, channel)
        connection.close_callbacks.add(lambda *_: session.broken.set())
        channel.close_callbacks.add(lambda *_: session.broken.set())
        return session

    async def _use(self, session: _Session) -> None:
        self._session = session
        self._credentials.use("rabbitmq")
        _CONNECTED.set(1)
        self._ready.set()
        if self._consuming:
            await self._start_consumers(session)

    def _forget(self) -> None:
        self._session = None
        self._ready.clear()
        _CONNECTED.set(0)

    async def _close(self, session: _Session) -> None:
        for task in list(session.working):
            task.cancel()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(session.connection.close(), CONNECT_TIMEOUT_SECONDS)

    async def _renew(self) -> None:
        """End the session when the credentials have changed and the new ones work."""
        try:
            trial = await aio_pika.connect(
                self._credentials.text(self._file), timeout=CONNECT_TIMEOUT_SECONDS
            )
        except (AMQPError, OSError, TimeoutError) as error:
            self._log.warning("new credentials do not work; the old stay", error=_words(error))
            return
        await trial.close()
        if self._session is not None:
            self._session.broken.set()

    async def _wait_session(self) -> _Session:
        try:
            await asyncio.wait_for(self._ready.wait(), PUBLISH_TIMEOUT_SECONDS)
        except TimeoutError:
            raise BrokerUnavailable("no session with the broker") from None
        if self._session is None:
            raise BrokerUnavailable("no session with the broker")
        return self._session

    async def _publish(
        self, exchange_name: str, routing_key: str, message: aio_pika.Message
    ) -> None:
        session = await self._wait_session()
        try:
            exchange = session.exchanges.get(exchange_name)
            if exchange is None:
                exchange = await session.channel.get_exchange(exchange_name, ensure=False)
                session.exchanges[exchange_name] = exchange
            await exchange.publish(
                message, routing_key, mandatory=True, timeout=PUBLISH_TIMEOUT_SECONDS
            )
        except ReturnedError as error:
            raise PublishError(f"no queue is bound to {exchange_name} for {routing_key}") from error
        except DeliveryError as error:
            raise PublishError(f"the broker refused a message for {routing_key}") from error
        except (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError) as error:
            raise BrokerUnavailable(_words(error)) from error
        _PUBLISHED.labels(routing_key).inc()

    # consumers

    async def _start_consumers(self, session: _Session) -> None:
        try:
            for consumer in self._consumers:
                channel = await session.connection.channel()
                channel.close_callbacks.add(lambda *_: session.broken.set())
                await channel.set_qos(prefetch_count=consumer.prefetch)
                queue = await channel.get_queue(consumer.queue, ensure=False)

                async def receive(
                    message: AbstractIncomingMessage, consumer: _Consumer = consumer
                ) -> None:
                    task = asyncio.create_task(self._handle(consumer, message))
                    session.working.add(task)
                    task.add_done_callback(session.working.discard)

                session.tags.append((queue, await queue.consume(receive)))
        except (AMQPError, ChannelInvalidStateError, OSError, RuntimeError) as error:
            self._log.warning("cannot consume", error=_words(error))
            session.broken.set()

    async def _handle(self, consumer: _Consumer, message: AbstractIncomingMessage) -> None:
        queue = consumer.queue
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
            # The body itself stays out of the log.
            places = [".".join(map(str, item["loc"])) for item in error.errors()]
            self._log.error("message not understood", queue=queue, fields=places)
            await self._settle(consumer, message, "rejected")
            return
        outcome = await self._try(consumer, delivery)
        if outcome == "retry":
            if attempts >= RETRY_LIMIT:
                outcome = "rejected"
            else:
                outcome = await self._park(consumer, message, attempts + 1)
        await self._settle(consumer, message, outcome)

    async def _try(self, consumer: _Consumer, delivery: Delivery[Any]) -> str:
        attempt = 0
        unforeseen = 0
        while True:
            try:
                await consumer.handler(delivery)
            except Retry:
                return "retry"
            except Reject as error:
                self._log.error("message rejected", queue=consumer.queue, reason=str(error))
                return "rejected"
            except (DependencyDown, BrokerUnavailable, PublishError) as error:
                self._log.warning("message held", queue=consumer.queue, reason=str(error))
            except Exception:  # noqa: BLE001 (whatever it is, the message must not be lost)
                unforeseen += 1
                self._log.exception("handler failed", queue=consumer.queue)
                if unforeseen >= UNKNOWN_ERROR_LIMIT:
                    return "requeued"
            else:
                return "done"
            await asyncio.sleep(backoff(attempt))
            attempt += 1

    async def _park(
        self, consumer: _Consumer, message: AbstractIncomingMessage, attempts: int
    ) -> str:
        """Put a copy into the retry queue; the copy is confirmed before the original goes."""
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
        except (BrokerUnavailable, PublishError):
            return "requeued"
        return "retried"

    async def _settle(
        self, consumer: _Consumer, message: AbstractIncomingMessage, outcome: str
    ) -> None:
        try:
            if outcome in {"done", "retried"}:
                await message.ack()
            else:
                # reject, not nack: since RabbitMQ 4.3 only reject counts towards the limit.
                await message.reject(requeue=outcome == "requeued")
        except (AMQPError, ChannelInvalidStateError, OSError, RuntimeError) as error:
            # The session is gone; the broker delivers again, and handlers are idempotent.
            self._log.info("not acknowledged", queue=consumer.queue, error=_words(error))
            return
        _CONSUMED.labels(consumer.queue, outcome).inc()


def _attempts(message: AbstractIncomingMessage) -> int:
    value = message.headers.get(ATTEMPTS_HEADER, 0)
    return value if isinstance(value, int) else 0


def _words(error: BaseException) -> str:
    """Return an error's words without the address, which may hold a password."""
    return type(error).__name__

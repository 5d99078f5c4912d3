"""RabbitMQ: publishing that is confirmed, consuming that loses nothing.

One connection at a time, made anew when it breaks. When the credentials change, the new
connection is there before the old one goes, so nobody notices. A connection is a
*session*: a channel to publish on, and the consumers. The rest is told what happens by
exceptions of two kinds: those a caller of `publish` meets, and those a handler raises to
say what is to become of its message.

Not aio-pika's own robust connection: with a password that changed it retries the old one
for ever, and it says nothing of it to those who publish.

`amqps://` means TLS, verified by the authority in `rabbitmq-ca.pem` beside the address where
there is one, else by the public ones.
"""

import asyncio
import contextlib
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Literal, TypeVar

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

from ashchat_core.credentials import Credential, Credentials, MissingCredential
from ashchat_core.errors import (
    BrokerUnavailable,
    DependencyDown,
    PublishError,
    Reject,
    Retry,
)
from ashchat_core.messages import Message

__all__ = [
    "Broker",
    "BrokerUnavailable",
    "Delivery",
    "DependencyDown",
    "PublishError",
    "Reject",
    "Retry",
    "backoff",
]

CONNECT_TIMEOUT_SECONDS = 5.0
PUBLISH_TIMEOUT_SECONDS = 5.0
"""How long `publish` takes at most, waiting for a connection included."""

CA_FILE = "rabbitmq-ca.pem"  # beside rabbitmq.uri
HEARTBEAT_SECONDS = 10
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.2, 5.0
STEADY_SECONDS = 10.0
"""A session or consumer that lived this long begins its backoff anew."""

OVERLAP_SECONDS = 10.0
"""How long an old session lives on after a change of credentials, for what is in hand."""

ATTEMPTS_HEADER = "x-ashchat-attempts"
RETRY_LIMIT = 40
"""How often a message goes through its retry queue before it is a dead letter: about ten
minutes, longer than most servers greylist (RFC 6647, section 4.1)."""

UNKNOWN_ERROR_LIMIT = 5
"""How often an error that nobody foresaw is tried again within one delivery."""

_CONNECTED = Gauge("ashchat_amqp_connected", "1: connected to the broker")
_PUBLISHED = Counter(
    "ashchat_amqp_published_total", "Messages confirmed by the broker", ["routing_key"]
)
_CONSUMED = Counter(
    "ashchat_amqp_consumed_total", "Messages consumed, by outcome", ["queue", "outcome"]
)
_HELD = Gauge(
    "ashchat_amqp_held_messages",
    "Messages held back because a dependency is unavailable",
    ["queue"],
)

_BROKEN = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError, RuntimeError)
"""What aio-pika raises when the connection or channel is not (any more) usable."""


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

Outcome = Literal["done", "retried", "rejected", "requeued", "lost"]
"""What became of a delivery; `lost`: its channel went, and the broker delivers it again."""


@dataclass(frozen=True, slots=True)
class _Consumer:
    queue: str
    model: type[Message]
    handler: Handler[Any]
    prefetch: int


@dataclass(slots=True, eq=False)
class _Subscription:
    """One consumer on one channel of one session."""

    queue: Any
    tag: str
    ended: asyncio.Event
    """The channel closed, or the broker cancelled the consumer (its queue was deleted)."""


@dataclass(slots=True, eq=False)
class _Session:
    connection: AbstractConnection
    channel: AbstractChannel
    credential: Credential
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    working: set[asyncio.Task[None]] = field(default_factory=set)
    subscribers: set[asyncio.Task[None]] = field(default_factory=set)
    subscriptions: set[_Subscription] = field(default_factory=set)
    exchanges: dict[str, Any] = field(default_factory=dict)


def backoff(attempt: int) -> float:
    """Return the seconds to wait before attempt n (from 0): exponential, with jitter."""
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
        self._consuming = False
        self._in_hand: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("amqp")

    # what a service says before it starts

    def consume(
        self, queue: str, model: type[M], handler: Handler[M], *, prefetch: int = 16
    ) -> None:
        """Give a queue's messages to a handler in every session from `start_consuming` on.

        The handler returns: acknowledged. It raises `Retry`: parked in the retry queue;
        `Reject`: to the dead letters; `DependencyDown` (or what `publish` raises): held
        unacknowledged and tried again, since a requeue would count towards the delivery
        limit. Anything else is tried five times, then requeued, which counts.
        """
        self._consumers.append(_Consumer(queue, model, handler, prefetch))

    def on_session(self, callback: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        """Call back at the start of every session, before anything is published in it."""
        self._on_session.append(callback)

    # what runs

    async def run(self) -> None:
        """Keep a session up; runs until cancelled, then closes."""
        watcher = asyncio.create_task(self._credentials.watch(self._file, self._renew))
        try:
            attempt = 0
            while True:
                started = asyncio.get_running_loop().time()
                try:
                    session = await self._open()
                except (*_BROKEN, MissingCredential) as error:
                    _raise_if_cancelled()
                    self._log.warning("no session with the broker", error=_words(error))
                else:
                    self._use(session)
                    # A change of credentials puts another session in this one's place.
                    while self._session is not None:
                        current = self._session
                        await current.broken.wait()
                        if self._session is current:
                            self._log.warning("session ended")
                            self._forget()
                            _ = self._retire(current, linger_seconds=0)
                lived = asyncio.get_running_loop().time() - started
                attempt = 0 if lived > STEADY_SECONDS else attempt + 1
                await asyncio.sleep(backoff(attempt))
        finally:
            watcher.cancel()
            last = self._session
            self._forget()
            for task in list(self._retiring):
                task.cancel()
            if last is not None:
                await self._end(last, linger_seconds=0)

    async def start_consuming(self) -> None:
        """Begin with deliveries, in this session and all later ones."""
        self._consuming = True
        if self._session is not None:
            self._subscribe_all(self._session)

    async def stop(self, *, drain_seconds: float = 8.0) -> None:
        """Take no more messages and let those in hand end; publishing goes on until `run` ends."""
        self._consuming = False
        if self._session is not None:
            await self._drain(self._session, drain_seconds)

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

        When a session breaks before the confirmation, the message goes out again in the
        next one: at least once, and `message_id` stays the same.

        Raises:
            BrokerUnavailable: no session, or no confirmation, within five seconds.
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
        session = await self._wait_session(PUBLISH_TIMEOUT_SECONDS)
        try:
            channel = await session.connection.channel()
            try:
                for queue in queues:
                    await channel.declare_queue(queue, passive=True)
            finally:
                with contextlib.suppress(Exception):
                    await channel.close()
        except _BROKEN as error:
            raise PublishError(f"the topology is not there yet: {_words(error)}") from error

    # sessions

    async def _open(self) -> _Session:
        credential = self._credentials.read(self._file)
        url = credential.text
        separator = "&" if "?" in url else "?"
        connection = await aio_pika.connect(
            f"{url}{separator}heartbeat={HEARTBEAT_SECONDS}",
            timeout=CONNECT_TIMEOUT_SECONDS,
            client_properties={"connection_name": self._name},
            ssl_context=self._trust() if url.startswith("amqps:") else None,
        )
        try:
            channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
            for callback in self._on_session:
                await callback(channel)
        except BaseException:
            with contextlib.suppress(*_BROKEN):
                await connection.close()
            raise
        session = _Session(connection, channel, credential)
        connection.close_callbacks.add(lambda *_: session.broken.set())
        channel.close_callbacks.add(lambda *_: session.broken.set())
        return session

    def _trust(self) -> ssl.SSLContext:
        ca = self._credentials.path(CA_FILE) if self._credentials.has(CA_FILE) else None
        return ssl.create_default_context(cafile=ca)

    def _use(self, session: _Session) -> None:
        self._session = session
        self._credentials.use("rabbitmq", session.credential.revision)
        _CONNECTED.set(1)
        self._ready.set()
        if self._consuming:
            self._subscribe_all(session)

    def _forget(self) -> None:
        self._session = None
        self._ready.clear()
        _CONNECTED.set(0)

    def _retire(self, session: _Session, *, linger_seconds: float) -> asyncio.Task[None]:
        """End a session in the background."""
        task = asyncio.create_task(self._end(session, linger_seconds=linger_seconds))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    async def _end(self, session: _Session, *, linger_seconds: float) -> None:
        try:
            if linger_seconds:
                # Answers may still come to this session's queues, confirmations to its channel.
                await self._drain(session, linger_seconds)
                await asyncio.sleep(linger_seconds)
        finally:
            for task in list(session.subscribers):
                task.cancel()
            session.broken.set()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    await session.connection.close()

    async def _renew(self) -> None:
        """Put a session with the new credentials in the place of the old one."""
        attempt = 0
        while True:
            # One that is being opened may have read the old ones.
            await self._ready.wait()
            current = self._session
            if current is None:
                continue
            try:
                if current.credential == self._credentials.read(self._file):
                    return
                session = await self._open()
            except (*_BROKEN, MissingCredential) as error:
                _raise_if_cancelled()
                self._log.warning("new credentials do not work yet", error=_words(error))
                await asyncio.sleep(backoff(attempt))
                attempt += 1
                continue
            old = self._session
            if old is None:
                # It ended meanwhile, and `run` opens another: there must not be two.
                await self._retire(session, linger_seconds=0)
                continue
            self._credentials.hold("rabbitmq", old.credential.revision)
            self._use(session)
            self._log.info("session with new credentials")
            self._retire(old, linger_seconds=OVERLAP_SECONDS).add_done_callback(
                partial(self._let_go, old.credential.revision)
            )
            old.broken.set()
            return

    def _let_go(self, revision: str, _: asyncio.Task[None]) -> None:
        self._credentials.release("rabbitmq", revision)

    async def _wait_session(self, seconds: float) -> _Session:
        try:
            # Not wait_for: before Python 3.12 it may swallow a cancellation (gh-86296).
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            raise BrokerUnavailable("no session with the broker") from None
        if self._session is None:
            raise BrokerUnavailable("no session with the broker")
        return self._session

    async def _publish(
        self, exchange_name: str, routing_key: str, message: aio_pika.Message
    ) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + PUBLISH_TIMEOUT_SECONDS
        attempt = 0
        while True:
            session = await self._wait_session(max(0.0, end - clock()))
            try:
                exchange = session.exchanges.get(exchange_name)
                if exchange is None:
                    exchange = await session.channel.get_exchange(exchange_name, ensure=False)
                    session.exchanges[exchange_name] = exchange
                await exchange.publish(
                    message, routing_key, mandatory=True, timeout=max(0.05, end - clock())
                )
            except ReturnedError as error:
                raise PublishError(
                    f"no queue is bound to {exchange_name} for {routing_key}"
                ) from error
            except DeliveryError as error:
                raise PublishError(f"the broker refused a message for {routing_key}") from error
            except _BROKEN as error:
                if clock() >= end:
                    raise BrokerUnavailable(_words(error)) from error
                # The session's end may not have come through yet: not in a tight loop.
                await asyncio.sleep(min(backoff(attempt), max(0.0, end - clock())))
                attempt += 1
            else:
                _PUBLISHED.labels(routing_key).inc()
                return

    # consumers

    def _subscribe_all(self, session: _Session) -> None:
        for consumer in self._consumers:
            task = asyncio.create_task(self._subscribe(session, consumer))
            session.subscribers.add(task)
            task.add_done_callback(session.subscribers.discard)

    async def _subscribe(self, session: _Session, consumer: _Consumer) -> None:
        """Keep one consumer going as long as the session lives.

        Each has a channel of its own, so a queue that is deleted and made anew (by the
        operator, repairing) disturbs neither the other consumers nor the publishers.
        """
        attempt = 0
        clock = asyncio.get_running_loop().time
        while not session.broken.is_set() and self._consuming:
            started = clock()
            try:
                subscription = await self._start(session, consumer)
            except _BROKEN as error:
                self._log.warning("cannot consume", queue=consumer.queue, error=_words(error))
            else:
                session.subscriptions.add(subscription)
                await subscription.ended.wait()
                session.subscriptions.discard(subscription)
            attempt = 0 if clock() - started > STEADY_SECONDS else attempt + 1
            await asyncio.sleep(backoff(attempt))

    async def _start(self, session: _Session, consumer: _Consumer) -> _Subscription:
        channel = await session.connection.channel()
        ended = asyncio.Event()
        channel.close_callbacks.add(lambda *_: ended.set())
        await channel.set_qos(prefetch_count=consumer.prefetch)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: ended.set())
        queue = await channel.get_queue(consumer.queue, ensure=False)

        async def receive(message: AbstractIncomingMessage) -> None:
            key = (consumer.queue, message.message_id or str(message.delivery_tag))
            before = self._in_hand.get(key)
            task = asyncio.create_task(self._handle(consumer, message, ended, before))
            session.working.add(task)
            self._in_hand[key] = task

            def done(_: asyncio.Task[None]) -> None:
                session.working.discard(task)
                if self._in_hand.get(key) is task:
                    del self._in_hand[key]

            task.add_done_callback(done)

        try:
            tag = await queue.consume(receive)
        except BaseException:
            with contextlib.suppress(*_BROKEN):
                await channel.close()
            raise
        return _Subscription(queue, tag, ended)

    async def _drain(self, session: _Session, seconds: float) -> None:
        for subscription in list(session.subscriptions):
            with contextlib.suppress(*_BROKEN):
                await subscription.queue.cancel(subscription.tag)
        if session.working:
            await asyncio.wait(session.working, timeout=seconds)

    async def _handle(
        self,
        consumer: _Consumer,
        message: AbstractIncomingMessage,
        ended: asyncio.Event,
        before: asyncio.Task[None] | None,
    ) -> None:
        queue = consumer.queue
        if before is not None:
            # The same message from a channel that broke: what was begun there ends first.
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
            # The body itself stays out of the log.
            places = [".".join(map(str, item["loc"])) for item in error.errors()]
            self._log.error("message not understood", queue=queue, fields=places)
            await self._settle(consumer, message, "rejected")
            return
        outcome = await self._try(consumer, delivery, ended)
        if outcome == "retried":
            outcome = await self._park(consumer, message, attempts + 1)
        await self._settle(consumer, message, outcome)

    async def _try(
        self, consumer: _Consumer, delivery: Delivery[Any], ended: asyncio.Event
    ) -> Outcome:
        attempt = 0
        unforeseen = 0
        while True:
            try:
                await consumer.handler(delivery)
            except Retry:
                return "retried"
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
            with _HELD.labels(consumer.queue).track_inprogress(), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff(attempt)):
                    await ended.wait()
            if ended.is_set():
                return "lost"
            attempt += 1

    async def _park(
        self, consumer: _Consumer, message: AbstractIncomingMessage, attempts: int
    ) -> Outcome:
        """Put a copy into the retry queue; the copy is confirmed before the original goes."""
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
        except (BrokerUnavailable, PublishError):
            return "requeued"
        return "retried"

    async def _settle(
        self, consumer: _Consumer, message: AbstractIncomingMessage, outcome: Outcome
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
        except _BROKEN as error:
            # The channel is gone; the broker delivers again, and handlers are idempotent.
            self._log.info("not acknowledged", queue=consumer.queue, error=_words(error))
            return
        _CONSUMED.labels(consumer.queue, outcome).inc()


def _attempts(message: AbstractIncomingMessage) -> int:
    value = message.headers.get(ATTEMPTS_HEADER, 0)
    return value if isinstance(value, int) else 0


def _raise_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled while aiormq was connecting.

    `asyncio.wait_for`, which aiormq connects with, discards a cancellation that arrives together
    with the connection's own error (https://github.com/python/cpython/issues/86296). Without this
    check the task would retry forever, and a shutdown would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _words(error: BaseException) -> str:
    """Return an error's words without the address, which may hold a password."""
    return type(error).__name__

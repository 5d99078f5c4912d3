"""RabbitMQ: confirmed publishing, and consuming that loses no message.

There is one connection at a time, re-created when it breaks. When the credentials change, the
new connection is opened before the old one is closed, so that no operation fails. A connection
with its publishing channel and consumers is a *session*. `deliveries` decides what happens to
a delivered message.

aio-pika's own robust connection is not used: after a change of the password it retries the old
one forever, without reporting that to publishers.

`amqps://` means TLS, verified with the authority in `rabbitmq-ca.pem` next to the address or,
if that is absent, with the public authorities.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import (
    DeliveryError,
)
from aio_pika.exceptions import PublishError as ReturnedError
from prometheus_client import Counter, Gauge

from ashchat_core.amqp_consumers import STEADY_SECONDS, Consumers
from ashchat_core.amqp_session import BROKEN, Session, error_name
from ashchat_core.backoff import backoff
from ashchat_core.credentials import Credentials, MissingCredentialError
from ashchat_core.deliveries import Consumer, Deliveries, Delivery, Handler, M
from ashchat_core.errors import (
    BrokerUnavailableError,
    DependencyDownError,
    PublishError,
    RejectError,
    RetryError,
)
from ashchat_core.messages import Message
from ashchat_core.topology import check_body

__all__ = [
    "Broker",
    "BrokerUnavailableError",
    "Delivery",
    "DependencyDownError",
    "PublishError",
    "RejectError",
    "RetryError",
]

CONNECT_TIMEOUT_SECONDS: Final = 5.0
PUBLISH_TIMEOUT_SECONDS: Final = 5.0
"""Maximum duration of `publish`, including the wait for a connection."""

CA_FILE: Final = "rabbitmq-ca.pem"  # next to rabbitmq.uri
SHORT_STRING_BYTES: Final = 255
HEARTBEAT_SECONDS: Final = 10
OVERLAP_SECONDS: Final = 10.0
"""How long an old session stays open after a change of credentials, to finish its work."""

_CONNECTED = Gauge("ashchat_amqp_connected", "1: connected to the broker")
_PUBLISHED = Counter(
    "ashchat_amqp_published_total", "Messages confirmed by the broker", ["routing_key"]
)


def short_id(message_id: str) -> str:
    """Return an id that fits into a property of a message; a longer one is replaced by its hash.

    Ids are composed of fields of other messages, which may be of any length; a short string has at
    most 255 bytes (AMQP 0-9-1, section 4.2.5.3).
    """
    encoded = message_id.encode()
    return message_id if len(encoded) <= SHORT_STRING_BYTES else sha256(encoded).hexdigest()


class Broker:
    """A service's connection to RabbitMQ."""

    def __init__(
        self, credentials: Credentials, name: str, *, own_exchange: str, file: str = "rabbitmq.uri"
    ) -> None:
        self._credentials = credentials
        self._name = name
        self._file = file
        self._consumers = Consumers(Deliveries(self._publish, own_exchange))
        self._on_session: list[Callable[[AbstractChannel], Awaitable[None]]] = []
        self._session: Session | None = None
        self._ready = asyncio.Event()
        self._retiring: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("amqp")

    # before the start

    def consume(
        self, queue: str, model: type[M], handler: Handler[M], *, prefetch: int = 16
    ) -> None:
        """Pass a queue's messages to a handler, in every session after `start_consuming`.

        See `deliveries` for what the handler may raise.

        Raises:
            TypeError: The topology has another model for this queue.
        """
        check_body(queue, model)
        self._consumers.add(Consumer(queue, model, handler, prefetch))

    def on_session(self, callback: Callable[[AbstractChannel], Awaitable[None]]) -> None:
        """Call a function at the start of every session, before anything is published in it."""
        self._on_session.append(callback)

    # running

    async def run(self) -> None:
        """Maintain a session until cancelled, then close it."""
        watcher = asyncio.create_task(self._credentials.watch(self._file, self._renew))
        try:
            attempt = 0
            while True:
                started = asyncio.get_running_loop().time()
                try:
                    session = await self._open()
                except (*BROKEN, MissingCredentialError) as error:
                    _raise_if_cancelled()
                    self._log.warning("no session with the broker", error=error_name(error))
                else:
                    self._use(session)
                    # A change of credentials replaces the session.
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
        """Start consuming, in this session and all later ones."""
        self._consumers.active = True
        if self._session is not None:
            self._consumers.subscribe_all(self._session)

    async def stop(self, *, drain_seconds: float = 8.0) -> None:
        """Stop consuming and finish the delivered messages; `publish` works until `run` ends."""
        self._consumers.active = False
        if self._session is not None:
            await self._consumers.drain(self._session, drain_seconds)

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._session is not None

    # Seven parameters: the message and its AMQP properties.
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
        """Publish a persistent message; return once the broker has confirmed it.

        If a session breaks before the confirmation, the message is published again in the
        next one: at least once, with the same `message_id`.

        Raises:
            BrokerUnavailableError: no session, or no confirmation, within five seconds.
            PublishError: rejected, or unroutable (mandatory is set, so that a message to a
                deleted queue does not "succeed").
            TypeError: The topology has another model for the queue of this name.
        """
        check_body(routing_key, type(body))
        message = aio_pika.Message(
            body.model_dump_json().encode(),
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=short_id(message_id),
            correlation_id=correlation_id,
            reply_to=reply_to,
            app_id=self._name,
            headers=dict(headers or {}),
        )
        await self._publish(exchange, routing_key, message)

    async def topology_ready(self, queues: Sequence[str]) -> None:
        """Check that queues exist, once there is a session.

        Raises:
            BrokerUnavailableError: there is no session.
            PublishError: a queue does not exist (yet).
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
        except BROKEN as error:
            raise PublishError(f"the topology is not declared yet: {error_name(error)}") from error

    # sessions

    async def _open(self) -> Session:
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
            with contextlib.suppress(*BROKEN):
                await connection.close()
            raise
        session = Session(connection, channel, credential)
        connection.close_callbacks.add(lambda *_: session.broken.set())
        channel.close_callbacks.add(lambda *_: session.broken.set())
        return session

    def _trust(self) -> ssl.SSLContext:
        ca = self._credentials.path(CA_FILE) if self._credentials.has(CA_FILE) else None
        return ssl.create_default_context(cafile=ca)

    def _use(self, session: Session) -> None:
        self._session = session
        self._credentials.use("rabbitmq", session.credential.revision)
        _CONNECTED.set(1)
        self._ready.set()
        if self._consumers.active:
            self._consumers.subscribe_all(session)

    def _forget(self) -> None:
        self._session = None
        self._ready.clear()
        _CONNECTED.set(0)

    def _retire(self, session: Session, *, linger_seconds: float) -> asyncio.Task[None]:
        """End a session in the background."""
        task = asyncio.create_task(self._end(session, linger_seconds=linger_seconds))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    async def _end(self, session: Session, *, linger_seconds: float) -> None:
        try:
            if linger_seconds:
                # Answers may still arrive in this session's queues, confirmations on its channel.
                await self._consumers.drain(session, linger_seconds)
                await asyncio.sleep(linger_seconds)
        finally:
            for task in list(session.subscribers):
                task.cancel()
            session.broken.set()
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    await session.connection.close()

    async def _renew(self) -> None:
        """Replace the session by one with the new credentials."""
        attempt = 0
        while True:
            # A session that is being opened may have read the old ones.
            await self._ready.wait()
            current = self._session
            if current is None:
                continue
            try:
                if current.credential == self._credentials.read(self._file):
                    return
                session = await self._open()
            except (*BROKEN, MissingCredentialError) as error:
                _raise_if_cancelled()
                self._log.warning("the new credentials do not work yet", error=error_name(error))
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

    async def _wait_session(self, seconds: float) -> Session:
        try:
            # Not wait_for: before Python 3.12 it may swallow a cancellation (gh-86296).
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            raise BrokerUnavailableError("no session with the broker") from None
        if self._session is None:
            raise BrokerUnavailableError("no session with the broker")
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
                raise PublishError(f"the broker rejected a message for {routing_key}") from error
            except BROKEN as error:
                if clock() >= end:
                    raise BrokerUnavailableError(error_name(error)) from error
                # The session's end may not have been noticed yet: avoid a tight loop.
                await asyncio.sleep(min(backoff(attempt), max(0.0, end - clock())))
                attempt += 1
            else:
                _PUBLISHED.labels(routing_key).inc()
                return


def _raise_if_cancelled() -> None:
    """Raise CancelledError if this task was cancelled while aiormq was connecting.

    `asyncio.wait_for`, which aiormq connects with, discards a cancellation that arrives together
    with the connection's own error (https://github.com/python/cpython/issues/86296). Without this
    check the task would retry forever, and a shutdown would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

"""The consumers of a service, kept running in every session."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import structlog
from aio_pika.abc import AbstractIncomingMessage

from ashchat_core.amqp_session import BROKEN, Session, Subscription, error_name
from ashchat_core.backoff import backoff
from ashchat_core.deliveries import Consumer, Deliveries

STEADY_SECONDS: Final = 10.0
"""A session or consumer that lasted this long starts its backoff again."""


class Consumers:
    """Subscribes to queues and passes on what arrives."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._consumers: list[Consumer] = []
        self._in_hand: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._log = structlog.get_logger("amqp")
        self.active = False
        """Whether sessions consume."""

    def __iter__(self) -> Iterator[Consumer]:
        return iter(self._consumers)

    def add(self, consumer: Consumer) -> None:
        """Add a consumer, before any session."""
        self._consumers.append(consumer)

    def subscribe_all(self, session: Session) -> None:
        """Start every consumer in a session."""
        for consumer in self._consumers:
            task = asyncio.create_task(self._subscribe(session, consumer))
            session.subscribers.add(task)
            task.add_done_callback(session.subscribers.discard)

    async def _subscribe(self, session: Session, consumer: Consumer) -> None:
        """Run one consumer as long as the session lasts.

        Each has its own channel, so that a queue which the operator deletes and re-creates
        disturbs neither the other consumers nor the publishers.
        """
        attempt = 0
        clock = asyncio.get_running_loop().time
        while not session.broken.is_set() and self.active:
            started = clock()
            try:
                subscription = await self._start(session, consumer)
            except BROKEN as error:
                self._log.warning("cannot consume", queue=consumer.queue, error=error_name(error))
            else:
                session.subscriptions.add(subscription)
                await subscription.ended.wait()
                session.subscriptions.discard(subscription)
            attempt = 0 if clock() - started > STEADY_SECONDS else attempt + 1
            await asyncio.sleep(backoff(attempt))

    async def _start(self, session: Session, consumer: Consumer) -> Subscription:
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
            task = asyncio.create_task(self._deliveries.handle(consumer, message, ended, before))
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
            with contextlib.suppress(*BROKEN):
                await channel.close()
            raise
        return Subscription(queue, tag, ended)

    async def drain(self, session: Session, seconds: float) -> None:
        """Stop the consumers of a session, and wait until their messages were handled."""
        for subscription in list(session.subscriptions):
            with contextlib.suppress(*BROKEN):
                await subscription.queue.cancel(subscription.tag)
        if session.working:
            await asyncio.wait(session.working, timeout=seconds)

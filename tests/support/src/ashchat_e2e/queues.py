"""Publish as a service does: with its own credentials, through its own exchange."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aio_pika

from ashchat_core.messages import Message
from ashchat_core.topology import Queue, Service
from ashchat_dev.kube.cluster import Cluster
from ashchat_e2e.backends import forwarded_uri

Publish = Callable[[Queue, Message], Awaitable[None]]

AMQP_PORT = 5672


@asynccontextmanager
async def publisher(cluster: Cluster, service: Service) -> AsyncIterator[Publish]:
    """Yield a function that publishes as that service; the broker confirms each message.

    Raises:
        ApiError: The service has no such credentials.
    """
    async with AsyncExitStack() as stack:
        uri = await forwarded_uri(cluster, stack, service.value, "rabbitmq.uri", AMQP_PORT)
        connection = await stack.enter_async_context(await aio_pika.connect(uri, timeout=10))
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(service.value, ensure=False)

        async def publish(queue: Queue, body: Message) -> None:
            message = aio_pika.Message(
                body.model_dump_json().encode(),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(message, queue.value, mandatory=True, timeout=10)

        yield publish
